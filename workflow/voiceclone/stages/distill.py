"""Students: the same voice in smaller networks, taught by the voice that they imitate."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from voiceclone.stage import Stage, label
from voiceclone.stages.settings import Block, RuntimeSettings, training_arguments
from voiceclone.stages.train_gpt import GPTSettings
from voiceclone.stages.train_sovits import SoVITSSettings

#: Source of the utterances that a teacher spoke, in the corpus of its student.
SPOKEN = "spoken"


class StudentGPTSettings(Block):
    """The student of the GPT: sizes, what it learns of the teacher beside the tokens."""

    layers: int = Field(6, ge=1, le=48, description="Layers; at most the teacher's.")
    width: int = Field(
        240,
        ge=0,
        le=2048,
        description="Width of the hidden states, even; 0, or more than the teacher's: the teacher's.",
    )
    heads: int = Field(5, ge=0, le=64, description="Attention heads, which divide the width; 0: the teacher's.")
    feed_forward: int = Field(0, ge=0, le=8192, description="Inner width of the layers; 0: four times the width.")
    layer_map: tuple[int, ...] = Field(
        (),
        description="For each layer the teacher's that it imitates and, where sizes agree, starts from, counted from "
        "1; empty: spread evenly.",
    )
    temperature: float = Field(2.0, gt=0, le=20, description="Of both distributions of the next token, compared by KL.")
    logits_weight: float = Field(1.0, ge=0, le=100, description="Weight of that divergence; the cross-entropy has 1.")
    hidden_weight: float = Field(
        1.0, ge=0, le=100, description="Weight of the difference of hidden states, through learned projections."
    )
    attention_weight: float = Field(
        0.5,
        ge=0,
        le=100,
        description="Weight of the divergence of attention; a head of the student imitates the mean of several of the "
        "teacher's.",
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.width % 2 or (self.heads and self.width % self.heads):
            raise ValueError("width must be even and divisible by heads")
        if self.layer_map and len(self.layer_map) != self.layers:
            raise ValueError("layer_map must name a layer of the teacher for each layer")
        return self


class StudentSoVITSSettings(Block):
    """Sizes of the student's SoVITS; what is not named is the teacher's, and starts from it where sizes agree."""

    decoder: Literal["source_filter", "hifigan"] = Field(
        "source_filter", description="What makes the waveform: source_filter as in small, or a narrower hifigan."
    )
    inter_channels: int = Field(
        96, ge=0, le=512, description="Channels of the latent; 0, here and below: the teacher's."
    )
    hidden_channels: int = Field(96, ge=0, le=512, description="Width of text encoder, prior and flow.")
    filter_channels: int = Field(192, ge=0, le=2048, description="Inner width of the encoders' layers.")
    layers: int = Field(4, ge=0, le=12, description="Layers of the text encoder; those of the tokens are half as many.")
    gin_channels: int = Field(128, ge=0, le=2048, description="Channels of the style.")
    style_hidden: int = Field(64, ge=0, le=512, description="Inner width of the style encoder.")
    mrte_channels: int = Field(128, ge=0, le=1024, description="Width of the attention of tokens to text.")
    mrte_heads: int = Field(2, ge=0, le=16, description="Its heads.")
    posterior_layers: int = Field(6, ge=0, le=32, description="Layers of the posterior, which speech does not need.")
    flow_layers: int = Field(2, ge=0, le=8, description="Layers of each coupling of the flow.")
    flow_couplings: int = Field(2, ge=0, le=8, description="Couplings of the flow.")
    trunk_width: int = Field(144, ge=0, le=1024, description="source_filter: width of the trunk.")
    trunk_hidden: int = Field(432, ge=0, le=4096, description="source_filter: inner width of its blocks.")
    trunk_blocks: int = Field(6, ge=0, le=24, description="source_filter: its blocks.")
    decoder_channels: int = Field(128, ge=0, le=1024, description="hifigan: width before the first upsampling.")


class JointSettings(Block):
    """The last training of a student's SoVITS, on real speech, by the path that speech takes."""

    steps: int = Field(200, ge=1, le=1_000_000, description="Optimiser steps.")
    learning_rate: float = Field(1e-4, gt=0, le=1, description="Highest learning rate.")
    prior_weight: float = Field(
        45.0, ge=0, le=1000, description="Weight of the mel loss of what tokens and text alone give, in every step."
    )
    own_tokens: float = Field(
        0.2,
        ge=0,
        le=1,
        description="Share of the tokens that are those of the student's GPT, after the recording's before them: "
        "what the decoder will hear.",
    )


class SpokenSettings(Block):
    """What the teacher speaks for its student."""

    texts: tuple[str, ...] = Field(
        ("resources/texts/conversation.en.txt",),
        description="Lists of sentences, one a line; their names say the language, NAME.LANGUAGE.txt. Those of "
        "languages that the voice does not have are passed over.",
    )
    utterances: int = Field(
        400,
        ge=0,
        le=1_000_000,
        description="Sentences of each language, chosen by hash; the recordings come beside them.",
    )
    max_characters: int = Field(130, ge=10, le=1000, description="Longer sentences are left out.")
    attempts: int = Field(2, ge=1, le=20, description="Attempts at a sentence that the detector finds suspicious.")
    max_error_rate: float = Field(
        0.15,
        ge=0,
        le=1,
        description="A sentence of which the recogniser hears a larger share of characters wrong is out.",
    )
    weight: float = Field(1.0, gt=0, le=100, description="How often they are drawn in training; recordings have 1.")
    seed: int = Field(0, ge=0, lt=2**31, description="Seed of the speech.")


