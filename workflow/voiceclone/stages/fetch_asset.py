"""Pretrained models: which are used where no other block says, and how they come."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Annotated

from pydantic import Field

from voiceclone.files import read_json
from voiceclone.stage import Stage
from voiceclone.stages.settings import Block, RuntimeSettings

ModelName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")]


class ModelsSettings(Block):
    """Names of models from config/assets.yaml."""

    asr: ModelName = Field(
        "whisper-base",
        description="Recogniser that writes the transcripts: whisper-base, whisper-tiny.en (English only), "
        "faster-whisper-large-v3 (best, for a GPU).",
    )
    asr_evaluation: ModelName = Field(
        "whisper-base", description="Recogniser that scores the words of synthesised speech; keep it to compare voices."
    )


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--asset", required=True, help="name in the registry")
    parser.add_argument("--models", type=Path, required=True, help="folder of all fetched models")
    parser.add_argument("--registry", type=Path, required=True, help="config/assets.yaml")
    parser.add_argument("--config", type=Path, help="configuration of the run, JSON: offline, models_dir")


def run(args: Namespace, settings: ModelsSettings, runtime: RuntimeSettings) -> None:
    from voiceclone.assets import fetch_asset

    config = read_json(args.config) if args.config else {}
    offline, own_models = config.get("offline", False), config.get("models_dir", "")
    fetch_asset(args.asset, args.models, args.registry, offline=offline, own_models=own_models)


STAGE = Stage(
    "fetch_asset", arguments, run, block="models", settings=ModelsSettings,
    about="Pretrained models that no other block names.",
)  # fmt: skip
