"""The graphs of the TensorRT targets, their check without TensorRT, and the sizes that engines are prepared for.

The types in the graphs are what an engine computes in (strongly typed networks): norms, softmax and exponentials stay
in float32. Text to semantic is in half precision in both targets: a step waits for its weights, and for weights alone,
without activations, TensorRT documents 4 bits only. 8-bit convolutions are pairs of Q and DQ.

The limits of the parser are those of the operator support matrix of onnx-tensorrt for TensorRT 10.0
(docs/operators.md), the oldest version that the bundles are for, and from what it checks of single operators. Branches
and loops are read but rejected here: they keep the builder from fusing what is in them.

An engine runs no shape outside its profiles: the smallest, usual and largest shape of every input. The
text-to-semantic engine has two profiles, because one graph serves a first pass over many rows without a past, and
steps of one row over a long past.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper, version_converter
from onnxruntime.quantization.onnx_model import ONNXModel

from voiceclone.backends.backend import CACHE_STEP, MARGIN_FRAMES
from voiceclone.backends.bundle import Reference
from voiceclone.errors import VoiceCloneError
from voiceclone.export.graphs import Calibration, eight_bits
from voiceclone.export.vocoder_graph import frames_graph, head_graph, latent_graph, tail_graph
from voiceclone.graphs.quantize import half
from voiceclone.models.gpt import TextToSemantic
from voiceclone.models.sovits import SoVITS
from voiceclone.sound.spectra import SOURCE_FILTER
from voiceclone.targets import Format
from voiceclone.tensorrt.standard import PART_FRAMES
from voiceclone.text_to_semantic.standard_graph import StandardTextToSemanticGraph, within_int32

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
    """Faults of a model for TensorRT's parser, with the names of nodes and operators; empty if none."""
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
Shape = list[int]
#: For each profile of a graph, for each input: the shapes ``min``, ``opt`` and ``max``.
Profile = Mapping[str, Mapping[str, Shape]]
Profiles = Mapping[str, Sequence[Profile]]
#: Smallest, usual and largest size.
Range = tuple[int, int, int]
#: Semantic tokens (25 a second) of the longest sentence (60 s), of a usual one, and of a reference clip (10 s).
TOKENS, USUAL_TOKENS, PROMPT_TOKENS = 1500, 125, 250
#: Semantic tokens per phone of an unknown voice, and of a very fast speaker.
USUAL_RATE, HASTY_RATE = 2.0, 0.5
#: Frames per token, and the slowest speed at which the longest sentence can still be spoken.
FRAMES_PER_TOKEN, SLOWEST = 2, 0.5
SCRIPT = "build_engines.sh"
HEADER = """\
#!/bin/sh
# Builds the engines of this bundle with trtexec of TensorRT 10 or later, for other programs that run them.
# voiceclone builds its own: voiceclone bundle build FOLDER
set -eu
cd "$(dirname "$0")"
mkdir -p engines
"""


@dataclass(frozen=True)
class Sizes:
    """Lengths of texts and clips of a voice.

    Attributes:
        phones: maximum phones of a sentence.
        usual_phones: those of a usual one.
        prompt_phones: maximum phones of a reference clip.
        usual_prompt: rows that the voice's own clip takes, phones and tokens.
    """

    phones: int
    usual_phones: int
    prompt_phones: int
    usual_prompt: int

    @classmethod
    def of(cls, rates: Mapping[str, float], reference: Reference) -> Sizes:
        """From the voice's tokens per phone by language and its reference clip; fast speech is twice as fast."""
        usual = min(rates.values(), default=USUAL_RATE)
        lowest = max(HASTY_RATE, usual / 2)
        counts = (math.ceil(TOKENS / lowest), math.ceil(USUAL_TOKENS / usual), math.ceil(PROMPT_TOKENS / lowest))
        return cls(*counts, len(reference.phones) + len(reference.tokens))

    @property
    def rows(self) -> int:
        """Maximum rows of a first pass."""
        return self.prompt_phones + PROMPT_TOKENS + self.phones

    @property
    def usual_rows(self) -> int:
        """Rows of a usual first pass."""
        return self.usual_prompt + self.usual_phones


