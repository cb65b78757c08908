"""Export an encoder that voices share to a graph, and compare the two."""

from argparse import Namespace
from pathlib import Path

from voiceclone.stage import run_stage, stage_parser


def main(args: Namespace) -> None:
    from voiceclone.assets import open_asset
    from voiceclone.export.encoder_graphs import export_encoder

    export_encoder(open_asset(args.asset), args.output_dir)


if __name__ == "__main__":
    parser = stage_parser(__doc__)
    parser.add_argument("--asset", type=Path, required=True, help="asset.json of the encoder")
    parser.add_argument("--output-dir", type=Path, required=True, help="folder of the graph and its description")
    run_stage(main, parser)
