"""Which parts of a network a fine-tuning leaves as they are."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from voiceclone.errors import ConfigError
from voiceclone.models.gpt import TextToSemantic


def train_last_layers(model: TextToSemantic, count: int) -> None:
    """Freeze all but the last ``count`` layers and the output; 0 freezes nothing.

    Raises:
        ConfigError: the network has fewer layers.
    """
    if not count:
        return
    layers = model.h.layers
    if count > len(layers):
        raise ConfigError(f"gpt.train_last_layers: {count}, but the GPT has {len(layers)} layers", "0 trains all of it")
    model.requires_grad_(False)
    for part in (*layers[len(layers) - count :], model.ar_predict_layer):
        part.requires_grad_(True)


def freeze_parts(model: nn.Module, names: Sequence[str], key: str) -> None:
    """Freeze modules by their dotted names.

    Args:
        model: changed in place.
        names: of modules with parameters, such as ``enc_p`` or ``dec.ups``.
        key: of the setting, for messages.

    Raises:
        ConfigError: a name is no such module, or nothing would be left to train.
    """
    modules = {
        name: module for name, module in model.named_modules() if name and next(module.parameters(), None) is not None
    }
    for name in names:
        if name not in modules:
            raise ConfigError(
                f"{key}: the network has no part {name!r}",
                f"expected one of {', '.join(_nearest(name, modules))}, or a part of one",
            )
        modules[name].requires_grad_(False)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ConfigError(f"{key}: nothing is left to train", "freeze fewer parts, or set train: false")


def trained_parameters(model: nn.Module) -> int:
    """How many numbers a training changes."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def _nearest(name: str, modules: dict[str, nn.Module]) -> list[str]:
    """The children of the longest existing part of a name."""
    parent = name
    while parent and parent not in modules:
        parent = parent.rpartition(".")[0]
    depth = parent.count(".") + 1 if parent else 0
    return [item for item in modules if item.startswith(f"{parent}." if parent else "") and item.count(".") == depth]
