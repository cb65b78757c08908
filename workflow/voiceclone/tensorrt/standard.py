"""Runs the bundles of standard operators (targets ``trt-...``): the part that engines and onnxruntime share.

The text-to-semantic graph reads rows of phones and tokens alike and gives their keys and values; the backend keeps them
in buffers of fixed capacity and says with a mask which positions are filled.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from voiceclone.backends.backend import BERT_CHANNELS, CACHE_STEP, HIDDEN_SCORE, MARGIN_FRAMES, Floats, Tokens, in_parts
from voiceclone.backends.bundle import TEXT_TO_SEMANTIC, graph_files, is_source_filter
from voiceclone.backends.waveform import Frames, Source
from voiceclone.backends.weights import OnnxWeights, read_pointer
from voiceclone.device import threads_asked
from voiceclone.onnx_session import onnx_session

Array = npt.NDArray[Any]

#: Frames (20 ms) that the tail of the vocoder makes at once: more than on the CPU, a GPU wants work.
PART_FRAMES = 300
#: Profiles of the text-to-semantic graph; the others have one.
FIRST, STEP = 0, 1


class StandardBackend(ABC):
    """A :class:`voiceclone.backends.backend.Backend` over graphs of standard operators in half precision.

    Subclasses say where arrays live and what runs a graph. Arrays are of numpy or of torch: all that is done with them
    here is to write into parts of them.

    Args:
        folder: the bundle's folder.
        description: its ``bundle.json``.

    Attributes:
        emission, guidance: see :class:`voiceclone.speaking.guidance.PointingBackend`.
    """

    name: str

    def __init__(self, folder: Path, description: Mapping[str, Any]) -> None:
        self.emission, self.guidance = read_pointer(OnnxWeights(folder / TEXT_TO_SEMANTIC), description)
        self._dim = 0 if self.emission is None else description["pointer"]["dim"]
        self._phone_keys = np.zeros((0, self._dim), np.float32)
        sizes = description["cache"]
        self._heads, self._width = sizes["heads"], sizes["head_width"]
        self._names = [f"{part}_{index}" for index in range(sizes["layers"]) for part in ("key", "value")]
        self._phones, self._steps = description["phones"], description.get("steps_per_frame", 1)
        self._sample_rate, self.pitched = description["sample_rate"], is_source_filter(description)
        with self.scope():
            self._kv_cache, self._mask = self._rows(0), self.upload(np.zeros((1, 1, 1, 0), np.float16))
            self._nothing = self._rows(1)[0]
            self._hidden = self.upload(np.full((1, 1, 1, 1), HIDDEN_SCORE, np.float16))
            self._logits = self.upload(np.zeros((1, description["end_token"] + 1), np.float32))
            self._query = self.upload(np.zeros((1, self._dim), np.float32))
            self._row = self._rows(1)
            self._last = {name: self.upload(np.zeros((1, 1), np.int64)) for name in ("ids", "positions")}
            self._last["bert"] = self.upload(np.zeros((1, 1, BERT_CHANNELS), np.float16))
            self._steady = self._step_arrays()

    @abstractmethod
    def upload(self, array: Array) -> Any:
        """An array as the runtime takes it."""

    @abstractmethod
    def download(self, array: Any) -> Floats:
        """The other way, as float32."""

    @abstractmethod
    def run(self, graph: str, inputs: Mapping[str, Any], outputs: Mapping[str, Any], profile: int) -> Mapping[str, Any]:
        """Run a graph: all outputs by name, those in ``outputs`` written there; ``profile``: which covers the sizes.

        Steps bring the same two dictionaries until the buffers grow, so that they need to be bound once.
        """

    def scope(self) -> AbstractContextManager[Any]:
        """Everything is done inside of it."""
        return nullcontext()

    def start(self, phones: Tokens, bert: Floats | None, prompt: Tokens) -> tuple[Floats, Any]:
        """See :class:`voiceclone.backends.backend.Backend`; the cache of the sentence before is lost."""
        count = len(phones) + len(prompt)
        features = np.zeros((1, count, BERT_CHANNELS), np.float16)
        if bert is not None:
            features[0, : len(phones)] = bert.T
        given = {
            "ids": np.concatenate([phones, prompt + self._phones])[None],
            "positions": np.concatenate([np.arange(len(phones)), np.arange(len(prompt))])[None],
            "bert": features,
        }
        with self.scope():
            self._mask[...] = HIDDEN_SCORE
            inputs = {name: self.upload(array) for name, array in given.items()}
            past = {"past_mask": self._hidden, **dict.fromkeys(self._names, self._nothing)}
            rows = self._rows(count)
            outputs = self._outputs(rows)
            self.run("text_to_semantic", {**inputs, **past}, outputs, FIRST)
            if self._dim:
                self._phone_keys = self.download(outputs["pointer_keys"])[0, : len(phones)].copy()
            return self._append(rows, 0), count

    def step(self, token: int, position: int, cache: Any) -> tuple[Floats, Any]:
        """See :class:`voiceclone.backends.backend.Backend`; ``cache`` is the number of positions that are filled."""
        with self.scope():
            self._last["ids"][...] = token + self._phones
            self._last["positions"][...] = position
            self.run("text_to_semantic", *self._steady, STEP)
            return self._append(self._row, cache), cache + 1

    def point(self) -> Floats:
        """See :class:`voiceclone.speaking.guidance.PointingBackend`."""
        with self.scope():
            return np.asarray(self._phone_keys @ self.download(self._query)[0] * np.float32(self._dim**-0.5))

    def _step_arrays(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Inputs and outputs of every step until the buffers grow."""
        past = {"past_mask": self._mask, **dict(zip(self._names, self._kv_cache, strict=True))}
        return {**self._last, **past}, self._outputs(self._row)

    def _outputs(self, rows: Any) -> dict[str, Any]:
        named = {"logits": self._logits, **{f"new_{name}": row for name, row in zip(self._names, rows, strict=True)}}
        if self._dim:
            keys = self.upload(np.zeros((1, rows.shape[3], self._dim), np.float32))
            named |= {"pointer_keys": keys, "pointer_query": self._query}
        return named

    def _append(self, rows: Any, past: int) -> Floats:
        """Put new rows (2 layers, 1, heads, N, width) behind the ``past`` positions of the KV cache; the logits."""
        end = past + rows.shape[3]
        if end > self._mask.shape[3]:
            self._grow(-(-end // CACHE_STEP) * CACHE_STEP)
        self._kv_cache[:, :, :, past:end] = rows
        self._mask[..., past:end] = 0
        return self.download(self._logits)[0].copy()

    def _grow(self, capacity: int) -> None:
        before, mask = self._kv_cache, self._mask
        self._kv_cache = self._rows(capacity)
        self._mask = self.upload(np.full((1, 1, 1, capacity), HIDDEN_SCORE, np.float16))
        self._kv_cache[:, :, :, : before.shape[3]], self._mask[..., : mask.shape[3]] = before, mask
        self._steady = self._step_arrays()

    def _rows(self, count: int) -> Any:
        """Room for keys and values (2 layers, 1, heads, count, width)."""
        return self.upload(np.zeros((len(self._names), 1, self._heads, count, self._width), np.float16))

    def decode(
        self, codes: Tokens, phones: Tokens, style: Floats, noise: Floats, source: Source | None = None
    ) -> Floats:
        """See :class:`voiceclone.backends.backend.Backend`."""
        return self.vocode(self.latent(codes, phones, style, noise), style, source)

    def latent(self, codes: Tokens, phones: Tokens, style: Floats, noise: Floats) -> Floats:
        """See :class:`voiceclone.backends.backend.Backend`."""
        return self._infer("latent", codes=codes[None, None], phones=phones[None], style=style, noise=noise)["latent"]

    def frames(self, latent: Floats, style: Floats) -> Frames:
        """See :class:`voiceclone.backends.backend.Backend`."""
        return Frames.of_graph(self._infer("frames", latent=latent, style=style))

    def vocode(self, latent: Floats, style: Floats, source: Source | None = None) -> Floats:
        """See :class:`voiceclone.backends.backend.Backend`; a HiFi-GAN in parts, so that memory does not grow with the
        piece."""
        if self.pitched:
            return (source or Source()).wave(self.frames(latent, style), self._sample_rate)
        return in_parts(
            lambda part: self._infer("tail", upsampled=part)["audio"].reshape(-1),
            self._infer("head", latent=latent, style=style)["upsampled"],
            PART_FRAMES * self._steps,
            MARGIN_FRAMES * self._steps,
        )

    def _infer(self, graph: str, **inputs: Array) -> dict[str, Floats]:
        """The outputs of a graph of the decoder."""
        with self.scope():
            given = {
                name: self.upload(array.astype(np.float16) if array.dtype == np.float32 else array)
                for name, array in inputs.items()
            }
            return {name: self.download(out) for name, out in self.run(graph, given, {}, FIRST).items()}


class StandardOnnxBackend(StandardBackend):
    """Runs the graphs of a TensorRT target with onnxruntime on the CPU: exact, not fast.

    Args:
        folder: the bundle's folder.
        description: its ``bundle.json``.
        threads: threads inside an operator; 0: as OMP_NUM_THREADS says, else all cores.
    """

    name = "onnxruntime"

    def __init__(self, folder: Path, description: Mapping[str, Any], threads: int = 0) -> None:
        self._sessions = {
            name: onnx_session(folder / file, threads_asked(threads), memory="pool", quiet=True)
            for name, file in graph_files(description).items()
        }
        super().__init__(folder, description)

    def upload(self, array: Array) -> Array:
        """See :class:`StandardBackend`."""
        return array

    def download(self, array: Array) -> Floats:
        """See :class:`StandardBackend`."""
        return np.asarray(array, np.float32)

    def run(self, graph: str, inputs: Mapping[str, Any], outputs: Mapping[str, Any], profile: int) -> Mapping[str, Any]:
        """See :class:`StandardBackend`."""
        session = self._sessions[graph]
        names = [value.name for value in session.get_outputs()]
        made = dict(zip(names, session.run(names, dict(inputs)), strict=True))
        for name, place in outputs.items():
            place[...] = made[name]
        return made
