"""Smaller numbers: weights in 8 and 4 bits, convolutions in 8 bits, half precision.

Smaller files of graphs that compute in float32: weights stored as halves or as bytes and restored in the graph.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from voiceclone.files import atomic_path

Floats = npt.NDArray[np.float32]
Wide = npt.NDArray[np.float64]
#: Smaller weights stay as they are: nothing would be saved.
SMALL = 4096
#: Weights that share a scale in :func:`store_bytes`.
BLOCK = 128


def store_exact_halves(model: onnx.ModelProto) -> None:
    """Store as halves the weights that lose nothing by it, as those of models do that were published in half
    precision."""
    _store(model, _half, lambda array: bool(np.array_equal(array.astype(np.float16).astype(np.float32), array)))


def store_halves(model: onnx.ModelProto) -> None:
    """Store matrices as halves."""
    _store(model, _half, lambda array: array.ndim > 1)


def store_bytes(model: onnx.ModelProto) -> None:
    """Store matrices in 8 bits, a scale for every 128 numbers, where their size is a multiple of that."""
    _store(model, _bytes, lambda array: array.ndim > 1 and array.size % BLOCK == 0)


def _store(
    model: onnx.ModelProto,
    restored: Callable[[str, Floats], tuple[list[onnx.TensorProto], list[onnx.NodeProto]]],
    chosen: Callable[[Floats], bool],
) -> None:
    """Replace chosen weights by what ``restored`` makes of them: stored tensors, and nodes that give the weight."""
    kept: list[onnx.TensorProto] = []
    nodes: list[onnx.NodeProto] = []
    for tensor in model.graph.initializer:
        array = numpy_helper.to_array(tensor)
        if tensor.data_type == TensorProto.FLOAT and array.size >= SMALL and chosen(array):
            tensors, made = restored(tensor.name, array)
            kept += tensors
            nodes += made
        else:
            kept.append(tensor)
    nodes += model.graph.node
    del model.graph.initializer[:], model.graph.node[:]
    model.graph.initializer.extend(kept)
    model.graph.node.extend(nodes)


def _half(name: str, array: Floats) -> tuple[list[onnx.TensorProto], list[onnx.NodeProto]]:
    stored = f"{name}.half"
    node = helper.make_node("Cast", [stored], [name], name=f"{name}.whole", to=TensorProto.FLOAT)
    return [numpy_helper.from_array(array.astype(np.float16), stored)], [node]


def _bytes(name: str, array: Floats) -> tuple[list[onnx.TensorProto], list[onnx.NodeProto]]:
    blocks = array.reshape(-1, BLOCK)
    scales = np.maximum(np.abs(blocks).max(1) / 127, np.finfo(np.float32).tiny).astype(np.float32)
    arrays = {
        "numbers": np.rint(blocks / scales[:, None]).astype(np.int8),
        "scales": scales,
        "shape": np.array(array.shape, np.int64),
    }
    names = {part: f"{name}.{part}" for part in arrays}
    nodes = [
        helper.make_node(
            "DequantizeLinear", [names["numbers"], names["scales"]], [f"{name}.blocks"], name=f"{name}.restored", axis=0
        ),
        helper.make_node("Reshape", [f"{name}.blocks", names["shape"]], [name], name=f"{name}.shaped"),
    ]
    return [numpy_helper.from_array(value, names[part]) for part, value in arrays.items()], nodes


#: Largest of the 7-bit weights.
LARGEST = 63
#: Scales that are tried, as shares of that of the largest number.
SHARES = np.linspace(0.6, 1.05, 19)
#: Of the mean second moment, added to each: few utterances say little of some inputs.
DAMPING = 0.05
#: Columns that :func:`columnwise` rounds before the rest of the matrix makes up for them.
COLUMNS = 64
#: What TensorRT's explicit quantisation asks of the quantiser of onnxruntime.
SYMMETRIC = {
    "ActivationSymmetric": True,
    "WeightSymmetric": True,
    "QuantizeBias": False,
    "OpTypesToExcludeOutputQuantization": ["Conv"],
}
Bytes = npt.NDArray[np.uint8]


def blockwise(weight: Floats, bits: int, block: int, moments: Floats | None = None) -> tuple[Bytes, Floats]:
    """Quantise rows of a matrix, a scale for every ``block`` numbers (layout of MatMulNBits).

    Args:
        weight: float32 (N, K), K a multiple of ``block``.
        bits: 8, or 4 with two numbers in a byte, the first one in its low half.
        block: numbers that share a scale.
        moments: float32 (K, K), see :func:`_round`.

    Returns:
        uint8 (N, K / block, block * bits / 8), offset by 2**(bits - 1); scales float32 (N, K / block), some negative.

    Raises:
        ValueError: K is not a multiple of ``block``.
    """
    rows, columns = weight.shape
    if columns % block:
        raise ValueError(f"{columns} columns are not a multiple of {block}")
    highest = 2 ** (bits - 1) - 1
    numbers, scales = _round(weight, lambda part: _least_error(part, highest), -highest - 1, highest, moments, block)
    whole = (numbers + highest + 1).astype(np.uint8).reshape(rows, columns // block, block)
    if bits == 4:
        whole = (whole[..., 0::2] | whole[..., 1::2] << 4).astype(np.uint8)
    return whole, scales


def _least_error(part: Wide, highest: int) -> Wide:
    """For each row of ``part`` the scale (N, 1) that rounds it with the least squared error.

    It may be negative, since there is one more number below zero than above, and may clip the largest numbers.
    """
    whole = np.maximum(np.abs(part).max(1, keepdims=True) / highest, np.finfo(np.float32).tiny)
    best, least = whole, np.full_like(whole, np.inf)
    for share in SHARES:
        for scale in (share * whole, -share * whole):
            rounded = np.clip(np.rint(part / scale), -highest - 1, highest) * scale
            error = np.square(rounded - part).sum(1, keepdims=True)
            best, least = np.where(error < least, scale, best), np.minimum(error, least)
    return best


def _round(
    weight: Floats,
    scales_of: Callable[[Wide], Wide | Floats],
    lowest: int,
    highest: int,
    moments: Floats | None,
    block: int,
) -> tuple[npt.NDArray[np.int8], Floats]:
    """Round a matrix, column by column; what a column loses is made up for by those that follow.

    GPTQ (Frantar et al. 2022): with the second moments of the inputs, the loss is that of the outputs.

    Args:
        weight: float32 (N, K).
        scales_of: (N, block) to the scale (N, 1) of each row.
        lowest: of the whole numbers.
        highest: of the whole numbers.
        moments: float32 (K, K), the sum over inputs x of the products of their parts; None: rounded as it is.
        block: columns that are looked at together.

    Returns:
        int8 (N, K); scales float32 (N, K / block, rounded up).
    """
    columns = weight.shape[1]
    rest, numbers, scales = weight.astype(np.float64), np.empty(weight.shape, np.int8), list[Floats]()
    spread = None if moments is None else _spread(moments)
    for start in range(0, columns, block):
        part = rest[:, start : start + block]
        scale = scales_of(part).astype(np.float32)
        scales.append(scale)
        lost = np.zeros_like(part)
        for index in range(part.shape[1]):
            column, place = part[:, index : index + 1], start + index
            whole = np.clip(np.rint(column / scale), lowest, highest)
            numbers[:, place : place + 1] = whole
            if spread is not None:
                lost[:, index : index + 1] = (column - whole * scale) / spread[place, place]
                part[:, index + 1 :] -= lost[:, index : index + 1] * spread[place, place + 1 : start + part.shape[1]]
        if spread is not None:
            rest[:, start + block :] -= lost @ spread[start : start + part.shape[1], start + block :]
    return numbers, np.concatenate(scales, axis=1)


def _spread(moments: Floats) -> Wide:
    """How each column's loss goes to the columns after it: the upper Cholesky factor of the inverse moments."""
    damped = moments.astype(np.float64)
    damped[np.diag_indices(len(damped))] += DAMPING * max(float(np.trace(damped)) / len(damped), 1e-6)
    return np.linalg.cholesky(np.linalg.inv(damped)).T


