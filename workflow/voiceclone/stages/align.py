"""Settings of the alignment of semantic tokens to phones."""

from __future__ import annotations

from pydantic import Field

from voiceclone.config.base import Block


class AlignSettings(Block):
    """How the phone of each token is found; only models of architecture small need it."""

    rounds: int = Field(10, ge=1, le=100, description="Rounds of expectation maximisation from phones spread evenly.")
    base_rounds: int = Field(2, ge=1, le=100, description="Rounds from the table of gpt.base, where it has one.")
    base_tokens: float = Field(
        200.0, gt=0, le=1e9, description="Tokens of each phone that the base's table counts as, beside the voice's own."
    )
