"""Constructs that TensorRT's parser does not read, found without TensorRT.

Facts: the operator support matrix of onnx-tensorrt for TensorRT 10.0 (docs/operators.md), the oldest version that the
bundles are for, and what its parser checks of single operators. Branches and loops are read but refused here: they keep
the builder from fusing what is in them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FIRST_OPSET, LAST_OPSET, LAST_IR_VERSION = 9, 20, 10
#: The operators of the support matrix.
MATRIX = """
Abs Acos Acosh Add And ArgMax ArgMin Asin Asinh Atan Atanh AveragePool BatchNormalization Cast CastLike Ceil Celu
Clip Concat Constant ConstantOfShape Conv ConvTranspose Cos Cosh CumSum DepthToSpace DequantizeLinear Div Dropout
Einsum Elu Equal Erf Exp Expand EyeLike Flatten Floor GRU Gather GatherElements GatherND Gelu Gemm
GlobalAveragePool GlobalLpPool GlobalMaxPool Greater GreaterOrEqual GroupNormalization HardSigmoid HardSwish Hardmax
Identity InstanceNormalization IsInf IsNaN LRN LSTM LayerNormalization LeakyRelu Less LessOrEqual Log LogSoftmax
LpNormalization LpPool MatMul Max MaxPool Mean MeanVarianceNormalization Min Mish Mod Mul Neg NonZero Not OneHot Or
PRelu Pad Pow QuantizeLinear RNN Range Reciprocal ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax
ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Reshape Resize ReverseSequence Round Scatter
ScatterElements ScatterND Selu Shape Shrink Sigmoid Sign Sin Sinh Size Slice Softmax Softplus Softsign SpaceToDepth
Split Sqrt Squeeze Sub Sum Tan Tanh ThresholdedRelu Tile TopK Transpose Trilu Unsqueeze Where Xor
"""
SUPPORTED = frozenset(MATRIX.split())
CONTROL_FLOW = frozenset({"If", "Loop", "Scan"})
#: Inputs (by place) that must be stored values: axes, mostly.
STORED_INPUTS: Mapping[str, int] = {
    "CumSum": 1, "OneHot": 1, "Pad": 3, "ReduceL1": 1, "ReduceL2": 1, "ReduceLogSum": 1, "ReduceLogSumExp": 1,
    "ReduceMax": 1, "ReduceMean": 1, "ReduceMin": 1, "ReduceProd": 1, "ReduceSum": 1, "ReduceSumSquare": 1, "Slice": 3,
    "Squeeze": 1, "Unsqueeze": 1,
}  # fmt: skip
RESIZE: Mapping[str, set[Any]] = {
    "mode": {"nearest", "linear"},
    "coordinate_transformation_mode": {
        "half_pixel", "pytorch_half_pixel", "tf_half_pixel_for_nn", "asymmetric", "align_corners",
    },
    "nearest_mode": {"floor", "ceil", "round_prefer_floor", "round_prefer_ceil"},
    "keep_aspect_ratio_policy": {"stretch"},
    "antialias": {0},
}  # fmt: skip
STORED_TYPES = frozenset({"FLOAT", "FLOAT16", "BFLOAT16", "INT8", "INT32", "INT64", "BOOL"})
INPUT_TYPES = STORED_TYPES - {"INT8"}

Values = Mapping[str, np.ndarray[Any, Any]]


def not_for_tensorrt(model: onnx.ModelProto) -> list[str]:
    """What TensorRT's parser does not read of a model, with the names of nodes and operators; empty if nothing."""
    faults = [fault for entry in model.opset_import if (fault := _opset_fault(entry))]
    if model.ir_version > LAST_IR_VERSION:
        faults.append(f"version {model.ir_version} of the file format: TensorRT 10.0 reads up to {LAST_IR_VERSION}")
    for graph in graphs_of(model.graph):
        values = _stored(graph)
        faults += [fault for name, array in values.items() if (fault := _value_fault(name, array))]
        for node in graph.node:
            faults += [f"{node.op_type} {node.name}: {fault}" for fault in _node_faults(node, values)]
    for value in model.graph.input:
        kind = TensorProto.DataType.Name(value.type.tensor_type.elem_type)
        if kind not in INPUT_TYPES:
            faults.append(f"input {value.name}: TensorRT takes no {kind}")
    return faults


