"""Trained models as the training stages leave them: safetensors beside a JSON that names the architecture."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from torch import nn

from voiceclone.errors import DataError
from voiceclone.files import read_json
from voiceclone.models.gpt import GPTConfig, TextToSemantic
from voiceclone.models.sovits import SoVITSConfig, SynthesizerTrn

Network = TypeVar("Network", bound=nn.Module)


def load_gpt(models_dir: Path) -> TextToSemantic:
    """The trained text-to-semantic model of a voice, in evaluation mode on the CPU."""
    config = GPTConfig.from_dict(read_json(models_dir / "gpt.json")["architecture"])
    return _load(TextToSemantic(config), models_dir / "gpt.safetensors")


def load_sovits(models_dir: Path) -> SynthesizerTrn:
    """The trained SoVITS generator of a voice, in evaluation mode on the CPU."""
    config = SoVITSConfig.from_dict(read_json(models_dir / "sovits.json")["architecture"])
    return _load(SynthesizerTrn(config), models_dir / "sovits.safetensors")


def has_base(models_dir: Path) -> bool:
    """Whether the text-to-semantic model was fine-tuned from a base voice, not trained from scratch."""
    return bool(read_json(models_dir / "gpt.json")["components"]["base"])


def _load(model: Network, weights: Path) -> Network:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        model.load_state_dict(load_file(str(weights)), strict=True)
    except (SafetensorError, RuntimeError, OSError) as error:
        hint = "delete the file and run the training again"
        raise DataError(f"{weights}: cannot be loaded ({error})", hint) from error
    return model.eval()
