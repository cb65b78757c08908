"""HiFi-GAN's discriminators: one on the raw waveform, one per period (Kong et al. 2020), public keys."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from voiceclone.models.architecture import Architecture
from voiceclone.models.layers import weight_norm

SLOPE = 0.1

#: What one discriminator says of a batch: logits (B, K) and the feature map of every layer.
Judgement = tuple[Tensor, list[Tensor]]


@dataclass(frozen=True)
class DiscriminatorConfig(Architecture):
    """Periods in samples, and a divisor of all channel counts (a power of two up to 4)."""

    periods: tuple[int, ...] = (2, 3, 5, 7, 11)
    channel_divisor: int = 1

    @classmethod
    def v2(cls) -> DiscriminatorConfig:
        """The set that v2 is trained against."""
        return cls()

    @classmethod
    def v2pro(cls) -> DiscriminatorConfig:
        """The set that v2Pro is trained against."""
        return cls(periods=(2, 3, 5, 7, 11, 17, 23))

    @classmethod
    def nano(cls) -> DiscriminatorConfig:
        """A set small enough for training on a CPU."""
        return cls(periods=(3, 7), channel_divisor=4)


class WaveDiscriminator(nn.Module):
    """Grouped one-dimensional convolutions on the waveform."""

    def __init__(self, divisor: int = 1) -> None:
        super().__init__()
        widths = [1, *(width // divisor for width in (16, 64, 256, 1024, 1024, 1024))]
        kernels, strides = (15, 41, 41, 41, 41, 5), (1, 4, 4, 4, 4, 1)
        grouped = (False, True, True, True, True, False)
        self.convs = nn.ModuleList(
            weight_norm(
                nn.Conv1d(
                    before, after, kernel, stride,
                    padding=kernel // 2, groups=max(before // 4, 1) if group else 1,
                )
            )
            for before, after, kernel, stride, group in zip(
                widths[:-1], widths[1:], kernels, strides, grouped, strict=True
            )
        )  # fmt: skip
        self.conv_post = weight_norm(nn.Conv1d(widths[-1], 1, 3, padding=1))

    def forward(self, audio: Tensor) -> Judgement:
        """Judge a waveform (B, 1, N)."""
        return _convolve(audio, self.convs, self.conv_post)


class PeriodDiscriminator(nn.Module):
    """Two-dimensional convolutions on the waveform folded to rows of ``period`` samples."""

    def __init__(self, period: int, divisor: int = 1) -> None:
        super().__init__()
        self.period = period
        widths = [1, *(width // divisor for width in (32, 128, 512, 1024, 1024))]
        self.convs = nn.ModuleList(
            weight_norm(nn.Conv2d(before, after, (5, 1), (stride, 1), padding=(2, 0)))
            for before, after, stride in zip(widths[:-1], widths[1:], (3, 3, 3, 3, 1), strict=True)
        )
        self.conv_post = weight_norm(nn.Conv2d(widths[-1], 1, (3, 1), padding=(1, 0)))

    def forward(self, audio: Tensor) -> Judgement:
        """Judge a waveform (B, 1, N)."""
        audio = F.pad(audio, (0, -audio.shape[-1] % self.period), mode="reflect")
        return _convolve(audio.unflatten(-1, (-1, self.period)), self.convs, self.conv_post)


class MultiPeriodDiscriminator(nn.Module):
    """The whole set: the waveform discriminator first, then one per period."""

    def __init__(self, config: DiscriminatorConfig | None = None) -> None:
        super().__init__()
        self.config = config or DiscriminatorConfig()
        divisor = self.config.channel_divisor
        self.discriminators = nn.ModuleList(
            [WaveDiscriminator(divisor), *(PeriodDiscriminator(period, divisor) for period in self.config.periods)]
        )

    def forward(self, audio: Tensor) -> list[Judgement]:
        """Judge a waveform (B, 1, N); real and generated ones may be concatenated along the batch."""
        return [discriminator(audio) for discriminator in self.discriminators]


def _convolve(x: Tensor, convs: nn.ModuleList, last: nn.Module) -> Judgement:
    maps = []
    for conv in convs:
        x = F.leaky_relu(conv(x), SLOPE)
        maps.append(x)
    x = last(x)
    maps.append(x)
    return x.flatten(1), maps
