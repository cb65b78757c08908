"""Pack the trained networks of a base voice in float16."""

from argparse import Namespace
from pathlib import Path

from voiceclone.base.pack import pack_base
from voiceclone.progress import announce
from voiceclone.stage import run_stage, stage_parser


def main(args: Namespace) -> None:
    sizes = pack_base(args.models_dir, args.output_dir)
    announce(f"{args.speaker} · pack  {sum(sizes.values()) / 1e6:.1f} MB in {args.output_dir}")


if __name__ == "__main__":
    parser = stage_parser(__doc__)
    parser.add_argument("--models-dir", type=Path, required=True, help="what the trainings wrote")
    parser.add_argument("--output-dir", type=Path, required=True, help="folder of the packed files")
    run_stage(main, parser)
