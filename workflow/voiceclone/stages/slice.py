"""Cutting takes into utterances."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from pydantic import Field, model_validator

from voiceclone.stage import Stage, label
from voiceclone.stages.settings import Block, RuntimeSettings


class SliceSettings(Block):
    """Cutting of takes into utterances."""

    min_seconds: float = Field(1.0, ge=0.3, le=10, description="Least length of an utterance, in seconds.")
    max_seconds: float = Field(12.0, ge=2, le=30, description="Greatest length of an utterance, in seconds.")
    prefer_seconds: float = Field(
        2.5,
        ge=0,
        le=20,
        description="Shorter utterances are joined with a neighbour across a pause; 0: only those below min_seconds.",
    )
    min_pause_ms: int = Field(300, ge=100, le=2000, description="A pause this long ends an utterance, in ms.")
    max_join_ms: int = Field(
        1000, ge=0, le=5000, description="Longest pause across which short speech is joined with a neighbour, in ms."
    )
    padding_ms: int = Field(
        200, ge=0, le=500, description="Pause kept before and after the speech of an utterance, in ms."
    )
    aggressiveness: int = Field(
        1, ge=0, le=3, description="Strictness of the voice activity detector; 3 calls the least speech."
    )

    @model_validator(mode="after")
    def _ordered(self) -> SliceSettings:
        if self.max_seconds < 2 * self.min_seconds:
            raise ValueError("max_seconds must be at least twice min_seconds")
        if self.prefer_seconds > self.max_seconds:
            raise ValueError("prefer_seconds must not exceed max_seconds")
        return self


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--clean", type=Path, required=True, help="manifest of cleaned takes")
    parser.add_argument("--takes", type=Path, required=True, help="table of accepted takes")
    parser.add_argument(
        "--given", type=Path, nargs="?", help="given.tsv, texts beside the recordings, if there are any"
    )
    parser.add_argument("--cuts", type=Path, nargs="?", help="corrections that split and merge, if there are any")
    parser.add_argument("--output", type=Path, required=True, help="table of utterances to write")
    parser.add_argument("--timeline", type=Path, required=True, help="table to write: what became of every second")


def run(args: Namespace, settings: SliceSettings, runtime: RuntimeSettings) -> None:
    from voiceclone.corpus.corrections import read_cuts
    from voiceclone.corpus.given import given_spans
    from voiceclone.sound.slice import slice_speaker

    given = given_spans(args.given, args.takes)
    slice_speaker(
        args.clean, args.takes, args.output, args.timeline, settings, label(args, "slice"), given, read_cuts(args.cuts)
    )


STAGE = Stage("slice", arguments, run, block="slice", settings=SliceSettings, about="Cutting into utterances.")