def graphs_of(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """A graph and those of its branches."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from graphs_of(attribute.g)


def _stored(graph: onnx.GraphProto) -> dict[str, np.ndarray[Any, Any]]:
    """Values that are known before anything runs, by name."""
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for node in graph.node:
        for attribute in node.attribute:
            if node.op_type == "Constant" and attribute.name == "value":
                values[node.output[0]] = numpy_helper.to_array(attribute.t)
    return values


def _opset_fault(entry: onnx.OperatorSetIdProto) -> str:
    if entry.domain not in ("", "ai.onnx") or FIRST_OPSET <= entry.version <= LAST_OPSET:
        return ""
    return f"operator set {entry.version}: TensorRT 10.0 reads {FIRST_OPSET} to {LAST_OPSET}"


def _value_fault(name: str, array: np.ndarray[Any, Any]) -> str:
    kind = TensorProto.DataType.Name(helper.np_dtype_to_tensor_dtype(array.dtype))
    if kind not in STORED_TYPES:
        return f"value {name}: TensorRT takes no {kind}"
    whole = np.iinfo(np.int32)
    if kind == "INT64" and array.size and not whole.min <= array.min() <= array.max() <= whole.max:
        return f"value {name}: whole numbers beyond 32 bits"
    return ""


def _node_faults(node: onnx.NodeProto, values: Values) -> Iterator[str]:
    if node.domain not in ("", "ai.onnx"):
        yield f"{node.domain}.{node.op_type} is no operator of the standard"
    elif node.op_type in CONTROL_FLOW:
        yield "control flow, which keeps TensorRT from fusing"
    elif node.op_type not in SUPPORTED:
        yield "TensorRT does not read this operator"
    else:
        place = STORED_INPUTS.get(node.op_type, len(node.input))
        if place < len(node.input) and node.input[place] and node.input[place] not in values:
            yield f"input {node.input[place]} must be a stored value"
        if node.op_type in CHECKS:
            yield from CHECKS[node.op_type](node, values)


def _quantisation(node: onnx.NodeProto, values: Values) -> Iterator[str]:
    """Signed 8 bits around zero, scales that are stored and positive."""
    scale = values.get(node.input[1])
    if scale is None or not np.all(np.asarray(scale, np.float32) > 0):
        yield f"scale {node.input[1]} must be stored and positive"
    zero = values.get(node.input[2]) if len(node.input) > 2 else None
    if zero is None or zero.dtype != np.int8 or zero.any():
        yield "its zero point must be a stored int8 0"


def _resize(node: onnx.NodeProto, values: Values) -> Iterator[str]:
    for attribute in node.attribute:
        value = helper.get_attribute_value(attribute)
        value = value.decode() if isinstance(value, bytes) else value
        if attribute.name in RESIZE and value not in RESIZE[attribute.name]:
            yield f"{attribute.name} {value!r} is not supported"


def _one_output(node: onnx.NodeProto, values: Values) -> Iterator[str]:
    if len([name for name in node.output if name]) > 1:
        yield "only the first output is supported"


def _no_reduction(node: onnx.NodeProto, values: Values) -> Iterator[str]:
    if any(a.name == "reduction" and helper.get_attribute_value(a) != b"none" for a in node.attribute):
        yield "reduction is not supported"


CHECKS: Mapping[str, Callable[[onnx.NodeProto, Values], Iterator[str]]] = {
    "QuantizeLinear": _quantisation,
    "DequantizeLinear": _quantisation,
    "Resize": _resize,
    "LayerNormalization": _one_output,
    "MaxPool": _one_output,
    "ScatterND": _no_reduction,
}
