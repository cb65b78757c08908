"""Training from text to semantic tokens."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from voiceclone.stage import Stage, label
from voiceclone.stages.settings import Block, RuntimeSettings, TrainingSettings, training_arguments


class LoRASettings(Block):
    """Low-rank adapters (Hu et al. 2021)."""

    rank: int = Field(
        0, ge=0, le=512, description="Rank of the adapters; 0: off, all weights are trained. 16 is usual."
    )
    alpha: float = Field(32.0, gt=0, le=4096, description="The adapters' product counts alpha / rank times.")
    dropout: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Dropout before the adapters; those of in_proj, which change the weight, have none.",
    )
    targets: tuple[Literal["in_proj", "out_proj", "linear1", "linear2"], ...] = Field(
        ("in_proj", "out_proj", "linear1", "linear2"),
        min_length=1,
        description="Adapted weights of each layer: in_proj (queries, keys, values), out_proj (attention's output), "
        "linear1 and linear2 (feed-forward).",
    )


class SmallSettings(Block):
    """Training of architecture small, beside what all have: a pointer, joined utterances, noise, draws by weight."""

    batch_tokens: int = Field(
        4200, ge=0, le=1_000_000, description="Phones and tokens in a batch, about; 0: batch_size utterances."
    )
    pointer_weight: float = Field(
        0.3, ge=0, le=100, description="Weight of the loss that teaches which phone each token speaks."
    )
    pointer_final_weight: float = Field(
        0.05, ge=0, le=100, description="The same at the end; it falls over the last quarter of the steps."
    )
    label_smoothing: float = Field(
        0.03, ge=0, lt=1, description="Share of probability that the loss spreads over all tokens."
    )
    token_noise: float = Field(
        0.12,
        ge=0,
        le=1,
        description="Largest share of the tokens read that are replaced; it is drawn for each utterance from zero on.",
    )
    joined: float = Field(
        0.35,
        ge=0,
        le=1,
        description="Share of the items that have another utterance of the speaker before them, as prompts are.",
    )
    longest_joined: int = Field(
        720, ge=2, le=100_000, description="Most phones and tokens of two joined utterances; 720 are about 19 s."
    )


class GPTSettings(TrainingSettings):
    """Architecture and training of the GPT."""

    CONTINUES: ClassVar[frozenset[str]] = TrainingSettings.CONTINUES | {"pointer_steps"}

    architecture: Literal["nano", "small", "v2"] = Field(
        "v2",
        description="Size of a model without a base: v2 as the public ones, nano for a laptop, small as the base "
        "voice, which has a pointer and is trained as the block small says, also from a base.",
    )
    optimizer: Literal["adamw", "scaled_adam"] = Field(
        "adamw",
        description="adamw, or scaled_adam as GPT-SoVITS uses it: its learning rate is relative to the size "
        "of the weights (0.002 to 0.01), and neither weight_decay nor gradient_clip applies.",
    )
    schedule: Literal["cosine", "public"] = Field(
        "cosine",
        description="Learning rate over the steps: warm-up, then a cosine; or GPT-SoVITS's, for scaled_adam alone: "
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
    lora: LoRASettings = Field(
        LoRASettings(),
        description="Adapters that are trained in place of the weights, and merged into them at the end.",
    )
    train_last_layers: int = Field(
        0, ge=0, le=1000, description="Train only this many last layers and the output; the rest is frozen. 0: all."
    )

    pointer_steps: int = Field(
        0,
        ge=0,
        le=1_000_000,
        description="Steps in which a network without a pointer gets one when it is trained, all else frozen: it finds "
        "the phone of each token; 300 are enough. 0: none.",
    )
    small: SmallSettings = Field(SmallSettings(), description="Training of architecture small, beside what all have.")

    @model_validator(mode="after")
    def _public_schedule_needs_its_optimizer(self) -> Self:
        if self.schedule == "public" and self.optimizer != "scaled_adam":
            raise ValueError("schedule: public is made for optimizer: scaled_adam; take both or cosine")
        return self

    @model_validator(mode="after")
    def _lora_fits(self) -> Self:
        if not self.lora.rank:
            return self
        wrong = {
            "base": not self.base,
            "optimizer: adamw": self.optimizer != "adamw",
            "train_last_layers: 0": self.train_last_layers > 0,
        }
        for needed in (name for name, is_wrong in wrong.items() if is_wrong):
            raise ValueError(f"lora.rank above 0 needs {needed}")
        return self

    def fingerprint(self) -> dict[str, Any]:
        """The settings that make another training when they change; adapters that are off have none, nor what only
        another architecture reads."""
        unused = {"lora"} if not self.lora.rank else set()
        unused |= {"small"} if self.architecture != "small" else {"batch_size"} if self.small.batch_tokens else set()
        return {name: value for name, value in super().fingerprint().items() if name not in unused}


def arguments(parser: ArgumentParser) -> None:
    training_arguments(parser)
    parser.add_argument("--alignment", type=Path, nargs="?", help="table of the phones' tokens, for small")


def run(args: Namespace, settings: GPTSettings, runtime: RuntimeSettings) -> None:
    from voiceclone.training.processes import launch

    if settings.train:
        launch(runtime)
    from voiceclone.training.finetuning import choose_asset
    from voiceclone.training.gpt import train_gpt
    from voiceclone.training.run import output_files

    train_gpt(
        args.features_dir,
        args.state_dir,
        output_files(args),
        settings,
        runtime,
        base=choose_asset(settings.base, args.assets),
        threads=args.threads,
        label=label(args, "GPT"),
        alignment=args.alignment,
    )


STAGE = Stage(
    "train_gpt", arguments, run, block="gpt", settings=GPTSettings,
    about="Training: text to semantic tokens.", models=lambda config: [config.gpt.base],
)  # fmt: skip
