"""Exponential moving average of the weights that a training changes (Polyak and Juditsky 1992)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


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
        """Take them back, on the devices of the parameters."""
        self.updates = state["updates"]
        self.average = {
            name: tensor.to(self.parameters[name].device, copy=True) for name, tensor in state["average"].items()
        }
