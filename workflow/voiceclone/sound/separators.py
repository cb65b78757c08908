"""Separation and de-reverberation models of audio-separator (UVR, MDX, RoFormer), from local files only.

audio-separator looks up every model in lists that it downloads. Here it gets a folder of its own with links to the
asset's files and lists that name exactly this asset, and whatever it still wants to download is an error.
"""

from __future__ import annotations

import json
import logging
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import soundfile

from voiceclone.errors import AssetError
from voiceclone.sound.io import Waveform, read_mono, resample

if TYPE_CHECKING:
    from voiceclone.assets import Asset

RATE = 44_100
MODELS = (".pth", ".onnx", ".ckpt")
VOICE = ("vocals", "no noise", "no reverb", "noreverb", "no echo", "dry")  # names of the stem that is the voice
LISTS = (
    "vr_download_list",
    "mdx_download_list",
    "mdx_download_vip_list",
    "mdx23c_download_list",
    "mdx23c_download_vip_list",
    "roformer_download_list",
    "demucs_download_list",
)
LEVEL = 0.5  # peak of what the model hears, so that audio-separator's own normalisation has nothing to do


def prepare_folder(asset: Asset, folder: Path) -> str:
    """Fill ``folder`` with links to the asset's files and the lists audio-separator reads; return the model's name.

    Raises:
        AssetError: the asset is not one model that audio-separator can load without running pickled code.
    """
    files = sorted(path for path in asset.folder.rglob("*") if path.is_file() and path.name != "asset.json")
    models = [path for path in files if path.suffix in MODELS]
    if len(models) != 1:
        raise AssetError(
            f"{asset.name}: {len(models)} model files in {asset.folder}, expected one of {', '.join(MODELS)}",
            "name an asset of kind audio-separator in separate.chain",
        )
    for path in files:
        (folder / path.name).symlink_to(path.resolve())
    model = models[0].name
    configs = [path.name for path in files if path.suffix in (".yaml", ".yml")]
    lists: dict[str, Any] = {name: {} for name in LISTS}
    if model.endswith(".ckpt"):
        if not configs:
            raise AssetError(f"{asset.name}: {model} needs its YAML configuration beside it")
        lists["mdx23c_download_list"] = {asset.name: {model: configs[0]}}
    else:
        kind = "mdx_download_list" if model.endswith(".onnx") else "vr_download_list"
        lists[kind] = {asset.name: model}
    (folder / "download_checks.json").write_text(json.dumps(lists), encoding="utf-8")
    for name in ("vr_model_data.json", "mdx_model_data.json"):
        if not (folder / name).exists():
            own = folder / "model_data.json"
            (folder / name).write_text(own.read_text(encoding="utf-8") if own.exists() else "{}", encoding="utf-8")
    return model


class SeparatorModel:
    """One model run by audio-separator on pieces of a recording.

    Args:
        asset: one model file, with its YAML configuration or ``vr_model_data.json`` / ``mdx_model_data.json`` where the
            model needs one.
    """

    seconds = 30.0
    overlap = 1.0

    def __init__(self, asset: Asset) -> None:
        from audio_separator.separator import Separator

        class Offline(Separator):
            def download_file_if_not_exists(self, url: str, output_path: str) -> None:
                if not Path(output_path).is_file():
                    raise AssetError(
                        f"{asset.name}: {Path(output_path).name} is not among its files; separation never downloads",
                        "add the file to the asset in config/assets.yaml",
                    )

        self.name, self.digest = asset.name, asset.digest
        self._scratch = tempfile.TemporaryDirectory(prefix="separator-")
        self.work = Path(self._scratch.name)
        models = self.work / "models"
        models.mkdir()
        model = prepare_folder(asset, models)
        self.separator = Offline(
            log_level=logging.WARNING,
            model_file_dir=str(models),
            output_dir=str(self.work),
            output_format="WAV",
            normalization_threshold=1.0,
            use_soundfile=True,
            sample_rate=RATE,
        )
        try:
            self.separator.load_model(model)
        except AssetError:
            raise
        except Exception as error:
            raise AssetError(f"{asset.name}: audio-separator cannot load {model} ({error})") from error

    def split(self, samples: Waveform, rate: int) -> tuple[Waveform, Waveform]:
        """Voice and the rest of one piece: float32 (frames, 1 or 2) to two float32 (frames,) at the same rate."""
        peak = float(np.abs(samples).max()) if len(samples) else 0.0
        mono = samples.mean(axis=1, dtype=np.float32)
        if peak < 1e-5:
            return mono, np.zeros_like(mono)
        wave = resample(samples, rate, RATE) * np.float32(LEVEL / peak)
        source = self.work / "piece.wav"
        soundfile.write(str(source), wave if wave.shape[1] == 2 else np.repeat(wave, 2, axis=1), RATE, subtype="FLOAT")
        outputs = [self.work / Path(name).name for name in self.separator.separate(str(source))]
        try:
            voice = self._voice(outputs)
        finally:
            for path in outputs:
                path.unlink(missing_ok=True)
        voice = resample(voice * np.float32(peak / LEVEL), RATE, rate)[: len(samples)]
        voice = np.pad(voice, (0, len(samples) - len(voice))).astype(np.float32)
        return voice, mono - voice

    def _voice(self, outputs: list[Path]) -> Waveform:
        for wanted in VOICE:
            for path in outputs:
                if f"({wanted})" in path.name.lower():
                    return read_mono(path)[0]
        names = ", ".join(path.name for path in outputs)
        raise AssetError(f"{self.name}: none of its stems ({names}) is a voice; known are {', '.join(VOICE)}")
