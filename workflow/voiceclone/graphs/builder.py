"""Writes ONNX graphs node by node.

Graphs of hot loops are written, not traced: a tracer leaves shape arithmetic and transpositions in every layer, which
cost a decoding step more time than its matrix products do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

Array = npt.NDArray[Any]

#: Domain of the fused operators that onnxruntime adds to the standard ones.
MICROSOFT = "com.microsoft"
IR_VERSION = 10


class GraphBuilder:
    """Collects nodes and weights of a graph; every method that adds a node returns the name of its output."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: dict[str, onnx.TensorProto] = {}
        self._count = 0

    def weight(self, name: str, array: Array) -> str:
        """Store an array once under a name."""
        if name not in self.weights:
            self.weights[name] = numpy_helper.from_array(np.asarray(array, order="C"), name)
        return name

    def constant(self, value: Array | Sequence[int] | int | float, dtype: Any = np.int64) -> str:
        """A small array or number; equal ones are stored once."""
        array = np.asarray(value, dtype)
        shape = "x".join(map(str, array.shape))
        text = "_".join(map(str, array.reshape(-1).tolist()))
        return self.weight(f"constant_{array.dtype}_{shape}_{text}", array)

    def add(self, operator: str, *inputs: str, outputs: Sequence[str] = (), domain: str = "", **attributes: Any) -> str:
        """Add a node; an empty input name leaves an optional input out."""
        self._count += 1
        names = list(outputs) or [f"{operator}_{self._count}"]
        node = helper.make_node(
            operator, list(inputs), names, name=f"{operator}_{self._count}", domain=domain, **attributes
        )
        self.nodes.append(node)
        return names[0]

    def choose(self, condition: str, then: GraphBuilder, then_value: str, otherwise: GraphBuilder, value: str) -> str:
        """``then_value`` of the one branch where the condition holds, else ``value`` of the other.

        The branches see all names made so far; their weights are kept in the outer graph.
        """
        branches = {}
        for name, branch, out in (("then_branch", then, then_value), ("else_branch", otherwise, value)):
            self.weights.update(branch.weights)
            info = helper.make_empty_tensor_value_info(out)
            branches[name] = helper.make_graph(branch.nodes, f"{name}_{self._count}", [], [info])
        return self.add("If", condition, **branches)

    def branch(self, prefix: str) -> GraphBuilder:
        """An empty graph for one side of :meth:`choose`, whose names do not clash with those outside."""
        return _Branch(prefix)

    def model(
        self,
        name: str,
        inputs: Mapping[str, tuple[int, Sequence[int | str]]],
        outputs: Mapping[str, tuple[int, Sequence[int | str]]],
        opset: int,
        metadata: Mapping[str, str] | None = None,
        domains: Sequence[str] = ("", MICROSOFT),
    ) -> onnx.ModelProto:
        """The finished model; inputs and outputs as name -> (element type, shape with names for free dimensions)."""

        def describe(values: Mapping[str, tuple[int, Sequence[int | str]]]) -> list[onnx.ValueInfoProto]:
            return [helper.make_tensor_value_info(key, kind, list(shape)) for key, (kind, shape) in values.items()]

        graph = helper.make_graph(self.nodes, name, describe(inputs), describe(outputs), list(self.weights.values()))
        versions = [helper.make_opsetid(domain, 1 if domain else opset) for domain in domains]
        model = helper.make_model(graph, opset_imports=versions, ir_version=IR_VERSION, producer_name="voiceclone")
        helper.set_model_props(model, dict(metadata or {}))
        return model


class _Branch(GraphBuilder):
    def __init__(self, prefix: str) -> None:
        super().__init__()
        self._prefix = prefix

    def add(self, operator: str, *inputs: str, outputs: Sequence[str] = (), domain: str = "", **attributes: Any) -> str:
        self._count += 1
        names = list(outputs) or [f"{self._prefix}_{operator}_{self._count}"]
        node = helper.make_node(operator, list(inputs), names, name=names[0], domain=domain, **attributes)
        self.nodes.append(node)
        return names[0]
