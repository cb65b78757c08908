"""What the step loop asks of a training: a recipe for its steps, and a plan of how many."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch

from voiceclone.config.training import TrainingSettings
from voiceclone.training.data import Order
from voiceclone.training.ema import WeightAverage
from voiceclone.training.parts import Stateful


class Recipe(Protocol):
    """One kind of training.

    ``parts`` is the registry of what a checkpoint holds; a part whose ``optional`` is true may be missing in older ones
    and then starts as it is made. Its ``model`` leaves the stage: the module, or the adapters that alone are trained in
    it. ``average``, if there is one, is among the parts too; the engine updates it, and validates and hands out the
    averaged weights. ``metric`` names the validation figure, lower is better, that chooses the best model.
    """

    parts: dict[str, Stateful]
    metric: str
    average: WeightAverage | None

    @property
    def order(self) -> Order:
        """Which items a step takes."""

    @property
    def model(self) -> torch.nn.Module:
        """The module that is trained."""

    def train_step(self, step: int) -> dict[str, float]:
        """Make the update of a step, counted from 0; return its losses.

        Raises:
            LeftOutError: instead of an update with figures that are not finite or explode.
            MemoryExhaustedError: the step does not fit into memory, however it is cut.
        """

    def validate(self) -> dict[str, float]:
        """Figures on the held-out utterances; empty if there are none."""

    def utterance_losses(self) -> Iterator[tuple[str, float]]:
        """Training utterances and their loss, by which suspect ones are found."""

    def sample(self) -> tuple[torch.Tensor, int] | None:
        """Sound ``(N,)`` by which a person follows the training, and its rate; None if there is none."""


@dataclass(frozen=True)
class Plan:
    """How long a training goes on and when it looks at itself; steps are optimiser steps.

    ``patience`` ends it after that many validations in a row that were no better than the best; 0: never.
    """

    steps: int
    seed: int
    log_every: int = 10
    validate_every: int = 100
    max_skipped: int = 3
    patience: int = 0

    @classmethod
    def of(cls, settings: TrainingSettings, steps: int) -> Plan:
        """The plan of a training of ``steps`` with these settings."""
        return cls(
            steps,
            settings.seed,
            settings.log_every,
            settings.validate_every,
            settings.max_skipped,
            settings.early_stopping,
        )
