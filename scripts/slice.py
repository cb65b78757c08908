"""Cut the takes into utterances at silence, and account for every second."""

from argparse import Namespace
from pathlib import Path

from voiceclone.sound.slice import slice_speaker
from voiceclone.stage import parse_settings, run_stage, stage_parser
from voiceclone.stages.slice import SliceSettings


def main(args: Namespace) -> None:
    settings = parse_settings(SliceSettings, args.settings)
    label = f"{args.speaker} · slice" if args.speaker else "slice"
    slice_speaker(args.clean, args.takes, args.output, args.timeline, settings, label=label)


if __name__ == "__main__":
    parser = stage_parser(__doc__)
    parser.add_argument("--clean", type=Path, required=True, help="manifest of cleaned takes")
    parser.add_argument("--takes", type=Path, required=True, help="table of accepted takes")
    parser.add_argument("--output", type=Path, required=True, help="table of utterances to write")
    parser.add_argument("--timeline", type=Path, required=True, help="table to write: what became of every second")
    run_stage(main, parser)
