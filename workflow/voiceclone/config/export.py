"""Settings of the exported bundles."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from voiceclone.config.base import Block


class ExportSettings(Block):
    """Which bundles are made and how closely they must follow the trained model."""

    targets: tuple[Literal["onnx-fp32"], ...] = Field(
        ("onnx-fp32",), min_length=1, description="Bundles to export and to evaluate."
    )
    opset: int = Field(17, ge=17, le=21, description="ONNX operator set of the graphs.")
    max_error: float = Field(
        1e-4,
        gt=0,
        le=1e-1,
        description="Largest difference to the trained model, relative to the largest value; more fails the export.",
    )
    parity_sentences: int = Field(
        3, ge=1, le=50, description="Held-out utterances on which export and trained model are compared."
    )
