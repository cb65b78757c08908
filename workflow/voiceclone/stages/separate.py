"""Settings of the separation stage."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from voiceclone.config.base import Block

StepName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")]


class SeparateSettings(Block):
    """Freeing the voice from music before anything else looks at it."""

    mode: Literal["auto", "always", "never"] = Field(
        "auto", description="auto: measure each take and separate only those with music under the voice."
    )
    chain: tuple[StepName, ...] = Field(
        ("spleeter",),
        min_length=1,
        max_length=4,
        description="Separation models in order: spleeter, or names of assets for audio-separator "
        "(bs-roformer, dereverb, uvr-denoise-lite).",
    )
    threshold_db: float = Field(
        18.0,
        ge=-20,
        le=60,
        description="auto: separate when the voice is less than this many dB above the accompaniment.",
    )
    tonality: float = Field(
        0.31,
        ge=0,
        le=1,
        description="auto: share of the accompaniment's energy in sustained tones from which it counts as music; "
        "0: noise counts as accompaniment too.",
    )
    excerpts: int = Field(3, ge=1, le=20, description="auto: number of excerpts per take that are measured.")
