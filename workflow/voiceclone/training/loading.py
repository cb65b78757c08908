"""Batches ready when they are needed: a thread reads and pads the next one while the device works on this one."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

import torch
from torch import Tensor

Key = TypeVar("Key")


class Loader(Generic[Key]):
    """Makes batches from keys, one ahead. What a key gives depends on nothing else, so neither does the training.

    Args:
        read: makes the batch of a key, on the CPU.
        device: where batches are used; those for a GPU go through pinned memory, beside its work.
    """

    def __init__(self, read: Callable[[Key], dict[str, Tensor]], device: torch.device) -> None:
        self._read, self._device = read, device
        self._thread: ThreadPoolExecutor | None = None
        self._ahead: tuple[Key, Future[dict[str, Tensor]]] | None = None

    def get(self, key: Key, following: Key | None = None) -> dict[str, Tensor]:
        """The batch of ``key``, on the device; ``following`` is what will be asked for next, if that is known."""
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="loader")
        ahead, self._ahead = self._ahead, None
        batch = ahead[1].result() if ahead is not None and ahead[0] == key else self._prepare(key)
        if following is not None:
            self._ahead = (following, self._thread.submit(self._prepare, following))
        return {name: tensor.to(self._device, non_blocking=True) for name, tensor in batch.items()}

    def _prepare(self, key: Key) -> dict[str, Tensor]:
        batch = self._read(key)
        if self._device.type == "cuda":
            return {name: tensor.pin_memory() for name, tensor in batch.items()}
        return batch
