"""The features that the trainings read."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from voiceclone.stage import Stage, label
from voiceclone.stages.settings import Block, RuntimeSettings

#: Encoder of who speaks, one vector.
SPEAKER_ENCODER = "campplus"


class FeaturesSettings(Block):
    """Pretrained encoders of the utterances."""

    content: Literal["whisper-base", "chinese-hubert-base"] = Field(
        "whisper-base",
        description="Encoder of what is said, 50 vectors per second. The public base voices need chinese-hubert-base.",
    )
    verification_encoder: Literal["", "eres2netv2"] = Field(
        "",
        description="Second encoder of who speaks, whose 20480 numbers a v2Pro voice is conditioned on; empty: none.",
    )
    bert: Literal["", "chinese-roberta-wwm-ext-large"] = Field(
        "", description="Encoder of Chinese text, one vector per phone, which improves its melody; empty: without."
    )
    polyphones: Literal["", "g2pw"] = Field(
        "",
        description="Model that reads Chinese characters with several readings in their sentence; it needs bert, whose "
        "vocabulary it reads. Empty: pypinyin's dictionary of phrases.",
    )

    pitch: Literal["", "praat"] = Field(
        "",
        description="How F0 is measured, 100 times a second, for sovits.architecture small: praat, by autocorrelation "
        "in the library parselmouth (GPL-3.0). Empty: it is not.",
    )
    spectrogram: bool = Field(
        True, description="false: spectrograms are not stored, 100 kB a second; for preset base alone."
    )

    @model_validator(mode="after")
    def _vocabulary(self) -> Self:
        if self.polyphones and not self.bert:
            raise ValueError("polyphones: g2pw reads the vocabulary of the Chinese BERT: set bert, or leave it empty")
        return self


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--corpus", type=Path, required=True, help="corpus.tsv of the speaker")
    parser.add_argument("--lexicons", type=Path, nargs="*", default=[], help="pronunciation tables, LANGUAGE.tsv")
    parser.add_argument("--assets", type=Path, nargs="+", required=True, help="asset.json of each encoder")
    parser.add_argument("--output-dir", type=Path, required=True, help="folder of the stores")


def run(args: Namespace, settings: FeaturesSettings, runtime: RuntimeSettings) -> None:
    from voiceclone.assets import open_assets
    from voiceclone.device import choose_device
    from voiceclone.features.extract import extract_features
    from voiceclone.text.lexicon import read_lexicon

    extract_features(
        args.corpus,
        args.output_dir,
        settings,
        open_assets(args.assets),
        read_lexicon(args.lexicons),
        device=choose_device(runtime.device, args.threads),
        threads=args.threads,
        label=label(args, "features"),
        progress_seconds=runtime.progress_seconds,
    )


def models(config: Any) -> list[str]:
    chosen: FeaturesSettings = config.features
    return [chosen.content, SPEAKER_ENCODER, chosen.verification_encoder, chosen.bert, chosen.polyphones]


STAGE = Stage(
    "features", arguments, run, block="features", settings=FeaturesSettings, about="Encoders.",
    models=models,
)  # fmt: skip
