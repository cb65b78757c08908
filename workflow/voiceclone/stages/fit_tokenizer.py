"""Settings of the semantic tokens."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from voiceclone.config.base import Block


class TokenizerSettings(Block):
    """Where the quantiser of semantic tokens comes from: a base voice, or fitted to the speaker's recordings."""

    base: str = Field(
        "",
        description="Name of the tokenizer that is taken over, or of the SoVITS model whose quantiser is (its codes "
        "are what the base's GPT speaks); empty: fitted to this speaker.",
    )
    method: Literal["average", "phones"] = Field(
        "average",
        description="How a quantiser is fitted: average (k-means of averaged frames), or phones (frames are projected "
        "so that phones and pitch differ most; needs transcripts, takes minutes, and is what the base voice uses).",
    )
    dimensions: int = Field(48, ge=2, le=512, description="Dimensions that the method phones projects to.")
    rounds: int = Field(
        3,
        ge=1,
        le=20,
        description="Times that the method phones aligns tokens with the text and fits to the alignment.",
    )
    codes: int = Field(256, ge=2, le=8192, description="Size of a fitted codebook; fewer if the recordings are short.")
    frames_per_code: int = Field(
        8, ge=1, le=1000, description="Token frames (1/25 s) that a fitted code needs at least on average."
    )
    iterations: int = Field(50, ge=1, le=1000, description="Most rounds of k-means.")
    seed: int = Field(1234, ge=0, lt=2**63, description="Seed of the first codes.")
