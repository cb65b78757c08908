"""SoVITS: semantic tokens, phones and a style to a 32 kHz waveform.

The network of the public GPT-SoVITS (v2, v2Pro), key for key: a conditional variational autoencoder with a flow and a
HiFi-GAN decoder (VITS), whose prior sees quantised content features and phones; the size ``small`` has a source-filter
decoder instead (:mod:`voiceclone.models.vocoder`). One module serves training (:meth:`SoVITS.forward_train`)
and inference (:meth:`SoVITS.decode`), whose halves the export traces.

In the order of this file: style encoder (MelStyleEncoder of Meta-StyleSpeech, Min et al. 2021), frozen vector
quantiser (nearest neighbour by Euclidean distance, EnCodec's layout of keys), prior and posterior encoders (VITS, Kim
et al. 2021, with GPT-SoVITS's attention of content to text), flow (mean-only affine couplings, Dinh et al. 2017), the
whole.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from voiceclone.errors import ConfigError
from voiceclone.models.architecture import Architecture
from voiceclone.models.layers import frame_mask, remove_weight_norm, weight_norm
from voiceclone.models.vocoder import Decoder, SourceFilterDecoder
from voiceclone.sound.spectra import SOURCE_FILTER


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

    With ``pitch`` it also reads that many numbers about F0 of each frame: bins of 16 Hz show F0 only roughly. Their
    weights begin at zero, so that a network that learnt without them can continue with them.
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


class Coupling(nn.Module):
    """Shifts one half of the channels by a function of the other half."""

    def __init__(self, channels: int, hidden: int, kernel: int, layers: int, style: int) -> None:
        super().__init__()
        self.pre = nn.Conv1d(channels // 2, hidden, 1)
        self.enc = GatedStack(hidden, kernel, layers, style)
        self.post = nn.Conv1d(hidden, channels // 2, 1)
        for parameter in self.post.parameters():  # starts as the identity
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor, mask: Tensor, style: Tensor, reverse: bool = False) -> Tensor:
        """Map (B, C, T) within the mask (B, 1, T), given the style (B, G, 1)."""
        first, second = x.chunk(2, dim=1)
        shift = self.post(self.enc(self.pre(first) * mask, mask, style)) * mask
        second = (second - shift) * mask if reverse else shift + second * mask
        return torch.cat([first, second], dim=1)


class Flip(nn.Module):
    """Reverses the order of the channels, so that both halves get their turn."""

    def forward(self, x: Tensor, mask: Tensor, style: Tensor, reverse: bool = False) -> Tensor:
        """Map (B, C, T)."""
        return x.flip(1)


class Flow(nn.Module):
    """Couplings with a flip after each (public keys ``flows.0``, ``flows.2`` ...)."""

    def __init__(self, channels: int, hidden: int, kernel: int, layers: int, couplings: int, style: int) -> None:
        super().__init__()
        self.flows = nn.ModuleList(
            module for _ in range(couplings) for module in (Coupling(channels, hidden, kernel, layers, style), Flip())
        )

    def forward(self, x: Tensor, mask: Tensor, style: Tensor, reverse: bool = False) -> Tensor:
        """Posterior to prior (B, C, T) within the mask (B, 1, T); prior to posterior if ``reverse``."""
        for module in reversed(self.flows) if reverse else self.flows:
            x = module(x, mask, style, reverse)
        return x


#: Content frames (50 Hz) per semantic token (25 Hz).
FRAMES_PER_TOKEN = 2
HIFIGAN = "hifigan"


@dataclass(frozen=True)
class SoVITSConfig(Architecture):
    """Sizes of SoVITS; the defaults are those of v2.

    ``decoder`` names the class that makes the waveform; ``trunk_*`` are sizes of the source-filter decoder,
    ``decoder_channels``, ``upsample_kernels`` and ``resblock_*`` of the HiFi-GAN, ``upsample_rates`` of both.
    """

    OPTIONS: ClassVar[frozenset[str]] = frozenset(
        {"decoder", "posterior_pitch", "trunk_width", "trunk_hidden", "trunk_blocks"}
    )

    sample_rate: int = 32000
    spec_channels: int = 1025
    segment_frames: int = 32
    ssl_dim: int = 768
    codes: int = 1024
    phones: int = 732
    inter_channels: int = 192
    hidden_channels: int = 192
    filter_channels: int = 768
    heads: int = 2
    layers: int = 6
    kernel: int = 3
    dropout: float = 0.1
    gin_channels: int = 512
    style_bins: int = 704
    style_hidden: int = 128
    mrte_channels: int = 512
    mrte_heads: int = 4
    posterior_layers: int = 16
    flow_layers: int = 4
    flow_couplings: int = 4
    gated_kernel: int = 5
    decoder_channels: int = 512
    upsample_rates: tuple[int, ...] = (10, 8, 2, 2, 2)
    upsample_kernels: tuple[int, ...] = (16, 16, 8, 2, 2)
    resblock_kernels: tuple[int, ...] = (3, 7, 11)
    resblock_dilations: tuple[tuple[int, ...], ...] = ((1, 3, 5), (1, 3, 5), (1, 3, 5))
    speaker_vector_size: int = 0
    decoder: str = HIFIGAN
    trunk_width: int = 256
    trunk_hidden: int = 768
    trunk_blocks: int = 6
    posterior_pitch: int = 0

    def __post_init__(self) -> None:
        if self.decoder not in (HIFIGAN, SOURCE_FILTER):
            raise ConfigError(f"SoVITSConfig: decoder {self.decoder!r}, expected {HIFIGAN} or {SOURCE_FILTER}")
        if not self.speaker_vector_size and self.gin_channels != self.mrte_channels:
            raise ConfigError(
                f"SoVITSConfig: gin_channels {self.gin_channels} and mrte_channels {self.mrte_channels} differ, "
                "expected the same unless speaker_vector_size is set"
            )

    @property
    def hop(self) -> int:
        """Samples per frame."""
        product = 1
        for rate in self.upsample_rates:
            product *= rate
        return product

    @classmethod
    def v2(cls) -> SoVITSConfig:
        """The public v2."""
        return cls()

    @classmethod
    def v2pro(cls) -> SoVITSConfig:
        """The public v2Pro: a wider style that takes in a speaker vector of 20480."""
        return cls(dropout=0.0, gin_channels=1024, speaker_vector_size=20480)

    @classmethod
    def v2proplus(cls) -> SoVITSConfig:
        """The public v2ProPlus: v2Pro with a wider vocoder."""
        return replace(cls.v2pro(), decoder_channels=768, upsample_kernels=(20, 16, 8, 2, 2))

    @classmethod
    def nano(cls, ssl_dim: int = 512, codes: int = 256) -> SoVITSConfig:
        """A size that trains from scratch on a laptop, with a speaker vector of 192."""
        return cls(
            ssl_dim=ssl_dim, codes=codes, inter_channels=96, hidden_channels=96, filter_channels=256, layers=2,
            gin_channels=128, style_hidden=64, mrte_channels=128, mrte_heads=2,
            posterior_layers=6, flow_layers=2, flow_couplings=4, decoder_channels=128,
            resblock_kernels=(3, 7), resblock_dilations=((1, 3), (1, 3)), speaker_vector_size=192,
        )  # fmt: skip

    @classmethod
    def small(cls, ssl_dim: int = 512, codes: int = 512) -> SoVITSConfig:
        """The base voice's size: nano with deeper encoders and a source-filter decoder."""
        return replace(cls.nano(ssl_dim, codes), layers=4, dropout=0.0, segment_frames=64, decoder=SOURCE_FILTER)


