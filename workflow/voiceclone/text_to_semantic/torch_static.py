"""Text to semantic in torch with a static :class:`KVCache`: no tensor is joined or moved from step to step.

The same sums as :meth:`voiceclone.models.gpt.TextToSemantic.forward_cached`, over the same weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from voiceclone.backends.backend import CACHE_STEP
from voiceclone.errors import ConfigError
from voiceclone.models.gpt import GPTConfig, Layer, TextToSemantic, attention_mask

PRECISIONS = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def choose_precision(name: str, device: str) -> torch.dtype:
    """The type of weights, keys and values.

    Raises:
        ConfigError: half precision on a CPU, where it is slower than single, or no such precision.
    """
    if name not in PRECISIONS:
        raise ConfigError(f"precision {name!r}: expected one of {', '.join(PRECISIONS)}")
    if name != "fp32" and not device.startswith("cuda"):
        raise ConfigError(f"precision {name}: needs a CUDA device", "leave it at fp32 on the CPU, or export onnx-int8")
    return PRECISIONS[name]


@dataclass(frozen=True)
class LayerWeights:
    """Weights of a layer in the type they are used in; norms add up in float32 whatever their type."""

    heads: int
    joint: tuple[Tensor, Tensor]
    out: tuple[Tensor, Tensor]
    up: tuple[Tensor, Tensor]
    down: tuple[Tensor, Tensor]
    norm1: tuple[Tensor, Tensor]
    norm2: tuple[Tensor, Tensor]

    @classmethod
    def of(cls, layer: nn.Module, dtype: torch.dtype) -> LayerWeights:
        """The weights of a :class:`voiceclone.models.gpt.Layer`; those that have the type already are shared."""
        assert isinstance(layer, Layer)
        attention = layer.self_attn

        def cast(weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
            return weight.detach().to(dtype), bias.detach().to(dtype)

        parts = (attention.out_proj, layer.linear1, layer.linear2, layer.norm1, layer.norm2)
        joint = cast(attention.in_proj_weight, attention.in_proj_bias)
        return cls(attention.heads, joint, *(cast(part.weight, part.bias) for part in parts))

    def finish(self, x: Tensor, attended: Tensor) -> Tensor:
        """The layer after its attention: (..., dim) from inputs and heads' outputs (..., dim)."""
        size = x.shape[-1:]
        x = F.layer_norm(x + F.linear(attended, *self.out), size, *self.norm1)
        return F.layer_norm(x + F.linear(F.relu(F.linear(x, *self.up)), *self.down), size, *self.norm2)


