"""The demo speaker: recordings that a packaged voice makes."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from pydantic import Field

from voiceclone.errors import AssetError
from voiceclone.stage import Stage
from voiceclone.stages.settings import Block, RuntimeSettings


class DemoSettings(Block):
    """Synthesis of the demo's recordings."""

    seed: int = Field(7, ge=0, le=2**31 - 1, description="Seed of the voice's variation, the pauses and the noises.")
    length_scale: float = Field(1.0, ge=0.5, le=2, description="Duration of the speech; above 1 is slower.")
    noise_scale: float = Field(0.5, ge=0, le=1, description="Variation of the voice's sound.")
    noise_w_scale: float = Field(0.6, ge=0, le=1, description="Variation of the voice's rhythm.")
    min_pause: float = Field(0.3, ge=0, le=3, description="Shortest pause between two sentences, in seconds.")
    max_pause: float = Field(0.9, ge=0, le=3, description="Longest pause between two sentences, in seconds.")
    music_db: float = Field(5.0, ge=-20, le=60, description="Level of the voice over the music of one take, in dB.")
    noise_db: float = Field(18.0, ge=-20, le=60, description="Level of the voice over hiss and hum of one take, in dB.")


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--voice", type=Path, required=True, help="asset.json of a Piper voice")
    parser.add_argument("--texts", type=Path, required=True, help="sentences, a blank line between takes")
    parser.add_argument("--output-dir", type=Path, required=True, help="the speaker's folder, replaced as a whole")
    parser.add_argument("--stamp", type=Path, required=True, help="JSON file to write, outside the speaker's folder")


def run(args: Namespace, settings: DemoSettings, runtime: RuntimeSettings) -> None:
    from voiceclone.assets import open_asset
    from voiceclone.corpus.demo import make_demo_speaker

    asset = open_asset(args.voice)
    models = [name for name in asset.files if name.endswith(".onnx")]
    if len(models) != 1:
        raise AssetError(f"{args.voice}: expected one .onnx file of a Piper voice, found {len(models)}")
    make_demo_speaker(asset.file(models[0]), args.texts, args.output_dir, args.stamp, settings, threads=args.threads)


STAGE = Stage(
    "demo_speaker", arguments, run, block="demo", settings=DemoSettings, about="The demo speaker's recordings.",
    models=lambda config: ["piper-joe"], preset="demo",
)  # fmt: skip
