"""Cleaning of whole takes: noise and loudness."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from voiceclone.stage import Stage, label
from voiceclone.stages.settings import Block, RuntimeSettings

if TYPE_CHECKING:
    from voiceclone.assets import Asset
    from voiceclone.sound.verdict import Judge

#: Models that say if a processed take is better than it was.
JUDGES = ("dnsmos", "campplus")


class CleanSettings(Block):
    """Echoes, noise and loudness of whole takes, with a check that the result is better."""

    dereverb: Literal["never", "auto", "always"] = Field(
        "never",
        description="Late echoes out, without a model (weighted prediction error); auto: of takes with much "
        "reverberation. Undone like denoising.",
    )
    dereverb_rt60_s: float = Field(
        0.27, ge=0.05, le=2, description="auto: estimated reverberation time in s from which echoes are taken out."
    )

    denoise: Literal["auto", "always", "never"] = Field(
        "auto", description="auto: leave takes alone whose signal-to-noise ratio is already high."
    )
    method: Literal["noisereduce", "deepfilternet3"] = Field(
        "noisereduce", description="Denoiser: spectral gating, or the DeepFilterNet3 network."
    )
    clean_snr_db: float = Field(
        35.0, ge=0, le=80, description="auto: estimated signal-to-noise ratio in dB from which a take is left alone."
    )
    stationary: bool = Field(
        False, description="noisereduce: one noise profile for the whole take instead of one that follows the noise."
    )
    strength: float = Field(
        0.7, ge=0, le=1, description="noisereduce: share of the noise to remove; 1 gives artefacts in the voice."
    )
    attenuation_db: float = Field(
        30.0, ge=0, le=100, description="deepfilternet3: most attenuation of noise in dB; 100 for no limit."
    )
    dnsmos_loss: float = Field(
        0.05, ge=0, le=4, description="Denoising that lowers DNSMOS OVRL by more than this is undone for the take."
    )
    similarity: float = Field(
        0.8,
        ge=-1,
        le=1,
        description="Denoising after which the voice is less similar to itself (CAM++ cosine) is undone for the take.",
    )
    target_lufs: float = Field(
        -23.0,
        ge=-40,
        le=-10,
        description="Loudness of every take in LUFS; at -23 most speech keeps its peaks under the ceiling.",
    )
    true_peak_dbtp: float = Field(-1.0, ge=-20, le=0, description="Ceiling of the true peak in dBTP.")

    @model_serializer(mode="wrap")
    def _as_before(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without the keys that came later while they are off: keys of earlier results stay what they were."""
        values: dict[str, Any] = write(self)
        off = values.get("dereverb") == "never"
        return {name: value for name, value in values.items() if not off or name not in ("dereverb", "dereverb_rt60_s")}


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--separated", type=Path, required=True, help="manifest of the separation stage")
    parser.add_argument("--output", type=Path, required=True, help="manifest to write; audio goes beside it")
    parser.add_argument("--assets", type=Path, nargs="*", default=[], help="asset.json of the measuring models")


def open_judge(assets: Mapping[str, Asset]) -> Judge:
    """The judge with those of DNSMOS and CAM++ that are given."""
    from voiceclone.listeners.campplus import SpeakerEncoder
    from voiceclone.listeners.mos import Dnsmos
    from voiceclone.sound.verdict import Judge

    dnsmos = Dnsmos(assets["dnsmos"]) if "dnsmos" in assets else None
    encoder = SpeakerEncoder(assets["campplus"]) if "campplus" in assets else None
    return Judge(dnsmos, encoder)


def run(args: Namespace, settings: CleanSettings, runtime: RuntimeSettings) -> None:
    from voiceclone.assets import open_assets
    from voiceclone.sound.clean import clean_speaker

    models = open_assets(args.assets)
    clean_speaker(
        args.separated,
        args.output,
        settings,
        lambda: open_judge(models),
        [models[name] for name in JUDGES if name in models],
        deepfilter=models.get("deepfilternet3"),
        label=label(args, "clean"),
    )


def models(config: Any) -> list[str]:
    network = config.clean.denoise != "never" and config.clean.method == "deepfilternet3"
    return [*JUDGES, *(["deepfilternet3"] if network else [])]


STAGE = Stage(
    "clean", arguments, run, block="clean", settings=CleanSettings, about="Noise and loudness.",
    models=models,
)  # fmt: skip
