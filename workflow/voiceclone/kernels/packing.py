"""Weights in the order in which the kernels read them, and short convolutions by the method of Toom and Cook.

Source: Winograd, Arithmetic Complexity of Computations (1980); Lavin and Gray, Fast Algorithms for Convolutional Neural
Networks (2016).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from voiceclone.kernels.binding import FLOAT16, FLOAT32, INT4, INT8, PANEL, Convolution, Linear, load_kernels

Array = npt.NDArray[Any]

#: Outputs of a tile.
OUTPUTS = 4
#: Where the polynomials are evaluated beside infinity, by number of taps: those of least error in float32.
PLACES = {3: (0.0, 1.0, -1.0, -2.0, 0.5), 4: (0.0, 1.0, -1.0, -2.0, -0.5, 1.5)}


@dataclass
class Packed:
    """A structure for the kernels and the arrays that it points to, which must live as long."""

    structure: Any
    arrays: tuple[Array, ...]


def up_to_panels(count: int) -> int:
    """The next whole number of panels."""
    return -(-count // PANEL) * PANEL


def widen(array: Array, *sizes: int) -> Array:
    """Zeros after the leading dimensions up to some sizes."""
    wanted = (*sizes, *array.shape[len(sizes) :])
    return np.pad(array, [(0, size - before) for before, size in zip(array.shape, wanted, strict=True)])


def reads_half() -> bool:
    """True if the kernels of this machine take weights of float16."""
    kernels = load_kernels()
    return kernels is not None and bool(kernels.has_half())


def pack_linear(weights: Array, bias: Array | None) -> Packed:
    """Weights (inputs, outputs) of float32 or float16, and a bias (outputs,).

    Where the processor does not read float16, it is packed as float32.
    """
    if weights.dtype == np.float16 and not reads_half():
        weights = weights.astype(np.float32)
    inputs, outputs = weights.shape[0], up_to_panels(weights.shape[1])
    panels = widen(weights, inputs, outputs).reshape(inputs, outputs // PANEL, PANEL).transpose(1, 0, 2)
    panels = np.ascontiguousarray(panels)
    added = widen(np.zeros(weights.shape[1]) if bias is None else bias, outputs).astype(np.float32)
    kind = FLOAT16 if panels.dtype == np.float16 else FLOAT32
    structure = Linear(kind, inputs, outputs, panels.ctypes.data, None, added.ctypes.data, None)
    return Packed(structure, (panels, added))


def pack_int8(numbers: Array, scales: Array, bias: Array) -> Packed:
    """Numbers (inputs, outputs) of 7 bits, the scale of each output, and a bias."""
    inputs, outputs = numbers.shape[0], up_to_panels(numbers.shape[1])
    whole = widen(numbers, inputs, outputs)
    panels = whole.reshape(inputs // 4, 4, outputs // PANEL, PANEL).transpose(2, 0, 3, 1)
    panels = np.ascontiguousarray(panels)
    scales, bias = (widen(array, outputs).astype(np.float32) for array in (scales, bias))
    sums = whole.astype(np.int32).sum(axis=0, dtype=np.int32)
    addresses = [array.ctypes.data for array in (panels, scales, bias, sums)]
    return Packed(Linear(INT8, inputs, outputs, *addresses), (panels, scales, bias, sums))


def pack_int4(packed: Array, scales: Array, bias: Array) -> Packed:
    """Weights as MatMulNBits has them: two of 4 bits in a byte (outputs, blocks, 16), offset by 8, a scale per block.

    Args:
        packed: uint8 (outputs, blocks, 16).
        scales: float32 (outputs, blocks).
        bias: float32 (outputs,).
    """
    count, blocks = packed.shape[:2]
    outputs, inputs = up_to_panels(count), 32 * blocks
    numbers = np.stack([packed & 15, packed >> 4], axis=3).reshape(count, inputs)
    numbers = np.pad(numbers, [(0, outputs - count), (0, 0)], constant_values=8)
    groups = numbers.reshape(outputs // PANEL, PANEL, inputs // 8, 2, 4).transpose(3, 0, 2, 1, 4)
    panels = np.ascontiguousarray(groups[0] | groups[1] << 4)
    scales = widen(scales.reshape(count, blocks), outputs).reshape(-1, PANEL, blocks).transpose(0, 2, 1)
    scales, bias = np.ascontiguousarray(scales, np.float32), widen(bias, outputs).astype(np.float32)
    addresses = [array.ctypes.data for array in (panels, scales, bias)]
    return Packed(Linear(INT4, inputs, outputs, *addresses, None), (panels, scales, bias))


@cache
def transforms(taps: int) -> tuple[Array, Array, Array]:
    """Matrices of a tile: of its inputs (points, points), of the taps (points, taps), of its outputs (OUTPUTS, points).

    ``output @ ((kernel @ taps) * (input @ samples))`` are OUTPUTS results of a convolution with as many taps.
    """
    places = PLACES[taps]
    points = OUTPUTS + taps - 1
    steps, infinity = np.arange(points), [1.0 if step == points - 1 else 0.0 for step in range(points)]
    others = [[other for other in places if other != place] for place in places]
    scale = [np.prod([place - other for other in rest]) for place, rest in zip(places, others, strict=True)]
    powers = np.array([[place**step for step in steps] for place in places])
    output = np.vstack([powers[:, :OUTPUTS], [float(step == OUTPUTS - 1) for step in range(OUTPUTS)]]).T
    kernel = np.vstack([powers[:, :taps] / np.array(scale)[:, None], infinity[points - taps :]])
    rows = [np.append(np.poly(rest)[::-1], 0.0) for rest in others]
    samples = np.vstack([*rows, np.poly(places)[::-1]])
    size = np.abs(samples).sum(axis=1, keepdims=True)
    return samples / size, kernel * size, output


def toom_cook(weights: Array, bias: Array, dilation: int) -> Packed:
    """A convolution of weights (C, C, odd number of taps), padded to keep the length; C may be any number.

    Taps are taken in groups of three or four, of which each makes a tile of its own from samples further on; the sums
    over groups are one product.
    """
    taps = weights.shape[2]
    short = 3 if taps == 3 else 4
    groups, channels = -(-taps // short), up_to_panels(weights.shape[0])
    samples, kernel, output = transforms(short)
    whole = widen(weights.astype(np.float64), channels, channels, groups * short)
    whole = whole.reshape(channels, channels, groups, short)
    points = np.einsum("pk,oigk->pgio", kernel, whole, optimize=True)
    points = points.reshape(len(kernel), groups * channels, channels // PANEL, PANEL).transpose(0, 2, 1, 3)
    arrays = tuple(
        np.ascontiguousarray(array, np.float32) for array in (samples, output, points, widen(bias, channels))
    )
    addresses = [array.ctypes.data for array in arrays]
    return Packed(Convolution(channels, len(kernel), groups, dilation, taps // 2, *addresses), arrays)


def pack_upsampling(weights: Array, bias: Array, rate: int) -> Packed:
    """A transposed convolution of weights (inputs, outputs, taps) as a product of windows of samples.

    Row q of the result holds the ``rate`` outputs of which the last tap falls on sample q; ``inputs`` of the structure
    is as many samples as a window has, times the channels.
    """
    inputs, outputs, taps = up_to_panels(weights.shape[0]), up_to_panels(weights.shape[1]), weights.shape[2]
    window = -(-taps // rate)
    whole = widen(weights, inputs, outputs, window * rate).reshape(inputs, outputs, window, rate)
    matrix = whole[:, :, ::-1].transpose(2, 0, 3, 1).reshape(window * inputs, rate * outputs)
    return pack_linear(matrix, np.tile(widen(bias, outputs), rate))


def pack_windows(weights: Array, bias: Array | None) -> Packed:
    """A plain convolution of weights (outputs, inputs, taps) as a product of windows of samples."""
    whole = widen(weights, weights.shape[0], up_to_panels(weights.shape[1]))
    return pack_linear(whole.transpose(2, 1, 0).reshape(-1, weights.shape[0]), bias)
