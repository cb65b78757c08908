"""Encoders with random weights, exported, and a voice whose bundle names them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile
from safetensors.numpy import load_file, save_file
from tests.support.feature_fixture import random_bert, random_campplus, random_hubert
from tests.support.voice_fixture import make_voice

from voiceclone.export.bundle import export_voice
from voiceclone.export.encoder_graphs import export_encoder
from voiceclone.files import read_json, write_json
from voiceclone.models.sovits import SoVITSConfig
from voiceclone.stages.export import ExportSettings

CHARACTERS = "你好，。今天气很我们去公园吧！"
SHARED = "campplus.json", "chinese-hubert-base.json", "chinese-roberta-wwm-ext-large.json"


def make_exported_voice(root: Path) -> Path:
    """Below a folder: encoders in torch (``resources/models``) and as graphs (``resources/encoders``), a nano voice
    that hears HuBERT and was trained with BERT (``models``, ``features``), its bundle (``export/onnx-fp32``)."""
    models = root / "resources" / "models"
    assets = [
        random_campplus(models / "campplus"),
        random_hubert(models / "chinese-hubert-base"),
        random_bert(models / "chinese-roberta-wwm-ext-large", CHARACTERS),
    ]
    for asset in assets:
        export_encoder(asset, root / "resources" / "encoders")
    make_voice(root, SoVITSConfig.nano(ssl_dim=768))
    phones = load_file(root / "features" / "phones.safetensors")
    save_file(
        {name: np.zeros((1024, len(ids)), np.float16) for name, ids in phones.items()},
        root / "features" / "bert.safetensors",
    )
    export(root, root / "export" / "onnx-fp32")
    return root


def export(
    root: Path, bundle: Path, target: str = "onnx-fp32", scratch: bool = False, with_encoders: bool = True
) -> None:
    """Export the voice of :func:`make_exported_voice` again, said to be trained from scratch if asked."""
    if scratch:
        report = read_json(root / "models" / "gpt.json")
        write_json(root / "models" / "gpt.json", {**report, "components": {"base": {}}})
    encoders = [root / "resources" / "encoders" / name for name in SHARED] if with_encoders else []
    export_voice(root / "models", root / "features", target, bundle, ExportSettings(), "anna", encoders=encoders)


def sound(path: Path, seconds: float, level: float = 0.2, seed: int = 0) -> Path:
    """A wavering tone with noise in another rate and in stereo."""
    rng = np.random.default_rng(seed)
    time = np.arange(int(44100 * seconds)) / 44100
    tone = np.sin(2 * np.pi * (150 + seed * 40 + 30 * np.sin(3 * time)) * time)
    samples = level * (tone * (1 + np.sin(5 * time)) / 2 + 0.1 * rng.standard_normal(len(time)))
    soundfile.write(path, np.stack([samples, 0.5 * samples], axis=1), 44100)
    return path
