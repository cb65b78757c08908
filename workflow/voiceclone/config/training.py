"""Settings and arguments that both trainings share."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from voiceclone.config.base import Block


class TrainingSettings(Block):
    """Length, batches, learning rate and selection of a training."""

    # A change of these continues the same training: they say how long, how it is watched, which model leaves.
    CONTINUES: ClassVar[frozenset[str]] = frozenset(
        {
            "train", "epochs", "epoch_utterances", "steps", "log_every", "validate_every", "early_stopping", "select",
            "warm_start", "base", "base_discriminator", "keep_discriminator", "judged_utterances",
        }
    )  # fmt: skip
    # Where these have their defaults they stand in no fingerprint: trainings older than they are find their state.
    OPTIONS: ClassVar[frozenset[str]] = frozenset(
        {"ema_decay", "explode_ratio", "freeze", "lora", "precision", "train_last_layers"}
    )

    train: bool = Field(True, description="false: the base model is used as it is, without a single step (zero-shot).")

    base: str = Field("", description="Name of the model asset to fine-tune; empty: train from scratch.")
    warm_start: Literal["none", "previous"] = Field(
        "none",
        description="Where a new training starts when data or settings changed: from the base (none) or from the last "
        "weights of the training before it (previous).",
    )
    epochs: int = Field(10, ge=1, le=100_000, description="Passes over the training utterances, where steps is 0.")
    epoch_utterances: int = Field(
        0,
        ge=0,
        le=100_000,
        description="Where there are fewer training utterances than this, an epoch goes through them as often as that "
        "number holds theirs, at least twice; the public training does so below 100. 0: once.",
    )
    steps: int = Field(0, ge=0, le=10_000_000, description="Optimiser steps in all; 0: as many as epochs gives.")
    batch_size: int = Field(8, ge=1, le=1024, description="Most utterances in a batch.")
    learning_rate: float = Field(1e-4, gt=0, le=1, description="Highest learning rate.")
    weight_decay: float = Field(0.01, ge=0, le=1, description="Decoupled weight decay of AdamW.")
    log_every: int = Field(10, ge=1, le=100_000, description="Steps between two lines of the history.")
    validate_every: int = Field(100, ge=1, le=1_000_000, description="Steps between two validations.")
    early_stopping: int = Field(
        0, ge=0, le=10_000, description="Validations in a row without a better one after which it ends; 0: never."
    )
    judged_utterances: int = Field(
        2000,
        ge=0,
        le=10_000_000,
        description="Most training utterances whose loss is measured at the end, for those that stand out to be named; "
        "of more, so many by hash.",
    )
    max_skipped: int = Field(
        3, ge=0, le=1000, description="Steps in a row with a loss that is not finite before the training gives up."
    )
    explode_ratio: float = Field(
        20.0,
        ge=0,
        le=1e6,
        description="A loss this many times above the median of the last 100 steps explodes: its update is left out as "
        "if it were not finite. 0: never.",
    )
    precision: Literal["fp32", "tf32", "bf16", "fp16", "auto"] = Field(
        "fp32",
        description="Number format of the networks' passes; weights, losses and updates are fp32 in all. tf32 and bf16 "
        "(fastest) need a GPU from Ampere on, fp16, with a scaled loss, serves older ones. auto: bf16 where GPU or CPU "
        "(AMX, AVX512-BF16) multiply it in hardware, else fp32.",
    )
    seed: int = Field(1234, ge=0, lt=2**63, description="Seed of initial weights, data order, slices, noise, dropout.")

    ema_decay: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Decay of the exponential moving average of the weights, which is then what is validated and what "
        "leaves, best and last; 0.999 suits long trainings. 0: off.",
    )

    @model_validator(mode="after")
    def _untrained_needs_base(self) -> Self:
        if not self.train and not self.base:
            raise ValueError("train: false uses the base model as it is, but base names none")
        return self

    def fingerprint(self) -> dict[str, Any]:
        """The settings that make another training when they change."""
        fields = type(self).model_fields
        unused = {name for name in self.OPTIONS & fields.keys() if getattr(self, name) == fields[name].get_default()}
        return self.model_dump(mode="json", exclude=set(self.CONTINUES) | unused)

    def total_steps(self, utterances: int, steps_per_pass: int) -> int:
        """Optimiser steps in all.

        Args:
            utterances: of the training split.
            steps_per_pass: of one pass over them.
        """
        passes = max(2, self.epoch_utterances // utterances) if utterances < self.epoch_utterances else 1
        return self.steps or self.epochs * passes * steps_per_pass


def training_arguments(parser: ArgumentParser) -> None:
    """Add the arguments that both trainings have."""
    parser.add_argument("--features-dir", type=Path, required=True, help="folder of manifest.tsv and the stores")
    parser.add_argument("--assets", type=Path, nargs="*", default=[], help="asset.json of what the settings name")
    parser.add_argument("--state-dir", type=Path, required=True, help="folder of checkpoints, kept between runs")
    parser.add_argument("--output", type=Path, required=True, help="weights, .safetensors")
    parser.add_argument("--report", type=Path, required=True, help="what the weights are, .json")
    parser.add_argument("--history", type=Path, required=True, help="losses, .jsonl")
    parser.add_argument("--suspects", type=Path, help="training utterances by their loss, .tsv")
