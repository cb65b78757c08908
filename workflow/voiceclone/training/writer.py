"""Checkpoints written beside the training: the state is copied to host memory, a thread brings it to the disk."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch

from voiceclone.training.checkpoints import CheckpointStore, Snapshot, take_snapshot

log = logging.getLogger(__name__)


class HostMemory:
    """Copies of tensors on the host, in memory that the next copies of the same shapes use again.

    Page-locked for tensors of a GPU, so that all copies of a snapshot run at the speed of the bus.
    """

    def __init__(self) -> None:
        self._held: dict[str, torch.Tensor] = {}

    def copy(self, name: str, tensor: torch.Tensor) -> torch.Tensor:
        """Start to copy a tensor; it is there after :meth:`settle`."""
        held = self._held.get(name)
        if held is None or held.shape != tensor.shape or held.dtype != tensor.dtype:
            held = self._held[name] = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=tensor.is_cuda)
        held.copy_(tensor.detach(), non_blocking=True)
        return held

    @staticmethod
    def settle() -> None:
        """Wait until all copies are there."""
        if torch.cuda.is_initialized():
            torch.cuda.synchronize()


class CheckpointWriter:
    """Writes one checkpoint at a time in a thread of its own.

    Args:
        store: where checkpoints lie; no other thread uses it while one is being written.
        before: what to bring to the disk before the checkpoint that relies on it.
    """

    def __init__(self, store: CheckpointStore, before: Callable[[], None] = lambda: None) -> None:
        self._store, self._before = store, before
        self._memory = HostMemory()
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    @property
    def busy(self) -> bool:
        """Whether a checkpoint is being written."""
        return self._thread is not None and self._thread.is_alive()

    def submit(
        self,
        step: int,
        parts: Mapping[str, Any],
        history: Iterable[Mapping[str, Any]],
        versions: Mapping[str, str],
        metric: float | None = None,
    ) -> None:
        """Copy the state and have it written; waits for the checkpoint before it, and raises what that one raised."""
        self.wait()
        began = time.monotonic()
        snapshot = take_snapshot(step, parts, history, versions, metric, self._memory.copy)
        self._memory.settle()
        self._thread = threading.Thread(
            target=self._write, args=(snapshot, time.monotonic() - began), name=f"checkpoint-{step}"
        )
        self._thread.start()

    def _write(self, snapshot: Snapshot, copied: float) -> None:
        began = time.monotonic()
        try:
            self._before()
            path = self._store.write(snapshot)
            log.info("saved %s in %.2f s; the training waited %.3f s", path, time.monotonic() - began, copied)
        except BaseException as error:  # handed to the training, which decides
            self._error = error

    def wait(self) -> bool:
        """Wait until nothing is being written; whether there was something, and it stands now. Tells each end once.

        Raises:
            DataError: the checkpoint could not be written.
        """
        if self._thread is None:
            return False
        self._thread.join()
        self._thread = None
        error, self._error = self._error, None
        if error is not None:
            raise error
        return True
