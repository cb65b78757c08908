"""Settings of the report page: how much of it is sound and pictures."""

from __future__ import annotations

from pydantic import Field

from voiceclone.config.base import Block


class ReportSettings(Block):
    """Contents and size of a speaker's report."""

    samples: int = Field(8, ge=0, le=200, description="Sentences that can be heard in the report, for every target.")
    spectrograms: bool = Field(True, description="Show a spectrogram beside every sample.")
    audio_quality: float = Field(
        0.5, ge=0.0, le=1.0, description="Quality of the embedded MP3: 1 is best and largest, 0 smallest."
    )
    max_megabytes: float = Field(
        8.0, gt=0, le=200, description="Bound on the embedded sound and pictures; later samples are left out above it."
    )
