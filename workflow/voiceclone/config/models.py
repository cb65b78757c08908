"""Which pretrained models the stages use where their own block does not say."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from voiceclone.config.base import Block

ModelName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")]


class ModelsSettings(Block):
    """Names of models from config/assets.yaml."""

    asr: ModelName = Field(
        "whisper-base",
        description="Recogniser that writes the transcripts: whisper-base, whisper-tiny.en (English only), "
        "faster-whisper-large-v3 (best, for a GPU).",
    )
    asr_evaluation: ModelName = Field(
        "whisper-base", description="Recogniser that scores the words of synthesised speech; keep it to compare voices."
    )
