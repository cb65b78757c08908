"""Gradients of a global batch, added up from as many smaller ones as memory needs.

A global batch is a pure function of seed and step. It is cut into micro-batches of utterances, whose losses are each
weighted by their share of the whole batch, so that the sum of the gradients is that of the batch in one piece. When
memory runs out nothing has been updated yet: the gradients are thrown away, the micro-batch is halved and the same
batch is gone through again. The smaller size is kept and belongs to the state, so that a resumed training computes the
same.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from voiceclone.training.distributed import World
from voiceclone.training.out_of_memory import MemoryExhaustedError, is_out_of_memory, release_memory

log = logging.getLogger(__name__)

Figures = dict[str, Tensor]


@dataclass(frozen=True)
class Part:
    """Items of a global batch that go through the network together.

    Args:
        first: position of the first item in the batch; also what the part's randomness is seeded by.
        items: the items.
        batch: all items of the global batch.
        only: whether it is all that this process has to do for the batch.
    """

    first: int
    items: list[int]
    batch: list[int]
    only: bool = True

    @property
    def whole(self) -> bool:
        """Whether this is all of the batch."""
        return len(self.items) == len(self.batch)

    @property
    def share(self) -> float:
        """Share of the batch's items: weight of a mean over items."""
        return len(self.items) / len(self.batch)

    @property
    def rows(self) -> slice:
        """Where the items stand in the batch."""
        return slice(self.first, self.first + len(self.items))


def split(batch: Sequence[int], most: int = 0, low: int = 0, high: int | None = None) -> list[Part]:
    """Cut the items from ``low`` to ``high`` of a batch into parts of nearly equal size, in order.

    Args:
        batch: all items.
        most: items in a part; 0: one part.
        low: first position.
        high: position after the last one; None: the end.
    """
    high = len(batch) if high is None else high
    count = -(-(high - low) // most) if most else min(1, high - low)
    bounds = [low + (high - low) * index // max(1, count) for index in range(count + 1)]
    return [Part(start, list(batch[start:end]), list(batch), count == 1) for start, end in pairwise(bounds)]


class Accumulator:
    """Goes through global batches in parts that fit into memory. A stateful part of the training.

    Args:
        micro_batch: most items that go through the network together; 0: the whole batch.
        describe: name of an item, for messages.
    """

    optional = True  # a state without it is that of a training that took its batches whole

    def __init__(self, micro_batch: int = 0, describe: Callable[[int], str] = str, world: World | None = None) -> None:
        self.setting = self.size = micro_batch
        self.describe, self.world = describe, world or World()
        self.events: list[str] = []  # of the step at hand, for the history

    def parts(self, batch: Sequence[int]) -> list[Part]:
        """This process's parts of a global batch, at the size that is known to fit."""
        return split(batch, self.size, *self.world.share(batch))

    def at_most(self, count: int) -> int:
        """``count``, or what is known to fit if that is less."""
        return min(count, self.size or count)

    def gradients(
        self, batch: Sequence[int], work: Callable[[Part], Figures], optimiser: torch.optim.Optimizer
    ) -> dict[str, float]:
        """Leave the gradients of the whole batch in the optimiser's parameters; return the batch's figures.

        Args:
            batch: items.
            work: forward and backward pass of one part, its losses weighted by its share of the batch; returns
                detached scalars that add up to those of the batch. It may be called again for the same items.
            optimiser: its gradients are cleared first.

        Raises:
            MemoryExhaustedError: not even one item fits.
        """
        while True:
            optimiser.zero_grad(set_to_none=True)
            answers = self.world.exchange(self._attempt(batch, work))
            failed = [answer for answer in answers if isinstance(answer, Part)]
            if not failed:
                parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
                self.world.add_gradients(parameters)
                return _sum(answer for answer in answers if not isinstance(answer, Part))
            optimiser.zero_grad(set_to_none=True)
            release_memory()
            self._back_off(failed[0])

    def _attempt(self, batch: Sequence[int], work: Callable[[Part], Figures]) -> dict[str, float] | Part:
        """This process's figures of the batch, or the part for which memory ran out."""
        done = []
        for part in self.parts(batch):
            try:
                done.append(work(part))
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                log.warning("out of memory with %d utterances: %s", len(part.items), str(error).partition("\n")[0])
                return part
        return _sum({name: value.item() for name, value in figures.items()} for figures in done)

    def _back_off(self, failed: Part) -> None:
        """Halve the micro-batch, to the same size in all processes."""
        before = min(self.size or len(failed.batch), -(-len(failed.batch) // self.world.size))
        if before == 1:
            raise MemoryExhaustedError(
                f"memory is not enough for one utterance alone: {self.describe(failed.items[0])}",
                "free the device for this training or take a larger one, set runtime.gradient_checkpointing, leave the "
                "utterance out by a correction, or lower slice.max_seconds",
            )
        self.size = -(-before // 2)
        self.events.append(f"out of memory: micro-batch {before} -> {self.size} utterances")
        log.warning("%s; the step is done again, the effective batch stays the same", self.events[-1])

    def state_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {"setting": self.setting, "size": self.size}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take the size back that was found to fit, unless another one is asked for now."""
        if state["setting"] == self.setting:
            self.size = state["size"]


def _sum(figures: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Sums by name, added in order."""
    total: dict[str, float] = {}
    for item in figures:
        for name, value in item.items():
            total[name] = total[name] + value if name in total else value
    return total
