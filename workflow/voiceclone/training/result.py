"""What a finished training hands to its stage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from voiceclone.training.parts import Best


@dataclass(frozen=True)
class Result:
    """A finished training; ``losses`` are those of every training utterance under its best weights."""

    step: int
    epochs: float
    seconds: float
    last: dict[str, torch.Tensor]
    best: Best
    history: list[dict[str, Any]]
    resumes: list[dict[str, Any]]
    losses: dict[str, float] = field(default_factory=dict)

    @property
    def started(self) -> str:
        """In words, why the training was begun, and what tells it from the one before."""
        return next((str(row["reason"]) for row in self.history if row.get("event") == "started"), "")

    def heldout_at(self, step: int | None) -> dict[str, float]:
        """Held-out figures of a validated step; empty if there are none."""
        return heldout_at(self.history, step)


def heldout_at(history: Sequence[Mapping[str, Any]], step: int | None) -> dict[str, float]:
    """Held-out figures in the rows of a validated step; empty if there are none."""
    place = {"step", "epoch", "seconds", "split"}
    for row in reversed(history):
        if row.get("split") == "heldout" and row["step"] == step:
            return {name: value for name, value in row.items() if name not in place}
    return {}
