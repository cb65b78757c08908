"""Settings of the demo speaker."""

from __future__ import annotations

from pydantic import Field

from voiceclone.config.base import Block


class DemoSettings(Block):
    """How the demo's recordings are made."""

    seed: int = Field(7, ge=0, le=2**31 - 1, description="Seed of the voice's variation, the pauses and the noises.")
    length_scale: float = Field(1.0, ge=0.5, le=2, description="Duration of the speech; above 1 is slower.")
    noise_scale: float = Field(0.5, ge=0, le=1, description="Variation of the voice's sound.")
    noise_w_scale: float = Field(0.6, ge=0, le=1, description="Variation of the voice's rhythm.")
    min_pause: float = Field(0.3, ge=0, le=3, description="Shortest pause between two sentences, in seconds.")
    max_pause: float = Field(0.9, ge=0, le=3, description="Longest pause between two sentences, in seconds.")
    music_db: float = Field(5.0, ge=-20, le=60, description="Level of the voice over the music of one take, in dB.")
    noise_db: float = Field(18.0, ge=-20, le=60, description="Level of the voice over hiss and hum of one take, in dB.")
