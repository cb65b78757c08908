"""Make the report page of one voice, self-contained, and its provenance for programs."""

from argparse import Namespace
from pathlib import Path

from voiceclone.config.report import ReportSettings
from voiceclone.evaluation.report import build_report
from voiceclone.stage import parse_settings, run_stage, stage_parser


def main(args: Namespace) -> None:
    assets = args.assets or sorted(Path("resources/models").glob("*/asset.json"))
    build_report(
        args.results,
        args.output,
        args.provenance,
        args.config,
        args.targets,
        assets,
        parse_settings(ReportSettings, args.settings),
        repository=Path(__file__).resolve().parents[1],
    )


if __name__ == "__main__":
    parser = stage_parser(__doc__)
    parser.add_argument("--results", type=Path, required=True, help="results/NAME")
    parser.add_argument("--output", type=Path, required=True, help="report.html")
    parser.add_argument("--provenance", type=Path, required=True, help="provenance.json")
    parser.add_argument("--config", type=Path, required=True, help="resolved configuration of the run, JSON")
    parser.add_argument("--targets", nargs="*", default=[], help="evaluated targets in the order of the columns")
    parser.add_argument("--assets", type=Path, nargs="*", help="asset.json files; left out: resources/models/*/asset.json")
    run_stage(main, parser)
