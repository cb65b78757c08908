"""Separation: the voice out of music."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from voiceclone.stage import Stage, label, speaker_folder
from voiceclone.stages.clean import JUDGES, open_judge
from voiceclone.stages.settings import Block, RuntimeSettings

SPLEETER = "spleeter-2stems"
StepName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")]


class SeparateSettings(Block):
    """Freeing the voice from music before anything else looks at it."""

    mode: Literal["auto", "always", "never"] = Field(
        "auto", description="auto: measure each take and separate only those with music under the voice."
    )
    chain: tuple[StepName, ...] = Field(
        ("spleeter",),
        min_length=1,
        max_length=4,
        description="Separation models in order: spleeter, or names of assets for audio-separator "
        "(bs-roformer, dereverb, uvr-denoise-lite).",
    )
    threshold_db: float = Field(
        18.0,
        ge=-20,
        le=60,
        description="auto: separate when the voice is less than this many dB above the accompaniment.",
    )
    dnsmos_loss: float = Field(
        0.3, ge=0, le=4, description="Separation that lowers DNSMOS OVRL by more than this is undone for the take."
    )
    similarity: float = Field(
        0.6,
        ge=-1,
        le=1,
        description="Separation after which the voice is less similar to what it was (CAM++ cosine) is undone for the "
        "take; lower than for denoising, as music under a voice changes what it is like.",
    )


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--folder", type=Path, help="folder of the speaker's recordings; left out: from --config")
    parser.add_argument("--config", type=Path, help="configuration of the run, JSON")
    parser.add_argument("--takes", type=Path, required=True, help="table of takes")
    parser.add_argument("--output", type=Path, required=True, help="manifest to write; audio goes beside it")
    parser.add_argument("--assets", type=Path, nargs="*", default=[], help="asset.json of the separation models")


def run(args: Namespace, settings: SeparateSettings, runtime: RuntimeSettings) -> None:
    from voiceclone.assets import open_assets
    from voiceclone.device import choose_device
    from voiceclone.sound.separate import separate_speaker

    separators = open_assets(args.assets)
    spleeter = separators.pop(SPLEETER, None)
    judges = {name: separators.pop(name) for name in JUDGES if name in separators}
    separate_speaker(
        speaker_folder(args),
        args.takes,
        args.output,
        settings,
        spleeter=spleeter,
        separators=separators,
        device=choose_device(runtime.device, args.threads),
        open_judge=lambda: open_judge(judges),
        judges=list(judges.values()),
        label=label(args, "separate"),
    )


def models(config: Any) -> list[str]:
    if config.separate.mode == "never":
        return []
    # Spleeter is also the fast gauge of accompaniment.
    gauge = [SPLEETER] if config.separate.mode == "auto" else []
    return [*gauge, *(SPLEETER if name == "spleeter" else name for name in config.separate.chain), *JUDGES]


STAGE = Stage(
    "separate", arguments, run, block="separate", settings=SeparateSettings, about="Voice out of music.",
    models=models,
)  # fmt: skip
