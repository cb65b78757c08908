"""Semantic tokens: their quantiser, taken over or fitted, and the tokens of every utterance."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Literal

from pydantic import Field

from voiceclone.stage import Stage, label
from voiceclone.stages.settings import Block, RuntimeSettings


class TokenizerSettings(Block):
    """Source of the quantiser of semantic tokens: a base voice, or fitted to the speaker's recordings."""

    base: str = Field(
        "",
        description="Name of the tokenizer that is taken over, or of the SoVITS model whose quantiser is (its codes "
        "are what the base's GPT speaks); empty: fitted to this speaker.",
    )
    method: Literal["average", "phones"] = Field(
        "average",
        description="How a quantiser is fitted: average (k-means of averaged frames), or phones (frames are projected "
        "so that phones and pitch differ most; needs transcripts, takes minutes, and is what the base voice uses).",
    )
    dimensions: int = Field(48, ge=2, le=512, description="Dimensions that the method phones projects to.")
    rounds: int = Field(
        3,
        ge=1,
        le=20,
        description="Times that the method phones aligns tokens with the text and fits to the alignment.",
    )
    codes: int = Field(256, ge=2, le=8192, description="Size of a fitted codebook; fewer if the recordings are short.")
    seed: int = Field(1234, ge=0, lt=2**63, description="Seed of the first codes.")


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--features", type=Path, required=True, help="manifest of the features")
    parser.add_argument("--content", type=Path, required=True, help="store of content vectors")
    parser.add_argument("--assets", type=Path, nargs="*", default=[], help="asset.json of the base in the settings")
    parser.add_argument("--output", type=Path, required=True, help="tokenizer to write; a JSON goes beside it")


def run(args: Namespace, settings: TokenizerSettings, runtime: RuntimeSettings) -> None:
    from voiceclone.assets import open_assets
    from voiceclone.features.tokenizer import fit_tokenizer

    fit_tokenizer(
        args.features,
        args.content,
        args.output,
        settings,
        base=open_assets(args.assets).get(settings.base),
        label=label(args, "tokenizer"),
    )


STAGE = Stage(
    "fit_tokenizer", arguments, run, block="tokenizer", settings=TokenizerSettings,
    about="Semantic tokens.", models=lambda config: [config.tokenizer.base],
)  # fmt: skip


def tokenize_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--features", type=Path, required=True, help="manifest of the features")
    parser.add_argument("--content", type=Path, required=True, help="store of content vectors")
    parser.add_argument("--tokenizer", type=Path, required=True, help="as fit_tokenizer.py writes it")
    parser.add_argument("--output", type=Path, required=True, help="store to write")


def tokenize(args: Namespace, settings: Block, runtime: RuntimeSettings) -> None:
    from voiceclone.features import tokenizer

    tokenizer.tokenize(args.features, args.content, args.tokenizer, args.output)


TOKENIZE = Stage("tokenize", tokenize_arguments, tokenize)
