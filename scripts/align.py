"""Which phone each semantic token speaks, and which tokens each phone has."""

from argparse import Namespace
from pathlib import Path

from voiceclone.assets import open_assets
from voiceclone.features.alignment import align_features
from voiceclone.stage import parse_settings, run_stage, stage_parser
from voiceclone.stages.align import AlignSettings


def main(args: Namespace) -> None:
    settings = parse_settings(AlignSettings, args.settings)
    base = next(iter(open_assets(args.assets).values()), None)
    align_features(
        args.features,
        args.phones,
        args.semantic,
        args.output,
        args.table,
        settings,
        base=base,
        label=f"{args.speaker} · align",
    )


if __name__ == "__main__":
    parser = stage_parser(__doc__)
    parser.add_argument("--features", type=Path, required=True, help="manifest of the features")
    parser.add_argument("--phones", type=Path, required=True, help="store of phones")
    parser.add_argument("--semantic", type=Path, required=True, help="store of semantic tokens")
    parser.add_argument("--assets", type=Path, nargs="*", default=[], help="asset.json of the GPT to start from")
    parser.add_argument("--output", type=Path, required=True, help="store to write: the phone of each token")
    parser.add_argument("--table", type=Path, required=True, help="file to write: the tokens of each phone")
    run_stage(main, parser)
