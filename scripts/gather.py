"""Gather a corpus of many speakers from data sets and teachers: trimmed, 32 kHz, one loudness, split."""

from argparse import Namespace
from pathlib import Path

from voiceclone.corpus.gather import gather_corpus
from voiceclone.stage import parse_settings, run_stage, stage_parser
from voiceclone.stages.gather import CorporaSettings


def main(args: Namespace) -> None:
    settings = parse_settings(CorporaSettings, args.settings)
    gather_corpus(settings, args.results, args.threads, f"{args.speaker} · gather")


if __name__ == "__main__":
    parser = stage_parser(__doc__)
    parser.add_argument("--results", type=Path, required=True, help="results/SPEAKER")
    run_stage(main, parser)
