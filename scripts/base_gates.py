"""Measure a packed base voice on held-out lines and held-out people."""

from argparse import Namespace
from pathlib import Path

from voiceclone.assets import open_assets
from voiceclone.base.gates import open_ears, run_gates
from voiceclone.stage import parse_settings, run_stage, stage_parser
from voiceclone.stages.base_gates import GatesSettings


def main(args: Namespace) -> None:
    settings = parse_settings(GatesSettings, args.settings)
    ears = open_ears(list(open_assets(args.assets).values()), settings.beam_size, args.threads)
    run_gates(args.packed, args.results, args.sentences, ears, settings, args.output_dir, f"{args.speaker} · gates")


if __name__ == "__main__":
    parser = stage_parser(__doc__)
    parser.add_argument("--packed", type=Path, required=True, help="folder of the packed files")
    parser.add_argument("--results", type=Path, required=True, help="results/SPEAKER")
    parser.add_argument("--sentences", type=Path, nargs="*", default=[], help="fixed sentences, LANGUAGE.txt")
    parser.add_argument("--assets", type=Path, nargs="+", required=True, help="asset.json of what listens")
    parser.add_argument("--output-dir", type=Path, required=True, help="folder of gates.json, gates.md, samples")
    run_stage(main, parser)
