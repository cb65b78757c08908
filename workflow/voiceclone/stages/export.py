"""Inference bundles, and the encoders that they share."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Literal

from pydantic import Field

from voiceclone.stage import Stage
from voiceclone.stages.settings import Block, RuntimeSettings
from voiceclone.targets import TARGETS, TargetName


class ExportSettings(Block):
    """Bundles to make, and limits of their difference from the trained model."""

    targets: tuple[TargetName, ...] = Field(
        ("onnx-fp32", "onnx-int8"),
        min_length=1,
        description="Bundles to export and to evaluate. Those of TensorRT are written everywhere and evaluated where "
        "TensorRT and a GPU are.",
    )
    max_error: float = Field(
        1e-4,
        gt=0,
        le=1e-1,
        description="onnx-fp32: largest difference to the trained model, relative to the largest value; more fails the "
        "export.",
    )
    max_error_half: float = Field(2e-2, gt=0, le=1, description="The same for onnx-fp16 and trt-fp16.")
    min_token_agreement: float = Field(
        0.9,
        ge=0,
        le=1,
        description="onnx-int8 and trt-int8: share of the recordings' tokens before which bundle and trained model "
        "prefer the same next one; less fails the export.",
    )
    min_token_agreement_int4: float = Field(0.7, ge=0, le=1, description="The same for onnx-int4.")
    max_spectral_distance_db: float = Field(
        1.5,
        gt=0,
        le=60,
        description="Targets of 8 and 4 bits: mean distance of the spectra that bundle and trained model make of the "
        "same tokens, in dB; more fails the export.",
    )
    encoders: bool | Literal["int8"] = Field(
        True,
        description="Export the encoders that voices share (resources/encoders), so that bundles take new reference "
        "clips and read Chinese as in training; int8: those of speakers and of Chinese text in 8 bits, a third of "
        "their size; false: bundles speak like their own clip alone.",
    )


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--models-dir", type=Path, required=True, help="folder of the trained models")
    parser.add_argument("--features-dir", type=Path, required=True, help="folder of the feature stores")
    parser.add_argument("--target", required=True, choices=list(TARGETS), help="what to export to")
    parser.add_argument("--output-dir", type=Path, required=True, help="folder of the bundle")
    parser.add_argument("--rights", type=Path, nargs="?", help="consent.json: licence and consent of the recordings")
    parser.add_argument("--encoders", type=Path, nargs="*", default=[], help="NAME.json of the exported encoders")
    parser.add_argument("--references", type=Path, help="references.tsv; left out: the most typical utterance")


def run(args: Namespace, settings: ExportSettings, runtime: RuntimeSettings) -> None:
    from voiceclone.export.bundle import export_voice
    from voiceclone.lineage.rights import check_use, load_rights

    rights = load_rights(args.rights) if args.rights else None
    if rights is not None:
        check_use(rights.as_notes(), "evaluation", where=f"export of {args.speaker}")  # it may have ended since
    export_voice(
        args.models_dir,
        args.features_dir,
        args.target,
        args.output_dir,
        settings,
        args.speaker,
        rights,
        args.encoders,
        args.references,
    )


class ReferencesSettings(Block):
    """What a voice speaks like."""

    reference: tuple[str, ...] = ()


def references_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--features-dir", type=Path, required=True, help="folder of the feature stores")
    parser.add_argument("--corpus", type=Path, required=True, help="corpus.tsv of the recordings")
    parser.add_argument("--takes", type=Path, nargs="?", help="takes.tsv; none for a gathered voice")
    parser.add_argument("--output", type=Path, required=True, help="references.tsv to write")


def choose_references(args: Namespace, settings: ReferencesSettings, runtime: RuntimeSettings) -> None:
    from voiceclone.speaking import styles

    styles.choose_references(args.features_dir, args.corpus, args.takes, args.output, settings.reference)


REFERENCES = Stage("choose_references", references_arguments, choose_references, settings=ReferencesSettings)
STAGE = Stage("export", arguments, run, block="export", settings=ExportSettings, about="Inference bundles.")


def encoder_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--asset", type=Path, required=True, help="asset.json of the encoder")
    parser.add_argument("--output-dir", type=Path, required=True, help="folder of the graph and its description")
    parser.add_argument("--int8", action="store_true", help="weights of 8 bits; the files are called NAME-int8")


def export_encoder(args: Namespace, settings: Block, runtime: RuntimeSettings) -> None:
    from voiceclone.assets import open_asset
    from voiceclone.export import encoder_graphs

    encoder_graphs.export_encoder(open_asset(args.asset), args.output_dir, int8=args.int8)


ENCODER = Stage("export_encoder", encoder_arguments, export_encoder)
