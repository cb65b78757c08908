"""Graphs of standard ONNX operators alone, as TensorRT reads them.

The text-to-semantic graph of the other targets has operators of onnxruntime for attention and norms, and branches.
This one has neither: rows of phones and of semantic tokens go through one table, and who sees whom follows from their
ids and positions. Nothing in it is ever empty, and it is the same for the first pass and for the steps, so that both
share one set of weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from voiceclone.backends.backend import HIDDEN_SCORE
from voiceclone.graphs.builder import Array, GraphBuilder

NORM_EPSILON = 1e-5
LAST = np.iinfo(np.int32).max


class StandardTextToSemanticGraph:
    """Builds the graph of a :class:`voiceclone.models.gpt.TextToSemantic`.

    Inputs: ids int64 (1, N), phones as they are and semantic tokens counted on from the number of phones; positions
    int64 (1, N), each counted among its own kind; bert (1, N, 1024), zeros for tokens; past_mask (1, 1, 1, S), 0 where
    an earlier position is filled, else :data:`HIDDEN_SCORE`; key_I, value_I (1, heads, S, width) per layer, the earlier
    positions. Outputs: logits float32 (1, V + 1) after the last row; new_key_I, new_value_I (1, heads, N, width), to
    be put behind the earlier ones by whoever runs the graph; of a network with a pointer also pointer_keys float32
    (1, N, D) and pointer_query (1, D), of the last row, and its emission table is among the weights. All phones come in
    the first pass, with S of 1, hidden. Floating-point inputs are half precision in ``fp16``; norms, softmax, sums and
    logits are float32 in both forms.

    Args:
        config: sizes of the network.
        weights: its state dict as float32 arrays.
        form: of the weights of matrix products.
        opset: ONNX operator set.
    """

    def __init__(
        self, config: Any, weights: Mapping[str, Array], form: Literal["fp32", "fp16"] = "fp16", opset: int = 17
    ) -> None:
        self.config, self.weights, self.opset = config, weights, opset
        self.half = form == "fp16"
        self.float = np.float16 if self.half else np.float32
        self.graph = GraphBuilder()

    def build(self) -> onnx.ModelProto:
        """The finished model."""
        g, c = self.graph, self.config
        is_phone = g.add("Less", "ids", g.constant(c.phones))
        x = self._rows(g.add("Unsqueeze", is_phone, g.constant([2])))
        past = self._wide("past_mask")
        hidden = self._hidden(is_phone)
        for index in range(c.layers):
            x = self._layer(x, index, past, hidden)
            if index + 1 == c.pointer_layer:
                self._point(x)
        self._product(self._last(x), "ar_predict_layer", "logits")
        kind = TensorProto.FLOAT16 if self.half else TensorProto.FLOAT
        width, layers = c.dim // c.heads, range(c.layers)
        inputs: dict[str, tuple[int, Any]] = {
            "ids": (TensorProto.INT64, (1, "rows")),
            "positions": (TensorProto.INT64, (1, "rows")),
            "bert": (kind, (1, "rows", c.bert_dim)),
            "past_mask": (kind, (1, 1, 1, "past")),
            **{f"{part}_{index}": (kind, (1, c.heads, "past", width)) for index in layers for part in ("key", "value")},
        }
        rows = (kind, (1, c.heads, "rows", width))
        outputs: dict[str, tuple[int, Any]] = {
            "logits": (TensorProto.FLOAT, (1, c.codes + 1)),
            **{f"new_{part}_{index}": rows for index in layers for part in ("key", "value")},
        }
        if c.pointer_layer:
            outputs["pointer_keys"] = TensorProto.FLOAT, (1, "rows", c.pointer_dim)
            outputs["pointer_query"] = TensorProto.FLOAT, (1, c.pointer_dim)
        return g.model("text_to_semantic", inputs, outputs, self.opset, domains=("",))

    # -- parts -----------------------------------------------------------------------------------------------------

    def _rows(self, is_phone: str) -> str:
        """Input vectors float32 (1, N, dim): embedding, BERT features of phones, scaled positions."""
        g = self.graph
        names = ("ar_text_embedding.word_embeddings.weight", "ar_audio_embedding.word_embeddings.weight")
        table = np.concatenate([self.weights[name] for name in names]).astype(self.float)
        embedded = self._wide(g.add("Gather", g.weight("embeddings", table), "ids", axis=0))
        context = self._wide(self._linear("bert", "bert_proj"))
        context = g.add("Where", is_phone, context, g.constant(0.0, np.float32))
        alphas = (self.weights[f"ar_{kind}_position.alpha"] for kind in ("text", "audio"))
        alpha = g.add("Where", is_phone, *(g.constant(array, np.float32) for array in alphas))
        return g.add("Add", g.add("Add", embedded, context), g.add("Mul", self._waves(), alpha))

    def _waves(self) -> str:
        """Sine and cosine of the positions, interleaved: float32 (1, N, dim)."""
        g, dim = self.graph, self.config.dim
        rates = np.exp(np.arange(0, dim, 2, dtype=np.float32) * np.float32(-(np.log(10000.0) / dim)))
        places = g.add("Cast", g.add("Unsqueeze", "positions", g.constant([2])), to=TensorProto.FLOAT)
        angles = g.add("Unsqueeze", g.add("Mul", places, g.weight("position_rates", rates)), g.constant([3]))
        waves = g.add("Concat", g.add("Sin", angles), g.add("Cos", angles), axis=3)
        return g.add("Reshape", waves, g.constant([0, 0, dim]))

    def _hidden(self, is_phone: str) -> str:
        """Mask to add to the scores between the new rows, float32 (1, 1, N, N).

        With phones counted as 0 and tokens from 1, a row sees those that do not count more than itself.
        """
        g = self.graph
        order = g.add("Where", is_phone, g.constant(0), g.add("Add", "positions", g.constant(1)))
        keys, queries = (g.add("Unsqueeze", order, g.constant(axes)) for axes in ([1, 2], [1, 3]))
        seen = g.add("LessOrEqual", keys, queries)
        return g.add("Where", seen, *(g.constant(score, np.float32) for score in (0.0, HIDDEN_SCORE)))

    def _layer(self, x: str, index: int, past: str, hidden: str) -> str:
        name = f"h.layers.{index}"
        mixed = self._attention(x, index, past, hidden)
        x = self._norm(x, self._wide(self._linear(mixed, f"{name}.self_attn.out_proj")), f"{name}.norm1")
        inner = self.graph.add("Relu", self._linear(self._narrow(x), f"{name}.linear1"))
        return self._norm(x, self._wide(self._linear(inner, f"{name}.linear2")), f"{name}.norm2")

    def _attention(self, x: str, index: int, past: str, hidden: str) -> str:
        """Attend to earlier and to new positions, whose scores meet in the softmax: no copy of the buffers is made."""
        g, heads, dim = self.graph, self.config.heads, self.config.dim
        joint = self._linear(self._narrow(x), f"h.layers.{index}.self_attn.in_proj", "_")
        parts = [f"{kind}_{index}_joined" for kind in ("query", "key", "value")]
        g.add("Split", joint, g.constant([dim] * 3), outputs=parts, axis=2)
        query, key, value = (g.add("Reshape", part, g.constant([0, 0, heads, dim // heads])) for part in parts)
        query = g.add("Transpose", query, perm=[0, 2, 1, 3])
        query = g.add("Mul", query, g.constant((dim // heads) ** -0.5, self.float))
        g.add("Transpose", key, outputs=[f"new_key_{index}"], perm=[0, 2, 1, 3])
        value = g.add("Transpose", value, outputs=[f"new_value_{index}"], perm=[0, 2, 1, 3])
        earlier = g.add("MatMul", query, g.add("Transpose", f"key_{index}", perm=[0, 1, 3, 2]))
        new = g.add("MatMul", query, g.add("Transpose", key, perm=[0, 2, 3, 1]))
        scores = g.add("Concat", self._plus(earlier, past), self._plus(new, hidden), axis=3)
        weights = self._narrow(g.add("Softmax", scores, axis=3))
        size = g.add("Shape", "past_mask", start=3, end=4)
        ends = (g.constant([0]), size), (size, g.constant([LAST]))
        left, right = (g.add("Slice", weights, *pair, g.constant([3])) for pair in ends)
        mixed = g.add("Add", g.add("MatMul", left, f"value_{index}"), g.add("MatMul", right, value))
        return g.add("Reshape", g.add("Transpose", mixed, perm=[0, 2, 1, 3]), g.constant([0, 0, dim]))

    def _point(self, x: str) -> None:
        """Outputs of the pointer; its table goes with them."""
        self.graph.weight("pointer.emission", self.weights["pointer.emission"].astype(self.float))
        self._product(x, "pointer.key", "pointer_keys")
        self._product(self._last(x), "pointer.query", "pointer_query")

    def _last(self, x: str) -> str:
        """The last row (1, dim)."""
        g = self.graph
        return g.add(
            "Squeeze", g.add("Slice", x, g.constant([-1]), g.constant([LAST]), g.constant([1])), g.constant([1])
        )

    def _product(self, x: str, name: str, output: str) -> None:
        """An output: ``x`` times a weight without a bias, in float32."""
        g = self.graph
        g.add("MatMul", x, g.weight(f"{name}.weight.T", self.weights[f"{name}.weight"].T), outputs=[output])

    def _plus(self, scores: str, added: str) -> str:
        return self.graph.add("Add", self._wide(scores), added)

    def _norm(self, x: str, added: str, name: str) -> str:
        g = self.graph
        scale, bias = (g.weight(f"{name}.{part}", self.weights[f"{name}.{part}"]) for part in ("weight", "bias"))
        return g.add("LayerNormalization", g.add("Add", x, added), scale, bias, axis=-1, epsilon=NORM_EPSILON)

    def _linear(self, x: str, name: str, joint: str = ".") -> str:
        """``x`` times a weight that is stored as (outputs, inputs), in the precision of the form."""
        g = self.graph
        weight, bias = (self.weights[f"{name}{joint}{part}"].astype(self.float) for part in ("weight", "bias"))
        product = g.add("MatMul", x, g.weight(f"{name}{joint}weight.T", weight.T))
        return g.add("Add", product, g.weight(f"{name}{joint}bias", bias))

    def _wide(self, x: str) -> str:
        return self.graph.add("Cast", x, to=TensorProto.FLOAT) if self.half else x

    def _narrow(self, x: str) -> str:
        return self.graph.add("Cast", x, to=TensorProto.FLOAT16) if self.half else x


def within_int32(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with whole numbers beyond 32 bits cut to them: ends of slices that mean "to the last"."""
    stored = [*model.graph.initializer]
    stored += [item.t for node in model.graph.node if node.op_type == "Constant" for item in node.attribute]
    for tensor in stored:
        if tensor.data_type == TensorProto.INT64:
            array = numpy_helper.to_array(tensor)
            cut = np.clip(array, np.iinfo(np.int32).min, LAST)
            if (cut != array).any():
                tensor.CopyFrom(numpy_helper.from_array(cut, tensor.name))
    return model
