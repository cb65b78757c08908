"""Denoise every take where that helps, bring it to one loudness and to the training rate."""

from argparse import Namespace
from pathlib import Path

from voiceclone.assets import open_assets
from voiceclone.sound.clean import clean_speaker
from voiceclone.stage import parse_settings, run_stage, stage_parser
from voiceclone.stages.clean import CleanSettings


def main(args: Namespace) -> None:
    models = open_assets(args.assets)
    clean_speaker(
        args.separated,
        args.output,
        parse_settings(CleanSettings, args.settings),
        dnsmos=models.get("dnsmos"),
        encoder=models.get("campplus"),
        deepfilter=models.get("deepfilternet3"),
        label=f"{args.speaker} · clean",
    )


if __name__ == "__main__":
    parser = stage_parser(__doc__)
    parser.add_argument("--separated", type=Path, required=True, help="manifest of the separation stage")
    parser.add_argument("--output", type=Path, required=True, help="manifest to write; audio goes beside it")
    parser.add_argument("--assets", type=Path, nargs="*", default=[], help="asset.json of the measuring models")
    run_stage(main, parser)
