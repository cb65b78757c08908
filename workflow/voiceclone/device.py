"""Devices and threads."""

from __future__ import annotations

import os

from voiceclone.errors import ConfigError


def choose_device(wish: str, threads: int = 0, cuda: bool | None = None) -> str:
    """The device to compute on, with torch's threads bounded.

    Args:
        wish: ``auto``, ``cpu`` or ``cuda``; auto takes CUDA where it works.
        threads: CPU threads; 0: torch's choice.
        cuda: whether CUDA works; None: torch is asked.

    Raises:
        ConfigError: CUDA was asked for and is not there.
    """
    if threads > 0:
        import torch

        torch.set_num_threads(threads)
    if wish == "cpu":
        return "cpu"
    if cuda is None:
        import torch

        cuda = torch.cuda.is_available()
    if wish == "cuda" and not cuda:
        raise ConfigError("runtime.device: cuda is not available on this machine", "set it to auto or cpu")
    return "cuda" if cuda else "cpu"


def threads_asked(threads: int) -> int:
    """Threads that were asked for, here or by OMP_NUM_THREADS; 0: neither."""
    return threads or int(os.environ.get("OMP_NUM_THREADS") or 0)


def threads_to_use(threads: int) -> int:
    """Threads that were asked for; where none were, one per core that this process may use.

    Where the system does not say which those are (macOS, Windows), all that it has.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return threads_asked(threads) or cores or 1
