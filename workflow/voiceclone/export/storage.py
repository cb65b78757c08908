"""Smaller files of graphs that compute in float32: weights stored as halves or as bytes and restored in the graph."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

Floats = npt.NDArray[np.float32]

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
