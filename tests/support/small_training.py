"""The trainings on networks and random features small enough for tests; what breaks them, what they leave."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch
from tests.support.synthetic_features import make_features
from torch import nn

from voiceclone.assets import Asset
from voiceclone.files import read_json, read_jsonl
from voiceclone.models.gpt import GPTConfig
from voiceclone.models.sovits import SoVITSConfig
from voiceclone.stages.settings import RuntimeSettings
from voiceclone.stages.train_gpt import GPTSettings
from voiceclone.stages.train_sovits import SoVITSSettings
from voiceclone.training import gpt, sovits
from voiceclone.training.run import OutputFiles

STEPS = {"gpt": 14, "sovits": 5}


def small_gpt(codes: int) -> GPTConfig:
    return GPTConfig(dim=32, layers=2, heads=2, feed_forward=64, codes=codes)


def small_sovits(ssl_dim: int, codes: int) -> SoVITSConfig:
    return SoVITSConfig(
        ssl_dim=ssl_dim, codes=codes, inter_channels=16, hidden_channels=16, filter_channels=16, layers=1,
        gin_channels=16, style_hidden=16, mrte_channels=16, mrte_heads=2, posterior_layers=2, flow_layers=1,
        flow_couplings=2, decoder_channels=32, resblock_kernels=(3,), resblock_dilations=((1,),),
        speaker_vector_size=192,
    )  # fmt: skip


class Speaker:
    """A speaker's results folder with random features."""

    def __init__(self, folder: Path, **features: Any) -> None:
        self.folder = folder
        (folder / "models").mkdir(parents=True, exist_ok=True)
        make_features(folder / "features", folder / "models" / "tokenizer.safetensors", **features)

    def train(
        self,
        kind: str,
        steps: int = 0,
        save_every: int = 3,
        micro_batch: int | Literal["auto"] = 0,
        process_timeout: float = 60,
        compiled: bool = False,
        asset: Asset | None = None,
        adversary: Asset | None = None,
        alignment: Path | None = None,
        device: str = "cpu",
        **settings: Any,
    ) -> None:
        """Run a training stage in this process."""
        models = self.folder / "models"
        outputs = OutputFiles(models / f"{kind}.safetensors", models / f"{kind}.json", models / f"{kind}.history.jsonl")
        state = self.folder / "state" / kind
        runtime = RuntimeSettings(
            save_every_steps=save_every, device=device, micro_batch=micro_batch, process_timeout=process_timeout,
            compile=compiled,
        )  # fmt: skip
        values = {"architecture": "nano", "batch_size": 2, "log_every": 2, "validate_every": 4, **settings}
        values["steps"] = steps or STEPS[kind]
        features = self.folder / "features"
        if kind == "gpt":
            gpt.train_gpt(features, state, outputs, GPTSettings(**values), runtime, asset, alignment=alignment)
        else:
            tokenizer = models / "tokenizer.safetensors"
            sovits.train_sovits(
                features, tokenizer, state, outputs, SoVITSSettings(**values), runtime, asset, adversary
            )

    def weights(self, kind: str) -> bytes:
        return (self.folder / "models" / f"{kind}.safetensors").read_bytes()

    def report(self, kind: str) -> dict[str, Any]:
        report: dict[str, Any] = read_json(self.folder / "models" / f"{kind}.json")
        return report

    def history(self, kind: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = read_jsonl(self.folder / "models" / f"{kind}.history.jsonl")
        return rows

    def losses(self, kind: str) -> list[dict[str, Any]]:
        rows = self.history(kind)
        return [{k: v for k, v in row.items() if k != "seconds"} for row in rows if "event" not in row]


def die_at(recipe: type, step: int, number: int) -> None:
    """Make a recipe send its process a signal in the middle of a step."""
    original = recipe.train_step  # type: ignore[attr-defined]

    def train_step(self: object, current: int) -> dict[str, float]:
        if current == step:
            os.kill(os.getpid(), number)
        result: dict[str, float] = original(self, current)
        return result

    recipe.train_step = train_step  # type: ignore[attr-defined]


def limit(kind: str, max_items: int) -> Callable[[], None]:
    """Make networks of a kind run out of memory when more than ``max_items`` items go through; returns the undoing.

    The exception is the one with which torch reports that the device is full.
    """
    from voiceclone.models.discriminators import MultiPeriodDiscriminator
    from voiceclone.models.gpt import TextToSemantic

    network: Any = TextToSemantic if kind == "gpt" else MultiPeriodDiscriminator
    forward = network.forward

    def limited(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        first = args[0] if args else kwargs["phones"]
        if len(first) > max_items and torch.is_grad_enabled():
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.00 GiB.")
        return forward(self, *args, **kwargs)

    network.forward = limited

    def undo() -> None:
        network.forward = forward

    return undo


def tensors(speaker: Speaker, kind: str) -> dict[str, bytes]:
    """Every file of tensors and of values of the newest checkpoint."""
    newest = max(speaker.folder.glob(f"state/{kind}/*/step-*"))
    return {path.name: path.read_bytes() for path in newest.glob("*.safetensors")}
