"""Teachers: packaged voices that speak texts in many pseudo-voices, to train or to fit on."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from voiceclone.stage import Stage
from voiceclone.stages.settings import Block, RuntimeSettings

ASSETS = {"hibari": "hibari", "kokoro": "kokoro", "piper": "piper-joe"}
LANGUAGES = {"hibari": ("en",), "kokoro": ("en", "ja", "zh"), "piper": ()}


def _ordered(values: tuple[float, float]) -> tuple[float, float]:
    if not 0 < values[0] <= values[1]:
        raise ValueError(f"{list(values)}: expected a lower and a higher bound, both above 0")
    return values


Factors = Annotated[tuple[float, float], AfterValidator(_ordered)]


class TeacherSettings(Block):
    """One teacher: which voice speaks which texts, for how long, as how many people."""

    name: str = Field(
        max_length=40, pattern=r"^[a-z0-9][a-z0-9_-]*$", description="Name of its folder, results/teachers/NAME."
    )
    teacher: Literal["hibari", "kokoro", "piper"] = Field(
        description="hibari: English, fast, pitch and formants apart; kokoro: English, Japanese, Mandarin, slow; "
        "piper: any Piper voice."
    )
    asset: str = Field("", description="Model of kind tts that speaks; empty: the teacher's own.")
    language: str = Field("en", pattern=r"^[a-z]{2,3}$", description="Language of the texts.")
    texts: tuple[str, ...] = Field(
        min_length=1, description="Text lists in order: names of models of kind texts, or files with a sentence a line."
    )
    hours: float = Field(1.0, gt=0, le=1000, description="Speech to make; texts that are used up are spoken again.")
    seed: int = Field(0, ge=0, lt=2**31, description="Seed of the choice of lines and of who speaks them how.")
    max_characters: int = Field(200, ge=5, le=400, description="Longer lines are left out.")
    speakers: int = Field(400, ge=1, le=100_000, description="Pseudo-speakers, the teacher's own voice among them.")
    own_voice: float = Field(0.05, ge=0, le=1, description="Share of the lines in the teacher's own voice.")
    formants: Factors = Field(
        (0.85, 1.15), description="Formants of the lowest and the highest pseudo-speaker, as factors."
    )
    pitch: Factors = Field(
        (0.66, 1.52), description="The same for the pitch (hibari; that of the others moves with the formants)."
    )
    pitch_range: Factors = Field((0.7, 1.2), description="Pitch range, as factors (hibari).")
    tempo: Factors = Field((0.88, 1.15), description="Tempo, as factors.")
    tilt: tuple[float, float] = Field((-3.0, 3.0), description="Tilt of the spectrum, in dB per octave.")
    twins: bool = Field(
        False,
        description="Speak each line a second time, in another pseudo-voice with the same durations and after a known "
        "silence, so that a tokenizer that is fitted can separate sound from speaker and place (hibari, kokoro).",
    )
    alignment: bool = Field(False, description="Keep the teacher's phones, their durations and (hibari) the pitch.")

    @model_validator(mode="after")
    def _can(self) -> Self:
        known = LANGUAGES[self.teacher]
        if known and self.language not in known:
            raise ValueError(f"teachers {self.name!r}: {self.teacher} speaks {' | '.join(known)}, not {self.language}")
        if self.twins and self.teacher == "piper":
            raise ValueError(f"teachers {self.name!r}: piper has no twins")
        return self

    @property
    def model(self) -> str:
        """Name of the asset that speaks."""
        return self.asset or ASSETS[self.teacher]

    def text_assets(self) -> list[str]:
        """Text lists that are fetched models; the others are files."""
        return [name for name in self.texts if not is_file(name)]


def is_file(text_list: str) -> bool:
    """True if an entry of ``texts`` is a file, not the name of a model."""
    return "/" in text_list or text_list.endswith(".txt")


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--voice", type=Path, required=True, help="asset.json of the teacher")
    parser.add_argument("--texts", type=Path, nargs="+", required=True, help="text lists, or asset.json of some")
    parser.add_argument("--held-out", type=Path, nargs="*", default=[], help="sentences that are never spoken")
    parser.add_argument("--output", type=Path, required=True, help="manifest.tsv; the sound lies beside it")
    parser.add_argument("--processes", type=int, default=1, help="processes that speak, one core each")


def run(args: Namespace, settings: TeacherSettings, runtime: RuntimeSettings) -> None:
    from voiceclone.assets import open_asset
    from voiceclone.teachers.speech import make_teacher_speech

    voice = open_asset(args.voice)
    lists: list[Path] = []
    for given in args.texts:  # a list, or all of a fetched model's
        asset = open_asset(given) if given.suffix == ".json" else None
        lists += [asset.file(name) for name in sorted(asset.files)] if asset else [given]
    make_teacher_speech(
        voice.folder, voice.digest, lists, args.held_out, args.output.parent, settings,
        threads=args.processes, interval=runtime.progress_seconds,
    )  # fmt: skip


STAGE = Stage(
    "teacher_speech", arguments, run, settings=TeacherSettings,
    models=lambda config: [name for teacher in config.teachers for name in (teacher.model, *teacher.text_assets())],
)  # fmt: skip
