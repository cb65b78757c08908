"""Read every recording of a speaker: content ids, figures, and why a file was refused."""

from argparse import Namespace
from pathlib import Path

from voiceclone.config.takes import TakesSettings
from voiceclone.corpus.takes import ingest
from voiceclone.stage import parse_settings, run_stage, stage_parser


def main(args: Namespace) -> None:
    settings = parse_settings(TakesSettings, args.settings)
    label = f"{args.speaker or args.folder.name} · takes"
    ingest(args.folder, args.takes, args.rejected, settings, threads=args.threads, label=label)


if __name__ == "__main__":
    parser = stage_parser(__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="the speaker's folder of recordings")
    parser.add_argument("--takes", type=Path, required=True, help="table of accepted takes to write")
    parser.add_argument("--rejected", type=Path, required=True, help="table of refused files to write")
    run_stage(main, parser)
