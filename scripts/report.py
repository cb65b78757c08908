"""Make the report page of one voice, self-contained, and its provenance for programs."""

from argparse import Namespace
from pathlib import Path

from voiceclone.config.config import Config
from voiceclone.files import read_json
from voiceclone.report.page import build_report
from voiceclone.stage import parse_settings, run_stage, stage_parser
from voiceclone.stages.report import ReportSettings

MODELS = Path("resources/models")


def configured_assets(config: Path) -> list[Path]:
    """``asset.json`` of the pretrained models that the configuration names, as far as they are there."""
    names = Config.model_validate(read_json(config)).all_assets()
    return [path for name in names if (path := MODELS / name / "asset.json").is_file()]


def main(args: Namespace) -> None:
    build_report(
        args.results,
        args.output,
        args.provenance,
        args.config,
        args.targets,
        args.assets if args.assets is not None else configured_assets(args.config),
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
    parser.add_argument(
        "--assets", type=Path, nargs="*", help="asset.json files; left out: those the configuration names"
    )
    run_stage(main, parser)
