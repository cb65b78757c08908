"""Trained models as the training stages leave them: safetensors beside a JSON that names the architecture."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import nn

from voiceclone.errors import DataError
from voiceclone.files import read_json
from voiceclone.models.checkpoints import POSTERIOR
from voiceclone.models.gpt import GPTConfig, TextToSemantic
from voiceclone.models.sovits import SoVITSConfig, SynthesizerTrn

Network = TypeVar("Network", bound=nn.Module)


def load_gpt(models_dir: Path) -> TextToSemantic:
    """The trained text-to-semantic model of a voice, in evaluation mode on the CPU."""
    config = GPTConfig.from_dict(read_json(models_dir / "gpt.json")["architecture"])
    return _load(TextToSemantic(config), models_dir / "gpt.safetensors")


def load_sovits(models_dir: Path) -> SynthesizerTrn:
    """The trained SoVITS generator of a voice, in evaluation mode on the CPU.

    One that was imported for inference alone has no posterior encoder: there is then none in the module either.
    """
    config = SoVITSConfig.from_dict(read_json(models_dir / "sovits.json")["architecture"])
    model, weights = SynthesizerTrn(config), models_dir / "sovits.safetensors"
    if not any(key.startswith(POSTERIOR) for key in _keys(weights)):
        del model.enc_q
    return _load(model, weights)


def has_base(models_dir: Path) -> bool:
    """Whether the text-to-semantic model was fine-tuned from a base voice, not trained from scratch."""
    return bool(read_json(models_dir / "gpt.json")["components"]["base"])


def _keys(weights: Path) -> list[str]:
    try:
        with safe_open(str(weights), framework="pt") as file:
            return list(file.keys())
    except (SafetensorError, OSError) as error:
        raise _unloadable(weights, error) from error


def _load(model: Network, weights: Path) -> Network:
    try:
        model.load_state_dict(load_file(str(weights)), strict=True)
    except (SafetensorError, RuntimeError, OSError) as error:
        raise _unloadable(weights, error) from error
    return model.eval()


def _unloadable(weights: Path, error: Exception) -> DataError:
    return DataError(f"{weights}: cannot be loaded ({error})", "delete the file and run the training again")
