"""The text-to-semantic graph: one set of weights for the first pass and for every later step.

Keys and values live in buffers of fixed capacity that the graph updates in place (bind a layer's ``past`` and
``present`` to the same memory). Tokens see all phones and the tokens up to themselves, which is causal attention;
phones see all phones, so in the first pass alone their rows are computed once more without a mask.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto

from voiceclone.graphs.builder import MICROSOFT, Array, GraphBuilder
from voiceclone.graphs.quantize import blockwise, columnwise
from voiceclone.targets import Format

#: Weights of 4 bits that share a scale.
BLOCK = 32
NORM_EPSILON = 1e-5


class TextToSemanticGraph:
    """Builds the graph of a :class:`voiceclone.models.gpt.TextToSemantic`.

    Inputs: phones int64 (1, X); bert (1, 1024, X); tokens int64 (1, N); position int64 scalar, index of the first token
    among the semantic tokens; past_length int64 scalar, positions already in the buffers; key_I, value_I
    (1, heads, capacity, width) per layer. Outputs: logits float32 (1, V + 1) after the last token; new_key_I,
    new_value_I. X is 0 after the first pass; X and N are not both 0. bert and buffers are half precision in fp16. Of a
    network with a pointer also pointer_keys float32 (1, X + N, D) and pointer_query (1, D), of the last position; its
    emission table is among the weights, though no operator reads it.

    Args:
        config: sizes of the network.
        weights: its state dict as float32 arrays.
        form: how the weights of the matrix products are stored. Norms, softmax, sums and logits stay in float32.
        opset: ONNX operator set.
        moments: second moments of what a matrix is multiplied with, by its name; int8 and int4 round it for them.
    """

    def __init__(
        self,
        config: Any,
        weights: Mapping[str, Array],
        form: Format = "fp32",
        opset: int = 17,
        moments: Mapping[str, Array] | None = None,
    ) -> None:
        self.config, self.weights, self.form, self.opset = config, weights, form, opset
        self.moments = moments or {}
        self.half = form == "fp16"
        self.graph = GraphBuilder()

    def build(self, metadata: Mapping[str, str] | None = None) -> onnx.ModelProto:
        """The finished model."""
        g, c = self.graph, self.config
        count = g.add("Shape", "phones", start=1, end=2)
        text, audio = self._text(count), self._audio()
        x = g.add("Concat", text, audio, axis=1)
        rows = g.add("Add", g.add("Shape", x, start=1, end=2), "past_length")
        total = g.add("Cast", rows, to=TensorProto.INT32)
        lengths = g.add("Sub", total, g.constant([1], np.int32))
        total = g.add("Squeeze", total, g.constant([0]))
        prompt = g.add("Squeeze", g.add("Greater", count, g.constant([0])), g.constant([0]))
        for index in range(c.layers):
            x = self._layer(x, index, lengths, total, prompt, count)
            if index + 1 == c.pointer_layer:
                self._point(x)
        last = g.add("Gather", x, g.constant(-1), axis=1)
        g.add("Identity", self._linear(last, "ar_predict_layer.weight", None), outputs=["logits"])
        kind = TensorProto.FLOAT16 if self.half else TensorProto.FLOAT
        buffer = (kind, (1, c.heads, "capacity", c.dim // c.heads))
        layers = range(c.layers)
        inputs: dict[str, tuple[int, Any]] = {
            "phones": (TensorProto.INT64, (1, "phones")),
            "bert": (kind, (1, c.bert_dim, "phones")),
            "tokens": (TensorProto.INT64, (1, "tokens")),
            "position": (TensorProto.INT64, ()),
            "past_length": (TensorProto.INT64, ()),
            **{f"{name}_{index}": buffer for index in layers for name in ("key", "value")},
        }
        outputs: dict[str, tuple[int, Any]] = {
            "logits": (TensorProto.FLOAT, (1, c.codes + 1)),
            **{f"new_{name}_{index}": buffer for index in layers for name in ("key", "value")},
        }
        if c.pointer_layer:
            outputs["pointer_keys"] = TensorProto.FLOAT, (1, "rows", c.pointer_dim)
            outputs["pointer_query"] = TensorProto.FLOAT, (1, c.pointer_dim)
        return g.model("text_to_semantic", inputs, outputs, self.opset, metadata)

    # -- parts -----------------------------------------------------------------------------------------------------

    def _text(self, count: str) -> str:
        """Input vectors (1, X, dim) of the phones."""
        g = self.graph
        context = self._linear(g.add("Transpose", "bert", perm=[0, 2, 1]), "bert_proj.weight", "bert_proj.bias")
        embedded = g.add("Add", self._embedding("ar_text_embedding", "phones"), context)
        return self._positions(embedded, "ar_text_position.alpha", count, g.constant(0))

    def _audio(self) -> str:
        """Input vectors (1, N, dim) of the semantic tokens."""
        g = self.graph
        embedded = self._embedding("ar_audio_embedding", "tokens")
        return self._positions(
            embedded, "ar_audio_position.alpha", g.add("Shape", "tokens", start=1, end=2), "position"
        )

    def _embedding(self, table: str, ids: str) -> str:
        g, name = self.graph, f"{table}.word_embeddings.weight"
        array = self.weights[name]
        rows = g.add("Gather", g.weight(name, array.astype(np.float16) if self.form != "fp32" else array), ids, axis=0)
        return rows if self.form == "fp32" else g.add("Cast", rows, to=TensorProto.FLOAT)

    def _positions(self, x: str, alpha: str, count: str, offset: str) -> str:
        """Add scaled sine and cosine waves, interleaved, of positions from ``offset``."""
        g, dim = self.graph, self.config.dim
        rates = np.exp(np.arange(0, dim, 2, dtype=np.float32) * np.float32(-(np.log(10000.0) / dim)))
        end = g.add("Squeeze", count, g.constant([0]))
        places = g.add("Add", g.add("Range", g.constant(0), end, g.constant(1)), offset)
        places = g.add("Unsqueeze", g.add("Cast", places, to=TensorProto.FLOAT), g.constant([1]))
        angles = g.add("Unsqueeze", g.add("Mul", places, g.weight("position_rates", rates)), g.constant([2]))
        waves = g.add("Concat", g.add("Sin", angles), g.add("Cos", angles), axis=2)
        waves = g.add("Reshape", waves, g.constant([1, -1, dim]))
        return g.add("Add", x, g.add("Mul", waves, g.weight(alpha, self.weights[alpha])))

    def _layer(self, x: str, index: int, lengths: str, total: str, prompt: str, count: str) -> str:
        g, heads, name = self.graph, self.config.heads, f"h.layers.{index}"
        joint = self._linear(
            x, f"{name}.self_attn.in_proj_weight", f"{name}.self_attn.in_proj_bias", cast=not self.half
        )
        causal = g.add(
            "GroupQueryAttention", joint, "", "", f"key_{index}", f"value_{index}", lengths, total,
            outputs=[f"attention_{index}", f"new_key_{index}", f"new_value_{index}"],
            domain=MICROSOFT, num_heads=heads, kv_num_heads=heads,
        )  # fmt: skip
        mixed = self._phones_see_all(index, joint, causal, prompt, count)
        out = self._linear(mixed, f"{name}.self_attn.out_proj.weight", f"{name}.self_attn.out_proj.bias")
        x = self._norm(x, out, f"{name}.norm1")
        inner = g.add("Relu", self._linear(x, f"{name}.linear1.weight", f"{name}.linear1.bias", cast=not self.half))
        return self._norm(x, self._linear(inner, f"{name}.linear2.weight", f"{name}.linear2.bias"), f"{name}.norm2")

    def _point(self, x: str) -> None:
        """Outputs of the pointer; its table goes with them."""
        g, table = self.graph, self.weights["pointer.emission"]
        g.weight("pointer.emission", table if self.form == "fp32" else table.astype(np.float16))
        g.add("Identity", self._linear(x, "pointer.key.weight", None), outputs=["pointer_keys"])
        last = g.add("Gather", x, g.constant(-1), axis=1)
        g.add("Identity", self._linear(last, "pointer.query.weight", None), outputs=["pointer_query"])

    def _phones_see_all(self, index: int, joint: str, causal: str, prompt: str, count: str) -> str:
        """In the first pass, replace the phones' rows of the causal attention by unmasked attention."""
        g, heads, dim = self.graph, self.config.heads, self.config.dim
        first, later = g.branch(f"first_{index}"), g.branch(f"later_{index}")
        rows = first.add("Slice", joint, first.constant([0]), count, first.constant([1]))
        edges = [first.constant([dim * part]) for part in range(4)]
        parts = [first.add("Slice", rows, *edges[part : part + 2], first.constant([2])) for part in range(3)]
        seen = first.add("MultiHeadAttention", *parts, domain=MICROSOFT, num_heads=heads)
        end = first.constant([np.iinfo(np.int64).max])
        rest = first.add("Slice", causal, count, end, first.constant([1]))
        both = first.add("Concat", seen, rest, axis=1)
        return g.choose(prompt, first, both, later, later.add("Identity", causal))

    def _norm(self, x: str, added: str, name: str) -> str:
        g = self.graph
        scale, bias = (g.weight(f"{name}.{part}", self.weights[f"{name}.{part}"]) for part in ("weight", "bias"))
        return g.add(
            "SkipLayerNormalization", x, added, scale, bias, domain=MICROSOFT, epsilon=NORM_EPSILON
        )  # fmt: skip

    def _linear(self, x: str, weight: str, bias: str | None, cast: bool = True) -> str:
        """``x`` times a weight stored as (outputs, inputs); float32 unless ``cast`` is off in fp16."""
        g, array = self.graph, self.weights[weight]
        added = None if bias is None else self.weights[bias]
        if self.form in ("int8", "int4") and bias is not None:
            return self._quantized(x, weight, array, bias)
        if self.half and bias is not None:
            x = x if x.startswith(("If_", "Relu_", "Transpose_")) else g.add("Cast", x, to=TensorProto.FLOAT16)
            product = g.add("MatMul", x, g.weight(f"{weight}.T", array.T.astype(np.float16)))
            out = g.add("Add", product, g.weight(str(bias), np.asarray(added).astype(np.float16)))
            return g.add("Cast", out, to=TensorProto.FLOAT) if cast else out
        product = g.add("MatMul", x, g.weight(f"{weight}.T", array.T))
        return product if bias is None else g.add("Add", product, g.weight(bias, np.asarray(added)))

    def _quantized(self, x: str, weight: str, array: Array, bias: str) -> str:
        """``x``, quantised as it comes, times a weight of 8 or 4 bits; the bias stays float32."""
        g, added = self.graph, self.graph.weight(bias, self.weights[bias])
        if self.form == "int8":
            numbers, scales = columnwise(array, self.moments.get(weight))
            zeros = g.weight(f"zeros_{len(scales)}", np.zeros(len(scales), np.int8))
            names = g.weight(f"{weight}.numbers", numbers), g.weight(f"{weight}.scales", scales), zeros
            return g.add("DynamicQuantizeMatMul", x, *names, added, domain=MICROSOFT)
        packed, scales = blockwise(array, 4, BLOCK, self.moments.get(weight))
        names = g.weight(f"{weight}.packed", packed), g.weight(f"{weight}.scales", scales), ""
        return g.add(
            "MatMulNBits", x, *names, "", added,
            domain=MICROSOFT, K=array.shape[1], N=array.shape[0], bits=4, block_size=BLOCK, accuracy_level=4,
        )  # fmt: skip
