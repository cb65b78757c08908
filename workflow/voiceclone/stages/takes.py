"""Settings of the intake of recordings."""

from __future__ import annotations

from pydantic import Field

from voiceclone.config.base import Block


class TakesSettings(Block):
    """Which recordings are taken in, and which oddities are flagged."""

    min_seconds: float = Field(1.0, ge=0.1, le=600, description="A shorter recording is rejected, in seconds.")
    silence_dbfs: float = Field(
        -60.0, ge=-120, le=-20, description="A recording whose loudest 20 ms stay below this level is silent, in dBFS."
    )
    narrowband_hz: float = Field(
        9000.0,
        ge=1000,
        le=24000,
        description="A recording without sound above this frequency is flagged narrowband, whatever its sample rate.",
    )
    clipping_share: float = Field(
        0.0005, ge=0, le=1, description="From this share of samples on flat tops a recording is flagged clipped."
    )
    dc_offset: float = Field(
        0.005, ge=0, le=1, description="From this mean, as a share of full scale, a recording is flagged dc."
    )
