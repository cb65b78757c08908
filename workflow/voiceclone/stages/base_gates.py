"""A base voice, packed, measured and described; the settings say what should be reached."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from pydantic import Field

from voiceclone.stage import Stage, label
from voiceclone.stages.settings import Block, RuntimeSettings


class GatesSettings(Block):
    """Amount of measurement, speaking options, and limits."""

    utterances: int = Field(8, ge=1, le=1000, description="Most held-out utterances of a person.")
    teacher_utterances: int = Field(60, ge=1, le=10_000, description="Most held-out utterances of a teacher.")
    people: int = Field(8, ge=1, le=1000, description="Most trained people who are measured by name.")
    lines: int = Field(24, ge=0, le=1000, description="Held-out lines of teachers that the voice speaks from text.")
    fixed: int = Field(12, ge=0, le=1000, description="Sentences of resources/sentences that it speaks, per language.")
    temperature: float = Field(0.3, ge=0, le=5, description="Of sampling when it speaks from text.")
    top_k: int = Field(5, ge=0, le=1000, description="Most likely tokens that are sampled from; 0: all.")
    repetition_penalty: float = Field(
        1.0, ge=1, le=5, description="Of sampling: divides the logits of tokens that were spoken. 1: none."
    )
    noise_scale: float = Field(0.4, ge=0, le=2, description="Of the prior's noise, in resynthesis and from text.")
    seed: int = Field(1, ge=0, lt=2**31, description="Seed of sampling and noise.")
    beam_size: int = Field(5, ge=1, le=20, description="Width of the recogniser's search.")
    resynthesis_wer: float = Field(
        0.15,
        ge=0,
        le=1,
        description="Wanted: word errors of each teacher's held-out sentences, spoken from their own tokens.",
    )
    pointer: float = Field(
        0.95,
        ge=0,
        le=1,
        description="Wanted: share of tokens whose phone the pointer finds within one, for each teacher.",
    )


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--packed", type=Path, required=True, help="folder of the packed files")
    parser.add_argument("--results", type=Path, required=True, help="results/SPEAKER")
    parser.add_argument("--sentences", type=Path, nargs="*", default=[], help="fixed sentences, LANGUAGE.txt")
    parser.add_argument("--assets", type=Path, nargs="+", required=True, help="asset.json of what listens")
    parser.add_argument("--output-dir", type=Path, required=True, help="folder of gates.json, gates.md, samples")


def run(args: Namespace, settings: GatesSettings, runtime: RuntimeSettings) -> None:
    from voiceclone.assets import open_assets
    from voiceclone.base.gates import open_listeners, run_gates

    listeners = open_listeners(list(open_assets(args.assets).values()), settings.beam_size, args.threads)
    run_gates(args.packed, args.results, args.sentences, listeners, settings, args.output_dir, label(args, "gates"))


STAGE = Stage(
    "base_gates", arguments, run, block="gates", settings=GatesSettings, about="Measuring a base voice.",
    models=lambda config: [config.models.asr_evaluation, "campplus", "distillmos"], preset="base",
)  # fmt: skip


def pack_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--models-dir", type=Path, required=True, help="what the trainings wrote")
    parser.add_argument("--output-dir", type=Path, required=True, help="folder of the packed files")


def pack(args: Namespace, settings: Block, runtime: RuntimeSettings) -> None:
    from voiceclone.base.pack import pack_base
    from voiceclone.progress import announce

    sizes = pack_base(args.models_dir, args.output_dir)
    announce(f"{label(args, 'pack')}  {sum(sizes.values()) / 1e6:.1f} MB in {args.output_dir}")


PACK = Stage("pack_base", pack_arguments, pack)


def card_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--packed", type=Path, required=True, help="folder of the packed files")
    parser.add_argument("--results", type=Path, required=True, help="results/SPEAKER")
    parser.add_argument("--gates", type=Path, required=True, help="gates.json")


def card(args: Namespace, settings: Block, runtime: RuntimeSettings) -> None:
    from voiceclone.base.card import write_card

    write_card(args.packed, args.results, args.gates)


CARD = Stage("base_card", card_arguments, card)
