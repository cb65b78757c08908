"""ScaledAdam: Adam whose steps are in proportion to the size of what they change.

From the Zipformer paper (Yao et al. 2023) and its icefall implementation, in the form that the public GPT training
uses. Every tensor moves by a share of its own root mean square, and its size is learnt beside its direction. So the
learning rate is a relative one, far above those of AdamW: 0.002 to 0.01.

Parameters of equal type and shape are handled as one stack, whose state lies under the first of them. The clipping is
what the public code makes of it: the factor counts only where sizes are learnt, so spikes in the gradient are damped
by the running squares, not by the clipping.

AdamW as both trainings of SoVITS use it, and a learning rate that rises and falls.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from voiceclone.stages.train_sovits import SoVITSSettings

BETAS, EPSILON = (0.8, 0.99), 1e-9
TEXT_MODULES = ("enc_p.text_embedding", "enc_p.encoder_text", "enc_p.mrte")


def adamw(groups: Iterable[dict[str, Any]], settings: SoVITSSettings, fused: bool) -> torch.optim.AdamW:
    """An optimiser of groups of parameters, each with its ``scale`` of the learning rate; groups may be empty."""
    return torch.optim.AdamW(
        [group for group in groups if group["params"]], lr=settings.learning_rate, betas=BETAS, eps=EPSILON,
        weight_decay=settings.weight_decay, fused=fused or None,
    )  # fmt: skip


def generator_groups(model: nn.Module, settings: SoVITSSettings) -> list[dict[str, Any]]:
    """Trainable parameters in two groups: the text encoder learns more slowly."""
    text: list[Tensor] = []
    rest: list[Tensor] = []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            (text if name.startswith(TEXT_MODULES) else rest).append(parameter)
    return [{"params": rest, "scale": 1.0}, {"params": text, "scale": settings.text_learning_rate}]


def whole_group(model: nn.Module) -> list[dict[str, Any]]:
    """All parameters of a network in one group."""
    return [{"params": list(model.parameters()), "scale": 1.0}]


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of each group, by its scale."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["scale"]


def warm_cosine(step: int, steps: int, warmup: int, low: float) -> float:
    """Share of the highest learning rate in a step, counted from 0: it rises from zero, then falls along a cosine.

    Args:
        step: of the training.
        steps: in all.
        warmup: steps in which it rises.
        low: share at the end.
    """
    if step < warmup:
        return (step + 1) / warmup
    position = min(1.0, (step - warmup) / max(1, steps - warmup))
    return low + (1 - low) * 0.5 * (1 + math.cos(math.pi * position))


BIAS_NEGLIGIBLE = 0.99  # from here on the running squares are taken as unbiased
TINY = 1e-20


class ScaledAdam(torch.optim.Optimizer):
    """The optimiser of the public GPT training, with its defaults.

    Args:
        params: parameters, or groups of them; none may be a scalar without dimensions.
        lr: relative learning rate.
        betas: of the momentum and of the running squares.
        eps: added to denominators.
        clipping_scale: gradients above this multiple of their median norm are scaled; 0: never.
        size_learning_rate: of sizes and of parameters with one number, as a share of ``lr``.
        smallest_size: root mean square below which a tensor does not shrink.
        largest_size: root mean square above which a tensor shrinks as fast as it can.
        largest_scalar: bound of parameters with one number.
        size_update_period: steps between two changes of the sizes.
        clipping_update_period: steps over which the median norm is taken; nothing is clipped before.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 0.01,
        betas: tuple[float, float] = (0.9, 0.95),
        eps: float = 1e-8,
        clipping_scale: float = 2.0,
        size_learning_rate: float = 0.1,
        smallest_size: float = 1e-5,
        largest_size: float = 3.0,
        largest_scalar: float = 10.0,
        size_update_period: int = 4,
        clipping_update_period: int = 1000,
    ) -> None:
        defaults = {
            "lr": lr, "betas": betas, "eps": eps, "clipping_scale": clipping_scale,
            "size_learning_rate": size_learning_rate, "smallest_size": smallest_size, "largest_size": largest_size,
            "largest_scalar": largest_scalar, "size_update_period": size_update_period,
            "clipping_update_period": clipping_update_period,
        }  # fmt: skip
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """Make one update; parameters without a gradient count as having zeros."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            stacks = [self._stack(members, group) for members in _alike(group["params"])]
            factor = self._clipping_factor(group, stacks) if stacks and stacks[0].state["step"] else 1.0
            for stack in stacks:
                _update(group, stack, factor)
        return loss

    def _stack(self, members: list[Tensor], group: dict[str, Any]) -> _Stack:
        """Values and gradients of parameters that are alike, with their state, made where there is none."""
        values = torch.stack(members)
        gradients = torch.stack([torch.zeros_like(p) if p.grad is None else p.grad for p in members])
        state = self.state[members[0]]
        if not state:
            state.update(step=0, delta=torch.zeros_like(values), exp_avg_sq=torch.zeros_like(values))
            if members[0].numel() > 1:
                state["param_rms"] = _rms(values)
                state["scale_exp_avg_sq"] = torch.zeros_like(state["param_rms"])
                state["scale_grads"] = values.new_zeros(group["size_update_period"], *state["param_rms"].shape)
        return _Stack(members, values, gradients, state)

    @staticmethod
    def _clipping_factor(group: dict[str, Any], stacks: list[_Stack]) -> float:
        """Factor on gradients that are larger than usual; the first stack's state keeps what is usual."""
        if not group["clipping_scale"]:
            return 1.0
        period, state = group["clipping_update_period"], stacks[0].state
        norm = torch.stack([stack.relative_gradient().square().sum() for stack in stacks]).sum().sqrt()
        if "model_norms" not in state:
            state["model_norms"] = norm.new_zeros(period)
        state["model_norms"][state["step"] % period] = norm
        if state["step"] % period == 0:
            middle = min(period - 1, period // 4 * 2)
            state["model_norm_threshold"] = group["clipping_scale"] * float(state["model_norms"].sort()[0][middle])
        if state["step"] < period:
            return 1.0
        factor = min(1.0, state["model_norm_threshold"] / (float(norm) + TINY))
        state["num_clipped"] = state.get("num_clipped", 0) + int(factor < 1.0)
        return factor


class _Stack:
    """Parameters of one type and shape as one tensor (n, ...).

    Args:
        members: the parameters.
        values: copies of them.
        gradients: theirs.
        state: running statistics, all (n, ...).
    """

    def __init__(self, members: list[Tensor], values: Tensor, gradients: Tensor, state: dict[str, Any]) -> None:
        self.members, self.values, self.gradients, self.state = members, values, gradients, state

    def relative_gradient(self) -> Tensor:
        """Gradients with regard to values of size one; as they are for single numbers."""
        return self.gradients * self.state["param_rms"] if "param_rms" in self.state else self.gradients


def _alike(parameters: Iterable[Tensor]) -> list[list[Tensor]]:
    """Parameters by type and shape, in the public order of the keys."""
    stacks: dict[tuple[Any, ...], list[Tensor]] = {}
    for parameter in parameters:
        stacks.setdefault((str(parameter.dtype), *parameter.shape), []).append(parameter)
    return [stacks[key] for key in sorted(stacks)]


def _rms(values: Tensor) -> Tensor:
    """Root mean square (n, 1, ...) of every member of a stack (n, ...)."""
    return values.square().mean(dim=tuple(range(1, values.ndim)), keepdim=True).sqrt()


def _update(group: dict[str, Any], stack: _Stack, factor: float) -> None:
    """Move the members of a stack; ``factor`` scales the gradients that their sizes learn from."""
    state, values = stack.state, stack.values
    momentum, memory = group["betas"]
    state["delta"].mul_(momentum)
    state["exp_avg_sq"].mul_(memory).addcmul_(stack.gradients, stack.gradients, value=1 - memory)
    unbiased = 1 - memory ** (state["step"] + 1)
    if "param_rms" in state:
        _learn_size(group, stack, factor)
        squares = state["exp_avg_sq"] * (1 / unbiased) if unbiased < BIAS_NEGLIGIBLE else state["exp_avg_sq"]
        rates = -group["lr"] * (1 - momentum) * state["param_rms"].clamp(min=group["smallest_size"])
        state["delta"].add_(stack.gradients / squares.sqrt().add_(group["eps"]) * rates)
    else:
        direction = stack.gradients / (state["exp_avg_sq"] / unbiased).sqrt().add_(group["eps"])
        state["delta"].add_(direction, alpha=-group["lr"] * group["size_learning_rate"] * (1 - momentum))
        values.clamp_(-group["largest_scalar"], group["largest_scalar"])
    values.add_(state["delta"])
    for member, value in zip(stack.members, values, strict=True):
        member.copy_(value)
    state["step"] += 1


def _learn_size(group: dict[str, Any], stack: _Stack, factor: float) -> None:
    """Note how the loss changes with the members' sizes; at the end of a period, let the sizes follow."""
    state, values, period, step = stack.state, stack.values, group["size_update_period"], stack.state["step"]
    axes = tuple(range(1, values.ndim))
    gradients = stack.gradients if factor == 1.0 else stack.gradients * factor
    state["scale_grads"][step % period] = (values * gradients).sum(dim=axes, keepdim=True)
    if step % period != period - 1:
        return
    state["param_rms"].copy_(_rms(values))
    if step == 0:
        return
    momentum, memory = group["betas"][0], group["betas"][1] ** period
    rate, noted = group["lr"] * group["size_learning_rate"], state["scale_grads"]
    state["scale_exp_avg_sq"].mul_(memory).add_(noted.square().mean(dim=0), alpha=1 - memory)
    unbiased = 1 - memory ** ((step + 1) // period)
    growth = -rate * unbiased**0.5 * noted.sum(dim=0) / state["scale_exp_avg_sq"].sqrt().add_(group["eps"])
    growth.masked_fill_(state["param_rms"] < group["smallest_size"], 0.0)
    growth.masked_fill_(state["param_rms"] > group["largest_size"], -rate * period)
    state["delta"].add_(values * growth, alpha=1 - momentum)
