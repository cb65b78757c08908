"""The interface of a backend, which runs the two networks of a voice, and the backend of onnxruntime."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from voiceclone.backends.waveform import Frames, Source
from voiceclone.device import threads_to_use
from voiceclone.errors import ConfigError
from voiceclone.onnx_session import onnx_session

Floats = npt.NDArray[np.float32]
Tokens = npt.NDArray[np.int64]

#: Width of the BERT features that the text-to-semantic model reads.
BERT_CHANNELS = 1024
#: Positions by which the buffers of keys and values grow: 256 tokens are 10 s of speech.
CACHE_STEP = 256
#: Added to the score of a position that must not be seen; finite in half precision, nothing after the softmax.
HIDDEN_SCORE = -1e4
#: Vocoder chunk and context on each side, in frames of 20 ms.
PART_FRAMES, MARGIN_FRAMES = 60, 2
NO_PHONES = np.zeros((1, 0), np.int64)
NO_BERT = np.zeros((1, BERT_CHANNELS, 0), np.float32)


class Backend(Protocol):
    """Runs text-to-semantic steps and the waveform decoder."""

    #: Name for reports.
    name: str
    #: The vocoder is a source-filter decoder, whose F0 can be changed; it then has :meth:`frames`.
    pitched: bool

    def start(self, phones: Tokens, bert: Floats | None, prompt: Tokens) -> tuple[Floats, Any]:
        """Read phones (X,), their BERT features (1024, X) and the prompt (P,): next logits (V + 1,), cache."""
        ...

    def step(self, token: int, position: int, cache: Any) -> tuple[Floats, Any]:
        """Read one token at its position among the semantic tokens: next logits (V + 1,), cache."""
        ...

    def decode(
        self, codes: Tokens, phones: Tokens, style: Floats, noise: Floats, source: Source | None = None
    ) -> Floats:
        """Waveform (samples,) of codes (T,), phones (L,), style (1, G, 1) and noise (1, C, F).

        F is :func:`frames_at` of the number of codes and the speed. ``source``: of a source-filter decoder; None:
        the default one, always the same.
        """
        ...

    def latent(self, codes: Tokens, phones: Tokens, style: Floats, noise: Floats) -> Floats:
        """First half of :meth:`decode`: latent (1, C, F)."""
        ...

    def vocode(self, latent: Floats, style: Floats, source: Source | None = None) -> Floats:
        """Second half of :meth:`decode`: waveform (samples,) of a latent (1, C, F), or of a part of its frames."""
        ...

    def frames(self, latent: Floats, style: Floats) -> Frames:
        """Parameters of 2 F frames, from which a source-filter decoder makes the waveform."""
        ...


class Vocoder(Protocol):
    """Makes the waveform of a latent; see :meth:`Backend.vocode`."""

    def vocode(self, latent: Floats, style: Floats, source: Source | None = None) -> Floats:
        """Waveform (samples,) of a latent (1, C, F) and style (1, G, 1)."""
        ...


def frames_at(tokens: int, speed: float) -> int:
    """Frames (50 a second at 32 kHz) of a number of tokens at a speed, as the decoder of GPT-SoVITS counts them."""
    return 2 * tokens if speed == 1.0 else int(2 * tokens / speed) + 1


class Decoder:
    """The second half of a backend: a graph in onnxruntime that makes the latent, and a vocoder."""

    _latent: OnnxSession
    _vocoder: Vocoder

    def decode(
        self, codes: Tokens, phones: Tokens, style: Floats, noise: Floats, source: Source | None = None
    ) -> Floats:
        """See :class:`Backend`."""
        return self.vocode(self.latent(codes, phones, style, noise), style, source)

    def latent(self, codes: Tokens, phones: Tokens, style: Floats, noise: Floats) -> Floats:
        """See :class:`Backend`."""
        inputs: dict[str, npt.NDArray[Any]] = {
            "codes": codes[None, None], "phones": phones[None], "style": style, "noise": noise,
        }  # fmt: skip
        return self._latent.run("latent", inputs)

    def vocode(self, latent: Floats, style: Floats, source: Source | None = None) -> Floats:
        """See :class:`Backend`."""
        return self._vocoder.vocode(latent, style, source)

    def frames(self, latent: Floats, style: Floats) -> Frames:
        """See :class:`Backend`."""
        assert isinstance(self._vocoder, SourceFilterVocoder)
        return self._vocoder.frames(latent, style)


class OnnxBackend(Decoder):
    """Runs a bundle's graphs with onnxruntime; one sentence at a time.

    Args:
        folder: the bundle's folder.
        description: its ``bundle.json``.
        threads: threads inside an operator; 0: OMP_NUM_THREADS, else all cores.
        device: ``cpu``, or ``cuda`` for bundles in half precision.

    Raises:
        ConfigError: the device cannot run this bundle.
    """

    name = "onnxruntime"

    def __init__(self, folder: Path, description: dict[str, Any], threads: int = 0, device: str = "cpu") -> None:
        from voiceclone.backends.bundle import LATENT, TEXT_TO_SEMANTIC
        from voiceclone.backends.weights import OnnxWeights, read_pointer

        self._providers = choose_providers(description, device)
        self._floats = np.float16 if description["half"] else np.float32
        self._gpt = open_session(folder / TEXT_TO_SEMANTIC, threads, self._providers)
        self._latent = OnnxSession(folder / LATENT, threads, description["half"], self._providers)
        self._vocoder = open_vocoder(folder, description, threads, self._providers)
        self.pitched = isinstance(self._vocoder, SourceFilterVocoder)
        self._kv_cache = KVCache(self._gpt, description["cache"], self._floats, device)
        self._logits = np.zeros((1, description["end_token"] + 1), np.float32)
        self._pointer = description.get("pointer")
        self.emission, self.guidance = read_pointer(OnnxWeights(folder / TEXT_TO_SEMANTIC), description)
        self._query = np.zeros((1, self._pointer["dim"] if self._pointer else 0), np.float32)
        self._new_keys = np.zeros((1, 0, self._query.shape[1]), np.float32)
        self._phone_keys = self._new_keys[0]

    def start(self, phones: Tokens, bert: Floats | None, prompt: Tokens) -> tuple[Floats, Any]:
        """See :class:`Backend`; the cache of the sentence before is lost."""
        features = np.zeros((BERT_CHANNELS, len(phones)), np.float32) if bert is None else bert
        found = self._run(phones[None], features[None], prompt[None], 0, 0)
        self._phone_keys = self._new_keys[0, : len(phones)].copy()
        return found

    def point(self) -> Floats:
        """See :class:`voiceclone.speaking.guidance.PointingBackend`."""
        return self._phone_keys @ self._query[0] * np.float32(self._query.shape[1] ** -0.5)

    def step(self, token: int, position: int, cache: Any) -> tuple[Floats, Any]:
        """See :class:`Backend`; ``cache`` is the number of positions that are filled."""
        return self._run(NO_PHONES, NO_BERT, np.array([[token]], np.int64), position, cache)

    def _run(self, phones: Tokens, bert: Floats, tokens: Tokens, position: int, past: int) -> tuple[Floats, int]:
        filled = past + phones.shape[1] + tokens.shape[1]
        binding = self._kv_cache.binding(filled, past)
        binding.bind_cpu_input("phones", phones)
        binding.bind_cpu_input("bert", bert.astype(self._floats))
        binding.bind_cpu_input("tokens", tokens)
        binding.bind_cpu_input("position", np.array(position, np.int64))
        binding.bind_cpu_input("past_length", np.array(past, np.int64))
        binding.bind_output("logits", "cpu", 0, np.float32, self._logits.shape, self._logits.ctypes.data)
        if self._pointer:
            self._new_keys = np.empty((1, filled - past, self._query.shape[1]), np.float32)
            for name, array in (("pointer_keys", self._new_keys), ("pointer_query", self._query)):
                binding.bind_output(name, "cpu", 0, np.float32, array.shape, array.ctypes.data)
        self._gpt.run_with_iobinding(binding)
        return self._logits[0].copy(), filled


class OnnxSession:
    """A graph of the waveform decoder: float32 in and out, whatever it computes in.

    Args:
        path: the graph.
        threads: see :class:`OnnxBackend`.
        half: its inputs and outputs are float16.
        providers: of onnxruntime.
    """

    def __init__(
        self, path: Path, threads: int, half: bool, providers: Sequence[str] = ("CPUExecutionProvider",)
    ) -> None:
        self._session = open_session(path, threads, providers)
        self._floats = np.float16 if half else np.float32

    def run(self, output: str, inputs: Mapping[str, npt.NDArray[Any]]) -> Floats:
        """One output, for inputs by name."""
        return self.run_all([output], inputs)[output]

    def run_all(self, outputs: Sequence[str], inputs: Mapping[str, npt.NDArray[Any]]) -> dict[str, Floats]:
        """Several outputs by name, for inputs by name."""
        feed = {
            name: array.astype(self._floats) if array.dtype == np.float32 else array for name, array in inputs.items()
        }
        found = self._session.run(list(outputs), feed)
        return {name: np.asarray(array, np.float32) for name, array in zip(outputs, found, strict=True)}


class HiFiGANVocoder:
    """The graphs ``head`` and ``tail``, run by onnxruntime in parts, so that memory does not grow with the sentence.

    Args:
        head: session of the graph.
        tail: the same.
        steps: frames that the head makes of a frame of the latent.
    """

    def __init__(self, head: OnnxSession, tail: OnnxSession, steps: int) -> None:
        self._head, self._tail, self._steps = head, tail, steps

    def vocode(self, latent: Floats, style: Floats, source: Source | None = None) -> Floats:
        """See :class:`Vocoder`."""
        upsampled = self._head.run("upsampled", {"latent": latent, "style": style})
        return in_parts(self._waveform, upsampled, PART_FRAMES * self._steps, MARGIN_FRAMES * self._steps)

    def _waveform(self, upsampled: Floats) -> Floats:
        return self._tail.run("audio", {"upsampled": upsampled}).reshape(-1)


class SourceFilterVocoder:
    """The graph ``frames``, run by onnxruntime; the rest is computed by the kernels, or in numpy.

    Args:
        session: of the graph.
        sample_rate: in Hz.
        kernels: of :func:`voiceclone.kernels.binding.load_kernels`; None: numpy.
    """

    def __init__(self, session: OnnxSession, sample_rate: int, kernels: Any | None = None) -> None:
        self._session, self._sample_rate, self._kernels = session, sample_rate, kernels

    def vocode(self, latent: Floats, style: Floats, source: Source | None = None) -> Floats:
        """See :class:`Vocoder`."""
        return (source or Source()).wave(self.frames(latent, style), self._sample_rate, self._kernels)

    def frames(self, latent: Floats, style: Floats) -> Frames:
        """Parameters of 2 F frames."""
        return Frames.of_graph(self._session.run_all(Frames._fields, {"latent": latent, "style": style}))


def open_vocoder(
    folder: Path,
    description: Mapping[str, Any],
    threads: int,
    providers: Sequence[str] = ("CPUExecutionProvider",),
    kernels: Any | None = None,
) -> HiFiGANVocoder | SourceFilterVocoder:
    """The vocoder of a bundle, run by onnxruntime; a source-filter decoder's waveform by ``kernels`` if given."""
    from voiceclone.backends.bundle import FRAMES, HEAD, TAIL, is_source_filter

    def session(name: str) -> OnnxSession:
        return OnnxSession(folder / name, threads, description["half"], providers)

    if is_source_filter(description):
        return SourceFilterVocoder(session(FRAMES), description["sample_rate"], kernels)
    return HiFiGANVocoder(session(HEAD), session(TAIL), description["steps_per_frame"])


