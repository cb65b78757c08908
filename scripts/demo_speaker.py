"""Speak the demo's takes with the packaged voice: only sound, no transcripts."""

from argparse import Namespace
from pathlib import Path

from voiceclone.assets import open_asset
from voiceclone.corpus.demo import make_demo_speaker
from voiceclone.errors import AssetError
from voiceclone.stage import parse_settings, run_stage, stage_parser
from voiceclone.stages.demo_speaker import DemoSettings


def main(args: Namespace) -> None:
    asset = open_asset(args.voice)
    models = [name for name in asset.files if name.endswith(".onnx")]
    if len(models) != 1:
        raise AssetError(f"{args.voice}: expected one .onnx file of a Piper voice, found {len(models)}")
    settings = parse_settings(DemoSettings, args.settings)
    make_demo_speaker(asset.file(models[0]), args.texts, args.output_dir, args.stamp, settings, threads=args.threads)


if __name__ == "__main__":
    parser = stage_parser(__doc__)
    parser.add_argument("--voice", type=Path, required=True, help="asset.json of a Piper voice")
    parser.add_argument("--texts", type=Path, required=True, help="sentences, a blank line between takes")
    parser.add_argument("--output-dir", type=Path, required=True, help="the speaker's folder, replaced as a whole")
    parser.add_argument("--stamp", type=Path, required=True, help="JSON file to write, outside the speaker's folder")
    run_stage(main, parser)
