"""The two decoders of SoVITS: the HiFi-GAN generator (Kong et al. 2020), and a source-filter decoder.

The latter makes pulses at F0 and noise, shaped frame by frame in the STFT domain: harmonic-plus-noise synthesis
(Stylianou 2001) with a neural filter, as in the neural source-filter models (Wang et al. 2019). A trunk of ConvNeXt
blocks (Liu et al. 2022; for vocoders Siuzdak 2023, Vocos) reads the latent and gives, 100 times a second, F0, voicing,
and magnitudes and phase of the filter. The pulses are band-limited: a sum of equal cosines, in the closed form of
Dirichlet's kernel. Speaking makes the waveform of :class:`FrameParameters` in numpy
(:mod:`voiceclone.backends.waveform`); this synthesis is the one that is trained through.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from voiceclone.models.layers import weight_norm
from voiceclone.sound.spectra import (
    BAND,
    LEAD,
    LOG_F0_CENTRE,
    LOG_F0_RANGE,
    LOG_MAGNITUDE_LIMIT,
    MARGIN,
    NEAR,
    OVERLAP,
    TRAIL,
    UPSAMPLING,
    WINDOW_SUM,
)

SLOPE = 0.1


class ResidualBlock(nn.Module):
    """Pairs of a dilated and a plain convolution, each pair with a residual connection."""

    def __init__(self, channels: int, kernel: int, dilations: Sequence[int]) -> None:
        super().__init__()

        def convolution(dilation: int) -> nn.Conv1d:
            padding = dilation * (kernel - 1) // 2
            return weight_norm(nn.Conv1d(channels, channels, kernel, dilation=dilation, padding=padding))

        self.convs1 = nn.ModuleList(convolution(dilation) for dilation in dilations)
        self.convs2 = nn.ModuleList(convolution(1) for _ in dilations)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, N)."""
        for dilated, plain in zip(self.convs1, self.convs2, strict=True):
            x = x + plain(F.leaky_relu(dilated(F.leaky_relu(x, SLOPE)), SLOPE))
        return x


