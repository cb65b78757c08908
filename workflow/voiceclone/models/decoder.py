"""HiFi-GAN generator (Kong et al. 2020), conditioned on the style."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from voiceclone.models.norm import weight_norm

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
