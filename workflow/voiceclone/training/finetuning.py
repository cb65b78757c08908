"""Fine-tuning: base weights, frozen parts, adapters, averaged weights, less memory."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from voiceclone.assets import Asset, open_assets
from voiceclone.errors import AssetError, ConfigError
from voiceclone.models.gpt import TextToSemantic
from voiceclone.stages.train_gpt import LoRASettings

Config = TypeVar("Config")
State = dict[str, Tensor]
_WEIGHTS = (".ckpt", ".pth", ".safetensors")


def choose_asset(name: str, manifests: Iterable[Path]) -> Asset | None:
    """The asset ``name`` among some ``asset.json``; None if no name is given.

    Raises:
        AssetError: the asset is not among them, or damaged.
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
        read: reader of :mod:`voiceclone.models.public_files` for its kind.

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
            "set train: false to use it as it is, or take a pretrained file: weights that were exported for inference "
            "lack the posterior encoder",
        ) from error


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
    """Number of trainable values."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def _nearest(name: str, modules: dict[str, nn.Module]) -> list[str]:
    """The children of the longest existing part of a name."""
    parent = name
    while parent and parent not in modules:
        parent = parent.rpartition(".")[0]
    depth = parent.count(".") + 1 if parent else 0
    return [item for item in modules if item.startswith(f"{parent}." if parent else "") and item.count(".") == depth]


NAME = "voice"


class Adapters:
    """Adapters in every layer of a GPT, whose own weights are frozen: a stateful part in place of the model.

    The attention's packed projection is a parameter, not a module; peft adapts such ones by adding the product to the
    weight, where its dropout has no place.

    Args:
        model: with its base weights; changed in place.
        settings: rank, scale, dropout, targets.
    """

    def __init__(self, model: TextToSemantic, settings: LoRASettings) -> None:
        from peft import LoraConfig
        from peft.tuners.lora import LoraModel
        from peft.tuners.lora.layer import Linear, ParamWrapper

        packed = "in_proj" in settings.targets
        config = LoraConfig(
            r=settings.rank,
            lora_alpha=settings.alpha,  # type: ignore[arg-type]  # used as a factor only
            target_modules=[name for name in settings.targets if name != "in_proj"],
            target_parameters=["self_attn.in_proj_weight"] if packed else None,
        )
        self._tuner = LoraModel(model, config, NAME)
        for module in model.modules():
            if isinstance(module, Linear):  # with in_proj adapted too, the configuration may not name a dropout
                module.lora_dropout[NAME] = nn.Dropout(settings.dropout)
            elif isinstance(module, ParamWrapper):  # it changes a class at every pass: nothing that can be compiled
                module.forward = torch.compiler.disable(module.forward)  # type: ignore[method-assign]
        self._weights = {name: item for name, item in model.named_parameters() if item.requires_grad}

    def state_dict(self) -> dict[str, Tensor]:
        """The adapters alone."""
        return {name: parameter.detach() for name, parameter in self._weights.items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore them.

        Raises:
            RuntimeError: these are other weights, or of another rank.
        """
        if {name: item.shape for name, item in state.items()} != {n: p.shape for n, p in self._weights.items()}:
            raise RuntimeError("they are no adapters of this rank and of these targets")
        for name, parameter in self._weights.items():
            parameter.data.copy_(state[name])

    def merged(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """All weights of the model, under its own keys, with adapters merged that :meth:`state_dict` once gave."""
        twin = copy.deepcopy(self)
        twin.load_state_dict(weights)
        twin._tuner.merge_and_unload()
        model: nn.Module = twin._tuner.merge_and_unload()  # a second pass: the first does not see out_proj in in_proj's
        return {name: tensor.detach().cpu() for name, tensor in model.state_dict().items()}


class WeightAverage:
    """The average of a model's trainable parameters: a stateful part of the training, beside the raw weights.

    Early averages would be ruled by the weights of the first steps, so the decay rises to its value: after n updates it
    is at most (1 + n) / (10 + n). The first update takes the weights as they are, so it does not matter when the base
    weights are loaded.

    Args:
        model: its parameters that require gradients when this is made are averaged.
        decay: share of the average that an update keeps, below 1.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay, self.updates = decay, 0
        self.parameters = {name: item for name, item in model.named_parameters() if item.requires_grad}
        self.average: dict[str, Tensor] = {}

    @torch.no_grad()
    def update(self) -> None:
        """Take in the weights after a step."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        for name, parameter in self.parameters.items():
            if name in self.average:
                self.average[name].lerp_(parameter, 1 - decay)
            else:
                self.average[name] = parameter.detach().clone()
        self.updates += 1

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The model has the average as its weights, and afterwards its own again, bit for bit."""
        own = {name: self.parameters[name].detach().clone() for name in self.average}
        self._write(self.average)
        try:
            yield
        finally:
            self._write(own)

    @torch.no_grad()
    def _write(self, weights: Mapping[str, Tensor]) -> None:
        for name, tensor in weights.items():
            self.parameters[name].copy_(tensor)

    def state_dict(self) -> dict[str, Any]:
        """Number of updates and the average by parameter."""
        return {"updates": self.updates, "average": self.average}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore them, on the devices of the parameters."""
        self.updates = state["updates"]
        self.average = {
            name: tensor.to(self.parameters[name].device, copy=True) for name, tensor in state["average"].items()
        }


def recompute_activations(model: nn.Module, *kinds: type[nn.Module]) -> int:
    """Let every module of these kinds keep its inputs alone and run again in the backward pass.

    Random numbers are drawn again as they were, so gradients are equal bit for bit. Names of parameters do not change.

    Args:
        model: changed in place.
        kinds: classes of modules; none may lie within another.

    Returns:
        How many modules do so now.
    """
    chosen = [module for module in model.modules() if isinstance(module, kinds)]
    for module in chosen:
        module.forward = partial(_run, module)  # type: ignore[method-assign]
    return len(chosen)


def _run(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
    forward = partial(type(module).forward, module)
    if not torch.is_grad_enabled():
        return forward(*args, **kwargs)
    return checkpoint(forward, *args, use_reentrant=False, **kwargs)