def restore(packed: Bytes, scales: Floats, bits: int) -> Floats:
    """Float32 (N, K) of :func:`blockwise`'s result."""
    if bits == 4:
        packed = np.stack([packed & 15, packed >> 4], axis=-1).reshape(*packed.shape[:2], -1)
    offset = 2 ** (bits - 1)
    return ((packed.astype(np.float32) - offset) * scales[..., None]).reshape(len(packed), -1)


def columnwise(weight: Floats, moments: Floats | None = None) -> tuple[npt.NDArray[np.int8], Floats]:
    """Quantise a matrix symmetrically to 7 bits, a scale for every output.

    Not 8: processors without VNNI add pairs of products with unsigned activations in 16 bits, which would saturate.

    Args:
        weight: float32 (N, K), outputs times inputs.
        moments: float32 (K, K), see :func:`_round`.

    Returns:
        int8 (K, N) within 63; scales float32 (N,).
    """
    scales = np.maximum(np.abs(weight).max(1) / LARGEST, np.finfo(np.float32).tiny).astype(np.float32)
    numbers, _ = _round(weight, lambda part: scales[:, None], -LARGEST, LARGEST, moments, COLUMNS)
    return numbers.T, scales


def static_int8(
    model: onnx.ModelProto,
    inputs: Sequence[Mapping[str, npt.NDArray[Any]]],
    float_nodes: Collection[str],
    cache: Path,
    explicit: bool = False,
) -> onnx.ModelProto:
    """Run convolutions in 8 bits, with ranges of the activations measured beforehand.

    Weights lose one more bit (``reduce_range``): processors without VNNI add pairs of products in 16 bits, which
    otherwise saturates. GPUs do not, and TensorRT wants signed numbers around zero everywhere, biases in floating
    point, and what a convolution gives as it is (``explicit``).

    Args:
        model: float32.
        inputs: of the graph, on which the ranges are measured.
        float_nodes: names of convolutions that stay in float32.
        cache: file of the measured ranges; read if present, else written. Its name must identify the graph and
            the inputs.
    """
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quant_pre_process
    from onnxruntime.quantization import quantize_static as quantize

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.rest = iter(inputs)

        def get_next(self) -> Mapping[str, npt.NDArray[Any]] | None:
            return next(self.rest, None)

    cache.parent.mkdir(parents=True, exist_ok=True)
    if explicit and not cache.is_file():  # measured in symmetric mode, the ranges would serve no other target
        static_int8(model, inputs, float_nodes, cache)
    with tempfile.TemporaryDirectory() as folder:
        plain, prepared, made = (Path(folder) / f"{name}.onnx" for name in ("plain", "prepared", "made"))
        onnx.save(model, plain)
        quant_pre_process(str(plain), str(prepared), skip_symbolic_shape=True)
        present = {node.name for node in onnx.load(prepared, load_external_data=False).graph.node}
        # In a copy: targets that are exported at the same time share the file.
        ranges = Path(folder) / "ranges.json"
        known = cache.is_file()
        if known:
            shutil.copyfile(cache, ranges)
        quantize(
            str(prepared), str(made), Reader(), quant_format=QuantFormat.QDQ, op_types_to_quantize=["Conv"],
            per_channel=True, reduce_range=not explicit, weight_type=QuantType.QInt8,
            activation_type=QuantType.QInt8 if explicit else QuantType.QUInt8,
            nodes_to_exclude=sorted(present & set(float_nodes)), calibration_cache_path=str(ranges),
            extra_options=SYMMETRIC if explicit else None,
        )  # fmt: skip
        if not known:
            with atomic_path(cache) as temporary:
                shutil.copyfile(ranges, temporary)
        return onnx.load(made)


def half(model: onnx.ModelProto) -> onnx.ModelProto:
    """Half precision throughout, inputs and outputs too; norms, softmax and exponentials stay in float32."""
    from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16

    kept = [*DEFAULT_OP_BLOCK_LIST, "LayerNormalization", "Softmax", "Exp", "Resize"]
    out: onnx.ModelProto = convert_float_to_float16(model, keep_io_types=False, op_block_list=kept)
    return out