def open_session(path: Path, threads: int, providers: Sequence[str]) -> Any:
    """An onnxruntime session of one of a bundle's graphs."""
    return onnx_session(path, threads_to_use(threads), providers, memory="shared", quiet=True)


def in_parts(function: Callable[[Floats], Floats], sequence: Floats, size: int, margin: int) -> Floats:
    """Apply a function from (1, C, N) to (rate * N,) to parts of ``size`` with ``margin`` more on each side.

    Equal to the function of the whole if no output depends on inputs farther away than ``margin``.
    """
    length = sequence.shape[2]
    out = []
    for start in range(0, length, size):
        first, last = max(0, start - margin), min(length, start + size + margin)
        part = function(sequence[:, :, first:last])
        rate = len(part) // (last - first)
        out.append(part[(start - first) * rate : (min(length, start + size) - first) * rate])
    return np.concatenate(out)


def choose_providers(description: dict[str, Any], device: str) -> list[str]:
    """Execution providers for a bundle on a device.

    Raises:
        ConfigError: no such device here, or its kernels do not cover the bundle's graphs.
    """
    import onnxruntime

    if device == "cpu":
        return ["CPUExecutionProvider"]
    if not description["half"]:
        raise ConfigError(
            f"bundle {description['target']}: its attention runs on the CPU alone",
            "use onnx-fp16 or a trt target for the GPU",
        )
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        raise ConfigError("onnxruntime cannot use a GPU here", "install onnxruntime-gpu, or use the CPU")
    return ["CUDAExecutionProvider", "CPUExecutionProvider"]


