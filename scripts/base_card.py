"""Write the card of a packed base voice: data, licences, hours, figures, the command that makes it again."""

from argparse import Namespace
from pathlib import Path

from voiceclone.base.card import write_card
from voiceclone.stage import run_stage, stage_parser


def main(args: Namespace) -> None:
    write_card(args.packed, args.results, args.gates)


if __name__ == "__main__":
    parser = stage_parser(__doc__)
    parser.add_argument("--packed", type=Path, required=True, help="folder of the packed files")
    parser.add_argument("--results", type=Path, required=True, help="results/SPEAKER")
    parser.add_argument("--gates", type=Path, required=True, help="gates.json")
    run_stage(main, parser)
