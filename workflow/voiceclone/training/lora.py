"""Low-rank adapters of the GPT through peft: trained, saved and resumed alone, merged into the weights at the end."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from voiceclone.config.gpt import LoRASettings
from voiceclone.models.gpt import TextToSemantic

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
        """Take them back.

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
