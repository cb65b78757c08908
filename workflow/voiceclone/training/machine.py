"""The device of a training, and the versions of what it runs on."""

from __future__ import annotations

import ctypes
import os
import platform
import sys

import torch

from voiceclone import __version__
from voiceclone.config.runtime import RuntimeSettings
from voiceclone.errors import ConfigError, DataError

#: Parameters of glibc's mallopt (malloc.h): M_MMAP_MAX, no blocks of their own; M_TRIM_THRESHOLD, never give back;
#: M_TOP_PAD, bytes by which the heap grows.
MALLOC = {-4: 0, -1: -1, -2: 1 << 28}


def versions() -> dict[str, str]:
    """What the numbers depend on beside data and settings."""
    processes = torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1
    return {
        "voiceclone": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "threads": str(torch.get_num_threads()),
        "processes": str(processes),
    }


def prepare_device(runtime: RuntimeSettings, threads: int = 0) -> torch.device:
    """Device of this process, with deterministic kernels chosen where torch has them.

    Args:
        runtime: what is asked for.
        threads: CPU threads, shared by the processes of this training on this machine.
    """
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if threads > 0:
        torch.set_num_threads(max(1, threads // processes))
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # no kernel reads it; a tenth of a step on a CPU
    torch.backends.cudnn.benchmark = False
    if runtime.device == "cpu" or (runtime.device == "auto" and not torch.cuda.is_available()):
        keep_memory()
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise DataError("runtime.device is cuda, but no CUDA device can be used", "set runtime.device to auto or cpu")
    if processes == 1:
        return torch.device("cuda")
    if processes > torch.cuda.device_count():
        raise ConfigError(
            f"{processes} processes, but {torch.cuda.device_count()} CUDA devices",
            "set runtime.processes to 0: one for each device",
        )
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    torch.cuda.set_device(device)
    return device


def keep_memory() -> None:
    """Let the allocator keep what is freed: it would give large blocks back to the kernel and fault them in again.

    That takes a tenth to a fifth of a training step on a CPU. Without glibc nothing changes.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        for parameter, value in MALLOC.items():
            mallopt(parameter, value)
