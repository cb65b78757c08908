"""Running out of memory: how it is recognised on every device, and what is set free after it."""

from __future__ import annotations

import gc

import torch

from voiceclone.errors import DataError

# What torch and the libraries below it say where they have no exception of their own.
_MESSAGES = (
    "not enough memory",
    "can't allocate memory",
    "cannot allocate memory",
    "cuda out of memory",
    "alloc_failed",  # cuBLAS, cuDNN
)


class MemoryExhaustedError(DataError):
    """Not even the smallest piece of work fits into memory; not fatal, since another machine or setting may do it."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory ran out, on the GPU or in the host."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error).lower() for text in _MESSAGES)


def release_memory() -> None:
    """Give back what nothing refers to any more. Call it after the ``except`` block: its traceback holds tensors."""
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