def ranges(sizes: Sizes, steps_per_frame: int) -> dict[str, list[dict[str, Range]]]:
    """Sizes of the free dimensions of every graph by name, a dictionary per profile."""
    past = [-(-count // CACHE_STEP) * CACHE_STEP for count in (sizes.usual_rows + USUAL_TOKENS, sizes.rows + TOKENS)]
    frames = (1, FRAMES_PER_TOKEN * USUAL_TOKENS, math.ceil(FRAMES_PER_TOKEN * TOKENS / SLOWEST) + 1)
    part = (PART_FRAMES + 2 * MARGIN_FRAMES) * steps_per_frame
    first = {"rows": (1, sizes.usual_rows, sizes.rows), "past": (1, 1, 1)}
    step = {"rows": (1, 1, 1), "past": (CACHE_STEP, past[0], past[1])}
    codes, phones = (1, USUAL_TOKENS, TOKENS), (1, sizes.usual_phones, sizes.phones)
    return {
        "text_to_semantic": [first, step],
        "latent": [{"codes": codes, "phones": phones, "frames": frames}],
        "head": [{"frames": frames}],
        "frames": [{"frames": frames}],
        "tail": [{"steps": (steps_per_frame, min(part, frames[1] * steps_per_frame), part)}],
    }


def profiles(
    graphs: Mapping[str, onnx.ModelProto], sizes: Sizes, steps_per_frame: int
) -> dict[str, list[dict[str, dict[str, Shape]]]]:
    """The profiles of every graph: shapes of the inputs that have a free dimension."""
    found = ranges(sizes, steps_per_frame)
    return {name: [_shapes(model, free) for free in found[name]] for name, model in graphs.items()}


def _shapes(model: onnx.ModelProto, free: Mapping[str, Range]) -> dict[str, dict[str, Shape]]:
    out = {}
    for value in model.graph.input:
        dims = value.type.tensor_type.shape.dim
        if any(dim.dim_param for dim in dims):
            out[value.name] = {
                which: [free[dim.dim_param][place] if dim.dim_param else dim.dim_value for dim in dims]
                for place, which in enumerate(("min", "opt", "max"))
            }
    return out


def not_covered(model: onnx.ModelProto, found: Sequence[Profile]) -> list[str]:
    """Inputs whose free dimensions a profile leaves out, or whose shapes do not fit the input."""
    faults = [] if found else ["no profile"]
    for number, profile in enumerate(found):
        for value in model.graph.input:
            dims = value.type.tensor_type.shape.dim
            shapes = [profile.get(value.name, {}).get(which) for which in ("min", "opt", "max")]
            if shapes == [None] * 3 and not any(dim.dim_param for dim in dims):
                continue
            if any(shape is None or len(shape) != len(dims) for shape in shapes):
                faults.append(f"profile {number}: input {value.name} has no shapes of {len(dims)} dimensions")
                continue
            for place, dim in enumerate(dims):
                low, usual, high = (shape[place] for shape in shapes if shape is not None)
                fixed = not dim.dim_param
                if not 0 < low <= usual <= high or (fixed and not low == high == dim.dim_value):
                    faults.append(f"profile {number}: input {value.name}, dimension {place}: {low}, {usual}, {high}")
    return faults


def trtexec(name: str, found: Sequence[Profile]) -> list[str]:
    """Arguments of the ``trtexec`` that builds a graph's engine, in the bundle's folder.

    From TensorRT 11 on all networks are strongly typed, and the option does nothing.
    """
    arguments = ["trtexec", f"--onnx={name}.onnx", f"--saveEngine=engines/{name}.engine", "--skipInference"]
    arguments += ["--stronglyTyped", "--noTF32"]
    for number, profile in enumerate(found):
        arguments += [f"--profile={number}"] if len(found) > 1 else []
        for which in ("min", "opt", "max"):
            shapes = (f"{key}:{'x'.join(map(str, shape[which]))}" for key, shape in profile.items())
            arguments.append(f"--{which}Shapes={','.join(shapes)}")
    return arguments


def build_script(found: Profiles) -> str:
    """A shell script with one ``trtexec`` per graph; names and numbers alone, no text of a user."""
    return HEADER + "".join(f"{shlex.join(trtexec(name, entry))}\n" for name, entry in found.items())


#: Operator sets that TensorRT 10.0 reads, the first in which scales of Q and DQ may be in half precision.
LATEST_OPSET, HALF_SCALES_OPSET = 20, 19


def tensorrt_graphs(
    gpt: TextToSemantic, sovits: SoVITS, form: Format, opset: int, calibration: Calibration
) -> dict[str, onnx.ModelProto]:
    """The graphs of a target by name: text_to_semantic, latent, and head and tail or frames. Weight norm must be
    folded.

    Raises:
        VoiceCloneError: 8 bits for a source-filter decoder, which has few convolutions.
    """
    opset = min(opset, LATEST_OPSET)
    weights = {name: tensor.detach().float().cpu().numpy() for name, tensor in gpt.state_dict().items()}
    text_to_semantic = StandardTextToSemanticGraph(gpt.config, weights, "fp16", opset).build()
    if sovits.config.decoder == SOURCE_FILTER:
        if form == "int8":
            raise VoiceCloneError(
                "export trt-int8: its 8 bits are those of a HiFi-GAN's convolutions, this voice has a source-filter "
                "decoder",
                "use trt-fp16",
            )
        decoder = {"latent": latent_graph(sovits, opset), "frames": frames_graph(sovits, opset)}
    else:
        latent, head, tail = (make(sovits, opset) for make in (latent_graph, head_graph, tail_graph))
        if form == "int8":
            latent, head, tail = eight_bits(latent, head, tail, sovits, calibration, explicit=True)
        decoder = {"latent": latent, "head": head, "tail": tail}
    graphs = {"text_to_semantic": text_to_semantic, **{name: _finished(model) for name, model in decoder.items()}}
    for model in graphs.values():
        onnx.checker.check_model(model, full_check=True)
    return graphs


def _finished(model: onnx.ModelProto) -> onnx.ModelProto:
    """A float32 graph, with or without Q and DQ, in half precision and in order."""
    opset = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    del model.opset_import[:]
    model.opset_import.append(onnx.helper.make_opsetid("", opset))
    if any(node.op_type == "QuantizeLinear" for node in model.graph.node) and opset < HALF_SCALES_OPSET:
        model = version_converter.convert_version(model, HALF_SCALES_OPSET)
    narrowed = ONNXModel(half(within_int32(model)))
    narrowed.topological_sort()
    out: onnx.ModelProto = narrowed.model
    return out
