"""Masks of right-padded batches."""

from __future__ import annotations

import torch
from torch import Tensor


def length_mask(lengths: Tensor, size: int) -> Tensor:
    """Bool (B, size): the first ``lengths`` (B,) positions of each item."""
    return torch.arange(size, device=lengths.device)[None, :] < lengths[:, None]


def frame_mask(lengths: Tensor | None, like: Tensor) -> Tensor:
    """Mask (B, 1, T) of the dtype of ``like`` (B, C, T): 1 below an item's length; all 1 without lengths."""
    if lengths is None:
        return torch.ones_like(like[:, :1])
    return length_mask(lengths, like.shape[-1]).unsqueeze(1).to(like.dtype)
