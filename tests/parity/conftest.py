"""Recorded runs of the public implementation and the synthetic weights that they were made with."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn


class Golden:
    """Reads recordings as tensors, builds weights, compares."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.table = json.loads((folder / "shapes.json").read_text(encoding="utf-8"))
        self._weights = _module(folder / "weights.py")

    def read(self, name: str) -> dict[str, torch.Tensor]:
        """Arrays of a recording; integers as int64."""
        with np.load(self.folder / f"{name}.npz", allow_pickle=False) as arrays:
            return {
                key: torch.from_numpy(value.astype(np.int64) if value.dtype == np.int32 else value)
                for key, value in arrays.items()
                if value.dtype.kind != "U"
            }

    def names(self, name: str, key: str) -> list[str]:
        """A recorded list of parameter names."""
        with np.load(self.folder / f"{name}.npz", allow_pickle=False) as arrays:
            return [str(item) for item in arrays[key]]

    def shapes(self, model: str) -> dict[str, tuple[int, ...]]:
        """Key -> shape of a public model, without the prefix ``model.``, in its order."""
        return {key.removeprefix("model."): tuple(shape) for key, shape in self.table["shapes"][model].items()}

    def load(self, network: nn.Module, model: str) -> None:
        """Give a network the synthetic weights of a public model, strictly, and set it to evaluation mode."""
        shapes = {key: tuple(shape) for key, shape in self.table["shapes"][model].items()}
        weights: dict[str, Any] = self._weights.build(shapes, self.table["seed"])
        state = {key.removeprefix("model."): torch.from_numpy(value) for key, value in weights.items()}
        network.load_state_dict(state, strict=True)
        network.eval()


def _module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("golden_weights", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def golden(shared_golden: Path) -> Golden:
    return Golden(shared_golden)


@pytest.fixture(scope="session")
def public(golden: Golden) -> Callable[[str], nn.Module]:
    """A network in a public size with the synthetic weights, by the name in shapes.json; built once."""
    from voiceclone.models.discriminators import DiscriminatorConfig, MultiPeriodDiscriminator
    from voiceclone.models.gpt import GPTConfig, TextToSemantic
    from voiceclone.models.sovits import SoVITS, SoVITSConfig

    makers: dict[str, Callable[[], nn.Module]] = {
        "s1_v2": lambda: TextToSemantic(GPTConfig()),
        "s2G_v2": lambda: SoVITS(SoVITSConfig.v2()),
        "s2G_v2Pro": lambda: SoVITS(SoVITSConfig.v2pro()),
        "s2D_v2": lambda: MultiPeriodDiscriminator(DiscriminatorConfig.v2()),
        "s2D_v2Pro": lambda: MultiPeriodDiscriminator(DiscriminatorConfig.v2pro()),
    }

    @cache
    def make(model: str) -> nn.Module:
        network = makers[model]()
        golden.load(network, model)
        return network

    return make


@pytest.fixture(scope="session")
def close() -> Callable[..., None]:
    """Assert that two arrays differ by less than a limit, relative to the recording's root mean square."""

    def check(ours: torch.Tensor, recorded: torch.Tensor, limit: float, what: str = "") -> None:
        ours, recorded = ours.detach().double(), recorded.double()
        assert ours.shape == recorded.shape, what
        scale = recorded.square().mean().sqrt().clamp(min=1e-12)
        error = ((ours - recorded).abs().max() / scale).item()
        assert error < limit, f"{what}: relative error {error:.3g}, limit {limit:g}"

    return check
