"""Drawing tokens for many sentences at once where their logits are: the rules of :mod:`voiceclone.inference.sampling`.

Every value is a tensor and every shape is fixed, so that a step can be captured as a CUDA graph.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from voiceclone.inference.guidance import END_SHARE, END_TOKENS, MOVES, UNHEARD, UNSEEN, UNSPOKEN, Guide
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


def sample_rows(
    logits: Tensor, used: Tensor, settings: RowSettings, exponential: Tensor, bias: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Draw one token for each row; see :func:`voiceclone.inference.sampling.sample`.

    Args:
        logits: float32 (R, V); -inf excludes a token.
        used: bool (R, V), tokens that occurred before.
        settings: of each row.
        exponential: exponential noise (R, V).
        bias: float32 (R, V), added after the penalty; None: nothing is.

    Returns:
        The drawn tokens (R,), and the most likely ones after the penalty (R,).
    """
    penalty = settings.penalty
    penalised = torch.where(used, torch.where(logits < 0, logits * penalty, logits / penalty), logits)
    if bias is not None:
        penalised = penalised + bias
    ordered, tokens = penalised.sort(dim=1, descending=True, stable=True)
    beyond = (ordered.softmax(dim=1).cumsum(dim=1) > settings.top_p) & (settings.top_p < 1)
    beyond[:, 0] = False
    ordered = ordered.masked_fill(beyond, -torch.inf) / settings.temperature
    least = ordered.gather(1, settings.top_k - 1)
    weights = ordered.masked_fill(ordered < least, -torch.inf).softmax(dim=1)
    noise = exponential.gather(1, tokens).clamp_min(torch.finfo(torch.float32).tiny)
    drawn = tokens.gather(1, (weights / noise).argmax(dim=1, keepdim=True))
    return drawn[:, 0], tokens[:, 0]


class RowGuides:
    """:class:`voiceclone.inference.guidance.Guide` for many sentences at once, the same sums in tensors.

    Args:
        rows: sentences at most.
        phones: of a sentence, the prompt's included, at most.
        emission: float32 (all phones, codes).
    """

    def __init__(self, rows: int, phones: int, emission: Tensor) -> None:
        device, codes = emission.device, emission.shape[1]
        self._emission = emission
        self._tables = torch.zeros(rows, phones, codes, device=device)
        self._weights, self._waited = torch.zeros(2, rows, 1, device=device)
        self._inside = torch.zeros(rows, phones, dtype=torch.bool, device=device)
        self._ends = torch.zeros(rows, phones, 2, dtype=torch.bool, device=device)  # the last two, and the last alone
        self.filter = torch.zeros(rows, phones, device=device)
        self.pointed = torch.zeros(rows, dtype=torch.int64, device=device)
        self.guided = torch.zeros(rows, 1, dtype=torch.bool, device=device)

    @property
    def state(self) -> tuple[Tensor, ...]:
        """What a step changes."""
        return self.filter, self.pointed, self._waited

    @property
    def phones(self) -> int:
        """Phones that there is room for."""
        return self.filter.shape[1]

    def set(self, row: int, guide: Guide | None, phones: Tensor) -> None:
        """Begin a sentence with phones int64 (X,) in a row; None: it is not guided."""
        self.guided[row] = guide is not None
        if guide is None:
            return
        first, end = guide.first, len(phones)
        self._tables[row, :end] = self._emission[phones]
        self._weights[row], self._waited[row] = guide.weight, 0
        for flags in (self._inside, self._ends, self.filter):
            flags[row] = 0
        self._inside[row, first:end] = True
        self._ends[row, max(first, end - 2) : end, 0] = self._ends[row, end - 1, 1] = True
        self.filter[row, first] = 1

    def bias(self, scores: Tensor) -> Tensor:
        """What is added to the logits of the next token of each of the first rows (R, codes + 1), for scores (R, X)."""
        rows = len(scores)
        inside, filtered = self._inside[:rows], self.filter[:rows]
        pointed = (
            scores.masked_fill(~inside, -torch.inf).softmax(1).nan_to_num()
        )  # rows without a sentence have no phone
        moved = MOVES[0] * filtered
        moved[:, 1:] += MOVES[1] * filtered[:, :-1]
        moved[:, 2:] += MOVES[2] * filtered[:, :-2]
        filtered.copy_(_normalised(moved * (pointed + UNSEEN) * inside))
        self.pointed[:rows] = pointed.argmax(1)
        heard = torch.bmm(filtered[:, None], self._tables[:rows])[:, 0]
        bias = self._weights[:rows] * torch.log(heard + UNHEARD)
        ends = self._ends[:rows]
        standing = ends[:, :, 1].gather(1, filtered.argmax(1, keepdim=True))
        self._waited[:rows] = torch.where(standing, self._waited[:rows] + 1, 0.0)
        bias = bias.masked_fill(self._waited[:rows] > END_TOKENS, -torch.inf)
        stop = torch.zeros_like(bias[:, :1]).masked_fill(
            (filtered * ends[:, :, 0]).sum(1, keepdim=True) < END_SHARE, -torch.inf
        )
        return torch.where(self.guided[:rows], torch.cat([bias, stop], dim=1), 0.0)

    def take(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Note the tokens (R,) that were drawn; returns the phones (R,) that they speak, by filter and by pointer, the
        prompt's included."""
        rows = len(tokens)
        known = self._tables[:rows].gather(2, tokens[:, None, None].expand(-1, self.phones, 1))[:, :, 0]
        filtered = self.filter[:rows]
        filtered.copy_(_normalised(filtered * (known.sqrt() + UNSPOKEN)))
        return filtered.argmax(1), self.pointed[:rows]


def _normalised(weights: Tensor) -> Tensor:
    """Rows that add up to 1; empty ones stay so."""
    return weights / weights.sum(1, keepdim=True).clamp_min(torch.finfo(torch.float32).tiny)
