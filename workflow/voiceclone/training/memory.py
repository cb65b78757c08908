"""The micro-batch that fits into memory, for ``runtime.micro_batch: auto``: trial steps on the longest batch.

What one and two utterances need is measured, the most that fit are computed from it, and one more trial proves them.
Then every part of the state is put back as a checkpoint would be, so the training is that of the same micro-batch set
by hand, bit for bit. The number belongs to the state: a resumed training takes it, and measures nothing.

On a GPU the driver's allocator says what a step needs at most. The processor's has no such figure: there the tensors
that a step makes are counted while they live, which leaves out what kernels take within an operation.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Protocol

import psutil
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from voiceclone.training.checkpoints import Stateful, pack, unpack
from voiceclone.training.data import Order
from voiceclone.training.step import OptimizerStep, SkippedUpdate, release_memory

SHARE = 0.9  # of the free memory: the rest is for fragments, for kernels and for whatever else runs


class Trained(Protocol):
    """What is needed of a recipe, see :class:`voiceclone.training.loop.Recipe`."""

    state: dict[str, Stateful]

    @property
    def order(self) -> Order:
        """The items of each step."""

    def train_step(self, step: int) -> object:
        """Make the update of a step."""


def _storages(values: object) -> list[torch.UntypedStorage]:
    """Memory of the tensors in nested values."""
    return [item.untyped_storage() for item in tree_leaves(values) if isinstance(item, torch.Tensor)]


class LivingTensors(TorchDispatchMode):
    """Counts the bytes of the tensors that operations make, while they live; ``peak`` is the most at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.peak = self._now = 0
        self._known: dict[int, int] = {}  # storages: address of the object -> bytes

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run an operation and count what it has made; views and operations in place make nothing."""
        result = func(*args, **(kwargs or {}))
        given = {storage._cdata for storage in _storages((args, kwargs))}
        for storage in _storages(result):
            key = storage._cdata
            if key not in self._known and key not in given:
                self._known[key] = storage.nbytes()
                self._now += storage.nbytes()
                self.peak = max(self.peak, self._now)
                weakref.finalize(storage, self._forget, key)
        return result

    def _forget(self, key: int) -> None:
        self._now -= self._known.pop(key, 0)


def peak_bytes(device: torch.device, work: Callable[[], object]) -> int:
    """Most bytes that some work needs at a time, beside what is there before."""
    if device.type != "cuda":
        with LivingTensors() as counted:
            work()
        return counted.peak
    torch.cuda.synchronize(device)
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    work()
    torch.cuda.synchronize(device)
    return torch.cuda.max_memory_allocated(device) - before


def free_bytes(device: torch.device) -> int:
    """Bytes that this process can still take; on the processor its share of what all on this machine can."""
    if device.type != "cuda":
        return int(psutil.virtual_memory().available) // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + unused


def fitting_size(one: int, two: int, room: int, most: int) -> int:
    """Utterances in the largest micro-batch that fits, at least 1; 0: a whole batch.

    Each further utterance needs as much as the second one: they are padded to one length.

    Args:
        one: bytes that a step needs with one utterance at a time.
        two: with two.
        room: bytes that there are.
        most: utterances in a batch.
    """
    size = 1 + max(0, room - one) // max(1, two - one)
    return 0 if size >= most else max(size, 1)


def heaviest_step(order: Order, steps: int) -> int:
    """The step, among those of an epoch, whose batch is the largest when it is padded."""

    def padded(step: int) -> tuple[float, int]:
        batch, partners = order.batch(step), order.partners(step)
        lengths = [
            order.lengths[item] + (order.lengths[other] if other >= 0 else 0)
            for item, other in zip(batch, partners, strict=True)
        ]
        return float(max(lengths)) * len(batch), -step

    return max(range(max(1, min(steps, order.steps_per_epoch))), key=padded)


def fit_micro_batch(recipe: Trained, optimizer_step: OptimizerStep, steps: int) -> str:
    """Measure the micro-batch where the settings say auto and the state has none; in words what was found, else "".

    All processes choose the same: the one with the least room decides.

    Raises:
        MemoryExhaustedError: one utterance alone does not fit.
    """
    accumulator, processes, device = optimizer_step.accumulator, optimizer_step.processes, optimizer_step.device
    if accumulator.size is not None:
        return ""
    tensors: dict[str, torch.Tensor] = {}
    packed = pack({name: part.state_dict() for name, part in recipe.state.items()}, "", tensors)
    step = heaviest_step(recipe.order, steps)
    most = max(len(recipe.order.batch(other)) for other in range(max(1, min(steps, recipe.order.steps_per_epoch))))
    most = -(-most // processes.size)
    room = min(processes.exchange(int(SHARE * free_bytes(device))))

    def needed(size: int) -> int:
        """Bytes of a step in micro-batches of a size; a size that does not fit is halved by the step itself."""
        accumulator.size = size

        def trial() -> None:
            with suppress(SkippedUpdate):
                recipe.train_step(step)

        need = max(processes.exchange(peak_bytes(device, trial)))
        fitted = accumulator.size
        for name, values in unpack(packed, {name: tensor.clone() for name, tensor in tensors.items()}).items():
            recipe.state[name].load_state_dict(values)
        accumulator.size = fitted
        release_memory()
        return need

    one = need = needed(1)
    size = 1
    if most > 1:
        need = needed(2)
        size = fitting_size(one, need, room, most) if accumulator.size == 2 else 1
    while size != 1 and ((need := needed(size)) > room or accumulator.size != size):
        size = -(-(size or most) // 2)  # a whole batch keeps more than its parts: the generator's graph
    accumulator.size = size
    share = f"{size} utterances" if size else "the whole batch"
    return f"micro-batch: {share}; needs {need / 2**20:.0f} MB, {room / 2**20:.0f} MB may be taken"
