"""Limits beyond which a spoken piece is suspected to be faulty. Used by synthesis, no part of a run's configuration.

The defaults keep a distance from natural speech: 102 utterances of three speakers (LJ Speech, Kathleen, an AISHELL
speaker) as whisper-base tokens of fitted codebooks of 128 to 512 codes. There one token lasted 13 steps at most; the
best match of a sequence with itself, shifted, was 0.62; two utterances of a speaker shared 14 units at most; an
utterance had 0.72 to 1.39 times its speaker's median of tokens per phone, which was 2.2 (English) to 4.7 (Mandarin,
slow and with pauses at both ends).
"""

from __future__ import annotations

from pydantic import Field

from voiceclone.config.base import Block


class DetectorSettings(Block):
    """Limits of the detector. A unit is a run of equal tokens; speech has about 14 units a second."""

    stuck_tokens: int = Field(
        30, ge=2, description="Most steps (25 a second) that one token may last, silence included."
    )
    loop_units: int = Field(16, ge=4, description="Least length of a stretch that may count as repeated, in units.")
    loop_share: float = Field(
        0.8, gt=0.0, le=1.0, description="Share of units equal to those some units before, from which it is a repeat."
    )
    longest_loop: int = Field(75, ge=2, description="Longest period of a repeat, in units.")
    leak_units: int = Field(
        18, ge=4, description="Least length of a stretch of the prompt that counts as spoken again."
    )
    least_share: float = Field(
        0.5, ge=0.0, le=1.0, description="Least tokens per phone, as a share of the voice's usual number."
    )
    most_share: float = Field(
        2.0, ge=1.0, description="Most tokens per phone, as a multiple of the voice's usual number."
    )
    least_rate: float = Field(1.0, ge=0.0, description="Least tokens per phone where the voice's number is not known.")
    most_rate: float = Field(7.0, gt=0.0, description="Most tokens per phone where the voice's number is not known.")
    most_errors: float = Field(
        0.3,
        ge=0.0,
        description="Most word errors (characters in Chinese, Japanese, Korean) per word that ASR may find.",
    )
