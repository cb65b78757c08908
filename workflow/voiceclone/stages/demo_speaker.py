"""The demo speaker: recordings that a packaged voice makes."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from voiceclone.errors import AssetError
from voiceclone.stage import Stage
from voiceclone.stages.settings import Block, RuntimeSettings


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--voice", type=Path, required=True, help="asset.json of a Piper voice")
    parser.add_argument("--texts", type=Path, required=True, help="sentences, a blank line between takes")
    parser.add_argument("--output-dir", type=Path, required=True, help="the speaker's folder, replaced as a whole")
    parser.add_argument("--stamp", type=Path, required=True, help="JSON file to write, outside the speaker's folder")


def run(args: Namespace, settings: Block, runtime: RuntimeSettings) -> None:
    from voiceclone.assets import open_asset
    from voiceclone.corpus.demo import make_demo_speaker

    asset = open_asset(args.voice)
    models = [name for name in asset.files if name.endswith(".onnx")]
    if len(models) != 1:
        raise AssetError(f"{args.voice}: expected one .onnx file of a Piper voice, found {len(models)}")
    make_demo_speaker(
        asset.file(models[0]), args.texts, args.output_dir, args.stamp, args.threads, licence=asset.licence
    )


STAGE = Stage(
    "demo_speaker", arguments, run, models=lambda config: ["piper-joe"], preset="demo",
)  # fmt: skip