class StudentSettings(Block):
    """NAME-student, which learns from NAME."""

    speech: SpokenSettings = Field(SpokenSettings(), description="What the teacher speaks for it.")
    gpt: StudentGPTSettings = Field(StudentGPTSettings(), description="Its GPT: sizes, losses.")
    sovits: StudentSoVITSSettings = Field(
        StudentSoVITSSettings(),
        description="Sizes of its SoVITS; 0 is the teacher's, and what has the teacher's size starts from its weights.",
    )
    joint: JointSettings = Field(
        JointSettings(), description="The last training of its SoVITS, on recordings, by the path that speech takes."
    )


class DistillGPTSettings(Block):
    """The training of a student's GPT."""

    training: GPTSettings = GPTSettings()
    student: StudentGPTSettings = StudentGPTSettings()


class DistillSoVITSSettings(Block):
    """The training of a student's SoVITS."""

    training: SoVITSSettings = SoVITSSettings()
    student: StudentSoVITSSettings = StudentSoVITSSettings()


class JointFinetuneSettings(DistillSoVITSSettings):
    """Its last training."""

    joint: JointSettings = JointSettings()


def _texts_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--teacher", type=Path, required=True, help="results/NAME of the voice that speaks")
    parser.add_argument("--texts", type=Path, nargs="*", default=[], help="lists of sentences, NAME.LANGUAGE.txt")
    parser.add_argument(
        "--held-out", type=Path, nargs="*", default=[], help="lists of sentences that it must not speak"
    )
    parser.add_argument("--lexicons", type=Path, nargs="*", default=[], help="pronunciation tables, LANGUAGE.tsv")
    parser.add_argument("--assets", type=Path, nargs="*", default=[], help="asset.json of the recogniser and readers")
    parser.add_argument("--output-dir", type=Path, required=True, help="results/NAME-student")


def _speak_texts(args: Namespace, settings: SpokenSettings, runtime: RuntimeSettings) -> None:
    from voiceclone.assets import open_asset
    from voiceclone.evaluation.spoken import speak_for_student

    speak_for_student(
        args.teacher,
        args.texts,
        args.held_out,
        args.lexicons,
        [open_asset(path) for path in args.assets],
        args.output_dir,
        settings,
        threads=max(1, args.threads),
        label=label(args, "teacher speaks"),
    )


def _gpt_arguments(parser: ArgumentParser) -> None:
    training_arguments(parser)
    parser.add_argument("--alignment", type=Path, nargs="?", help="table of the phones' tokens")
    parser.add_argument("--teacher", type=Path, required=True, help="folder of the teacher's models")


def _distill_gpt(args: Namespace, settings: DistillGPTSettings, runtime: RuntimeSettings) -> None:
    from voiceclone.training.processes import launch

    launch(runtime)
    from voiceclone.training.distill import distill_gpt
    from voiceclone.training.run import output_files

    distill_gpt(
        args.features_dir,
        args.teacher,
        args.state_dir,
        output_files(args),
        settings,
        runtime,
        threads=args.threads,
        label=label(args, "student GPT"),
        alignment=args.alignment,
    )


def _sovits_arguments(parser: ArgumentParser) -> None:
    training_arguments(parser)
    parser.add_argument("--tokenizer", type=Path, required=True, help="projection and codebook, .safetensors")
    parser.add_argument("--teacher", type=Path, required=True, help="folder of the teacher's models")


def _distill_sovits(args: Namespace, settings: DistillSoVITSSettings, runtime: RuntimeSettings) -> None:
    from voiceclone.training.processes import launch

    launch(runtime)
    from voiceclone.training.distill import distill_sovits
    from voiceclone.training.finetuning import choose_asset
    from voiceclone.training.run import output_files

    distill_sovits(
        args.features_dir,
        args.tokenizer,
        args.teacher,
        args.state_dir,
        output_files(args),
        settings,
        runtime,
        base_discriminator=choose_asset(settings.training.base_discriminator, args.assets),
        threads=args.threads,
        label=label(args, "student SoVITS"),
    )


def _joint_arguments(parser: ArgumentParser) -> None:
    training_arguments(parser)
    parser.add_argument("--tokenizer", type=Path, required=True, help="projection and codebook, .safetensors")
    parser.add_argument("--distilled", type=Path, required=True, help="the student's SoVITS, .safetensors")
    parser.add_argument("--gpt", type=Path, required=True, help="its GPT, .safetensors")


def _joint_finetune(args: Namespace, settings: JointFinetuneSettings, runtime: RuntimeSettings) -> None:
    from voiceclone.training.processes import launch

    launch(runtime)
    from voiceclone.training.distill import joint_finetune
    from voiceclone.training.run import output_files

    joint_finetune(
        args.features_dir,
        args.tokenizer,
        args.distilled,
        args.gpt,
        args.state_dir,
        output_files(args),
        settings,
        runtime,
        threads=args.threads,
        label=label(args, "student, joint"),
    )


TEXTS = Stage(
    "distill_texts", _texts_arguments, _speak_texts, settings=SpokenSettings,
    models=lambda config: [config.models.asr_evaluation, config.features.bert, config.features.polyphones],
)  # fmt: skip
GPT = Stage("distill_gpt", _gpt_arguments, _distill_gpt, settings=DistillGPTSettings)
SOVITS = Stage(
    "distill_sovits", _sovits_arguments, _distill_sovits, settings=DistillSoVITSSettings,
    models=lambda config: [config.sovits.base_discriminator],
)  # fmt: skip
JOINT = Stage("joint_finetune", _joint_arguments, _joint_finetune, settings=JointFinetuneSettings)
