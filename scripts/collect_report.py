"""Make the page over all voices and targets from their provenance files."""

from argparse import Namespace
from pathlib import Path

from voiceclone.report.collect import collect_report
from voiceclone.stage import run_stage, stage_parser


def main(args: Namespace) -> None:
    collect_report(args.speakers, args.output)


if __name__ == "__main__":
    parser = stage_parser(__doc__)
    parser.add_argument("--speakers", type=Path, nargs="+", required=True, help="provenance.json of each voice")
    parser.add_argument("--output", type=Path, required=True, help="index.html")
    run_stage(main, parser)