class Decoder(nn.Module):
    """Latent frames to waveform.

    Args:
        inputs: channels of the latent.
        channels: width before the first upsampling; halved at each.
        rates: upsampling factors; their product is the hop.
        kernels: of the upsampling convolutions.
        block_kernels: of the residual blocks, whose outputs are averaged.
        block_dilations: of each residual block.
        style: channels of the style.
    """

    def __init__(
        self,
        inputs: int,
        channels: int,
        rates: Sequence[int],
        kernels: Sequence[int],
        block_kernels: Sequence[int],
        block_dilations: Sequence[Sequence[int]],
        style: int,
    ) -> None:
        super().__init__()
        self.blocks_per_stage = len(block_kernels)
        widths = [channels >> stage for stage in range(len(rates) + 1)]
        self.conv_pre = nn.Conv1d(inputs, channels, 7, padding=3)
        self.ups = nn.ModuleList(
            weight_norm(nn.ConvTranspose1d(before, after, kernel, rate, padding=(kernel - rate) // 2))
            for before, after, rate, kernel in zip(widths[:-1], widths[1:], rates, kernels, strict=True)
        )
        self.resblocks = nn.ModuleList(
            ResidualBlock(width, kernel, dilations)
            for width in widths[1:]
            for kernel, dilations in zip(block_kernels, block_dilations, strict=True)
        )
        self.conv_post = nn.Conv1d(widths[-1], 1, 7, padding=3, bias=False)
        self.cond = nn.Conv1d(style, channels, 1)

    def forward(self, latent: Tensor, style: Tensor) -> Tensor:
        """Waveform (B, 1, T * hop) in [-1, 1] of latent (B, C, T) and style (B, G, 1)."""
        return self.tail(self.head(latent, style))

    def head(self, latent: Tensor, style: Tensor) -> Tensor:
        """First stage: (B, channels / 2, T * rates[0]). It looks far to both sides and costs little."""
        return self._stage(0, self.conv_pre(latent) + self.cond(style))

    def tail(self, x: Tensor) -> Tensor:
        """Further stages: waveform of :meth:`head`'s result. They look less than two frames to either side."""
        for stage in range(1, len(self.ups)):
            x = self._stage(stage, x)
        # The public network uses torch's default slope here.
        return torch.tanh(self.conv_post(F.leaky_relu(x)))

    def _stage(self, stage: int, x: Tensor) -> Tensor:
        x = self.ups[stage](F.leaky_relu(x, SLOPE))
        first = stage * self.blocks_per_stage
        blocks = self.resblocks[first : first + self.blocks_per_stage]
        total: Tensor = sum(block(x) for block in blocks) / len(blocks)
        return total


class FrameParameters(NamedTuple):
    """Parameters of frames at 100 Hz from the trunk; float32.

    Args:
        log_f0: natural logarithm of F0 in Hz (B, T).
        voicing: logits, voiced above 0 (B, T).
        harmonic: log magnitude of the filter of the pulses (B, T, bins).
        noise: log magnitude of the filter of the noise (B, T, bins).
        phase: of the filter of the pulses, in radians (B, T, bins).
    """

    log_f0: Tensor
    voicing: Tensor
    harmonic: Tensor
    noise: Tensor
    phase: Tensor


class ConvNeXtBlock(nn.Module):
    """Depthwise convolution, norm and two linear layers, with a residual connection and a learnt scale."""

    def __init__(self, channels: int, hidden: int, kernel: int = 7) -> None:
        super().__init__()
        self.dw = nn.Conv1d(channels, channels, kernel, padding=kernel // 2, groups=channels)
        self.n = nn.LayerNorm(channels)
        self.a = nn.Linear(channels, hidden)
        self.b = nn.Linear(hidden, channels)
        self.g = nn.Parameter(torch.full((channels,), 0.1))

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Map (B, C, T), given a condition (B, C, 1)."""
        y = self.dw(x + condition).transpose(1, 2)
        y = self.b(F.gelu(self.a(self.n(y))))
        return x + (self.g * y).transpose(1, 2)


class SourceFilterDecoder(nn.Module):
    """Latent frames to waveform.

    Args:
        inputs: channels of the latent.
        style: channels of the style.
        width: of the trunk.
        hidden: inner width of its blocks.
        blocks: of the trunk.
        hop: samples per frame of the latent.
        sample_rate: in Hz.
    """

    window: Tensor

    def __init__(
        self, inputs: int, style: int, width: int, hidden: int, blocks: int, hop: int, sample_rate: int
    ) -> None:
        super().__init__()
        self.width, self.hop, self.sample_rate = width, hop // UPSAMPLING, sample_rate
        self.bins = OVERLAP * self.hop // 2 + 1
        self.pre = nn.Conv1d(inputs, width * UPSAMPLING, 7, padding=3)
        self.cond = nn.Linear(style, width * blocks)
        self.blocks = nn.ModuleList(ConvNeXtBlock(width, hidden) for _ in range(blocks))
        self.norm = nn.LayerNorm(width)
        self.shape = nn.Linear(width, 3 * self.bins)
        self.pitch = nn.Sequential(nn.Conv1d(width, width, 5, padding=2), nn.GELU(), nn.Conv1d(width, 2, 1))
        self.register_buffer("window", torch.hann_window(OVERLAP * self.hop), persistent=False)
        self._initialise()

    @torch.no_grad()
    def _initialise(self) -> None:
        """Begin quietly, in phase, at 164 Hz."""
        nn.init.normal_(self.shape.weight, std=0.02)
        self.shape.bias[: 2 * self.bins] = -3.0
        self.shape.bias[2 * self.bins :] = 0.0
        last = self.pitch[2]
        assert isinstance(last, nn.Conv1d) and last.bias is not None
        last.bias.copy_(torch.tensor([LOG_F0_CENTRE, 0.0]))

    def forward(
        self,
        latent: Tensor,
        style: Tensor,
        log_f0: Tensor | None = None,
        voiced: Tensor | None = None,
        noise: Tensor | None = None,
        start: Tensor | None = None,
    ) -> Tensor | tuple[Tensor, Tensor, Tensor]:
        """Decode with the predicted F0, or in training with the recording's.

        Args:
            latent: (B, C, T).
            style: (B, G, 1).
            log_f0: natural logarithm of F0 in Hz, without gaps (B, 2 T); None: as predicted.
            voiced: 0 to 1 (B, 2 T), with ``log_f0``.
            noise: see :meth:`source`.
            start: the same.

        Returns:
            Waveform (B, 1, T * hop); in training also the predicted log F0 and logits of voicing (B, 2 T).
        """
        frames = self.frames(latent, style)
        if log_f0 is None or voiced is None:
            log_f0, voiced = frames.log_f0.clamp(*LOG_F0_RANGE), (frames.voicing > 0).float()
            return self.synthesise(frames, log_f0, voiced, noise, start)
        return self.synthesise(frames, log_f0, voiced, noise, start), frames.log_f0, frames.voicing

    def frames(self, latent: Tensor, style: Tensor) -> FrameParameters:
        """Parameters of 2 T frames from a latent (B, C, T) and a style (B, G, 1)."""
        x = self.trunk(latent, style)
        pitch = self.pitch(x.transpose(1, 2)).float()
        harmonic, noise, phase = self.shape(x).float().split(self.bins, -1)
        return FrameParameters(pitch[:, 0], pitch[:, 1], harmonic, noise, phase)

    def trunk(self, latent: Tensor, style: Tensor) -> Tensor:
        """Hidden states (B, 2 T, width)."""
        batch, _, length = latent.shape
        x = self.pre(latent).view(batch, UPSAMPLING, self.width, length)
        x = x.permute(0, 2, 3, 1).reshape(batch, self.width, length * UPSAMPLING)
        conditions = self.cond(style.squeeze(-1)).view(batch, len(self.blocks), self.width, 1)
        for index, block in enumerate(self.blocks):
            x = block(x, conditions[:, index])
        out: Tensor = self.norm(x.transpose(1, 2))
        return out

    def synthesise(
        self,
        frames: FrameParameters,
        log_f0: Tensor,
        voiced: Tensor,
        noise: Tensor | None = None,
        start: Tensor | None = None,
    ) -> Tensor:
        """Waveform (B, 1, N) of T frames, N = T * hop of the filter; no gradient goes through the source.

        Args:
            frames: the filter.
            log_f0: (B, T).
            voiced: (B, T).
            noise: see :meth:`source`.
            start: the same.
        """
        pulses, hiss = (self._spectra(x) for x in self.source(log_f0, voiced, noise, start))
        harmonic, quiet, phase = (_continued(x, LEAD, TRAIL) for x in frames[2:])
        harmonic, quiet = (x.clamp(max=LOG_MAGNITUDE_LIMIT).exp() for x in (harmonic, quiet))
        return self._overlapped(torch.polar(harmonic, phase) * pulses + quiet * hiss)

    @torch.no_grad()
    def source(
        self, log_f0: Tensor, voiced: Tensor, noise: Tensor | None = None, start: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Pulses and noise of unit power, each (B, M): the samples of T + 6 frames, three of them before the first.

        Args:
            log_f0: natural logarithm of F0 in Hz (B, T).
            voiced: amplitude of the pulses (B, T).
            noise: normal noise (B, M); drawn if None.
            start: phase before the first of the samples, in periods, float64 (B, 1); drawn if None.
        """
        size = (log_f0.shape[-1] + 2 * MARGIN) * self.hop
        f0, amplitude = (
            F.interpolate(_padded(x.detach().double(), MARGIN, MARGIN)[:, None], size=size, mode="linear")[:, 0]
            for x in (log_f0, voiced)
        )
        f0 = f0.exp()
        if start is None:
            start = torch.rand(len(f0), 1, device=f0.device).double()
        periods = start + torch.cumsum(f0 / self.sample_rate, -1)
        # Around zero, where the pulses are high, a float32 is exact.
        phase = (2 * math.pi * (periods - periods.round())).float()
        pulses = _dirichlet(phase, (BAND * self.sample_rate / f0).floor().float()) * amplitude.float()
        return pulses, torch.randn_like(pulses) if noise is None else noise

    def _spectra(self, signal: Tensor) -> Tensor:
        """Complex spectra (B, F, bins) of windowed frames of a signal (B, (F + 3) * hop)."""
        return torch.fft.rfft(signal.unfold(-1, OVERLAP * self.hop, self.hop) * self.window)

    def _overlapped(self, spectra: Tensor) -> Tensor:
        """Waveform (B, 1, N) of spectra (B, F, bins): windowed frames, overlapped and added, without the margins."""
        frames = torch.fft.irfft(spectra, OVERLAP * self.hop) * (self.window / WINDOW_SUM)
        parts = frames.unflatten(-1, (OVERLAP, self.hop))
        whole = sum(F.pad(parts[:, :, i], (0, 0, i, OVERLAP - 1 - i)) for i in range(OVERLAP))
        assert isinstance(whole, Tensor)
        return whole[:, MARGIN:-MARGIN].flatten(1).unsqueeze(1)


def _dirichlet(phase: Tensor, harmonics: Tensor) -> Tensor:
    """Sum of the cosines of the first harmonics, of unit power: sin((K + 1/2) x) / (2 sin(x / 2)) - 1/2."""
    half = torch.sin(phase / 2)
    near = half.abs() < NEAR
    ratio = torch.sin((harmonics + 0.5) * phase) / torch.where(near, torch.ones_like(half), half)
    return torch.where(near, harmonics, (ratio - 1) / 2) * (2 / harmonics).sqrt()


def _padded(sequence: Tensor, before: int, after: int) -> Tensor:
    """A sequence (B, T) with its first and last values repeated."""
    return F.pad(sequence[:, None], (before, after), mode="replicate")[:, 0]


def _continued(frames: Tensor, before: int, after: int) -> Tensor:
    """Frames (B, T, K) with the first and the last repeated."""
    return torch.cat([frames[:, :1].expand(-1, before, -1), frames, frames[:, -1:].expand(-1, after, -1)], 1)
