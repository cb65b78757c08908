"""Alignment of semantic tokens to phones."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from pydantic import Field

from voiceclone.stage import Stage, label
from voiceclone.stages.settings import Block, RuntimeSettings


class AlignSettings(Block):
    """Alignment of phones and tokens; only models of architecture small need it."""

    rounds: int = Field(10, ge=1, le=100, description="Rounds of expectation maximisation from phones spread evenly.")
    base_rounds: int = Field(2, ge=1, le=100, description="Rounds from the table of gpt.base, where it has one.")
    base_tokens: float = Field(
        200.0, gt=0, le=1e9, description="Tokens of each phone that the base's table counts as, beside the voice's own."
    )


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--features", type=Path, required=True, help="manifest of the features")
    parser.add_argument("--phones", type=Path, required=True, help="store of phones")
    parser.add_argument("--semantic", type=Path, required=True, help="store of semantic tokens")
    parser.add_argument("--assets", type=Path, nargs="*", default=[], help="asset.json of the GPT to start from")
    parser.add_argument("--output", type=Path, required=True, help="store to write: the phone of each token")
    parser.add_argument("--table", type=Path, required=True, help="file to write: the tokens of each phone")


def run(args: Namespace, settings: AlignSettings, runtime: RuntimeSettings) -> None:
    from voiceclone.assets import open_assets
    from voiceclone.features.alignment import align_features

    align_features(
        args.features,
        args.phones,
        args.semantic,
        args.output,
        args.table,
        settings,
        base=next(iter(open_assets(args.assets).values()), None),
        label=label(args, "align"),
    )


STAGE = Stage(
    "align", arguments, run, block="align", settings=AlignSettings,
    about="Tokens to phones, for models of architecture small.",
    models=lambda config: [config.gpt.base] if config.gpt.architecture == "small" else [],
)  # fmt: skip
