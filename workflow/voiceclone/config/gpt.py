"""Settings of the training from text to semantic tokens."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from voiceclone.config.training import TrainingSettings


class GPTSettings(TrainingSettings):
    """Architecture and training of the GPT."""

    architecture: Literal["nano", "v2"] = Field(
        "v2", description="Size of a model without a base: v2 as the public ones, nano for a laptop."
    )
    optimizer: Literal["adamw", "scaled_adam"] = Field(
        "adamw",
        description="adamw, or scaled_adam as the public training uses it: its learning rate is relative to the size "
        "of the weights (0.002 to 0.01), and neither weight_decay nor gradient_clip applies.",
    )
    schedule: Literal["cosine", "public"] = Field(
        "cosine",
        description="Learning rate over the steps: warm-up, then a cosine; or the public one, for scaled_adam alone: "
        "0.01 in the first step, 0.002 from then on, whatever the other learning rate settings say.",
    )
    learning_rate: float = Field(1e-4, gt=0, le=1, description="Highest learning rate.")
    warmup_steps: int = Field(50, ge=0, le=1_000_000, description="Steps in which the learning rate rises from zero.")
    final_learning_rate: float = Field(
        0.1, ge=0, le=1, description="Learning rate at the end, as a share of the highest; it falls along a cosine."
    )
    gradient_clip: float = Field(
        1.0, gt=0, le=1000, description="Largest norm of the gradient; larger ones are scaled."
    )
    select: Literal["best", "last"] = Field(
        "best", description="Model that leaves: lowest held-out cross-entropy per token, or the last."
    )

    @model_validator(mode="after")
    def _public_schedule_needs_its_optimizer(self) -> Self:
        if self.schedule == "public" and self.optimizer != "scaled_adam":
            raise ValueError("schedule: public is made for optimizer: scaled_adam; take both or cosine")
        return self
