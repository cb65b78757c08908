"""What SoVITS is conditioned on: style encoder, quantiser of the content, prior encoder of content and text.

Style encoder: MelStyleEncoder of Meta-StyleSpeech (Min et al. 2021). Frozen vector quantiser: nearest neighbour by
Euclidean distance, EnCodec's layout of keys. Prior encoder: VITS (Kim et al. 2021) with GPT-SoVITS's attention of
content to text.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from voiceclone.models.layers import frame_mask


class Linear(nn.Module):
    """Linear map under the public key ``fc``."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.fc = nn.Linear(inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Map the last dimension."""
        out: Tensor = self.fc(x)
        return out


class Convolution(nn.Module):
    """Same-length convolution under the public key ``conv``."""

    def __init__(self, inputs: int, outputs: int, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(inputs, outputs, kernel, padding=kernel // 2)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve (B, C, T)."""
        out: Tensor = self.conv(x)
        return out


class GatedConvolution(nn.Module):
    """Gated linear unit over time with a residual connection."""

    def __init__(self, channels: int, kernel: int, dropout: float) -> None:
        super().__init__()
        self.conv1 = Convolution(channels, 2 * channels, kernel)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, T) to (B, C, T)."""
        out: Tensor = x + self.dropout(F.glu(self.conv1(x), dim=1))
        return out


class StyleAttention(nn.Module):
    """Self-attention whose scores are divided by the square root of the whole width, with a residual connection."""

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.w_qs = nn.Linear(dim, dim)
        self.w_ks = nn.Linear(dim, dim)
        self.w_vs = nn.Linear(dim, dim)
        self.fc = nn.Linear(dim, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        """Attend over (B, T, dim) where ``valid`` bool (B, T)."""
        query, key, value = (
            layer(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for layer in (self.w_qs, self.w_ks, self.w_vs)
        )
        mixed = F.scaled_dot_product_attention(
            query, key, value, attn_mask=valid[:, None, None, :],
            dropout_p=self.dropout.p if self.training else 0.0, scale=1 / math.sqrt(x.shape[-1]),
        )  # fmt: skip
        out: Tensor = x + self.dropout(self.fc(mixed.transpose(1, 2).flatten(2)))
        return out


class StyleEncoder(nn.Module):
    """Spectrogram to style vector.

    Args:
        bins: frequency bins it reads, from 0 Hz.
        hidden: inner width.
        outputs: size of the style.
        kernel: of the gated convolutions.
        heads: of the attention.
        dropout: while training.
    """

    def __init__(
        self, bins: int, hidden: int, outputs: int, kernel: int = 5, heads: int = 2, dropout: float = 0.1
    ) -> None:
        super().__init__()
        self.bins = bins
        self.spectral = nn.Sequential(
            Linear(bins, hidden), nn.Mish(), nn.Dropout(dropout),
            Linear(hidden, hidden), nn.Mish(), nn.Dropout(dropout),
        )  # fmt: skip
        self.temporal = nn.Sequential(*(GatedConvolution(hidden, kernel, dropout) for _ in range(2)))
        self.slf_attn = StyleAttention(hidden, heads, dropout)
        self.fc = Linear(hidden, outputs)

    def forward(self, spectrogram: Tensor, mask: Tensor) -> Tensor:
        """Mean style (B, G, 1) of the valid frames.

        Args:
            spectrogram: magnitudes (B, at least ``bins``, F).
            mask: 1 for valid frames (B, 1, F).
        """
        x = (spectrogram[:, : self.bins] * mask).transpose(1, 2)
        x = self.temporal(self.spectral(x).transpose(1, 2))
        x = self.slf_attn((x * mask).transpose(1, 2), mask[:, 0] > 0)
        weights = mask.transpose(1, 2)
        style = (self.fc(x) * weights).sum(1) / weights.sum(1)
        return style.unsqueeze(-1)


class Codebook(nn.Module):
    """Table of vectors with the statistics that its fitting kept; all buffers, so that nothing trains it."""

    inited: Tensor
    cluster_size: Tensor
    embed: Tensor
    embed_avg: Tensor

    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        vectors = torch.randn(size, dim)
        self.register_buffer("inited", torch.ones(1))
        self.register_buffer("cluster_size", torch.ones(size))
        self.register_buffer("embed", vectors)
        self.register_buffer("embed_avg", vectors.clone())


class _Layer(nn.Module):
    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        self._codebook = Codebook(size, dim)


class _Residual(nn.Module):
    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList([_Layer(size, dim)])


class Quantizer(nn.Module):
    """Vectors to codes and back, under the public keys ``vq.layers.0._codebook.*``."""

    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        self.vq = _Residual(size, dim)

    @property
    def table(self) -> Tensor:
        """Vectors of the codes (K, D)."""
        return self.vq.layers[0]._codebook.embed  # type: ignore[union-attr,return-value]

    @torch.no_grad()
    def encode(self, vectors: Tensor) -> Tensor:
        """Codes int64 (B, 1, T) nearest to vectors (B, D, T)."""
        points, table = vectors.transpose(1, 2).float(), self.table.float()
        # |x|² is the same for all codes and left out.
        distances = table.square().sum(1) - 2 * points @ table.T
        return distances.argmin(-1).unsqueeze(1)

    def decode(self, codes: Tensor) -> Tensor:
        """Vectors (B, D, T) of codes (B, 1, T)."""
        return nn.functional.embedding(codes.squeeze(1), self.table).transpose(1, 2)


#: Score of a masked key, as in VITS; small enough to vanish in the softmax, finite in half precision.
MASKED_SCORE = -1e4


class ChannelNorm(nn.Module):
    """Layer norm over the channels of (B, C, T) with the public keys ``gamma`` and ``beta``."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(channels))
        self.beta = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise each frame."""
        return F.layer_norm(x.transpose(1, 2), self.gamma.shape, self.gamma, self.beta).transpose(1, 2)


class Attention(nn.Module):
    """Multi-head attention on channels-first sequences; relative positions (Shaw et al. 2018) if ``window`` > 0."""

    def __init__(self, channels: int, heads: int, dropout: float = 0.0, window: int = 0) -> None:
        super().__init__()
        self.heads, self.window, self.width = heads, window, channels // heads
        self.conv_q = nn.Conv1d(channels, channels, 1)
        self.conv_k = nn.Conv1d(channels, channels, 1)
        self.conv_v = nn.Conv1d(channels, channels, 1)
        self.conv_o = nn.Conv1d(channels, channels, 1)
        self.dropout = nn.Dropout(dropout)
        for conv in (self.conv_q, self.conv_k, self.conv_v):
            nn.init.xavier_uniform_(conv.weight)
        if window:
            self.emb_rel_k = nn.Parameter(torch.randn(1, 2 * window + 1, self.width) * self.width**-0.5)
            self.emb_rel_v = nn.Parameter(torch.randn(1, 2 * window + 1, self.width) * self.width**-0.5)

    def forward(self, x: Tensor, context: Tensor, mask: Tensor) -> Tensor:
        """Attend.

        Args:
            x: queries (B, C, T).
            context: keys and values (B, C, S); the same as ``x`` with relative positions.
            mask: 1 for valid frames of ``context`` (B, 1, S).
        """
        query = self._split(self.conv_q(x))
        key, value = self._split(self.conv_k(context)), self._split(self.conv_v(context))
        query = query / math.sqrt(self.width)
        scores = query @ key.transpose(-2, -1)
        if self.window:
            scores = scores + to_band(query @ self.emb_rel_k.transpose(-2, -1))
        scores = scores.masked_fill(mask.unsqueeze(1) == 0, MASKED_SCORE)
        weights = self.dropout(torch.softmax(scores, dim=-1))
        mixed = weights @ value
        if self.window:
            mixed = mixed + from_band(weights, 2 * self.window + 1) @ self.emb_rel_v
        out: Tensor = self.conv_o(mixed.transpose(-2, -1).flatten(1, 2))
        return out

    def _split(self, x: Tensor) -> Tensor:
        """Heads (B, heads, T, width) of (B, C, T)."""
        # Not unflatten: the ONNX exporter turns its sizes into constants.
        return x.reshape(x.shape[0], self.heads, x.shape[1] // self.heads, x.shape[2]).transpose(-2, -1)


def to_band(values: Tensor) -> Tensor:
    """Spread values per distance (B, H, T, 2 w + 1) to (B, H, T, T): entry (i, j) is values[i, j - i + w], or 0.

    Rows padded to one more than the wanted width and read again at that width shift by one step each.
    """
    size, band = values.shape[-2], values.shape[-1]
    flat = F.pad(values, (0, size)).flatten(-2)
    rows = flat[..., : size * (size + band - 1)].reshape(*values.shape[:2], size, size + band - 1)
    return rows[..., band // 2 : band // 2 + size]


def from_band(matrix: Tensor, band: int) -> Tensor:
    """Collect the diagonals of (B, H, T, T) by distance: (B, H, T, 2 w + 1); the inverse of :func:`to_band`."""
    size = matrix.shape[-1]
    flat = F.pad(F.pad(matrix, (band // 2, band // 2)).flatten(-2), (0, size))
    return flat.reshape(*matrix.shape[:2], size, size + band)[..., :band]


class FeedForward(nn.Module):
    """Two convolutions with ReLU between."""

    def __init__(self, channels: int, inner: int, kernel: int, dropout: float) -> None:
        super().__init__()
        self.conv_1 = nn.Conv1d(channels, inner, kernel, padding=kernel // 2)
        self.conv_2 = nn.Conv1d(inner, channels, kernel, padding=kernel // 2)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Map (B, C, T) within the mask (B, 1, T)."""
        x = self.dropout(F.relu(self.conv_1(x * mask)))
        out: Tensor = self.conv_2(x * mask) * mask
        return out


class Encoder(nn.Module):
    """Post-norm transformer on channels-first sequences."""

    def __init__(
        self, channels: int, inner: int, heads: int, layers: int, kernel: int, dropout: float, window: int = 4
    ) -> None:
        super().__init__()
        self.drop = nn.Dropout(dropout)
        self.attn_layers = nn.ModuleList(Attention(channels, heads, dropout, window) for _ in range(layers))
        self.norm_layers_1 = nn.ModuleList(ChannelNorm(channels) for _ in range(layers))
        self.ffn_layers = nn.ModuleList(FeedForward(channels, inner, kernel, dropout) for _ in range(layers))
        self.norm_layers_2 = nn.ModuleList(ChannelNorm(channels) for _ in range(layers))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Encode (B, C, T) within the mask (B, 1, T)."""
        x = x * mask
        parts = zip(self.attn_layers, self.norm_layers_1, self.ffn_layers, self.norm_layers_2, strict=True)
        for attention, norm_1, feed_forward, norm_2 in parts:
            x = norm_1(x + self.drop(attention(x, x, mask)))
            x = norm_2(x + self.drop(feed_forward(x, mask)))
        return x * mask


class ContentTextStyle(nn.Module):
    """Content attends to text, the style is added to every frame (MRTE)."""

    def __init__(self, channels: int, hidden: int, heads: int) -> None:
        super().__init__()
        self.cross_attention = Attention(hidden, heads)
        self.c_pre = nn.Conv1d(channels, hidden, 1)
        self.text_pre = nn.Conv1d(channels, hidden, 1)
        self.c_post = nn.Conv1d(hidden, channels, 1)

    def forward(self, content: Tensor, mask: Tensor, text: Tensor, text_mask: Tensor, style: Tensor) -> Tensor:
        """Mix content (B, C, T), text (B, C, L) and style (B, hidden, 1) to (B, C, T)."""
        content = self.c_pre(content * mask)
        text = self.text_pre(text * text_mask)
        mixed = self.cross_attention(content * mask, text * text_mask, text_mask) + content + style
        out: Tensor = self.c_post(mixed * mask)
        return out


class PriorEncoder(nn.Module):
    """Quantised content and phones to the Gaussian that the flow starts from (public key ``enc_p``)."""

    def __init__(
        self,
        content_dim: int,
        phones: int,
        channels: int,
        hidden: int,
        inner: int,
        heads: int,
        layers: int,
        kernel: int,
        dropout: float,
        style_hidden: int,
        style_heads: int,
    ) -> None:
        super().__init__()

        def encoder(depth: int) -> Encoder:
            return Encoder(hidden, inner, heads, depth, kernel, dropout)

        self.ssl_proj = nn.Conv1d(content_dim, hidden, 1)
        self.encoder_ssl = encoder(layers // 2)
        self.encoder_text = encoder(layers)
        self.text_embedding = nn.Embedding(phones, hidden)
        self.mrte = ContentTextStyle(hidden, style_hidden, style_heads)
        self.encoder2 = encoder(layers // 2)
        self.proj = nn.Conv1d(hidden, 2 * channels, 1)
        nn.init.normal_(self.text_embedding.weight, 0.0, hidden**-0.5)

    def forward(
        self,
        content: Tensor,
        lengths: Tensor | None,
        phones: Tensor,
        phone_lengths: Tensor | None,
        style: Tensor,
        frames: int | None = None,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Encode.

        Args:
            content: quantised vectors (B, D, T).
            lengths: valid frames (B,), None: all.
            phones: int64 (B, L).
            phone_lengths: valid phones (B,), None: all.
            style: (B, style_hidden, 1).
            frames: length to stretch or shorten the sequence to; None: as it is.

        Returns:
            Hidden states (B, hidden, T), mean and log standard deviation (B, C, T), mask (B, 1, T).
        """
        mask = frame_mask(lengths, content)
        hidden = self.encoder_ssl(self.ssl_proj(content * mask) * mask, mask)
        text = self.text_embedding(phones).transpose(1, 2)
        text_mask = frame_mask(phone_lengths, text)
        text = self.encoder_text(text, text_mask)
        hidden = self.encoder2(self.mrte(hidden, mask, text, text_mask, style), mask)
        if frames is not None:
            hidden = F.interpolate(hidden, size=frames, mode="linear")
            mask = F.interpolate(mask, size=frames, mode="nearest")
        mean, log_deviation = (self.proj(hidden) * mask).chunk(2, dim=1)
        return hidden, mean, log_deviation, mask
