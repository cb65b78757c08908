"""Settings that change how fast or where a stage runs, never what it computes."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from voiceclone.config.base import Block


class RuntimeSettings(Block):
    """How and where stages run. A change here never makes a result out of date."""

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
    save_every_steps: int = Field(200, ge=1, description="Training: optimiser steps between two checkpoints.")
    save_every_minutes: float = Field(
        10.0, gt=0, description="Training: minutes after which a checkpoint is written in any case."
    )
    keep_checkpoints: int = Field(
        3, ge=2, description="Training: newest checkpoints kept (at least 2: one may be damaged)."
    )
    micro_batch: int = Field(
        0,
        ge=0,
        le=1024,
        description="Training: most utterances that go through the network together; 0: the whole batch. Gradients are "
        "added up, so the batch stays batch_size. Halved by itself when memory runs out.",
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
        description="Training: checkpoints kept for their held-out figure. The best weights are in every checkpoint "
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
        description="Training: how long it goes on in memory, trying again, while no checkpoint can be written (full "
        "disk, read-only folder), before it ends with the reason.",
    )
    max_seconds: float | None = Field(
        None,
        gt=0,
        description="Training: end the slice by itself after this time, saved, with exit status 75; null for no limit.",
    )
    gradient_checkpointing: bool = Field(
        False,
        description="Training: compute the activations of the large layers again in the backward pass instead of "
        "keeping them: much less memory, up to a third slower, the same result.",
    )
