"""Denoise every take where that helps, bring it to one loudness and to the training rate."""

from argparse import Namespace
from pathlib import Path

from voiceclone.assets import open_asset
from voiceclone.audio.clean import clean_speaker
from voiceclone.config.clean import CleanSettings
from voiceclone.stage import parse_settings, run_stage, stage_parser


def main(args: Namespace) -> None:
    clean_speaker(
        args.separated,
        args.output,
        parse_settings(CleanSettings, args.settings),
        dnsmos=open_asset(args.dnsmos) if args.dnsmos else None,
        encoder=open_asset(args.speaker_encoder) if args.speaker_encoder else None,
        deepfilter=open_asset(args.deepfilter) if args.deepfilter else None,
        label=f"{args.speaker} · clean",
    )


if __name__ == "__main__":
    parser = stage_parser(__doc__)
    parser.add_argument("--separated", type=Path, required=True, help="manifest of the separation stage")
    parser.add_argument("--output", type=Path, required=True, help="manifest to write; audio goes beside it")
    parser.add_argument("--dnsmos", type=Path, help="asset.json of dnsmos")
    parser.add_argument("--speaker-encoder", type=Path, help="asset.json of campplus")
    parser.add_argument("--deepfilter", type=Path, help="asset.json of deepfilternet3")
    run_stage(main, parser)
