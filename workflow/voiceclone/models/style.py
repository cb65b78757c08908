"""Style encoder: one vector that says how a recording sounds (MelStyleEncoder of Meta-StyleSpeech, Min et al. 2021)."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor, nn


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
