"""Text to semantic: a decoder-only transformer over phones and semantic tokens.

The network of the public GPT-SoVITS (AR model, after VALL-E), key for key without the prefix ``model.``. Phones attend
to all phones; semantic tokens attend to all phones and to the tokens up to themselves. The token at index i is
predicted from the position before it, so the first one comes from the last phone alone.

One module serves training (:meth:`TextToSemantic.forward`) and, as the reference of the other bodies of this network,
generation with a KV cache (:meth:`TextToSemantic.forward_cached`). ``text_to_semantic/README.md`` is the map of them.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from voiceclone.models.architecture import Architecture
from voiceclone.models.layers import length_mask

#: Keys and values (layers, 2, B, heads, S, head_dim) of the S positions so far; each pass returns a longer one.
KVCache = Tensor


@dataclass(frozen=True)
class GPTConfig(Architecture):
    """Sizes of the text-to-semantic network; the defaults are those of the public checkpoints (v2 family).

    Attributes:
        pointer_layer: number of layers after which the pointer reads the hidden states; 0: no pointer.
        pointer_dim: of its queries and keys.
        pointer_added: the pointer was trained afterwards, for a network that did not learn with it.
    """

    OPTIONS: ClassVar[frozenset[str]] = frozenset({"pointer_layer", "pointer_dim", "pointer_added"})

    dim: int = 512
    layers: int = 24
    heads: int = 16
    feed_forward: int = 2048
    phones: int = 732
    codes: int = 1024
    bert_dim: int = 1024
    dropout: float = 0.1
    pointer_layer: int = 0
    pointer_dim: int = 96
    pointer_added: bool = False

    @property
    def end_token(self) -> int:
        """Token that ends an utterance and fills padding; one past the last code."""
        return self.codes

    @classmethod
    def nano(cls, codes: int = 256) -> GPTConfig:
        """A size that trains from scratch on a laptop: about 3.7 million parameters."""
        return cls(dim=256, layers=4, heads=4, feed_forward=1024, codes=codes)

    @classmethod
    def small(cls, codes: int = 512) -> GPTConfig:
        """The base voice's size, 6.9 million parameters, with a pointer."""
        return cls(dim=288, layers=6, heads=6, feed_forward=1152, codes=codes, dropout=0.0, pointer_layer=4)


class TokenEmbedding(nn.Module):
    """Embedding table under the public key ``word_embeddings``."""

    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(size, dim)

    def forward(self, ids: Tensor) -> Tensor:
        """Vectors (B, N, dim) of ids (B, N)."""
        out: Tensor = self.word_embeddings(ids)
        return out


class SinePositions(nn.Module):
    """Adds sinusoidal positions (Vaswani et al. 2017), scaled by a learned ``alpha``, then dropout."""

    rates: Tensor

    def __init__(self, dim: int, dropout: float) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(1))
        self.dropout = nn.Dropout(dropout)
        rates = torch.exp(torch.arange(0, dim, 2, dtype=torch.float32) * -(math.log(10000.0) / dim))
        self.register_buffer("rates", rates, persistent=False)

    def forward(self, x: Tensor, offset: int | Tensor = 0) -> Tensor:
        """Embeddings (B, N, dim) whose first position is ``offset``."""
        # Computed, not looked up: no maximum length, no table inside exported graphs.
        positions = torch.arange(x.shape[1], device=x.device) + offset
        angles = positions.to(self.rates.dtype)[:, None] * self.rates
        waves = torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)
        out: Tensor = self.dropout(x + self.alpha * waves.to(x.dtype))
        return out


