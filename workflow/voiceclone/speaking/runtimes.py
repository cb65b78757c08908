"""Backends of exported voices: the one for this machine, and the one of the C kernels for the CPU.

The kernels replace onnxruntime where they are faster. Their vocoder is HiFi-GAN (Kong et al. 2020) with the weights of
the bundle's graphs; :mod:`voiceclone.models.vocoder` has the network in torch.
"""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from voiceclone.backends.backend import (
    MARGIN_FRAMES,
    PART_FRAMES,
    Backend,
    Decoder,
    Floats,
    OnnxBackend,
    OnnxSession,
    Tokens,
    in_parts,
    open_vocoder,
)
from voiceclone.backends.bundle import HEAD, LATENT, TAIL, TEXT_TO_SEMANTIC, is_source_filter
from voiceclone.backends.waveform import Source
from voiceclone.backends.weights import OnnxWeights, read_pointer
from voiceclone.device import threads_to_use
from voiceclone.errors import ConfigError
from voiceclone.kernels.binding import PANEL, load_kernels
from voiceclone.kernels.packing import Packed, pack_upsampling, pack_windows, toom_cook, up_to_panels
from voiceclone.targets import ONNXRUNTIME, TENSORRT, runtime_of
from voiceclone.tensorrt.standard import StandardOnnxBackend
from voiceclone.text_to_semantic.kernels import KernelGPT

Engine = Literal["auto", "kernels", "onnxruntime"]
ENGINES = get_args(Engine)
#: Of the leaky ReLUs, and of the one before the last convolution.
SLOPE, LAST_SLOPE = 0.1, 0.01


def open_backend(
    folder: Path, description: dict[str, Any], threads: int = 0, device: str = "auto", engine: str = "auto"
) -> Backend:
    """The backend of a bundle on this machine.

    Args:
        folder: the bundle's folder.
        description: its ``bundle.json``.
        threads: CPU threads; 0: as OMP_NUM_THREADS says, else all cores.
        device: ``cpu``, ``cuda``, or ``auto``: TensorRT for its targets, the CPU for the others.
        engine: on the CPU, ``auto``: the kernels if a C compiler made them, else onnxruntime.

    Raises:
        ConfigError: the device or the engine cannot run this bundle here.
    """
    if engine not in ENGINES:
        raise ConfigError(f"engine {engine!r}: one of {', '.join(ENGINES)} expected")
    if runtime_of(description["target"]) == TENSORRT:
        return _open_tensorrt(folder, description, threads, device == "cpu" or engine == "onnxruntime")
    fits = device != "cuda" and engine != "onnxruntime" and runs_with_kernels(description)
    if engine == "kernels" and not fits:
        raise ConfigError(
            f"engine kernels: not for bundle {description['target']} on this machine",
            "they need a CPU, a C compiler (cc) and an onnx target; or use the engine onnxruntime",
        )
    if fits:
        return KernelBackend(folder, description, threads)
    return OnnxBackend(folder, description, threads, "cuda" if device == "cuda" else "cpu")


def _open_tensorrt(folder: Path, description: dict[str, Any], threads: int, on_cpu: bool) -> Backend:
    if on_cpu:
        return StandardOnnxBackend(folder, description, threads)
    from voiceclone.tensorrt.engines import why_not

    reason = why_not()
    if reason:
        raise ConfigError(
            f"bundle {description['target']}: {reason}",
            "use a machine that has it, another bundle, or --engine onnxruntime: slowly, on the CPU",
        )
    from voiceclone.tensorrt.runtime import TensorRTBackend

    return TensorRTBackend(folder, description)


