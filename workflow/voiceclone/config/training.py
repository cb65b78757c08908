"""Settings that both trainings share."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from voiceclone.config.base import Block


class TrainingSettings(Block):
    """Length, batches, learning rate and selection of a training."""

    # A change of these continues the same training: they say how long, how it is watched, which model leaves.
    CONTINUES: ClassVar[frozenset[str]] = frozenset(
        {
            "epochs", "steps", "log_every", "validate_every", "early_stopping", "select", "warm_start", "base",
            "base_discriminator",
        }
    )  # fmt: skip

    base: str = Field("", description="Name of the model asset to fine-tune; empty: train from scratch.")
    warm_start: Literal["none", "previous"] = Field(
        "none",
        description="Where a new training starts when data or settings changed: from the base (none) or from the last "
        "weights of the training before it (previous).",
    )
    epochs: int = Field(10, ge=1, le=100_000, description="Passes over the training utterances, where steps is 0.")
    steps: int = Field(0, ge=0, le=10_000_000, description="Optimiser steps in all; 0: as many as epochs gives.")
    batch_size: int = Field(8, ge=1, le=1024, description="Most utterances in a batch.")
    learning_rate: float = Field(1e-4, gt=0, le=1, description="Highest learning rate.")
    weight_decay: float = Field(0.01, ge=0, le=1, description="Decoupled weight decay of AdamW.")
    log_every: int = Field(10, ge=1, le=100_000, description="Steps between two lines of the history.")
    validate_every: int = Field(100, ge=1, le=1_000_000, description="Steps between two validations.")
    early_stopping: int = Field(
        0, ge=0, le=10_000, description="Validations in a row without a better one after which it ends; 0: never."
    )
    max_skipped: int = Field(
        3, ge=0, le=1000, description="Steps in a row with a loss that is not finite before the training gives up."
    )
    seed: int = Field(1234, ge=0, lt=2**63, description="Seed of initial weights, data order, slices, noise, dropout.")

    def fingerprint(self) -> dict[str, Any]:
        """The settings that make another training when they change."""
        return self.model_dump(mode="json", exclude=set(self.CONTINUES))
