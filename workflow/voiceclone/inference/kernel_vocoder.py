"""The vocoder by the kernels of this project, from the weights of a bundle's graphs.

HiFi-GAN (Kong et al. 2020); see :mod:`voiceclone.models.vocoder` for the network in torch.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from voiceclone.inference.backend import MARGIN_FRAMES, PART_FRAMES, Floats, in_parts
from voiceclone.inference.onnx_weights import OnnxWeights
from voiceclone.inference.source_filter import Source
from voiceclone.kernels.packing import Packed, pack_upsampling, pack_windows, toom_cook, up_to_panels

#: Of the leaky ReLUs, and of the one before the last convolution.
SLOPE, LAST_SLOPE = 0.1, 0.01


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
        """See :class:`voiceclone.inference.backend.Vocoder`; in parts, so that what is between stays in the cache."""
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
