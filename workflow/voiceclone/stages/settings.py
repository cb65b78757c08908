"""Shared settings of the stages: their base class, its errors in words, runtime, both trainings."""

from __future__ import annotations

import difflib
import types
import typing
from argparse import ArgumentParser
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.fields import FieldInfo


class Block(BaseModel):
    """A block of settings: unknown keys are refused, values cannot be changed after validation.

    Give every field a type with its range (``Field(ge=..., le=...)``), a default and a ``description`` that a
    user understands: the default YAML, the JSON schema and the manual's table are generated from them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


def _models_of(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in typing.get_args(annotation) for model in _models_of(part)]


def _alternatives(annotation: Any) -> list[Any]:
    """The values of a Literal inside an annotation."""
    if typing.get_origin(annotation) is typing.Literal:
        return list(typing.get_args(annotation))
    return [value for part in typing.get_args(annotation) for value in _alternatives(part)]


def type_name(annotation: Any) -> str:
    """Type of a field in words of YAML."""
    names = {bool: "true or false", int: "whole number", float: "number", str: "text", type(None): "null"}
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return type_name(args[0])
    if origin is typing.Literal:
        return " | ".join(map(str, args))
    if origin in (typing.Union, types.UnionType):
        return " or ".join(type_name(part) for part in args)
    if origin in (tuple, list):
        return f"list of {type_name(args[0])}"
    if origin is dict:
        return f"table of {type_name(args[0])} to {type_name(args[1])}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "block"
    return names.get(annotation, getattr(annotation, "__name__", str(annotation)))


def allowed(field: FieldInfo) -> str:
    """Allowed values of a field: type and range."""
    bounds = []
    for rule in field.metadata:
        for name, sign in (("ge", ">="), ("gt", ">"), ("le", "<="), ("lt", "<")):
            if (value := getattr(rule, name, None)) is not None:
                bounds.append(f"{sign} {value:g}" if isinstance(value, float) else f"{sign} {value}")
        unit = " items" if typing.get_origin(field.annotation) in (tuple, list) else " characters"
        if (value := getattr(rule, "min_length", None)) is not None:
            bounds.append(f"at least {value}{unit if value > 1 else unit[:-1]}")
        if (value := getattr(rule, "max_length", None)) is not None:
            bounds.append(f"at most {value}{unit}")
        if (value := getattr(rule, "pattern", None)) is not None:
            bounds.append(f"matching {value}")
    return ", ".join([type_name(field.annotation), *bounds])


def _walk(model: type[BaseModel], location: tuple[Any, ...]) -> tuple[type[BaseModel] | None, FieldInfo | None]:
    """Model that holds the last key of a location, and the field of that key where it exists."""
    current: type[BaseModel] | None = model
    field: FieldInfo | None = None
    owner: type[BaseModel] | None = model
    container: type[BaseModel] | None = None
    for key in location:
        if current is not None:
            owner, field = current, current.model_fields.get(str(key))
            current = None
            if field is None:
                continue
            nested = _models_of(field.annotation)
            direct = nested and isinstance(field.annotation, type)
            current = nested[0] if direct else None
            container = None if direct else (nested[0] if nested else None)
        elif container is not None:  # a key or index inside a table or list of blocks
            current, container = container, None
    return owner, field


_CONSTANT = "it is a constant of the method now"
#: Keys of earlier versions that are no settings any more, and what is in their place.
REMOVED = {
    **dict.fromkeys(
        (
            "separate.tonality", "separate.excerpts", "clean.score_seconds", "transcribe.retry_compression_ratio",
            "transcribe.retry_log_probability", "transcribe.detection_utterances", "transcribe.detection_probability",
            "tokenizer.iterations", "tokenizer.frames_per_code", "corpus.split_seed", "demo", "export.opset",
            "export.parity_sentences", "export.calibration_sentences", "takes.dc_offset", "takes.clipping_share",
            "report.audio_quality", "features.speaker_encoder",
        ),
        _CONSTANT,
    ),
    **dict.fromkeys(("gpt.select", "sovits.select"), "select.by chooses the checkpoints of both trainings"),
}  # fmt: skip


def describe(error: ValidationError, model: type[BaseModel]) -> str:
    """One line per wrong key: dotted path, the value given, what is allowed, the nearest key for an unknown one."""
    lines = []
    for item in error.errors(include_url=False):
        location = tuple(item["loc"])
        path = ".".join(map(str, location)) or "(the whole file)"
        owner, field = _walk(model, location)
        if item["type"] == "extra_forbidden" and path in REMOVED:
            lines.append(f"  {path}: no setting any more, leave it out; {REMOVED[path]}")
        elif item["type"] == "extra_forbidden":
            known = list(owner.model_fields) if owner else []
            close = difflib.get_close_matches(str(location[-1]), known, 1, cutoff=0.5)
            near = f"did you mean {close[0]}?" if close else f"known keys: {', '.join(known)}"
            lines.append(f"  {path}: unknown key; {near}")
        elif item["type"] == "missing":
            lines.append(f"  {path}: missing")
        elif item["type"] == "value_error":
            lines.append(f"  {path}: {item['msg'].removeprefix('Value error, ')}")
        else:
            expected = allowed(field) if field else item["msg"]
            lines.append(f"  {path}: {item['input']!r} is not allowed; expected {expected}")
    return "\n".join(dict.fromkeys(lines))


class RuntimeSettings(Block):
    """Runtime of the stages. A change here never makes a result out of date."""

    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto",
        description="Device of separation, recognition, features and training; auto takes a CUDA GPU if there is one. "
        "The other stages compute on the processor; the bundles of TensorRT alone are built and measured on a GPU. cpu "
        "hides all GPUs from every stage.",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING"] = Field("INFO", description="Detail of the stage logs.")
    progress_seconds: float = Field(
        10.0, gt=0, le=600, description="Least seconds between two progress lines of a stage."
    )
    trackers: tuple[Literal["wandb", "mlflow"], ...] = Field(
        (),
        description="Training: trackers that get its curves beside TensorBoard: wandb (Weights & Biases, offline) and "
        "mlflow (a file store in the state folder), where they are installed.",
    )
    save_every_steps: int = Field(200, ge=1, description="Training: optimiser steps between two checkpoints.")
    save_every_minutes: float = Field(
        2.0, gt=0, description="Training: minutes after which a checkpoint is written in any case."
    )
    keep_checkpoints: int = Field(
        3, ge=2, description="Training: newest checkpoints kept (at least 2: one may be damaged)."
    )
    micro_batch: Annotated[int, Field(ge=0, le=1024)] | Literal["auto"] = Field(
        0,
        description="Training: most utterances that go through the network together; 0: the whole batch; auto: as many "
        "as fit, measured on trial steps before the first one. Gradients are added up, so the batch stays batch_size. "
        "Halved automatically when memory runs out.",
    )
    compile: bool = Field(
        False,
        description="Training: compile the heavy layers with torch.compile at the first step (minutes; a C++ compiler "
        "is needed). Same results but for rounding.",
    )
    processes: int = Field(
        1,
        ge=0,
        le=64,
        description="Training: processes that share each batch, on one machine, each with its own GPU; 0: as many as "
        "there are GPUs. Same results but for rounding and dropout.",
    )
    process_timeout: float = Field(
        1800.0, gt=0, description="Training with several processes: seconds after which one that hangs is given up."
    )
    keep_every_steps: int = Field(
        0,
        ge=0,
        description="Training: the checkpoints of the steps that this number divides are kept for good; 0: none.",
    )
    keep_best: int = Field(
        0,
        ge=0,
        le=100,
        description="Training: checkpoints kept for their held-out metric. The best weights are in every checkpoint "
        "anyway; this keeps the whole state of that step.",
    )
    sample_every: int = Field(
        5,
        ge=0,
        description="Training of SoVITS: validations between two sound samples of a held-out utterance; 0: none.",
    )
    save_patience_minutes: float = Field(
        60.0,
        ge=0,
        description="Training: how long it continues in memory, retrying, while no checkpoint can be written (full "
        "disk, read-only folder), before it ends with the reason.",
    )
    max_seconds: float | None = Field(
        None,
        gt=0,
        description="Training: end the slice after this time, saved, with exit status 75; null for no limit.",
    )
    gradient_checkpointing: bool = Field(
        False,
        description="Training: compute the activations of the large layers again in the backward pass instead of "
        "keeping them: much less memory, up to a third slower, the same result.",
    )


class TrainingSettings(Block):
    """Length, batches, learning rate and selection of a training."""

    # A change of these continues the same training: they say how long, how it is watched, which checkpoint is saved.
    CONTINUES: ClassVar[frozenset[str]] = frozenset(
        {
            "train", "epochs", "epoch_utterances", "steps", "log_every", "validate_every", "early_stopping",
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
        description="Training utterances whose loss is measured at the end, to list those that stand out; if there "
        "are more, this many are chosen by hash.",
    )
    max_skipped: int = Field(
        3, ge=0, le=1000, description="Steps in a row with a loss that is not finite before the training gives up."
    )
    explode_ratio: float = Field(
        20.0,
        ge=0,
        le=1e6,
        description="A loss this many times above the median of the last 100 steps explodes: its update is skipped as "
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
        description="Decay of the exponential moving average of the weights, which are then validated and saved, best "
        "and last; 0.999 suits long trainings. 0: off.",
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
    parser.add_argument("--candidates", type=int, default=0, help="intermediate checkpoints to keep for the choice")
