"""Normalising flow between prior and posterior: mean-only affine couplings (Dinh et al. 2017, VITS)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from voiceclone.models.encoders import GatedStack


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