class KernelVocoder:
    """Head and tail of the vocoder over sequences (time, channels).

    Args:
        library: of :func:`voiceclone.kernels.binding.load_kernels`.
        weights: of head and tail, by the names of the modules.
        sizes: ``vocoder`` of ``bundle.json``: upsampling ``rates``, ``dilations`` of each block of a stage.
    """

    def __init__(self, library: Any, head: OnnxWeights, tail: OnnxWeights, sizes: dict[str, Any]) -> None:
        self._library, self._rates = library, sizes["rates"]
        self._pre = pack_windows(_weight(head, "decoder.conv_pre.weight"), _weight(head, "decoder.conv_pre.bias"))
        self._cond = _weight(head, "decoder.cond.weight")[:, :, 0], _weight(head, "decoder.cond.bias")
        self._post = pack_windows(_weight(tail, "decoder.conv_post.weight"), None)
        self._ups: list[Packed] = []
        self._pads: list[int] = []
        self._blocks: list[list[list[tuple[Packed, Packed]]]] = []
        count = len(sizes["dilations"])
        for stage, rate in enumerate(self._rates):
            part = head if stage == 0 else tail
            weight = _weight(part, f"decoder.ups.{stage}.weight")
            self._ups.append(pack_upsampling(weight, _weight(part, f"decoder.ups.{stage}.bias"), rate))
            self._pads.append((weight.shape[2] - rate) // 2)
            self._blocks.append(
                [
                    [_pair(part, f"decoder.resblocks.{stage * count + block}", index, dilation)
                     for index, dilation in enumerate(dilations)]
                    for block, dilations in enumerate(sizes["dilations"])
                ]
            )  # fmt: skip

    def vocode(self, latent: Floats, style: Floats, source: Source | None = None) -> Floats:
        """See :class:`voiceclone.backends.backend.Vocoder`; in parts, so that what is between stays in the cache."""
        upsampled = self.head(latent, style).T[None]
        size, margin = PART_FRAMES * self._rates[0], MARGIN_FRAMES * self._rates[0]
        return in_parts(lambda part: self.tail(np.ascontiguousarray(part[0].T)), upsampled, size, margin)

    def head(self, latent: Floats, style: Floats) -> Floats:
        """Upsampled (N, channels) of a latent (1, C, F) and style (1, G, 1)."""
        x = np.ascontiguousarray(latent[0].T)
        x = np.pad(x, [(3, 3), (0, up_to_panels(x.shape[1]) - x.shape[1])])
        x = self._windows(self._pre, x, x.shape[1])
        weight, bias = self._cond
        added = weight @ style[0, :, 0] + bias
        x[:, : len(added)] += added
        return self._stage(0, x)

    def tail(self, x: Floats) -> Floats:
        """Waveform (samples,) of what the head gives, or of a part of it."""
        for stage in range(1, len(self._rates)):
            x = self._stage(stage, x)
        x = np.pad(np.maximum(x, LAST_SLOPE * x), [(3, 3), (0, 0)])
        return np.tanh(self._windows(self._post, x, x.shape[1])[:, 0])

    def _stage(self, stage: int, x: Floats) -> Floats:
        rate, pad, up = self._rates[stage], self._pads[stage], self._ups[stage]
        before = up.structure.inputs // x.shape[1] - 1
        length = rate * len(x)
        x = np.pad(np.maximum(x, SLOPE * x), [(before, before), (0, 0)])
        x = self._windows(up, x, x.shape[1])
        x = x.reshape(-1, x.shape[1] // rate)[pad : pad + length]
        out = np.empty_like(x)
        middle, first, second = np.empty_like(x), np.empty_like(x), np.empty_like(x)
        blocks = self._blocks[stage]
        for block, pairs in enumerate(blocks):
            source = x
            for index, (dilated, plain) in enumerate(pairs):
                last = index == len(pairs) - 1
                into = out if last else (first, second)[index % 2]
                self._filter(dilated, source, None, 1.0, False, middle)
                self._filter(plain, middle, source, 1 / len(blocks) if last else 1.0, last and block > 0, into)
                source = into
        return out

    def _windows(self, packed: Packed, x: Floats, stride: int) -> Floats:
        """Products of all windows of x (N, C), each ``stride`` numbers after the one before."""
        linear = packed.structure
        rows = len(x) - linear.inputs // x.shape[1] + 1
        y = np.empty((rows, linear.outputs), np.float32)
        self._library.windows(ctypes.byref(linear), x.ctypes.data, rows, stride, y.ctypes.data)
        return y

    def _filter(self, packed: Packed, x: Floats, residual: Floats | None, scale: float, add: bool, y: Floats) -> None:
        before = None if residual is None else residual.ctypes.data
        self._library.filter(
            ctypes.byref(packed.structure), x.ctypes.data, len(x), SLOPE, before, scale, add, y.ctypes.data
        )


def _weight(weights: OnnxWeights, name: str) -> Floats:
    """Weights without the height of one, in float32, however they are stored."""
    if name in weights:
        array = np.asarray(weights[name], np.float32)
    else:
        prefix = f"{name}_quantized" if f"{name}_quantized_scale" in weights else name
        zero, scale = weights[f"{prefix}_zero_point"].astype(np.float32), weights[f"{prefix}_scale"]
        array = weights[f"{name}_quantized"].astype(np.float32)
        shape = (-1, *[1] * (array.ndim - 1))
        array = (array - zero.reshape(shape)) * scale.reshape(shape)
    return array[:, :, 0] if array.ndim == 4 else array


def _pair(weights: OnnxWeights, block: str, index: int, dilation: int) -> tuple[Packed, Packed]:
    names = f"{block}.convs1.{index}", f"{block}.convs2.{index}"
    dilated, plain = (
        toom_cook(_weight(weights, f"{name}.weight"), _weight(weights, f"{name}.bias"), steps)
        for name, steps in zip(names, (dilation, 1), strict=True)
    )
    return dilated, plain


def runs_with_kernels(description: dict[str, Any]) -> bool:
    """True: this machine has kernels for a bundle."""
    fits = description["cache"]["head_width"] % PANEL == 0
    fits = fits and ("vocoder" in description or is_source_filter(description))
    return fits and runtime_of(description["target"]) == ONNXRUNTIME and load_kernels() is not None


class KernelBackend(Decoder):
    """Text-to-semantic and vocoder by kernels, what is between by onnxruntime; one sentence at a time.

    The weights are those of the bundle's graphs. In the vocoder integers become float32, for which the kernels need
    fewer multiplications; in the text-to-semantic network they stay, since reading them is what takes time. The graph
    of a source-filter decoder is onnxruntime's: matrix products take its time.

    Args:
        folder: the bundle's folder.
        description: its ``bundle.json``.
        threads: 0: as OMP_NUM_THREADS says, else all cores.
    """

    name = "kernels"

    def __init__(self, folder: Path, description: dict[str, Any], threads: int = 0) -> None:
        threads = threads_to_use(threads)
        kernels = load_kernels()
        assert kernels is not None, "runs_with_kernels was not asked"
        kernels.start_team(threads)
        weights = OnnxWeights(folder / TEXT_TO_SEMANTIC)
        self._gpt = KernelGPT(kernels, weights, description["cache"], description.get("pointer"))
        self.emission, self.guidance = read_pointer(weights, description)
        self.pitched = is_source_filter(description)
        if self.pitched:
            self._vocoder = open_vocoder(folder, description, threads, kernels=kernels)
        else:
            head, tail = OnnxWeights(folder / HEAD), OnnxWeights(folder / TAIL)
            self._vocoder = KernelVocoder(kernels, head, tail, description["vocoder"])
        self._latent = OnnxSession(folder / LATENT, threads, description["half"])

    def start(self, phones: Tokens, bert: Floats | None, prompt: Tokens) -> tuple[Floats, Any]:
        """See :class:`voiceclone.backends.backend.Backend`; the cache of the sentence before is lost."""
        return self._gpt.start(phones, bert, prompt)

    def step(self, token: int, position: int, cache: Any) -> tuple[Floats, Any]:
        """See :class:`voiceclone.backends.backend.Backend`; ``cache`` is the number of positions that are filled."""
        return self._gpt.step(token, position, cache)

    def point(self) -> Floats:
        """See :class:`voiceclone.speaking.guidance.PointingBackend`."""
        return self._gpt.point()
