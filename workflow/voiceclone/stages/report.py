"""The report pages: of one speaker, and over all of them."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

from pydantic import Field

from voiceclone.files import read_json
from voiceclone.stage import Stage
from voiceclone.stages.settings import Block, RuntimeSettings

MODELS = Path("resources/models")


class ReportSettings(Block):
    """Contents and size of a speaker's report."""

    samples: int = Field(8, ge=0, le=200, description="Sentences that can be heard in the report, for every target.")
    spectrograms: bool = Field(True, description="Show a spectrogram beside every sample.")
    max_megabytes: float = Field(
        8.0, gt=0, le=200, description="Bound on the embedded sound and pictures; later samples are left out above it."
    )


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--results", type=Path, required=True, help="results/NAME")
    parser.add_argument("--output", type=Path, required=True, help="report.html")
    parser.add_argument("--provenance", type=Path, required=True, help="provenance.json")
    parser.add_argument("--config", type=Path, required=True, help="resolved configuration of the run, JSON")
    parser.add_argument("--targets", nargs="*", default=[], help="evaluated targets in the order of the columns")
    parser.add_argument("--teacher", type=Path, nargs="?", help="results/NAME that a student learnt from")
    parser.add_argument(
        "--assets", type=Path, nargs="*", help="asset.json files; left out: those the configuration names"
    )


def run(args: Namespace, settings: ReportSettings, runtime: RuntimeSettings) -> None:
    from voiceclone.config.config import Config
    from voiceclone.report.page import build_report

    assets = args.assets
    if assets is None:
        names = Config.model_validate(read_json(args.config)).all_assets()
        assets = [path for name in names if (path := MODELS / name / "asset.json").is_file()]
    build_report(
        args.results,
        args.output,
        args.provenance,
        args.config,
        args.targets,
        assets,
        settings,
        repository=Path(sys.argv[0]).resolve().parents[1],
        teacher=args.teacher,
    )


STAGE = Stage("report", arguments, run, block="report", settings=ReportSettings, about="The speaker's page.")


def collect_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--speakers", type=Path, nargs="+", required=True, help="provenance.json of each voice")
    parser.add_argument("--output", type=Path, required=True, help="index.html")


def collect(args: Namespace, settings: Block, runtime: RuntimeSettings) -> None:
    from voiceclone.report.collect import collect_report

    collect_report(args.speakers, args.output)


COLLECT = Stage("collect_report", collect_arguments, collect)
