"""Settings of the gates: what a base voice is measured on, and what it should reach."""

from __future__ import annotations

from pydantic import Field

from voiceclone.config.base import Block


class GatesSettings(Block):
    """How much is measured, how the voice speaks, and what is wanted."""

    utterances: int = Field(8, ge=1, le=1000, description="Most held-out utterances of a person.")
    teacher_utterances: int = Field(60, ge=1, le=10_000, description="Most held-out utterances of a teacher.")
    people: int = Field(8, ge=1, le=1000, description="Most trained people who are measured by name.")
    lines: int = Field(24, ge=0, le=1000, description="Held-out lines of teachers that the voice speaks from text.")
    fixed: int = Field(12, ge=0, le=1000, description="Sentences of resources/sentences that it speaks, per language.")
    temperature: float = Field(0.6, ge=0, le=5, description="Of sampling when it speaks from text.")
    top_k: int = Field(8, ge=0, le=1000, description="Most likely tokens that are sampled from; 0: all.")
    repetition_penalty: float = Field(
        1.0, ge=1, le=5, description="Of sampling: divides the logits of tokens that were spoken. 1: none."
    )
    noise_scale: float = Field(0.4, ge=0, le=2, description="Of the prior's noise, in resynthesis and from text.")
    seed: int = Field(1, ge=0, lt=2**31, description="Seed of sampling and noise.")
    beam_size: int = Field(5, ge=1, le=20, description="Width of the recogniser's search.")
    resynthesis_wer: float = Field(
        0.15,
        ge=0,
        le=1,
        description="Wanted: word errors of each teacher's held-out sentences, spoken from their own tokens.",
    )
    pointer: float = Field(
        0.95,
        ge=0,
        le=1,
        description="Wanted: share of tokens whose phone the pointer finds within one, for each teacher.",
    )
