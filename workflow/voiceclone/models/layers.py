"""Masks of right-padded batches, and weight normalisation (Salimans and Kingma 2016) under the public keys."""

from __future__ import annotations

import warnings
from typing import TypeVar

import torch
from torch import Tensor, nn

Module = TypeVar("Module", bound=nn.Module)


def weight_norm(module: Module) -> Module:
    """Split ``weight`` into magnitude and direction; the parametrised successor in torch would rename the keys."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return nn.utils.weight_norm(module)


def remove_weight_norm(root: nn.Module) -> None:
    """Fold magnitude and direction into plain ``weight`` parameters in every submodule that has them."""
    for module in root.modules():
        if hasattr(module, "weight_g"):
            nn.utils.remove_weight_norm(module)


def length_mask(lengths: Tensor, size: int) -> Tensor:
    """Bool (B, size): the first ``lengths`` (B,) positions of each item."""
    return torch.arange(size, device=lengths.device)[None, :] < lengths[:, None]


def frame_mask(lengths: Tensor | None, like: Tensor) -> Tensor:
    """Mask (B, 1, T) of the dtype of ``like`` (B, C, T): 1 below an item's length; all 1 without lengths."""
    if lengths is None:
        return torch.ones_like(like[:, :1])
    return length_mask(lengths, like.shape[-1]).unsqueeze(1).to(like.dtype)