class SelfAttention(nn.Module):
    """Multi-head self-attention with fused projections, optionally continuing cached keys and values."""

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.in_proj_weight = nn.Parameter(torch.empty(3 * dim, dim))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * dim))
        self.out_proj = nn.Linear(dim, dim)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(self, x: Tensor, allowed: Tensor, past: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Attend.

        Args:
            x: (B, Q, dim).
            allowed: bool, broadcastable to (B, heads, Q, S + Q): which key each query may see.
            past: (2, B, heads, S, head_dim), keys and values of earlier positions.

        Returns:
            Output (B, Q, dim) and keys and values (2, B, heads, S + Q, head_dim).
        """
        batch, count, dim = x.shape
        query, key, value = self._split(x)
        if past is not None:
            key, value = torch.cat([past[0], key], dim=2), torch.cat([past[1], value], dim=2)
        mixed = attend(query, key, value, allowed, self.dropout if self.training else 0.0)
        return self.out_proj(mixed.transpose(1, 2).reshape(batch, count, dim)), torch.stack([key, value])

    def weights(self, x: Tensor, allowed: Tensor) -> Tensor:
        """Attention weights float32 (B, heads, Q, Q) of :meth:`forward` without a past, which never forms them."""
        query, key, _ = self._split(x)
        scores = (query @ key.transpose(-1, -2)).float() * query.shape[-1] ** -0.5
        return scores.masked_fill(~allowed, -torch.inf).softmax(-1)

    def _split(self, x: Tensor) -> tuple[Tensor, ...]:
        """Queries, keys and values (B, heads, Q, head_dim) of (B, Q, dim)."""
        joint = F.linear(x, self.in_proj_weight, self.in_proj_bias)
        return joint.view(*x.shape[:2], 3, self.heads, x.shape[2] // self.heads).permute(2, 0, 3, 1, 4).unbind(0)


class Layer(nn.Module):
    """Post-norm transformer layer: attention, add, norm, feed-forward, add, norm."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.self_attn = SelfAttention(config.dim, config.heads, config.dropout)
        self.linear1 = nn.Linear(config.dim, config.feed_forward)
        self.linear2 = nn.Linear(config.feed_forward, config.dim)
        self.norm1 = nn.LayerNorm(config.dim)
        self.norm2 = nn.LayerNorm(config.dim)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, allowed: Tensor, past: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """See :meth:`SelfAttention.forward`."""
        attended, present = self.self_attn(x, allowed, past)
        x = self.norm1(x + self.dropout(attended))
        inner = self.dropout(F.relu(self.linear1(x)))
        return self.norm2(x + self.dropout(self.linear2(inner))), present


class Stack(nn.Module):
    """The layers, under the public key ``layers``."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.layers))

    def forward(
        self, x: Tensor, allowed: Tensor, past: Tensor | None = None, first: int = 0, last: int | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """Hidden states (B, Q, dim) after layers ``first`` to ``last``, and the keys and values of each of them
        (2, B, heads, S + Q, head_dim)."""
        present: list[Tensor] = []
        for layer in self.layers[first:last]:
            x, cached = layer(x, allowed, None if past is None else past[first + len(present)])
            present.append(cached)
        return x, present


class Pointer(nn.Module):
    """The phone that the next token speaks: scaled products of a projection of the hidden states with one of the
    phones' (a pointer network: Vinyals et al. 2015), trained on the alignment of tokens to phones.

    Attributes:
        emission: float32 (phones, codes), probability of a token given the phone that it speaks, as the alignment
            counted it; zeros until it is known.
    """

    emission: Tensor

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.query = nn.Linear(config.dim, config.pointer_dim, bias=False)
        self.key = nn.Linear(config.dim, config.pointer_dim, bias=False)
        self.register_buffer("emission", torch.zeros(config.phones, config.codes))

    def forward(self, hidden: Tensor, phones: Tensor) -> Tensor:
        """Scores (B, Q, X) of hidden states (B, Q, dim) with those of the phones (B, X, dim)."""
        query = self.query(hidden) * self.query.out_features**-0.5
        return query @ self.key(phones).transpose(1, 2)


class Observed(NamedTuple):
    """A teacher-forced pass and what happened in some of its layers.

    Attributes:
        logits: see :meth:`TextToSemantic.forward`.
        scores: of the pointer, see :meth:`TextToSemantic.forward_aligned`; None without a pointer.
        hidden: after each of the layers (B, X + Y, dim).
        attention: weights in each of them, float32 (B, heads, X + Y, X + Y).
        real: bool (B, X + Y), False for padding.
    """

    logits: Tensor
    scores: Tensor | None
    hidden: list[Tensor]
    attention: list[Tensor]
    real: Tensor


class TextToSemantic(nn.Module):
    """Predicts semantic tokens from phones, BERT features and the tokens so far."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.config = config
        self.bert_proj = nn.Linear(config.bert_dim, config.dim)
        self.ar_text_embedding = TokenEmbedding(config.phones, config.dim)
        self.ar_text_position = SinePositions(config.dim, config.dropout)
        self.ar_audio_embedding = TokenEmbedding(config.codes + 1, config.dim)
        self.ar_audio_position = SinePositions(config.dim, config.dropout)
        self.h = Stack(config)
        self.ar_predict_layer = nn.Linear(config.dim, config.codes + 1, bias=False)
        if config.pointer_layer:
            self.pointer = Pointer(config)

    def forward(
        self, phones: Tensor, phone_lengths: Tensor, tokens: Tensor, token_lengths: Tensor, bert: Tensor | None = None
    ) -> Tensor:
        """Teacher forcing on a right-padded batch.

        Padding is masked where it is, so an item's logits do not depend on what it is batched with. (The public code
        pads on the right and masks on the left.)

        Args:
            phones: int64 (B, X).
            phone_lengths: int64 (B,).
            tokens: int64 (B, Y); positions past an item's length may hold any token up to the end token.
            token_lengths: int64 (B,).
            bert: (B, 1024, X), or None for none (zeros).

        Returns:
            Logits (B, Y + 1, codes + 1): entry i predicts token i, the last one of an item predicts the end token.
        """
        hidden, allowed = self._teach(phones, phone_lengths, tokens, token_lengths, bert)
        hidden, _ = self.h(hidden, allowed)
        logits: Tensor = self.ar_predict_layer(_before_tokens(hidden, phone_lengths, phones.shape[1]))
        return logits

    def forward_aligned(
        self, phones: Tensor, phone_lengths: Tensor, tokens: Tensor, token_lengths: Tensor, bert: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """:meth:`forward` of a network with a pointer, with the pointer's scores.

        Returns:
            Logits (B, Y + 1, codes + 1), and scores (B, Y, X): entry i of an item points to the phone of token i,
            -inf for padding.
        """
        hidden, allowed = self._teach(phones, phone_lengths, tokens, token_lengths, bert)
        middle, _ = self.h(hidden, allowed, last=self.config.pointer_layer)
        hidden, _ = self.h(middle, allowed, first=self.config.pointer_layer)
        width = phones.shape[1]
        scores = self._point(middle, phone_lengths, width)
        return self.ar_predict_layer(_before_tokens(hidden, phone_lengths, width)), scores

    def _point(self, middle: Tensor, phone_lengths: Tensor, width: int) -> Tensor:
        """Scores of the pointer by the hidden states (B, X + Y, dim) that it reads; X is ``width``."""
        scores: Tensor = self.pointer(_before_tokens(middle, phone_lengths, width)[:, :-1], middle[:, :width])
        return scores.masked_fill(~length_mask(phone_lengths, width)[:, None], -torch.inf)

    def observe(
        self,
        layers: Collection[int],
        phones: Tensor,
        phone_lengths: Tensor,
        tokens: Tensor,
        token_lengths: Tensor,
        bert: Tensor | None = None,
    ) -> Observed:
        """The pass of :meth:`forward` or :meth:`forward_aligned`, bit for bit, with what some layers did.

        Attention weights are computed beside the pass, from the states that go into a layer, so that a pass that
        nobody observes costs what it did.

        Args:
            layers: counted from 1; the other arguments as of :meth:`forward`.
        """
        x, allowed = self._teach(phones, phone_lengths, tokens, token_lengths, bert)
        width, scores = phones.shape[1], None
        hidden, attention = [], []
        for index, layer in enumerate(self.h.layers, start=1):
            if index in layers:
                attention.append(layer.self_attn.weights(x, allowed))  # type: ignore[union-attr,operator]
            x, _ = layer(x, allowed)
            if index in layers:
                hidden.append(x)
            if index == self.config.pointer_layer:
                scores = self._point(x, phone_lengths, width)
        real = torch.cat([length_mask(phone_lengths, width), length_mask(token_lengths, tokens.shape[1])], dim=1)
        return Observed(self.ar_predict_layer(_before_tokens(x, phone_lengths, width)), scores, hidden, attention, real)

    def hidden_after(
        self,
        layers: Sequence[int],
        phones: Tensor,
        phone_lengths: Tensor,
        tokens: Tensor,
        token_lengths: Tensor,
        bert: Tensor | None = None,
    ) -> list[Tensor]:
        """Hidden states (B, X + Y, dim) after some layers, given in rising order; arguments as of :meth:`forward`."""
        hidden, allowed = self._teach(phones, phone_lengths, tokens, token_lengths, bert)
        found, first = [], 0
        for last in layers:
            hidden, _ = self.h(hidden, allowed, first=first, last=last)
            found.append(hidden)
            first = last
        return found

    def _teach(
        self, phones: Tensor, phone_lengths: Tensor, tokens: Tensor, token_lengths: Tensor, bert: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Input vectors (B, X + Y, dim) of a right-padded batch, and which key each position may see."""
        width, count = phones.shape[1], tokens.shape[1]
        real = torch.cat([length_mask(phone_lengths, width), length_mask(token_lengths, count)], dim=1)
        allowed = attention_mask(width, count, device=phones.device) & real[:, None, None, :]
        return torch.cat([self.embed_text(phones, bert), self.embed_audio(tokens)], dim=1), allowed

    def forward_cached(
        self, phones: Tensor, bert: Tensor | None, tokens: Tensor, past: KVCache | None, position: int | Tensor
    ) -> tuple[Tensor, KVCache]:
        """Continue sequences without padding; the first pass and every later step of generation.

        Args:
            phones: int64 (B, X); X is 0 after the first pass.
            bert: (B, 1024, X), or None for none (zeros).
            tokens: int64 (B, N): the prompt in the first pass, the newest token later; N may be 0 while X is not.
            past: as returned before; None for the first pass.
            position: index of ``tokens[:, 0]`` among the semantic tokens, prompt included.

        Returns:
            Logits (B, codes + 1) after the last position, and the cache with the new positions.
        """
        x = torch.cat([self.embed_text(phones, bert), self.embed_audio(tokens, position)], dim=1)
        before = 0 if past is None else past.shape[4]
        allowed = attention_mask(phones.shape[1], tokens.shape[1], before, phones.device)
        hidden, present = self.h(x, allowed, past)
        return self.ar_predict_layer(hidden[:, -1]), torch.stack(present)

    def prefill(self, phones: Tensor, prompt: Tensor, bert: Tensor | None = None) -> tuple[Tensor, KVCache]:
        """Read phones (B, X) and prompt (B, P), P may be 0: logits (B, codes + 1) and the cache."""
        return self.forward_cached(phones, bert, prompt, None, 0)

    def decode(self, token: Tensor, position: int | Tensor, cache: KVCache) -> tuple[Tensor, KVCache]:
        """Read one token (B, 1) at ``position``: logits (B, codes + 1) and the longer cache."""
        return self.forward_cached(token[:, :0], None, token, cache, position)

    def embed_text(self, phones: Tensor, bert: Tensor | None = None) -> Tensor:
        """Input vectors (B, X, dim) of phones (B, X) with their BERT features (B, 1024, X)."""
        # Zero features leave the projection's bias; adding it saves the multiplication.
        context = self.bert_proj.bias if bert is None else self.bert_proj(bert.transpose(1, 2))
        out: Tensor = self.ar_text_position(self.ar_text_embedding(phones) + context)
        return out

    def embed_audio(self, tokens: Tensor, position: int | Tensor = 0) -> Tensor:
        """Input vectors (B, N, dim) of semantic tokens (B, N) that start at ``position``."""
        out: Tensor = self.ar_audio_position(self.ar_audio_embedding(tokens), position)
        return out


def attend(query: Tensor, key: Tensor, value: Tensor, allowed: Tensor, dropout: float = 0.0) -> Tensor:
    """Scaled dot-product attention (B, heads, Q, width); ``allowed``: bool, which key each query may see.

    The fused attention of the CPU has a slow backward pass in bf16, so there it is written out. The softmax adds up in
    float32 in any case.
    """
    if query.dtype == torch.bfloat16 and query.device.type == "cpu" and query.requires_grad:
        bias = torch.zeros(allowed.shape, dtype=query.dtype).masked_fill_(~allowed, -torch.inf)
        scores = (query * query.shape[-1] ** -0.5).contiguous() @ key.contiguous().transpose(-1, -2)
        weights = (scores + bias).softmax(-1)
        return F.dropout(weights, dropout, training=dropout > 0) @ value.contiguous()
    return F.scaled_dot_product_attention(query, key, value, attn_mask=allowed, dropout_p=dropout)


def _before_tokens(hidden: Tensor, phone_lengths: Tensor, width: int) -> Tensor:
    """Hidden states (B, Y + 1, dim) by which each token and the end are predicted: of the last phone, of each token."""
    rows = torch.arange(len(hidden), device=hidden.device)
    return torch.cat([hidden[rows, phone_lengths - 1].unsqueeze(1), hidden[:, width:]], dim=1)


def attention_mask(phones: int, tokens: int, past: int = 0, device: torch.device | None = None) -> Tensor:
    """Keys that each new position may see.

    Args:
        phones: new phones, seen by all new positions.
        tokens: new semantic tokens, seen from themselves on.
        past: earlier positions, seen by all.
        device: where the mask is made.

    Returns:
        bool (phones + tokens, past + phones + tokens).
    """
    keys = torch.arange(past + phones + tokens, device=device)[None, :]
    queries = torch.arange(phones + tokens, device=device)[:, None]
    return (keys < past + phones) | (keys - past <= queries)