@dataclass(frozen=True)
class TrainingOutput:
    """Output of a training forward pass, for the losses.

    Args:
        audio: generated slices (B, 1, segment_frames * hop).
        slice_starts: their first frames, int64 (B,).
        z: posterior sample (B, C, T).
        z_p: the same after the flow (B, C, T).
        m_p: mean of the prior (B, C, T).
        logs_p: log standard deviation of the prior (B, C, T).
        m_q: mean of the posterior (B, C, T).
        logs_q: log standard deviation of the posterior (B, C, T).
        mask: 1 for valid frames (B, 1, T).
        quantized: content after quantisation (B, D, T).
        style: (B, G, 1).
    """

    audio: Tensor
    slice_starts: Tensor
    z: Tensor
    z_p: Tensor
    m_p: Tensor
    logs_p: Tensor
    m_q: Tensor
    logs_q: Tensor
    mask: Tensor
    quantized: Tensor
    style: Tensor


class SoVITS(nn.Module):
    """The generator (upstream: SynthesizerTrn). ``ssl_proj`` and quantiser are frozen: the GPT knows their tokens."""

    def __init__(self, config: SoVITSConfig) -> None:
        super().__init__()
        self.config = c = config
        self.enc_p = PriorEncoder(
            c.ssl_dim, c.phones, c.inter_channels, c.hidden_channels, c.filter_channels, c.heads, c.layers,
            c.kernel, c.dropout, c.mrte_channels, c.mrte_heads,
        )  # fmt: skip
        self.dec = _decoder(c)
        self.enc_q = PosteriorEncoder(
            c.spec_channels, c.inter_channels, c.hidden_channels, c.gated_kernel, c.posterior_layers, c.gin_channels,
            c.posterior_pitch,
        )  # fmt: skip
        self.flow = Flow(
            c.inter_channels, c.hidden_channels, c.gated_kernel, c.flow_layers, c.flow_couplings, c.gin_channels
        )
        self.ref_enc = StyleEncoder(c.style_bins, c.style_hidden, c.gin_channels)
        self.ssl_proj = nn.Conv1d(c.ssl_dim, c.ssl_dim, FRAMES_PER_TOKEN, stride=FRAMES_PER_TOKEN)
        self.ssl_proj.requires_grad_(False)
        self.quantizer = Quantizer(c.codes, c.ssl_dim)
        if c.speaker_vector_size:
            self.sv_emb = nn.Linear(c.speaker_vector_size, c.gin_channels)
            self.ge_to512 = nn.Linear(c.gin_channels, c.mrte_channels)
            self.prelu = nn.PReLU(num_parameters=c.gin_channels)

    def forward(self, *args: Any, **kwargs: Any) -> TrainingOutput:
        """:meth:`forward_train`, under the name that distributed training calls."""
        return self.forward_train(*args, **kwargs)

    def forward_train(
        self,
        content: Tensor,
        spectrogram: Tensor,
        lengths: Tensor,
        phones: Tensor,
        phone_lengths: Tensor,
        speaker_vector: Tensor | None = None,
        slice_starts: Tensor | None = None,
        noise: Tensor | None = None,
    ) -> TrainingOutput:
        """Encode right-padded recordings and decode one slice of each.

        Args:
            content: features (B, D, T), T even.
            spectrogram: magnitudes (B, 1025, T).
            lengths: valid frames int64 (B,), none shorter than ``segment_frames``.
            phones: int64 (B, L).
            phone_lengths: int64 (B,).
            speaker_vector: (B, S) where the configuration has one.
            slice_starts: first frames of the slices int64 (B,); drawn if None.
            noise: (B, C, T) in place of the posterior's normal draw.
        """
        style = self.style(spectrogram, speaker_vector, lengths)
        quantized = self.quantized(self.extract_codes(content))
        _, m_p, logs_p, mask = self.enc_p(quantized, lengths, phones, phone_lengths, self._prior_style(style))
        z, m_q, logs_q = self.enc_q(spectrogram, mask, style, noise)
        z_p = self.flow(z, mask, style)
        if slice_starts is None:
            slice_starts = random_starts(lengths, self.config.segment_frames)
        audio = self.dec(take_slices(z, slice_starts, self.config.segment_frames), style)
        return TrainingOutput(audio, slice_starts, z, z_p, m_p, logs_p, m_q, logs_q, mask, quantized, style)

    @torch.no_grad()
    def extract_codes(self, content: Tensor) -> Tensor:
        """Semantic tokens int64 (B, 1, T // 2) of content features (B, D, T), never in half precision by autocast."""
        with torch.autocast(content.device.type, enabled=False):
            return self.quantizer.encode(self.ssl_proj(content))

    def quantized(self, codes: Tensor) -> Tensor:
        """Content vectors (B, D, 2 T) at the frame rate of codes int64 (B, 1, T)."""
        return F.interpolate(self.quantizer.decode(codes), scale_factor=float(FRAMES_PER_TOKEN), mode="nearest")

    def style(self, spectrogram: Tensor, speaker_vector: Tensor | None = None, lengths: Tensor | None = None) -> Tensor:
        """Style vector of recordings; the mean over several recordings of a voice is a style too.

        Args:
            spectrogram: magnitudes (B, 1025, F).
            speaker_vector: (B, S) where the configuration has one.
            lengths: valid frames (B,); None: all.

        Returns:
            Style (B, G, 1).
        """
        style: Tensor = self.ref_enc(spectrogram, frame_mask(lengths, spectrogram))
        if not self.config.speaker_vector_size:
            return style
        if speaker_vector is None:
            raise ConfigError(f"style: a speaker vector of {self.config.speaker_vector_size} is expected, got none")
        out: Tensor = self.prelu(style + self.sv_emb(speaker_vector).unsqueeze(-1))
        return out

    def prior(
        self,
        codes: Tensor,
        phones: Tensor,
        style: Tensor,
        frames: int | None = None,
        lengths: Tensor | None = None,
        phone_lengths: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Prior of codes (B, 1, T), phones (B, L) and style (B, G, 1).

        Args:
            codes: int64 (B, 1, T).
            phones: int64 (B, L).
            style: (B, G, 1).
            frames: stretch the prior to this length; None: its own, 2 T.
            lengths: valid frames int64 (B,), of the 2 T; None: all.
            phone_lengths: valid phones int64 (B,); None: all.

        Returns:
            Hidden states (B, H, 2 T), mean and log standard deviation (B, C, 2 T), mask (B, 1, 2 T).
        """
        out: tuple[Tensor, Tensor, Tensor, Tensor] = self.enc_p(
            self.quantized(codes), lengths, phones, phone_lengths, self._prior_style(style), frames
        )
        return out

    def flow_reverse(self, z_p: Tensor, mask: Tensor, style: Tensor) -> Tensor:
        """Latent (B, C, T) of a sample of the prior."""
        out: Tensor = self.flow(z_p, mask, style, reverse=True)
        return out

    def decode(
        self,
        codes: Tensor,
        phones: Tensor,
        style: Tensor,
        noise: Tensor | None = None,
        noise_scale: float = 0.5,
        speed: float = 1.0,
    ) -> Tensor:
        """Speak semantic tokens.

        Args:
            codes: int64 (B, 1, T).
            phones: int64 (B, L).
            style: (B, G, 1), as :meth:`style` returns it.
            noise: (B, C, 2 T) in units of the prior's deviation, already scaled; drawn with ``noise_scale`` if None.
            noise_scale: of the drawn noise; 0 takes the mean.
            speed: above 1 speaks faster.

        Returns:
            Waveform (B, 1, 2 T * hop) at 32 kHz; int(2 T / speed) + 1 frames if the speed is not 1.
        """
        frames = None if speed == 1.0 else int(FRAMES_PER_TOKEN * codes.shape[-1] / speed) + 1
        if noise is None:
            length = frames or FRAMES_PER_TOKEN * codes.shape[-1]
            shape = (len(codes), self.config.inter_channels, length)
            noise = torch.randn(shape, device=style.device, dtype=style.dtype) * noise_scale
        return self.vocode(self.latent(codes, phones, style, noise, frames), style)

    def latent(self, codes: Tensor, phones: Tensor, style: Tensor, noise: Tensor, frames: int | None = None) -> Tensor:
        """The first half of :meth:`decode`: what the decoder makes audible.

        Args:
            codes: int64 (B, 1, T).
            phones: int64 (B, L).
            style: (B, G, 1).
            noise: (B, C, F), scaled; F is ``frames``, or 2 T.
            frames: see :meth:`prior`.

        Returns:
            Latent (B, C, F).
        """
        _, mean, log_deviation, mask = self.prior(codes, phones, style, frames)
        return self.flow_reverse(mean + noise * log_deviation.exp(), mask, style) * mask

    def vocode(self, latent: Tensor, style: Tensor) -> Tensor:
        """The second half of :meth:`decode`: waveform (B, 1, F * hop) of a latent (B, C, F) and style (B, G, 1)."""
        out: Tensor = self.dec(latent, style)
        return out

    def remove_weight_norm(self) -> None:
        """Fold weight norm into plain weights; for inference and export, the state dict then has other keys."""
        remove_weight_norm(self)

    def _prior_style(self, style: Tensor) -> Tensor:
        if not self.config.speaker_vector_size:
            return style
        out: Tensor = self.ge_to512(style.squeeze(-1)).unsqueeze(-1)
        return out


def _decoder(c: SoVITSConfig) -> Decoder | SourceFilterDecoder:
    """The part that makes the waveform."""
    if c.decoder == SOURCE_FILTER:
        return SourceFilterDecoder(
            c.inter_channels, c.gin_channels, c.trunk_width, c.trunk_hidden, c.trunk_blocks, c.hop, c.sample_rate
        )
    return Decoder(
        c.inter_channels, c.decoder_channels, c.upsample_rates, c.upsample_kernels, c.resblock_kernels,
        c.resblock_dilations, c.gin_channels,
    )  # fmt: skip


def random_starts(lengths: Tensor, frames: int) -> Tensor:
    """First frames int64 (B,) of slices of ``frames`` that lie within ``lengths`` (B,), uniform."""
    room = (lengths - frames + 1).clamp(min=1)
    return (torch.rand(len(lengths), device=lengths.device) * room).long()


def take_slices(sequence: Tensor, starts: Tensor, size: int) -> Tensor:
    """Slices (B, C, size) of a sequence (B, C, T) from ``starts`` (B,)."""
    return torch.stack([item[:, start : start + size] for item, start in zip(sequence, starts.tolist(), strict=True)])
