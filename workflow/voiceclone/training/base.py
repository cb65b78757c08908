"""Pretrained weights that a training starts from."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath
from typing import TypeVar

from torch import Tensor, nn

from voiceclone.assets import Asset, open_assets
from voiceclone.errors import AssetError

Config = TypeVar("Config")
State = dict[str, Tensor]

_WEIGHTS = (".ckpt", ".pth", ".safetensors")


def choose_asset(name: str, manifests: Iterable[Path]) -> Asset | None:
    """The asset ``name`` among some ``asset.json``; None if no name is given.

    Raises:
        AssetError: the named asset is not among them, or damaged.
    """
    if not name:
        return None
    assets = open_assets(manifests)
    if name not in assets:
        raise AssetError(
            f"base model {name} is not among the models that were given: {', '.join(sorted(assets)) or 'none'}",
            "pass its asset.json with --assets",
        )
    return assets[name]


def read_base(asset: Asset, read: Callable[[Path], tuple[Config, State]]) -> tuple[Config, State]:
    """Sizes and weights of the one file of weights in an asset.

    Args:
        asset: the model.
        read: reader of :mod:`voiceclone.models.checkpoints` for its kind.

    Raises:
        AssetError: no such file, or more than one, or of another kind.
    """
    names = [name for name in sorted(asset.files) if PurePosixPath(name).suffix in _WEIGHTS]
    if len(names) != 1:
        raise AssetError(f"{asset.name}: {len(names)} files end in {', '.join(_WEIGHTS)}, expected one")
    return read(asset.file(names[0]))


def load_weights(network: nn.Module, weights: State, asset: Asset) -> None:
    """Load base weights, all of them, into a network.

    Raises:
        AssetError: weights are missing or do not fit, as in files that were exported for inference.
    """
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise AssetError(
            f"{asset.name}: its weights cannot be trained further ({str(error).splitlines()[1].strip()})",
            "take a pretrained file: files exported for inference lack the posterior encoder",
        ) from error
