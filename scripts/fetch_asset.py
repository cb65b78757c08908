"""Fetch a pretrained model from the first source that has it, verified by checksum."""

from argparse import Namespace
from pathlib import Path

from voiceclone.assets import fetch_asset
from voiceclone.files import read_json
from voiceclone.stage import run_stage, stage_parser


def main(args: Namespace) -> None:
    run = read_json(args.config) if args.config else {}
    offline, own_models = run.get("offline", False), run.get("models_dir", "")
    fetch_asset(args.asset, args.models, args.registry, offline=offline, own_models=own_models)


if __name__ == "__main__":
    parser = stage_parser(__doc__)
    parser.add_argument("--asset", required=True, help="name in the registry")
    parser.add_argument("--models", type=Path, required=True, help="folder of all fetched models")
    parser.add_argument("--registry", type=Path, required=True, help="config/assets.yaml")
    parser.add_argument("--config", type=Path, help="configuration of the run, JSON: offline, models_dir")
    run_stage(main, parser)
