"""Training from semantic tokens to waveform."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field

from voiceclone.stage import Stage, label
from voiceclone.stages.settings import Block, RuntimeSettings, TrainingSettings, training_arguments

#: Parts of the generator, but for the quantiser; names within them are checked when the network is there.
PARTS = ("enc_p", "dec", "enc_q", "flow", "ref_enc", "ssl_proj", "sv_emb", "ge_to512", "prelu")


def _part(name: str) -> str:
    if name.partition(".")[0] not in PARTS:
        raise ValueError(f"{name!r} is no part of SoVITS; expected {', '.join(PARTS)}, or a part of one")
    return name


class SmallSettings(Block):
    """Training of the source-filter decoder, beside what all have: windows, losses, stages, rates."""

    window_frames: int = Field(
        150, ge=16, le=3000, description="Longest stretch of a recording that is encoded, in frames of 20 ms."
    )
    stft_weight: float = Field(10.0, ge=0, le=1000, description="Weight of the loss of spectra at three resolutions.")
    pitch_weight: float = Field(8.0, ge=0, le=1000, description="Weight of the mean difference of log F0.")
    voicing_weight: float = Field(2.0, ge=0, le=1000, description="Weight of the cross-entropy of voicing.")
    prior_every: int = Field(
        4,
        ge=0,
        le=1000,
        description="Every N steps, tokens and text alone are decoded too; 0: never.",
    )
    prior_weight: float = Field(15.0, ge=0, le=1000, description="Weight of the mel loss of what they give.")
    posterior_pitch: bool = Field(
        False,
        description="The posterior reads F0 beside the spectrogram, from which it can tell F0 only roughly. A base "
        "trained without it can continue with it; speech is made the same way.",
    )
    kl_start: float = Field(0.1, ge=0, le=1, description="Share of kl_weight in the first step.")
    kl_warmup_steps: int = Field(
        5000, ge=0, le=1_000_000, description="Steps in which the share rises to 1; 0: it is 1 from the start."
    )
    adversarial_weight: float = Field(
        1.0, ge=0, le=100, description="Weight of the discriminators' two losses, of judgement and of feature matching."
    )
    warmup_steps: int = Field(
        300,
        ge=0,
        le=1_000_000,
        description="Steps in which the learning rates rise from zero.",
    )
    final_learning_rate: float = Field(
        0.05, ge=0, le=1, description="Learning rate at the end, as a share of the highest; it falls along a cosine."
    )
    gradient_clip: float = Field(
        5.0, gt=0, le=1000, description="Largest norm of the gradient; larger ones are scaled."
    )
    real_share: float = Field(
        0.4, ge=0, le=1, description="Least share of people in each batch, where synthetic speech is drawn beside them."
    )
    synthetic: tuple[str, ...] = Field(
        ("hibari", "kokoro", "piper"), description="Sources whose speech is synthetic, by the beginning of their names."
    )


class SoVITSSettings(TrainingSettings):
    """Architecture and training of SoVITS."""

    CONTINUES: ClassVar[frozenset[str]] = TrainingSettings.CONTINUES | {"adversarial_from"}

    architecture: Literal["nano", "small", "v2", "v2Pro", "v2ProPlus"] = Field(
        "v2",
        description="Size of a model without a base: v2, v2Pro and v2ProPlus as the public ones, nano for a laptop; "
        "small, with a source-filter decoder, needs features.pitch.",
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
    adversarial_from: int | None = Field(
        0,
        le=10_000_000,
        description="small: step from which discriminators judge, after a stage with spectral losses alone; null or "
        "negative: never. The others have them from the start. It may be moved while the training runs.",
    )
    small: SmallSettings = Field(SmallSettings(), description="Training of architecture small, beside what all have.")
    validation_utterances: int = Field(
        8, ge=1, le=1000, description="Most held-out utterances of which a validation measures the mel distance."
    )
    keep_discriminator: bool = Field(
        False, description="Leave the discriminators beside the model too, as a base that others fine-tune needs them."
    )

    def fingerprint(self) -> dict[str, Any]:
        """The settings that make another training when they change; those of the others' recipes do not count."""
        values = super().fingerprint()
        unused = {"learning_rate_decay"} if self.architecture == "small" else {"small"}
        return {name: value for name, value in values.items() if name not in unused}


def arguments(parser: ArgumentParser) -> None:
    training_arguments(parser)
    parser.add_argument("--tokenizer", type=Path, required=True, help="projection and codebook, .safetensors")


def run(args: Namespace, settings: SoVITSSettings, runtime: RuntimeSettings) -> None:
    from voiceclone.training.processes import launch

    if settings.train:
        launch(runtime)
    from voiceclone.training.finetuning import choose_asset
    from voiceclone.training.run import output_files
    from voiceclone.training.sovits import train_sovits

    train_sovits(
        args.features_dir,
        args.tokenizer,
        args.state_dir,
        output_files(args),
        settings,
        runtime,
        base=choose_asset(settings.base, args.assets),
        base_discriminator=choose_asset(settings.base_discriminator, args.assets),
        threads=args.threads,
        label=label(args, "SoVITS"),
    )


STAGE = Stage(
    "train_sovits", arguments, run, block="sovits", settings=SoVITSSettings,
    about="Training: semantic tokens to waveform.",
    models=lambda config: [config.sovits.base, config.sovits.base_discriminator],
)  # fmt: skip
