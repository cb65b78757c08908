"""Several processes that train one model: each takes its share of every batch, all make the same update.

Gradients are added up over the processes explicitly, after the micro-batches of a phase, and not by the DDP wrapper:
nothing is sent for the passes in between, two networks with two optimisers and parameters without gradients need no
special care, and the order of the sums is fixed. All processes hold equal weights and optimiser states; the first one
alone writes.

Before any sum the processes meet on the CPU (gloo, whatever the device is): there they agree whether memory was enough
and whether to stop, and one that hangs or is gone is named instead of waited for in a kernel.

A process that is alone never touches :mod:`torch.distributed`.
"""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from voiceclone.errors import VoiceCloneError

Value = TypeVar("Value")

BUCKET = 64 * 2**20  # bytes of gradients that are sent together
_NAMED = re.compile(r"[Rr]anks? ([\d, ]+?),? failed to pass monitoredBarrier")


class ProcessLostError(VoiceCloneError):
    """Another process of this training hangs or has ended. What was saved stays as it is."""


def expected_processes() -> int:
    """Number of processes this one was started among, as torchrun and :mod:`voiceclone.training.launch` tell it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


class World:
    """The processes of one training, seen from one of them.

    Args:
        rank: number of this process; 0 leads.
        size: number of processes.
        timeout: seconds that the others are waited for.
    """

    def __init__(self, rank: int = 0, size: int = 1, timeout: float = 1800.0) -> None:
        self.rank, self.size, self.timeout = rank, size, timeout
        self._control: Any = None  # group on the CPU

    @classmethod
    def join(cls, device: torch.device, timeout: float) -> World:
        """Meet the processes that this one was started among, if it was.

        Args:
            device: where this process trains.
            timeout: seconds that the others are waited for.

        Raises:
            ProcessLostError: the others did not come.
        """
        world = cls(int(os.environ.get("RANK", "0")), expected_processes(), timeout)
        if world.size > 1:
            import torch.distributed as dist

            world._be_quiet()
            with world._together():
                limit = timedelta(seconds=timeout)
                dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=limit)
                world._control = dist.new_group(backend="gloo", timeout=limit)
        return world

    def leave(self) -> None:
        """Part from the others when all is done."""
        if self.size > 1:
            import torch.distributed as dist

            self.wait()
            dist.destroy_process_group()

    @property
    def leads(self) -> bool:
        """Whether this process writes and speaks."""
        return self.rank == 0

    def share(self, batch: Sequence[int]) -> tuple[int, int]:
        """First position and end of this process's share of a batch; empty if there are more processes than items."""
        return len(batch) * self.rank // self.size, len(batch) * (self.rank + 1) // self.size

    def exchange(self, value: Value) -> list[Value]:
        """The values of all processes, in their order; plain values only."""
        if self.size == 1:
            return [value]
        import torch.distributed as dist

        values: list[Any] = [None] * self.size
        with self._together():
            dist.monitored_barrier(self._control, timedelta(seconds=self.timeout), wait_all_ranks=True)
            dist.all_gather_object(values, value, group=self._control)
        return values

    def from_leader(self, value: Value) -> Value:
        """The first process's value, in all processes."""
        return self.exchange(value)[0]

    def wait(self, longer: float = 0.0) -> None:
        """Until all processes are here; one that may have work to do meanwhile is given ``longer`` seconds more."""
        if self.size > 1:
            import torch.distributed as dist

            with self._together():
                dist.monitored_barrier(self._control, timedelta(seconds=self.timeout + longer), wait_all_ranks=True)

    def add_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Replace gradients by their sums over all processes; a parameter without one in all of them keeps none."""
        if self.size == 1:
            return
        import torch.distributed as dist

        parameters = list(parameters)
        present = self.exchange([parameter.grad is not None for parameter in parameters])
        gradients = []
        for parameter, anywhere in zip(parameters, map(any, zip(*present, strict=True)), strict=True):
            if anywhere and parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            if parameter.grad is not None:
                gradients.append(parameter.grad)
        with self._together():
            for bucket in _buckets(gradients):
                flat = torch.cat([gradient.flatten() for gradient in bucket])
                dist.all_reduce(flat)
                parts = flat.split([gradient.numel() for gradient in bucket])
                for gradient, part in zip(bucket, parts, strict=True):
                    gradient.copy_(part.view_as(gradient))

    @contextmanager
    def _together(self) -> Iterator[None]:
        """Turn the failure of a common action into an error that says who is missing."""
        try:
            yield
        except RuntimeError as error:
            named = _NAMED.search(str(error))
            who = f"process {named[1].strip()}" if named else "another process"
            raise ProcessLostError(
                f"process {self.rank} of {self.size}: {who} does not answer, waited at most {self.timeout:g} s "
                f"({str(error).strip().splitlines()[-1]})",
                "look for its message above; run the same command again to continue from the last checkpoint",
            ) from error

    def _be_quiet(self) -> None:
        """The first process alone shows progress; the others' warnings say whose they are."""
        if self.leads:
            return
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 (for the life of the process)
        root = logging.getLogger()
        root.setLevel(max(root.level, logging.WARNING))
        for handler in root.handlers:
            handler.setFormatter(logging.Formatter(f"process {self.rank}: %(levelname)s %(name)s: %(message)s"))


class Stop(Protocol):
    """What can ask a training to stop."""

    @property
    def reason(self) -> str:
        """Why to stop now; empty while there is no reason."""


class AgreedStop:
    """A stop request that reaches all processes in the same step.

    Args:
        asked: what this process was asked; it alone counts where there is no other process.
        world: the processes.
    """

    def __init__(self, asked: Stop, world: World) -> None:
        self._asked, self._world, self._agreed = asked, world, ""
        self._parent = os.getppid()

    def agree(self) -> None:
        """Exchange what the processes were asked; all call this between two steps."""
        if self._world.size == 1:
            return
        orphaned = "the end of the process that started it" if os.getppid() != self._parent else ""
        reasons = self._world.exchange(self._asked.reason or orphaned)
        self._agreed = next((reason for reason in reasons if reason), "")

    @property
    def here(self) -> str:
        """What this process was asked, agreed or not."""
        return self._asked.reason

    @property
    def reason(self) -> str:
        """Why to stop now; empty while there is no reason."""
        return self._asked.reason if self._world.size == 1 else self._agreed


def _buckets(gradients: Iterable[Tensor]) -> Iterator[list[Tensor]]:
    """Gradients of one type, in order, in groups of about :data:`BUCKET` bytes."""
    bucket: list[Tensor] = []
    for gradient in gradients:
        if bucket and (
            gradient.dtype != bucket[0].dtype or sum(item.nbytes for item in bucket) + gradient.nbytes > BUCKET
        ):
            yield bucket
            bucket = []
        bucket.append(gradient)
    if bucket:
        yield bucket
