"""Export targets: one row each, read by all rooms. ``docs/code.md`` says how one is added."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

TargetName = Literal["onnx-fp32", "onnx-fp16", "onnx-int8", "onnx-int4", "trt-fp16", "trt-int8"]
Format = Literal["fp32", "fp16", "int8", "int4"]
Runtime = Literal["onnxruntime", "tensorrt"]
ONNXRUNTIME: Runtime = "onnxruntime"
TENSORRT: Runtime = "tensorrt"


@dataclass(frozen=True)
class Target:
    """What a bundle is made of, and how far it may be from the trained model.

    Attributes:
        name: as in ``export.targets`` of the configuration.
        format: how weights are stored.
        runtime: what its graphs are for.
        max_cents: mean error of F0 of a source-filter decoder. Of the base voice's prototype in int8, 4.3: most of it
            comes from the latent.
        max_other_voicing: share of frames voiced in one alone; in int8, 0.15 %.
        max_error: setting that limits the largest error of logits and waveform; empty: nothing does.
        min_agreement: setting that asks for the same next tokens, and for spectra as near as
            ``max_spectral_distance_db``; empty: nothing does.
        float_share: largest share of the bytes of weights that may be float32.
    """

    name: TargetName
    format: Format
    runtime: Runtime
    max_cents: float
    max_other_voicing: float
    max_error: str = ""
    min_agreement: str = ""
    float_share: float = 1.0


_ROWS = (
    Target("onnx-fp32", "fp32", ONNXRUNTIME, 0.05, 0.001, max_error="max_error"),
    Target("onnx-fp16", "fp16", ONNXRUNTIME, 1.0, 0.005, max_error="max_error_half"),
    Target("onnx-int8", "int8", ONNXRUNTIME, 10.0, 0.02, min_agreement="min_token_agreement", float_share=0.45),
    Target("onnx-int4", "int4", ONNXRUNTIME, 10.0, 0.02, min_agreement="min_token_agreement_int4", float_share=0.6),
    Target("trt-fp16", "fp16", TENSORRT, 1.0, 0.005, max_error="max_error_half"),
    Target("trt-int8", "int8", TENSORRT, 10.0, 0.02, min_agreement="min_token_agreement"),
)
TARGETS: dict[str, Target] = {row.name: row for row in _ROWS}


def runtime_of(target: str) -> Runtime | None:
    """The runtime that a target's graphs are for; None for what is no bundle: the trained models, the recordings."""
    return TARGETS[target].runtime if target in TARGETS else None
