"""Choice of the checkpoints that a voice speaks with."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from voiceclone.stage import Stage, label
from voiceclone.stages.evaluate import models as measuring
from voiceclone.stages.settings import Block, RuntimeSettings


class SelectSettings(Block):
    """How checkpoints are chosen after both trainings."""

    by: Literal["ear", "best", "last"] = Field(
        "ear",
        description="ear: pairs of checkpoints speak sentences of their own, judged by words, likeness and "
        "naturalness; best: lowest held-out loss; last: where the trainings ended.",
    )
    candidates: int = Field(
        2, ge=0, le=20, description="ear: checkpoints of each training beside the best and the last, evenly spaced."
    )
    sentences: int = Field(16, ge=1, le=200, description="ear: sentences per language that the last pairs speak.")
    first: int = Field(4, ge=1, le=200, description="ear: sentences of the first round; each round doubles them.")
    centroid_utterances: int = Field(
        40, ge=1, le=1000, description="Training utterances whose mean embedding stands for the speaker."
    )
    beam_size: int = Field(5, ge=1, le=20, description="Beam width of the speech recogniser that scores the words.")
    seed: int = Field(0, ge=0, description="Seed of the synthesis.")


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--trained-dir", type=Path, required=True, help="folder of both trainings' outputs")
    parser.add_argument("--features-dir", type=Path, required=True)
    parser.add_argument("--corpus", type=Path, required=True, help="corpus.tsv")
    parser.add_argument("--sentences", type=Path, nargs="*", default=[], help="LANGUAGE.txt with 'id<TAB>text' lines")
    parser.add_argument("--lexicons", type=Path, nargs="*", default=[], help="the user's pronunciations, LANGUAGE.tsv")
    parser.add_argument("--assets", type=Path, nargs="*", default=[], help="asset.json of what measures and reads")
    parser.add_argument("--consent", type=Path, nargs="?", help="consent.json, which goes with the models")
    parser.add_argument("--models-dir", type=Path, required=True, help="folder for the chosen models")
    parser.add_argument("--output", type=Path, required=True, help="selection.json to write")


def run(args: Namespace, settings: SelectSettings, runtime: RuntimeSettings) -> None:
    from voiceclone.assets import open_asset
    from voiceclone.evaluation.comparison import TRAINED
    from voiceclone.evaluation.measure import meter_assets
    from voiceclone.evaluation.select import select_checkpoints
    from voiceclone.evaluation.target import target_lexicon

    assets = {asset.name: asset for asset in map(open_asset, args.assets)}
    select_checkpoints(
        args.trained_dir,
        args.features_dir,
        args.corpus,
        args.sentences,
        meter_assets(list(assets.values())) if assets else None,
        args.models_dir,
        args.output,
        settings,
        next((asset for asset in assets.values() if asset.kind == "bert"), None),
        target_lexicon(TRAINED, args.features_dir, None, args.lexicons, assets) if assets else None,
        args.threads,
        label(args, "select"),
        args.consent,
    )


def models(config: Any) -> list[str]:
    return measuring(config) if config.select.by == "ear" else []


STAGE = Stage(
    "select", arguments, run, block="select", settings=SelectSettings, about="Choice of the checkpoints.",
    models=models,
)  # fmt: skip
