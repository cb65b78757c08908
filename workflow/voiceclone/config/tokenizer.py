"""Settings of the semantic tokens."""

from __future__ import annotations

from pydantic import Field

from voiceclone.config.base import Block


class TokenizerSettings(Block):
    """Where the quantiser of semantic tokens comes from: a base voice, or fitted to the speaker's recordings."""

    base: str = Field(
        "",
        description="Name of the tokenizer that is taken over, or of the SoVITS model whose quantiser is (its codes "
        "are what the base's GPT speaks); empty: fitted to this speaker.",
    )
    codes: int = Field(256, ge=2, le=8192, description="Size of a fitted codebook; fewer if the recordings are short.")
    frames_per_code: int = Field(
        8, ge=1, le=1000, description="Token frames (1/25 s) that a fitted code needs at least on average."
    )
    iterations: int = Field(50, ge=1, le=1000, description="Most rounds of k-means.")
    seed: int = Field(1234, ge=0, lt=2**63, description="Seed of the first codes.")
