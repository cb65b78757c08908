"""A corpus that is gathered from many people's speech, as a base voice is trained on."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from voiceclone.stage import Stage, label
from voiceclone.stages.settings import Block, RuntimeSettings

EVERYBODY = "*"
#: Source of the utterances of a voice that several people train.
GROUP = "group"
MEASURED_HOURS = 0.05  # of each folder of people who are only measured


class CorpusSource(Block):
    """One data set or one teacher's output: where it lies, who speaks, what it may be used for."""

    name: str = Field(
        min_length=1,
        max_length=40,
        pattern=r"^[a-z0-9][a-z0-9]*$",
        description="Short name; the ids of its utterances begin with it.",
    )
    kind: Literal["librispeech", "ljspeech", "list", "teacher", "auto"] = Field(
        description="Layout: librispeech (*.trans.txt beside the sound), ljspeech (metadata.csv, wavs/), list "
        "(path|speaker|LANGUAGE|text), teacher (the table of a teacher's speech); auto: whichever of the first three "
        "lies there."
    )
    path: str = Field("", description="Folder of the data set (librispeech, ljspeech) or the table itself.")
    asset: str = Field("", description="Instead of path: a model of kind data in config/assets.yaml that is fetched.")
    language: str = Field("en", pattern=r"^[a-z]{2,3}$", description="Language of its texts, where they do not say.")
    speaker: str = Field("", description="Who speaks, where the layout knows one speaker only; empty: its name.")
    licence: str = Field(min_length=1, description="Licence and who is to be named; it goes into the card.")
    bandwidth: int = Field(
        0,
        ge=0,
        le=16_000,
        description="Frequency in Hz where its sound ends; losses stop there. 0: full, or as a teacher says.",
    )
    weight: float = Field(1.0, gt=0, le=1000, description="How often its utterances are drawn, against the others.")
    use: Literal["gpt sovits", "gpt", "sovits"] = Field(
        "gpt sovits", description="Which trainings read it: gpt alone for texts that fit dull sound."
    )
    hours: float = Field(0.0, ge=0, le=10_000, description="Take no more than this, chosen by hash. 0: all.")
    hold_out: tuple[str, ...] = Field((), description="Speakers of whom no utterance is trained on; '*': all.")

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if bool(self.path) == bool(self.asset):
            raise ValueError(f"corpora.sources {self.name!r}: expected exactly one of path and asset")
        return self

    def place(self) -> str:
        """Folder or table of the source, in the working folder."""
        return self.path or f"resources/models/{self.asset}"


class CorporaSettings(Block):
    """A voice of many speakers: its corpus is gathered from data sets instead of recorded takes."""

    voice: str = Field(
        "base", pattern=r"^[a-z0-9][a-z0-9_-]*$", description="Name of the gathered voice, results/NAME."
    )
    sources: tuple[CorpusSource, ...] = Field((), description="Data sets and teachers; none: nothing is gathered.")
    people: tuple[str, ...] = Field(
        (), description="Folders of people, in any layout, who are only measured: none of them is trained on."
    )
    heldout_share: float = Field(
        0.01, ge=0, le=0.9, description="Share of all sentences that training never sees, by hash, in whatever voice."
    )
    min_seconds: float = Field(1.0, ge=0.3, le=10, description="Shorter clips are left out, in seconds.")
    max_seconds: float = Field(17.0, ge=2, le=60, description="Longer clips are left out, in seconds.")
    loudness_lufs: float = Field(-23.0, ge=-40, le=-10, description="Loudness of every clip, in LUFS.")

    def all_sources(self) -> tuple[CorpusSource, ...]:
        """The sources, and the people who are only measured as sources of their own."""
        measured = CorpusSource(
            name="people", kind="auto", path=".", licence="measured, not trained on", hours=MEASURED_HOURS,
            hold_out=(EVERYBODY,),
        )  # fmt: skip
        people = [
            measured.model_copy(update={"name": f"people{number}", "path": folder})
            for number, folder in enumerate(self.people, 1)
        ]
        return (*self.sources, *people)

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [source.name for source in self.sources]
        if double := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"corpora.sources: the names {double} come twice")
        return self


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--results", type=Path, required=True, help="results/SPEAKER")


def run(args: Namespace, settings: CorporaSettings, runtime: RuntimeSettings) -> None:
    from voiceclone.corpus.gather import gather_corpus

    gather_corpus(settings, args.results, args.threads, label(args, "gather"))


STAGE = Stage(
    "gather", arguments, run, block="corpora", settings=CorporaSettings,
    about="A voice of many speakers, from data sets.",
    models=lambda config: [source.asset for source in config.corpora.all_sources()],
)  # fmt: skip


def group_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--members", type=Path, nargs="+", required=True, help="results/NAME of each person")
    parser.add_argument("--output-dir", type=Path, required=True, help="results/GROUP")


def join_group(args: Namespace, settings: Block, runtime: RuntimeSettings) -> None:
    from voiceclone.corpus.group import join_members

    join_members(args.members, args.output_dir, label(args, "group"))


JOIN = Stage("join_group", group_arguments, join_group)
