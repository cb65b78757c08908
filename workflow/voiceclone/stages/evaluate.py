"""Settings of the evaluation: which sentences are spoken and how the figures are computed."""

from __future__ import annotations

from pydantic import Field

from voiceclone.config.base import Block


class EvaluateSettings(Block):
    """What is spoken for the evaluation and how it is summarised."""

    heldout: int = Field(
        50,
        ge=0,
        le=2000,
        description="Most held-out utterances to evaluate; they are chosen by hash, so they do not move.",
    )
    fixed: int = Field(12, ge=0, le=1000, description="Most fixed sentences per language of the voice.")
    centroid_utterances: int = Field(
        40, ge=1, le=1000, description="Training utterances whose mean embedding stands for the speaker."
    )
    beam_size: int = Field(5, ge=1, le=20, description="Beam width of the speech recogniser that scores the words.")
    bootstrap: int = Field(2000, ge=100, le=100_000, description="Resamples of each bootstrap interval.")
    seed: int = Field(0, ge=0, description="Seed of the synthesis and of the bootstrap.")
    max_error_rate_loss: float = Field(
        0.1,
        ge=0,
        le=1,
        description="A bundle that surely (95 %) gets more than this share of words (characters in Chinese, Japanese, "
        "Cantonese) wrong above the trained model fails.",
    )
    max_similarity_loss: float = Field(
        0.05, ge=0, le=2, description="A bundle that surely is less like the speaker by more than this (CAM++) fails."
    )
    max_dnsmos_loss: float = Field(
        0.3, ge=0, le=4, description="A bundle that surely loses more than this in DNSMOS OVRL fails."
    )
