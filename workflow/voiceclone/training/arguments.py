"""What the scripts of both trainings share: their arguments, and the files that a training leaves."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from dataclasses import dataclass
from pathlib import Path

from voiceclone.stage import stage_parser


@dataclass(frozen=True)
class OutputFiles:
    """What a training writes.

    Attributes:
        weights: ``.safetensors`` with the public keys.
        report: JSON, what the weights are.
        history: JSON lines, every logged loss.
        suspects: table of the training utterances by their loss; None: none is written.
    """

    weights: Path
    report: Path
    history: Path
    suspects: Path | None = None


def training_parser(description: str | None) -> ArgumentParser:
    """Parser with the arguments that both trainings have."""
    parser = stage_parser(description)
    parser.add_argument("--features-dir", type=Path, required=True, help="folder of manifest.tsv and the stores")
    parser.add_argument("--assets", type=Path, nargs="*", default=[], help="asset.json of what the settings name")
    parser.add_argument("--state-dir", type=Path, required=True, help="folder of checkpoints, kept between runs")
    parser.add_argument("--output", type=Path, required=True, help="weights, .safetensors")
    parser.add_argument("--report", type=Path, required=True, help="what the weights are, .json")
    parser.add_argument("--history", type=Path, required=True, help="losses, .jsonl")
    parser.add_argument("--suspects", type=Path, help="training utterances by their loss, .tsv")
    return parser


def output_files(args: Namespace) -> OutputFiles:
    """The files that the arguments name."""
    return OutputFiles(args.output, args.report, args.history, args.suspects)


def label(args: Namespace, model: str) -> str:
    """Who is working, for the progress lines."""
    return f"{args.speaker} · {model}" if args.speaker else model
