"""Runs the bundles of standard operators (targets ``trt-...``): the part that engines and onnxruntime share.

The text-to-semantic graph reads rows of phones and tokens alike and gives their keys and values; the backend keeps them
in buffers of fixed capacity and says with a mask which positions are filled.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from voiceclone.errors import ConfigError
from voiceclone.inference.backend import (
    BERT_CHANNELS,
    CACHE_STEP,
    MARGIN_FRAMES,
    Backend,
    Floats,
    OnnxBackend,
    Tokens,
    in_parts,
)
from voiceclone.inference.bundle import HEAD, LATENT, TAIL, TEXT_TO_SEMANTIC

Array = npt.NDArray[Any]

#: Added to the score of a position that must not be seen; finite in half precision, nothing after the softmax.
HIDDEN_SCORE = -1e4
#: Frames (20 ms) that the tail of the vocoder makes at once: more than on the CPU, a GPU wants work.
PART_FRAMES = 300
FILES = {"text_to_semantic": TEXT_TO_SEMANTIC, "latent": LATENT, "head": HEAD, "tail": TAIL}
TENSORRT = "trt-"


class StandardBackend(ABC):
    """A :class:`voiceclone.inference.backend.Backend` over graphs of standard operators in half precision.

    Args:
        description: the bundle's ``bundle.json``.
    """

    def __init__(self, description: Mapping[str, Any]) -> None:
        sizes = description["cache"]
        self.heads, self.width = sizes["heads"], sizes["head_width"]
        self.buffers = [f"{part}_{index}" for index in range(sizes["layers"]) for part in ("key", "value")]
        self.codes = description["end_token"] + 1
        self._phones, self._steps = description["phones"], description["steps_per_frame"]
        self._no_features = np.zeros((1, 1, BERT_CHANNELS), np.float16)

    @abstractmethod
    def first_pass(self, inputs: Mapping[str, Array]) -> Floats:
        """Logits (V + 1,) after ids (1, N) with positions and BERT features; forgets what was there before."""

    @abstractmethod
    def next_step(self, inputs: Mapping[str, Array], past: int) -> Floats:
        """Logits (V + 1,) after one more row behind ``past`` positions."""

    @abstractmethod
    def infer(self, graph: str, inputs: Mapping[str, Array]) -> Floats:
        """The output of a graph of the decoder, float32."""

    def start(self, phones: Tokens, bert: Floats | None, prompt: Tokens) -> tuple[Floats, Any]:
        """See :class:`voiceclone.inference.backend.Backend`; the cache of the sentence before is lost."""
        features = np.zeros((1, len(phones) + len(prompt), BERT_CHANNELS), np.float16)
        if bert is not None:
            features[0, : len(phones)] = bert.T
        inputs = {
            "ids": np.concatenate([phones, prompt + self._phones])[None],
            "positions": np.concatenate([np.arange(len(phones)), np.arange(len(prompt))])[None],
            "bert": features,
        }
        return self.first_pass(inputs), features.shape[1]

    def step(self, token: int, position: int, cache: Any) -> tuple[Floats, Any]:
        """See :class:`voiceclone.inference.backend.Backend`; ``cache`` is the number of positions that are filled."""
        inputs = {
            "ids": np.array([[token + self._phones]]), "positions": np.array([[position]]), "bert": self._no_features,
        }  # fmt: skip
        return self.next_step(inputs, cache), cache + 1

    def decode(self, codes: Tokens, phones: Tokens, style: Floats, noise: Floats) -> Floats:
        """See :class:`voiceclone.inference.backend.Backend`."""
        return self.vocode(self.latent(codes, phones, style, noise), style)

    def latent(self, codes: Tokens, phones: Tokens, style: Floats, noise: Floats) -> Floats:
        """See :class:`voiceclone.inference.backend.Backend`."""
        inputs: dict[str, Array] = {"codes": codes[None, None], "phones": phones[None], "style": style, "noise": noise}
        return self.infer("latent", inputs)

    def vocode(self, latent: Floats, style: Floats) -> Floats:
        """See :class:`voiceclone.inference.backend.Backend`; in parts, so that memory does not grow with the piece."""
        upsampled = self.infer("head", {"latent": latent, "style": style})
        return in_parts(
            lambda part: self.infer("tail", {"upsampled": part}).reshape(-1),
            upsampled,
            PART_FRAMES * self._steps,
            MARGIN_FRAMES * self._steps,
        )


def grown(positions: int) -> int:
    """Capacity of buffers that hold some positions."""
    return -(-positions // CACHE_STEP) * CACHE_STEP


class StandardOnnxBackend(StandardBackend):
    """Runs the graphs of a TensorRT target with onnxruntime on the CPU: exact, not fast.

    Args:
        folder: the bundle's folder.
        description: its ``bundle.json``.
        threads: threads inside an operator; 0: as OMP_NUM_THREADS says, else all cores.
    """

    def __init__(self, folder: Path, description: Mapping[str, Any], threads: int = 0) -> None:
        super().__init__(description)
        self._sessions = {name: _open(folder / file, threads) for name, file in FILES.items()}
        self._mask: Array = np.zeros((1, 1, 1, 0), np.float16)
        self._kept: Array = np.zeros((len(self.buffers), 1, self.heads, 0, self.width), np.float16)

    def first_pass(self, inputs: Mapping[str, Array]) -> Floats:
        """See :class:`StandardBackend`."""
        self._mask[...] = HIDDEN_SCORE
        nothing = np.zeros((1, self.heads, 1, self.width), np.float16)
        past = {"past_mask": np.full((1, 1, 1, 1), HIDDEN_SCORE, np.float16), **dict.fromkeys(self.buffers, nothing)}
        return self._advance({**inputs, **past}, 0)

    def next_step(self, inputs: Mapping[str, Array], past: int) -> Floats:
        """See :class:`StandardBackend`."""
        kept = dict(zip(self.buffers, self._kept, strict=True))
        return self._advance({**inputs, "past_mask": self._mask, **kept}, past)

    def _advance(self, inputs: Mapping[str, Array], past: int) -> Floats:
        logits, *rows = self._sessions["text_to_semantic"].run(None, dict(inputs))
        end = past + rows[0].shape[2]
        if end > self._mask.shape[3]:
            self._grow(grown(end))
        for buffer, row in zip(self._kept, rows, strict=True):
            buffer[:, :, past:end] = row
        self._mask[..., past:end] = 0
        return np.asarray(logits[0], np.float32)

    def _grow(self, capacity: int) -> None:
        kept, mask = self._kept, self._mask
        self._kept = np.zeros((*kept.shape[:3], capacity, self.width), np.float16)
        self._mask = np.full((1, 1, 1, capacity), HIDDEN_SCORE, np.float16)
        self._kept[:, :, :, : kept.shape[3]], self._mask[..., : mask.shape[3]] = kept, mask

    def infer(self, graph: str, inputs: Mapping[str, Array]) -> Floats:
        """See :class:`StandardBackend`."""
        feed = {n: array.astype(np.float16) if array.dtype == np.float32 else array for n, array in inputs.items()}
        return np.asarray(self._sessions[graph].run(None, feed)[0], np.float32)


def _open(path: Path, threads: int) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or int(os.environ.get("OMP_NUM_THREADS") or 0)
    options.log_severity_level = 3
    options.enable_mem_pattern = False  # plans of memory are kept for each length of a sentence and never dropped
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def is_tensorrt(target: str) -> bool:
    """Whether a target's graphs are for TensorRT."""
    return target.startswith(TENSORRT)


def open_backend(folder: Path, description: dict[str, Any], threads: int = 0, device: str = "auto") -> Backend:
    """What runs a bundle on a device.

    Args:
        folder: the bundle's folder.
        description: its ``bundle.json``.
        threads: CPU threads; 0: as OMP_NUM_THREADS says, else all cores.
        device: ``cpu``, ``cuda``, or ``auto``: TensorRT for its targets, the CPU for the others.

    Raises:
        ConfigError: the device cannot run this bundle.
    """
    if not is_tensorrt(description["target"]):
        return OnnxBackend(folder, description, threads, "cuda" if device == "cuda" else "cpu")
    if device == "cpu":
        return StandardOnnxBackend(folder, description, threads)
    from voiceclone.inference.engines import why_not

    reason = why_not()
    if reason:
        raise ConfigError(
            f"bundle {description['target']}: {reason}",
            "speak on a machine that has both, with another bundle, or with --device cpu: slowly, by onnxruntime",
        )
    from voiceclone.inference.tensorrt import TensorRTBackend

    return TensorRTBackend(folder, description)
