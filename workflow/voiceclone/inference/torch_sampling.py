"""Drawing tokens for many sentences at once where their logits are: the rules of :mod:`voiceclone.inference.sampling`.

Every value is a tensor and every shape is fixed, so that a step can be captured as a CUDA graph.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from voiceclone.inference.sampling import MIN_TEMPERATURE, SamplingSettings


@dataclass(frozen=True)
class RowSettings:
    """Sampling settings of each row: tensors (R, 1)."""

    top_k: Tensor
    top_p: Tensor
    temperature: Tensor
    penalty: Tensor

    @classmethod
    def empty(cls, rows: int, device: torch.device) -> RowSettings:
        """For a number of rows, each like the public program's until it is set."""
        ones = torch.ones(rows, 1, device=device)
        return cls(ones.long(), ones.clone(), ones.clone(), ones.clone())

    def set(self, row: int, settings: SamplingSettings, size: int) -> None:
        """Settings of a row; ``size``: number of tokens, all of which are kept where ``top_k`` is 0."""
        kept = settings.top_k if 0 < settings.top_k < size else size
        temperature = max(settings.temperature, MIN_TEMPERATURE)
        values = (kept, settings.top_p, temperature, settings.repetition_penalty)
        for tensor, value in zip((self.top_k, self.top_p, self.temperature, self.penalty), values, strict=True):
            tensor[row] = value

    def first(self, rows: int) -> RowSettings:
        """Those of the first rows; views."""
        return RowSettings(self.top_k[:rows], self.top_p[:rows], self.temperature[:rows], self.penalty[:rows])


def sample_rows(logits: Tensor, used: Tensor, settings: RowSettings, exponential: Tensor) -> tuple[Tensor, Tensor]:
    """Draw one token for each row; see :func:`voiceclone.inference.sampling.sample`.

    Args:
        logits: float32 (R, V); -inf excludes a token.
        used: bool (R, V), tokens that occurred before.
        settings: of each row.
        exponential: exponential noise (R, V).

    Returns:
        The drawn tokens (R,), and the most likely ones after the penalty (R,).
    """
    penalty = settings.penalty
    penalised = torch.where(used, torch.where(logits < 0, logits * penalty, logits / penalty), logits)
    ordered, tokens = penalised.sort(dim=1, descending=True, stable=True)
    beyond = (ordered.softmax(dim=1).cumsum(dim=1) > settings.top_p) & (settings.top_p < 1)
    beyond[:, 0] = False
    ordered = ordered.masked_fill(beyond, -torch.inf) / settings.temperature
    least = ordered.gather(1, settings.top_k - 1)
    weights = ordered.masked_fill(ordered < least, -torch.inf).softmax(dim=1)
    noise = exponential.gather(1, tokens).clamp_min(torch.finfo(torch.float32).tiny)
    drawn = tokens.gather(1, (weights / noise).argmax(dim=1, keepdim=True))
    return drawn[:, 0], tokens[:, 0]
