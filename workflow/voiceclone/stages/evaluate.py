"""Evaluation: which sentences are spoken, and how words, voice, quality and speed are measured."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from voiceclone.stage import Stage, label
from voiceclone.stages.settings import Block, RuntimeSettings


class EvaluateSettings(Block):
    """Sentences of the evaluation, and limits for bundles."""

    heldout: int = Field(
        50,
        ge=0,
        le=2000,
        description="Most held-out utterances to evaluate; they are chosen by hash, so they do not move.",
    )
    fixed: int = Field(12, ge=0, le=1000, description="Most fixed sentences per language of the voice.")
    mixed: int = Field(0, ge=0, le=1000, description="Most sentences in a language of the voice with words of another.")
    cross_lingual: int = Field(
        0, ge=0, le=1000, description="Most fixed sentences in each language that the voice has no data in."
    )
    sentences: tuple[str, ...] = Field(
        (),
        description="Your own lists, which are spoken whole: files of one sentence a line, or id and sentence with a "
        "tab between, or meta.lst of seed-tts-eval. NAME.LANGUAGE.txt or LANGUAGE/NAME.txt says the language; left "
        "out: that of a voice with one.",
    )
    centroid_utterances: int = Field(
        40, ge=1, le=1000, description="Training utterances whose mean embedding represents the speaker."
    )
    beam_size: int = Field(5, ge=1, le=20, description="Beam width of the speech recogniser that scores the words.")
    bootstrap: int = Field(2000, ge=100, le=100_000, description="Resamples of each bootstrap interval.")
    seed: int = Field(0, ge=0, description="First seed of the synthesis, and that of the resampling.")
    seeds: int = Field(
        2, ge=1, le=20, description="Seeds with which each sentence is spoken; figures are means over them."
    )
    attempts: int = Field(
        3, ge=1, le=100, description="Attempts at a suspicious sentence, as many as whoever speaks with it allows."
    )
    also: tuple[Literal["zero-shot", "torch-fp16"], ...] = Field(
        (),
        description="More rows of the table. zero-shot: the base voice before it was fine-tuned, with the voice's "
        "reference clip; torch-fp16: the trained models in half precision, on a GPU. Each costs as much as the trained "
        "model.",
    )
    max_error_rate_loss: float = Field(
        0.1,
        ge=0,
        le=1,
        description="A bundle fails if it significantly (95 %) gets a share of words (characters in Chinese, Japanese, "
        "Cantonese) wrong that is higher than the trained model's by more than this.",
    )
    max_similarity_loss: float = Field(
        0.05,
        ge=0,
        le=2,
        description="A bundle fails if it is significantly less like the speaker, by more than this (CAM++).",
    )
    max_dnsmos_loss: float = Field(
        0.3, ge=0, le=4, description="A bundle fails if it significantly loses more than this in DNSMOS OVRL."
    )


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--target",
        required=True,
        help="recordings, resynthesis, torch-fp32, torch-fp16, zero-shot or the name of a bundle",
    )
    parser.add_argument("--features-dir", type=Path, required=True)
    parser.add_argument("--corpus", type=Path, required=True, help="corpus.tsv")
    parser.add_argument("--models-dir", type=Path, required=True)
    parser.add_argument("--bundle", type=Path, nargs="?", help="bundle.json; none for a baseline")
    parser.add_argument(
        "--baseline", type=Path, nargs="?", help="metrics.tsv of the trained model; none for a baseline"
    )
    parser.add_argument(
        "--sentences", type=Path, nargs="*", default=[], help="LANGUAGE.txt and mixed.txt with 'id<TAB>text' lines"
    )
    parser.add_argument("--recordings", type=Path, nargs="?", help="metrics.tsv of the recordings; none for a baseline")
    parser.add_argument("--lexicons", type=Path, nargs="*", default=[], help="pronunciation tables, LANGUAGE.tsv")
    parser.add_argument(
        "--assets",
        type=Path,
        nargs="+",
        required=True,
        help="asset.json of each measuring model, of those that read Chinese text, and of the base for zero-shot",
    )
    parser.add_argument("--references", type=Path, help="references.tsv; left out: the most typical utterance")
    parser.add_argument("--output-dir", type=Path, required=True)


def run(args: Namespace, settings: EvaluateSettings, runtime: RuntimeSettings) -> None:
    from voiceclone.assets import open_asset
    from voiceclone.evaluation.evaluate import evaluate_target
    from voiceclone.evaluation.measure import meter_assets
    from voiceclone.evaluation.target import BASE_KINDS, Source, target_lexicon

    assets = {asset.name: asset for asset in map(open_asset, args.assets)}
    source = Source(
        args.target,
        args.features_dir,
        args.models_dir,
        args.bundle,
        bert=next((asset for asset in assets.values() if asset.kind == "bert"), None),
        lexicon=target_lexicon(args.target, args.features_dir, args.bundle, args.lexicons, assets),
        threads=max(1, args.threads),
        base=[asset for asset in assets.values() if asset.kind in BASE_KINDS],
        references=args.references,
    )
    evaluate_target(
        source,
        args.corpus,
        args.sentences,
        meter_assets(list(assets.values())),
        args.output_dir,
        settings,
        label=label(args, f"evaluate {args.target}"),
        baseline=args.baseline,
        recordings=args.recordings,
    )


def models(config: Any) -> list[str]:
    readers = [config.features.bert, config.features.polyphones]
    base = [config.gpt.base, config.sovits.base] if "zero-shot" in config.evaluate.also else []
    return [config.models.asr_evaluation, "campplus", "ge2e", "dnsmos", "distillmos", *readers, *base]


STAGE = Stage(
    "evaluate", arguments, run, block="evaluate", settings=EvaluateSettings, about="Measuring the voice.",
    models=models,
)  # fmt: skip
