"""AdamW as both trainings of SoVITS use it, and a learning rate that rises and falls."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from voiceclone.config.sovits import SoVITSSettings

BETAS, EPSILON = (0.8, 0.99), 1e-9
TEXT_MODULES = ("enc_p.text_embedding", "enc_p.encoder_text", "enc_p.mrte")


def adamw(groups: Iterable[dict[str, Any]], settings: SoVITSSettings, fused: bool) -> torch.optim.AdamW:
    """An optimiser of groups of parameters, each with its ``scale`` of the learning rate; groups may be empty."""
    return torch.optim.AdamW(
        [group for group in groups if group["params"]], lr=settings.learning_rate, betas=BETAS, eps=EPSILON,
        weight_decay=settings.weight_decay, fused=fused or None,
    )  # fmt: skip


def generator_groups(model: nn.Module, settings: SoVITSSettings) -> list[dict[str, Any]]:
    """Trainable parameters in two groups: the text encoder learns more slowly."""
    text: list[Tensor] = []
    rest: list[Tensor] = []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            (text if name.startswith(TEXT_MODULES) else rest).append(parameter)
    return [{"params": rest, "scale": 1.0}, {"params": text, "scale": settings.text_learning_rate}]


def whole_group(model: nn.Module) -> list[dict[str, Any]]:
    """All parameters of a network in one group."""
    return [{"params": list(model.parameters()), "scale": 1.0}]


def set_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of each group, by its scale."""
    for group in optimiser.param_groups:
        group["lr"] = rate * group["scale"]


def warm_cosine(step: int, steps: int, warmup: int, low: float) -> float:
    """Share of the highest learning rate in a step, counted from 0: it rises from zero, then falls along a cosine.

    Args:
        step: of the training.
        steps: in all.
        warmup: steps in which it rises.
        low: share at the end.
    """
    if step < warmup:
        return (step + 1) / warmup
    position = min(1.0, (step - warmup) / max(1, steps - warmup))
    return low + (1 - low) * 0.5 * (1 + math.cos(math.pi * position))
