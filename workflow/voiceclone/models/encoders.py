"""Prior and posterior encoders of SoVITS: VITS (Kim et al. 2021) with GPT-SoVITS's attention of content to text."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from voiceclone.models.masks import frame_mask
from voiceclone.models.norm import weight_norm

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


class GatedStack(nn.Module):
    """WaveNet-style gated convolutions conditioned on the style (WN of WaveGlow), weight-normalised."""

    def __init__(self, channels: int, kernel: int, layers: int, style: int) -> None:
        super().__init__()
        self.in_layers = nn.ModuleList(
            weight_norm(nn.Conv1d(channels, 2 * channels, kernel, padding=kernel // 2)) for _ in range(layers)
        )
        # The last layer feeds only the sum of skips.
        widths = [2 * channels] * (layers - 1) + [channels]
        self.res_skip_layers = nn.ModuleList(weight_norm(nn.Conv1d(channels, width, 1)) for width in widths)
        self.cond_layer = weight_norm(nn.Conv1d(style, 2 * channels * layers, 1))

    def forward(self, x: Tensor, mask: Tensor, style: Tensor) -> Tensor:
        """Map (B, C, T) within the mask (B, 1, T), given the style (B, G, 1)."""
        conditions = self.cond_layer(style).chunk(len(self.in_layers), dim=1)
        total = torch.zeros_like(x)
        for convolve, mix, condition in zip(self.in_layers, self.res_skip_layers, conditions, strict=True):
            content, gate = (convolve(x) + condition).chunk(2, dim=1)
            out = mix(torch.tanh(content) * torch.sigmoid(gate))
            if mix is not self.res_skip_layers[-1]:
                residual, out = out.chunk(2, dim=1)
                x = (x + residual) * mask
            total = total + out
        return total * mask


class PosteriorEncoder(nn.Module):
    """Spectrogram to the Gaussian of the latent (public key ``enc_q``); used in training only.

    With ``pitch`` it also reads that many numbers about F0 of each frame: bins of 16 Hz tell F0 only roughly. Their
    weights begin at zero, so that a network that learnt without them can go on with them.
    """

    def __init__(
        self, bins: int, channels: int, hidden: int, kernel: int, layers: int, style: int, pitch: int = 0
    ) -> None:
        super().__init__()
        if pitch:
            self.pitch = nn.Conv1d(pitch, hidden, 1, bias=False)
            nn.init.zeros_(self.pitch.weight)
        self.pre = nn.Conv1d(bins, hidden, 1)
        self.enc = GatedStack(hidden, kernel, layers, style)
        self.proj = nn.Conv1d(hidden, 2 * channels, 1)

    def forward(
        self,
        spectrogram: Tensor,
        mask: Tensor,
        style: Tensor,
        noise: Tensor | None = None,
        pitch: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Sample (B, C, T), mean and log standard deviation; ``noise`` replaces the normal draw.

        ``pitch`` (B, P, T) goes to a network that reads it.

        The style gets no gradient from here, so that it does not learn to carry the content.
        """
        hidden = self.pre(spectrogram)
        if pitch is not None:
            hidden = hidden + self.pitch(pitch)
        hidden = self.enc(hidden * mask, mask, style.detach())
        mean, log_deviation = (self.proj(hidden) * mask).chunk(2, dim=1)
        if noise is None:
            noise = torch.randn_like(mean)
        return (mean + noise * log_deviation.exp()) * mask, mean, log_deviation
