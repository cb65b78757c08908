"""SoVITS: semantic tokens, phones and a style to a 32 kHz waveform.

The network of the public GPT-SoVITS (v2, v2Pro), key for key: a conditional variational autoencoder with a flow and a
HiFi-GAN decoder (VITS), whose prior sees quantised content features and phones; the size ``small`` has a source-filter
decoder instead (:mod:`voiceclone.models.vocoder`). One module serves training (:meth:`SoVITS.forward_train`)
and inference (:meth:`SoVITS.decode`), whose halves the export traces.

In the order of this file: posterior encoder (VITS, Kim et al. 2021), flow (mean-only affine couplings, Dinh et al.
2017), the whole. Before them stand the encoders of style, content and text (:mod:`voiceclone.models.conditioning`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from voiceclone.errors import ConfigError
from voiceclone.models.architecture import Architecture
from voiceclone.models.conditioning import PriorEncoder, Quantizer, StyleEncoder
from voiceclone.models.layers import frame_mask, remove_weight_norm, weight_norm
from voiceclone.models.vocoder import Decoder, SourceFilterDecoder
from voiceclone.sound.spectra import SOURCE_FILTER


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