class KVCache:
    """Buffers (1, heads, capacity, width) of keys and values per layer, which the graph updates in place.

    They are bound once and kept for all sentences; a longer sentence gets larger ones.
    """

    def __init__(self, session: Any, sizes: dict[str, int], floats: type[np.floating[Any]], device: str) -> None:
        self._session, self._floats, self._device = session, floats, device
        self._names = [f"{part}_{index}" for index in range(sizes["layers"]) for part in ("key", "value")]
        self._heads, self._width = sizes["heads"], sizes["head_width"]
        self.capacity = 0
        self._buffers: dict[str, Any] = {}
        self._binding: Any = None

    def binding(self, positions: int, kept: int) -> Any:
        """Binding with room for ``positions``; the first ``kept`` keep their content."""
        if positions > self.capacity:
            self._grow(positions, kept)
        return self._binding

    def _grow(self, positions: int, kept: int) -> None:
        from onnxruntime import OrtValue

        self.capacity = -(-positions // CACHE_STEP) * CACHE_STEP
        self._binding = self._session.io_binding()
        for name in self._names:
            array = np.zeros((1, self._heads, self.capacity, self._width), self._floats)
            if kept:
                array[:, :, :kept] = self._buffers[name].numpy()[:, :, :kept]
            self._buffers[name] = OrtValue.ortvalue_from_numpy(array, self._device, 0)
            self._binding.bind_ortvalue_input(name, self._buffers[name])
            self._binding.bind_ortvalue_output(f"new_{name}", self._buffers[name])
