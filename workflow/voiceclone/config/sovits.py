"""Settings of the training from semantic tokens to waveform."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from voiceclone.config.training import TrainingSettings

#: What the generator consists of, but for the quantiser; names within them are checked when the network is there.
PARTS = ("enc_p", "dec", "enc_q", "flow", "ref_enc", "ssl_proj", "sv_emb", "ge_to512", "prelu")


def _part(name: str) -> str:
    if name.partition(".")[0] not in PARTS:
        raise ValueError(f"{name!r} is no part of SoVITS; expected {', '.join(PARTS)}, or a part of one")
    return name


class SoVITSSettings(TrainingSettings):
    """Architecture and training of SoVITS."""

    architecture: Literal["nano", "v2", "v2Pro"] = Field(
        "v2", description="Size of a model without a base: v2 and v2Pro as the public ones, nano for a laptop."
    )
    base_discriminator: str = Field(
        "", description="Name of the asset with the discriminator that belongs to the base."
    )
    batch_size: int = Field(4, ge=1, le=1024, description="Most utterances in a batch.")
    learning_rate_decay: float = Field(
        0.999875, gt=0, le=1, description="Factor on the learning rate after each epoch."
    )
    text_learning_rate: float = Field(
        0.4,
        ge=0,
        le=1,
        description="Learning rate of the text encoder, as a share of the others'; below 1 for fine-tuning.",
    )
    mel_weight: float = Field(45.0, gt=0, le=1000, description="Weight of the mel-spectrogram loss.")
    kl_weight: float = Field(1.0, gt=0, le=100, description="Weight of the Kullback-Leibler loss.")
    freeze: tuple[Annotated[str, AfterValidator(_part)], ...] = Field(
        (),
        description="Parts of the generator that are not trained, by name: enc_p (tokens and text), ref_enc (style), "
        "enc_q, flow, dec (waveform), or a part of them such as enc_p.encoder_text. The quantiser never is.",
    )
    segment_frames: int = Field(
        32, ge=8, le=256, description="Frames of 20 ms in the random slice that is decoded in training."
    )
    validation_utterances: int = Field(
        8, ge=1, le=1000, description="Most held-out utterances of which a validation measures the mel distance."
    )
    keep_discriminator: bool = Field(
        False, description="Leave the discriminators beside the model too, as a base that others fine-tune needs them."
    )
    select: Literal["best", "last"] = Field(
        "best", description="Model that leaves: the one with the lowest held-out mel distance, or the last."
    )
