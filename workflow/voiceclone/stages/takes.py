"""Intake of recordings."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from pydantic import Field

from voiceclone.stage import Stage, speaker_folder
from voiceclone.stages.settings import Block, RuntimeSettings


class TakesSettings(Block):
    """Limits for recordings, and oddities to flag."""

    min_seconds: float = Field(1.0, ge=0.1, le=600, description="A shorter recording is rejected, in seconds.")
    silence_dbfs: float = Field(
        -60.0, ge=-120, le=-20, description="A recording whose loudest 20 ms stay below this level is silent, in dBFS."
    )
    narrowband_hz: float = Field(
        9000.0,
        ge=1000,
        le=24000,
        description="A recording without sound above this frequency is flagged narrowband, whatever its sample rate.",
    )


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--folder", type=Path, help="the speaker's folder of recordings; left out: from --config")
    parser.add_argument("--config", type=Path, help="configuration of the run, JSON")
    parser.add_argument("--inventory", type=Path, help="table of the folder's files; left out: it is looked through")
    parser.add_argument("--takes", type=Path, required=True, help="table of accepted takes to write")
    parser.add_argument("--rejected", type=Path, required=True, help="table of refused files to write")


def run(args: Namespace, settings: TakesSettings, runtime: RuntimeSettings) -> None:
    from voiceclone.corpus.takes import ingest

    folder = speaker_folder(args)
    label = f"{args.speaker or folder.name} · takes"
    ingest(folder, args.takes, args.rejected, settings, args.threads, label, args.inventory)


STAGE = Stage("takes", arguments, run, block="takes", settings=TakesSettings, about="Intake of recordings.")