def layer_step(
    weights: LayerWeights, x: Tensor, keys: Tensor, values: Tensor, rows: Any, at: Any, mask: Tensor | None, length: int
) -> Tensor:
    """One position of each row through a layer.

    Args:
        weights: of the layer.
        x: (R, dim).
        keys: (rows, heads, capacity, width); the new ones are written into it.
        values: the same.
        rows: the first R rows: a slice, or int64 (R,).
        at: the position to write: a number for all rows, or int64 (R,).
        mask: bool (R, 1, 1, length), which positions each row sees; None: all.
        length: positions that are looked at.
    """
    count, dim = x.shape
    query, key, value = F.linear(x, *weights.joint).view(count, 3, weights.heads, dim // weights.heads).unbind(1)
    keys[rows, :, at], values[rows, :, at] = key, value
    seen = keys[:count, :, :length], values[:count, :, :length]
    attended = F.scaled_dot_product_attention(query.unsqueeze(2), *seen, attn_mask=mask)
    return weights.finish(x, attended.reshape(count, dim))


class KVCache:
    """Keys and values of each layer, in one buffer (rows, heads, capacity, width) each.

    Args:
        config: sizes of the network.
        rows: sentences at once.
        dtype: of the buffers.
        device: where they lie.
    """

    def __init__(self, config: GPTConfig, rows: int, dtype: torch.dtype, device: torch.device) -> None:
        self._shape, self._dtype, self._device = (rows, config.heads, config.dim // config.heads), dtype, device
        self.capacity = 0
        self.keys, self.values = ([self._empty() for _ in range(config.layers)] for _ in range(2))

    def _empty(self) -> Tensor:
        rows, heads, width = self._shape
        return torch.zeros(rows, heads, self.capacity, width, dtype=self._dtype, device=self._device)

    def reserve(self, positions: int) -> None:
        """Make room for a number of positions in every row; the content stays."""
        if positions <= self.capacity:
            return
        before, self.capacity = self.capacity, -(-positions // CACHE_STEP) * CACHE_STEP
        for buffers in (self.keys, self.values):
            for index, old in enumerate(buffers):
                buffers[index] = self._empty()
                buffers[index][:, :, :before] = old


class StaticDecoder:
    """Text to semantic for a number of sentences (rows) at once, each with its own row in the cache.

    Args:
        gpt: the model, on its device.
        rows: sentences at once.
        dtype: of weights, keys and values; embeddings and logits are float32.
        compiled: compile the layers with torch.compile at the first step.
    """

    def __init__(
        self, gpt: TextToSemantic, rows: int = 1, dtype: torch.dtype = torch.float32, compiled: bool = False
    ) -> None:
        self.config, self.rows, self.dtype = gpt.config, rows, dtype
        self.device = gpt.ar_predict_layer.weight.device
        self._gpt = gpt
        self._layers = [LayerWeights.of(layer, dtype) for layer in gpt.h.layers]
        self._layer_step: Callable[..., Tensor] = torch.compile(layer_step, dynamic=True) if compiled else layer_step
        self.kv_cache = KVCache(gpt.config, rows, dtype, self.device)
        self._waves = gpt.ar_audio_position
        self._pointer = gpt.pointer if gpt.config.pointer_layer else None
        size = gpt.config.pointer_dim if self._pointer else 0
        self.phone_room = 0  # phones of a row that the pointer has room for
        self._phone_keys = torch.zeros(rows, 0, size, device=self.device)
        self._queries = torch.zeros(rows, size, device=self.device)

    @property
    def emission(self) -> Tensor:
        """The pointer's table float32 (phones, codes)."""
        assert self._pointer is not None
        return self._pointer.emission.float()

    def reserve_phones(self, phones: int) -> None:
        """Make room for a number of phones of every row; their content stays."""
        if self._pointer is None or phones <= self.phone_room:
            return
        self.phone_room = -(-phones // CACHE_STEP) * CACHE_STEP
        fresh = torch.zeros(self.rows, self.phone_room, self._phone_keys.shape[2], device=self.device)
        fresh[:, : self._phone_keys.shape[1]] = self._phone_keys
        self._phone_keys = fresh

    def point(self, rows: int = 1) -> Tensor:
        """The pointer's scores float32 (rows, room) for the next tokens of the first rows; those past a row's phones
        mean nothing."""
        queries = self._queries[:rows] * self._queries.shape[1] ** -0.5
        return torch.einsum("rd,rxd->rx", queries, self._phone_keys[:rows])

    def prefill(self, phones: Tensor, bert: Tensor | None, prompt: Tensor, row: int = 0) -> Tensor:
        """Read phones (1, X), their BERT features (1, 1024, X) or None, and the prompt (1, P) into a row.

        Returns:
            Logits float32 (codes + 1,) after the last position.
        """
        x = torch.cat([self._gpt.embed_text(phones, bert), self._gpt.embed_audio(prompt)], dim=1).to(self.dtype)
        allowed = attention_mask(phones.shape[1], prompt.shape[1], device=self.device)
        count, heads = x.shape[1], self.config.heads
        self.kv_cache.reserve(count)
        self.reserve_phones(phones.shape[1])
        for index, (weights, keys, values) in enumerate(self._cached_layers()):
            joint = F.linear(x, *weights.joint).view(1, count, 3, heads, -1)
            query, key, value = joint.permute(2, 0, 3, 1, 4).unbind(0)
            keys[row, :, :count], values[row, :, :count] = key[0], value[0]
            attended = F.scaled_dot_product_attention(query, key, value, attn_mask=allowed)
            x = weights.finish(x, attended.transpose(1, 2).reshape(1, count, -1))
            if self._pointer is not None and index + 1 == self.config.pointer_layer:
                self._phone_keys[row, : phones.shape[1]] = self._pointer.key(x[0, : phones.shape[1]].float())
                self._queries[row] = self._pointer.query(x[0, -1].float())
        return self._logits(x[:, -1])[0]

    def step_one(self, token: int, position: int, filled: int) -> Tensor:
        """Read one token into the first row.

        Args:
            token: the token.
            position: its index among the semantic tokens, prompt included.
            filled: positions of the row that hold something.

        Returns:
            Logits float32 (codes + 1,).
        """
        self.kv_cache.reserve(filled + 1)
        x = self._gpt.embed_audio(torch.tensor([[token]], device=self.device), position)[0].to(self.dtype)
        for index, (weights, keys, values) in enumerate(self._cached_layers()):
            x = layer_step(weights, x, keys, values, slice(0, 1), filled, None, filled + 1)
            self._ask(index, x)
        return self._logits(x)[0]

    def step(self, tokens: Tensor, positions: Tensor, filled: Tensor, length: int) -> Tensor:
        """Read one token into each of the first R rows; every value that changes from step to step is a tensor.

        Args:
            tokens: int64 (R,).
            positions: int64 (R,), their indices among the semantic tokens.
            filled: int64 (R,), positions of each row that hold something.
            length: more than every ``filled``, at most the capacity: positions that are looked at.

        Returns:
            Logits float32 (R, codes + 1).
        """
        rows = torch.arange(len(tokens), device=self.device)
        mask = (torch.arange(length, device=self.device) <= filled[:, None])[:, None, None]
        x = self._embed(tokens, positions).to(self.dtype)
        for index, (weights, keys, values) in enumerate(self._cached_layers()):
            x = self._layer_step(weights, x, keys, values, rows, filled, mask, length)
            self._ask(index, x)
        return self._logits(x)

    def _cached_layers(self) -> Iterator[tuple[LayerWeights, Tensor, Tensor]]:
        """Weights, keys and values of each layer."""
        return zip(self._layers, self.kv_cache.keys, self.kv_cache.values, strict=True)

    def _ask(self, layer: int, x: Tensor) -> None:
        """Keep the pointer's queries of rows (R, dim), where a layer is the one that it reads."""
        if self._pointer is not None and layer + 1 == self.config.pointer_layer:
            self._queries[: len(x)] = self._pointer.query(x.float())

    def _embed(self, tokens: Tensor, positions: Tensor) -> Tensor:
        """Input vectors (R, dim) of tokens, each at a position of its own."""
        angles = positions.to(self._waves.rates.dtype)[:, None] * self._waves.rates
        waves = torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)
        return self._gpt.ar_audio_embedding(tokens) + self._waves.alpha * waves

    def _logits(self, hidden: Tensor) -> Tensor:
        return F.linear(hidden.float(), self._gpt.ar_predict_layer.weight)
