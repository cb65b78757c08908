"""Number formats of the forward and backward pass: fp32, tf32, bf16, fp16 with a scaled loss; or what the device has.

Weights, optimiser states, losses, spectrograms and the quantiser stay in 32 bits in all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import torch
from torch import Tensor

Format = Literal["fp32", "tf32", "bf16", "fp16"]
#: Instructions of a CPU that multiply bf16: with any of them a step of the GPT takes about half the time.
CPU_BF16 = ("amx_bf16", "avx512_bf16")

_HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}
SMALLEST_SCALE = 1.0  # where gradients overflow even at this, it is not the scale that is wrong


def choose_format(device: torch.device) -> tuple[Format, str]:
    """The fastest format that a device multiplies in hardware without a scaled loss, and why."""
    if device.type == "cuda":
        version = torch.cuda.get_device_capability(device)
        return ("bf16" if version >= (8, 0) else "fp32"), f"GPU of compute capability {version[0]}.{version[1]}"
    known = torch.cpu.get_capabilities()
    found = [name for name in CPU_BF16 if known.get(name)]
    return ("bf16", f"CPU with {found[0]}") if found else ("fp32", "CPU without instructions for bf16")


class Precision:
    """Autocast, the scale of the loss, and updates under it. A stateful part of the training.

    In fp16 small gradients would vanish, so losses are multiplied by a scale that grows until gradients overflow; an
    update with overflown gradients is left out and the scale halved. The same scale serves all optimisers of a step.

    Args:
        name: the format; auto: what :func:`choose_format` takes.
        device: where the training runs.

    Attributes:
        reason: why auto took the format; empty where the format was named.
    """

    optional = True

    def __init__(self, name: Format | Literal["auto"], device: torch.device) -> None:
        self.name, self.reason = choose_format(device) if name == "auto" else (name, "")
        self.device = device
        name = self.name
        # torch by itself would take TF32 for convolutions, not for products of matrices.
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = name == "tf32"
        self.scaler = torch.amp.GradScaler(device.type) if name == "fp16" else None
        self._open = False  # an optimiser has been unscaled in this step

    def describe(self) -> str:
        """The format, and why it was chosen."""
        return f"{self.name} ({self.reason})" if self.reason else self.name

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


def gradient_norm(optimiser: torch.optim.Optimizer, most: float | None = None) -> float:
    """Norm of an optimiser's gradients; larger ones than ``most`` are scaled down to it."""
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    norm = torch.nn.utils.get_total_norm([item.grad for item in parameters if item.grad is not None])
    if most is not None:
        torch.nn.utils.clip_grads_with_norm_(parameters, most, norm)
    return float(norm)
