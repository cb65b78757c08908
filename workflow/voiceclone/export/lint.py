"""Checks of finished graphs, as part of the export: weights have the type of the target and are stored once."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import onnx
from onnx import TensorProto, numpy_helper

from voiceclone.export.tensorrt import Profiles, graphs_of, not_covered, not_for_tensorrt
from voiceclone.graphs.builder import MICROSOFT
from voiceclone.targets import Format, Target

#: Below this size a tensor stored twice is no waste: constants of shape arithmetic, norms of an untrained model.
SMALL = 16_384
#: Weights that stay in float32 in half precision: of the logits and of the pointer's scores.
FLOATS = ("ar_predict_layer", "pointer.")


@dataclass(frozen=True)
class Finding:
    """A fault of a graph."""

    graph: str
    fault: str

    def __str__(self) -> str:
        return f"{self.graph}: {self.fault}"


def lint(graphs: dict[str, onnx.ModelProto], target: Target, profiles: Profiles | None = None) -> list[Finding]:
    """Faults of a target's graphs; empty if there are none. ``profiles``: of a TensorRT target, all half precision."""
    precision: Format = target.format if profiles is None else "fp16"
    faults = [Finding(name, fault) for name, model in graphs.items() for fault in _faults(model, precision)]
    if profiles is not None:
        for name, model in graphs.items():
            found = not_for_tensorrt(model) + not_covered(model, profiles[name])
            faults += [Finding(name, fault) for fault in found]
    else:
        sizes = sum((stored_bytes(model) for model in graphs.values()), Counter())
        share = sizes["FLOAT"] / max(1, sizes.total())
        if share > target.float_share:
            limit = f"at most {target.float_share:.0%} in {target.format}"
            faults.append(Finding("all graphs", f"{share:.0%} of the weights are float32, {limit}"))
    return faults


def lint_stored(graphs: dict[str, onnx.ModelProto]) -> list[Finding]:
    """Faults of graphs that compute in float32, whatever format stores their weights: a weight stored twice or in
    double precision, an input of another type."""
    floats = (TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16)
    faults = []
    for name, model in graphs.items():
        faults += [Finding(name, fault) for fault in stored_twice(model)]
        others = [value.name for value in model.graph.input if value.type.tensor_type.elem_type in floats]
        faults += [Finding(name, f"input {value} is not float32") for value in others]
        doubles = [tensor.name for tensor in model.graph.initializer if tensor.data_type == TensorProto.DOUBLE]
        faults += [Finding(name, f"weight {tensor} is DOUBLE") for tensor in doubles]
    return faults


def stored_bytes(model: onnx.ModelProto) -> Counter[str]:
    """Bytes of the stored tensors by element type."""
    sizes: Counter[str] = Counter()
    for tensor in tensors(model):
        sizes[TensorProto.DataType.Name(tensor.data_type)] += numpy_helper.to_array(tensor).nbytes
    return sizes


def tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Stored tensors of a model: weights and constants, those of branches too."""
    for graph in graphs_of(model.graph):
        yield from graph.initializer
        for node in graph.node:
            if node.op_type == "Constant":
                yield from (attribute.t for attribute in node.attribute if attribute.name == "value")


def _faults(model: onnx.ModelProto, form: Format) -> Iterator[str]:
    yield from stored_twice(model)
    domains = {"", "ai.onnx", MICROSOFT}
    foreign = sorted({node.domain for graph in graphs_of(model.graph) for node in graph.node} - domains)
    if foreign:
        yield f"operators of unknown domains {foreign}"
    asked = TensorProto.FLOAT16 if form == "fp16" else TensorProto.FLOAT
    for value in model.graph.input:
        kind = value.type.tensor_type.elem_type
        if kind in (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE) and kind != asked:
            names = TensorProto.DataType.Name(kind), TensorProto.DataType.Name(asked)
            yield f"input {value.name} is {names[0]}, expected {names[1]}"
    for tensor in model.graph.initializer:
        kind, matrix = tensor.data_type, len(tensor.dims) > 1
        if kind == TensorProto.DOUBLE or (form == "fp32" and kind == TensorProto.FLOAT16):
            yield f"weight {tensor.name} is {TensorProto.DataType.Name(kind)}"
        if form == "fp16" and kind == TensorProto.FLOAT and matrix and not tensor.name.startswith(FLOATS):
            yield f"weight {tensor.name} is FLOAT, expected FLOAT16"


def stored_twice(model: onnx.ModelProto) -> Iterator[str]:
    """Weights of a model that are stored a second time."""
    seen: dict[Any, str] = {}
    for tensor in tensors(model):
        array = numpy_helper.to_array(tensor)
        if array.nbytes < SMALL:
            continue
        key = tensor.data_type, array.shape, hashlib.sha256(array.tobytes()).digest()
        if key in seen and array.any():
            yield f"weight {tensor.name} is stored twice: the same as {seen[key]} ({array.nbytes} bytes)"
        seen[key] = tensor.name
