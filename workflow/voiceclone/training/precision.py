"""Number formats of the forward and backward pass: fp32, tf32, bf16, fp16 with a scaled loss.

Weights, optimiser states, losses, spectrograms and the quantiser stay in 32 bits in all of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import torch
from torch import Tensor

Format = Literal["fp32", "tf32", "bf16", "fp16"]

_HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}
SMALLEST_SCALE = 1.0  # where gradients overflow even at this, it is not the scale that is wrong


class Precision:
    """Autocast, the scale of the loss, and updates under it. A stateful part of the training.

    In fp16 small gradients would vanish, so losses are multiplied by a scale that grows until gradients overflow; an
    update with overflown gradients is left out and the scale halved. The same scale serves all optimisers of a step.

    Args:
        name: the format.
        device: where the training runs.
    """

    optional = True

    def __init__(self, name: Format, device: torch.device) -> None:
        self.name, self.device = name, device
        # torch by itself would take TF32 for convolutions, not for products of matrices.
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = name == "tf32"
        self.scaler = torch.amp.GradScaler(device.type) if name == "fp16" else None
        self._open = False  # an optimiser has been unscaled in this step

    def autocast(self) -> AbstractContextManager[Any]:
        """Context of the networks' forward passes; not of losses."""
        dtype = _HALF.get(self.name)
        return nullcontext() if dtype is None else torch.autocast(self.device.type, dtype)

    def backward(self, loss: Tensor) -> None:
        """Backward pass of a loss, scaled."""
        (loss if self.scaler is None else self.scaler.scale(loss)).backward()

    def unscale(self, optimiser: torch.optim.Optimizer) -> None:
        """Bring an optimiser's gradients to their own size; between the last backward pass and :meth:`update`."""
        if self.scaler is not None:
            self.scaler.unscale_(optimiser)
            self._open = True

    def update(self, optimiser: torch.optim.Optimizer) -> None:
        """Make the update; in fp16 not if a gradient has overflown."""
        if self.scaler is None:
            optimiser.step()
        else:
            self.scaler.step(optimiser)

    def expects_overflow(self) -> bool:
        """Whether gradients that are not finite are the scale's fault and mended by it."""
        return self.scaler is not None and self.scaler.get_scale() > SMALLEST_SCALE

    def end_step(self) -> None:
        """Adapt the scale; after the updates of all optimisers, or where a step is left out."""
        if self.scaler is not None and self._open:
            self.scaler.update()
            self._open = False

    def state_dict(self) -> dict[str, Any]:
        """Plain values; empty without a scale."""
        return {} if self.scaler is None else self.scaler.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take them back."""
        if self.scaler is not None and state:
            self.scaler.load_state_dict(dict(state))


def gradient_norm(optimiser: torch.optim.Optimizer, most: float = math.inf) -> float:
    """Norm of an optimiser's gradients; larger ones than ``most`` are scaled down to it."""
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    return float(torch.nn.utils.clip_grad_norm_(parameters, most))
