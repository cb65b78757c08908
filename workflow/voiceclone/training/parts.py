"""What must survive a stop: the parts of a checkpoint, among them the two that every training has."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import torch


class Stateful(Protocol):
    """Anything that must survive a stop: modules, optimisers, schedules, scalers."""

    def state_dict(self) -> Mapping[str, Any]:
        """Nested tensors and plain values."""

    def load_state_dict(self, state: Any) -> Any:
        """Take them back."""


def weights_of(model: Stateful) -> dict[str, torch.Tensor]:
    """Copies of the weights on the CPU."""
    return {name: tensor.detach().to("cpu", copy=True) for name, tensor in model.state_dict().items()}


@dataclass
class Counters:
    """Progress of a training: a stateful part like the others."""

    step: int = 0
    validated: int = 0
    seconds: float = 0.0
    skipped: int = 0  # in a row
    stale: int = 0  # validations in a row that were no better than the best
    window: dict[str, list[float]] = field(default_factory=dict)  # name -> [sum, count] since the last history line

    def state_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take them back."""
        for name, value in state.items():
            setattr(self, name, value)


class Best:
    """Weights with the lowest validation figure so far: a stateful part, so they are as safe as all others."""

    def __init__(self) -> None:
        self.step: int | None = None
        self.value = math.inf
        self.weights: dict[str, torch.Tensor] = {}

    def offer(self, step: int, value: float, model: Stateful) -> bool:
        """Keep a copy of the weights if ``value`` is lower than all before; whether it was."""
        if not value < self.value:
            return False
        self.step, self.value, self.weights = step, value, weights_of(model)
        return True

    def state_dict(self) -> dict[str, Any]:
        """Plain values and tensors."""
        return {"step": self.step, "value": None if self.step is None else self.value, "weights": self.weights}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take them back."""
        self.step, self.weights = state["step"], dict(state["weights"])
        self.value = math.inf if state["value"] is None else state["value"]
