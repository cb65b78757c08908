"""Fetch a pretrained model from the first source that has it, verified by checksum."""

from argparse import Namespace
from pathlib import Path

from voiceclone.assets import fetch_asset
from voiceclone.stage import run_stage, stage_parser


def main(args: Namespace) -> None:
    fetch_asset(args.asset, args.models, args.registry, offline=args.offline, own_models=args.own_models)


if __name__ == "__main__":
    parser = stage_parser(__doc__)
    parser.add_argument("--asset", required=True, help="name in the registry")
    parser.add_argument("--models", type=Path, required=True, help="folder of all fetched models")
    parser.add_argument("--registry", type=Path, required=True, help="config/assets.yaml")
    parser.add_argument("--own-models", default="", help="folder with your own copies, looked into first")
    parser.add_argument("--offline", action="store_true", help="use only what is on this machine")
    run_stage(main, parser)
