"""Semantic tokens of every utterance."""

from argparse import Namespace
from pathlib import Path

from voiceclone.features.tokenizer import tokenize
from voiceclone.stage import run_stage, stage_parser


def main(args: Namespace) -> None:
    tokenize(args.features, args.content, args.tokenizer, args.output)


if __name__ == "__main__":
    parser = stage_parser(__doc__)
    parser.add_argument("--features", type=Path, required=True, help="manifest of the features")
    parser.add_argument("--content", type=Path, required=True, help="store of content vectors")
    parser.add_argument("--tokenizer", type=Path, required=True, help="as fit_tokenizer.py writes it")
    parser.add_argument("--output", type=Path, required=True, help="store to write")
    run_stage(main, parser)
