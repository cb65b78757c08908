"""The device and the processes of a training: one process, or several that make the same update.

:func:`launch` starts a training once per device with the variables that torchrun sets, so a script started by torchrun
itself works the same. What torchrun does not do, and a training that must not be lost needs: a signal is passed on
without killing after half a minute a process that still saves, and the exit status is that of the training (75:
stopped, saved).

Each process takes its share of every batch. Gradients are added up over the processes explicitly, after the
micro-batches of a phase, and not by the DDP wrapper: nothing is sent for the passes in between, two networks with two
optimisers and parameters without gradients need no special care, and the order of the sums is fixed. All processes
hold equal weights and optimiser states; the first one alone writes.

Before any sum the processes meet on the CPU (gloo, whatever the device is): there they agree whether memory was enough
and whether to stop, and one that hangs or is gone is reported, not waited for in a kernel. A single process never
touches :mod:`torch.distributed`.
"""

from __future__ import annotations

import ctypes
import logging
import os
import platform
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn, Protocol, TypeVar

import torch
from torch import Tensor

from voiceclone import __version__
from voiceclone.device import choose_device
from voiceclone.errors import EXIT_FAILURE, EXIT_INTERRUPTED, ConfigError, VoiceCloneError
from voiceclone.stages.settings import RuntimeSettings

#: Parameters of glibc's mallopt (malloc.h): M_MMAP_MAX, no blocks of their own; M_TRIM_THRESHOLD, never give back;
#: M_TOP_PAD, bytes by which the heap grows.
MALLOC = {-4: 0, -1: -1, -2: 1 << 28}


def versions() -> dict[str, str]:
    """Versions that results depend on, beside data and settings."""
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
    # Filling guards against faults of kernels only, and takes a tenth of a step on a CPU.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False
    if choose_device(runtime.device) == "cpu":
        keep_memory()
        return torch.device("cpu")
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


Value = TypeVar("Value")
BUCKET = 64 * 2**20  # bytes of gradients that are sent together
_NAMED = re.compile(r"[Rr]anks? ([\d, ]+?),? failed to pass monitoredBarrier")


class ProcessLostError(VoiceCloneError):
    """Another process of this training hangs or has ended. What was saved stays as it is."""


def expected_processes() -> int:
    """Number of processes this one was started among, as set by torchrun or :func:`launch`."""
    return int(os.environ.get("WORLD_SIZE", "1"))


class Processes:
    """The process group of one training, seen from one of its members.

    Args:
        rank: number of this process; 0 leads.
        size: number of processes.
        timeout: seconds that the others are waited for.
    """

    def __init__(self, rank: int = 0, size: int = 1, timeout: float = 1800.0) -> None:
        self.rank, self.size, self.timeout = rank, size, timeout
        self._control: Any = None  # group on the CPU

    @classmethod
    def join(cls, device: torch.device, timeout: float) -> Processes:
        """Meet the processes that this one was started among, if it was.

        Args:
            device: where this process trains.
            timeout: seconds that the others are waited for.

        Raises:
            ProcessLostError: the others did not come.
        """
        processes = cls(int(os.environ.get("RANK", "0")), expected_processes(), timeout)
        if processes.size > 1:
            import torch.distributed as dist

            processes._be_quiet()
            with processes._together():
                limit = timedelta(seconds=timeout)
                dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=limit)
                processes._control = dist.new_group(backend="gloo", timeout=limit)
        return processes

    def leave(self) -> None:
        """Leave the group when all is done."""
        if self.size > 1:
            import torch.distributed as dist

            self.wait()
            dist.destroy_process_group()

    @property
    def leads(self) -> bool:
        """True for the one process that writes files and progress."""
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
        """Wait for all processes; ``longer``: seconds more for one that may still have work to do."""
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
        """Turn the failure of a collective operation into an error that says who is missing."""
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
    """Something that can request a training to stop."""

    @property
    def reason(self) -> str:
        """Reason to stop now; empty if there is none."""


class AgreedStop:
    """A stop request that reaches all processes in the same step.

    Args:
        asked: the request of this process; it alone counts if there is no other process.
        processes: the processes.
    """

    def __init__(self, asked: Stop, processes: Processes) -> None:
        self._asked, self._processes, self._agreed = asked, processes, ""
        self._parent = os.getppid()

    def agree(self) -> None:
        """Exchange the requests; all processes call this between two steps."""
        if self._processes.size == 1:
            return
        orphaned = "the end of the process that started it" if os.getppid() != self._parent else ""
        reasons = self._processes.exchange(self._asked.reason or orphaned)
        self._agreed = next((reason for reason in reasons if reason), "")

    @property
    def here(self) -> str:
        """Reason that this process knows, agreed or not."""
        return self._asked.reason

    @property
    def reason(self) -> str:
        """Reason to stop now; empty if there is none."""
        return self._asked.reason if self._processes.size == 1 else self._agreed


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


GRACE = 30.0  # seconds for the other processes to end after one has failed
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def wanted_processes(runtime: RuntimeSettings) -> int:
    """Number of processes that the settings ask for; 0 means one per CUDA device."""
    if runtime.processes or runtime.device == "cpu":
        return max(1, runtime.processes)
    import torch

    return max(1, torch.cuda.device_count())


def launch(runtime: RuntimeSettings) -> None:
    """Start this very command once per process, wait, and exit with its status; return at once where there is one.

    A process that was started by this function, by torchrun or the like returns at once too.
    """
    if "RANK" in os.environ or expected_processes() > 1 or wanted_processes(runtime) == 1:
        return
    run_processes([sys.executable, *sys.argv], wanted_processes(runtime))


def run_processes(command: Sequence[str], count: int) -> NoReturn:
    """Run a command ``count`` times as the processes of one training and exit as they do."""
    from torch.distributed import TCPStore

    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    shared = {
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port), "TORCHELASTIC_USE_AGENT_STORE": "True",
        "WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count),
    }  # fmt: skip
    processes: list[subprocess.Popen[bytes]] = []

    def pass_on(number: int, frame: FrameType | None) -> None:
        for process in processes:
            if process.poll() is None:
                process.send_signal(number)

    for number in SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:  # as nohup asks
            signal.signal(number, pass_on)
    for rank in range(count):
        environment = {**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank)}
        processes.append(subprocess.Popen(list(command), env=environment))
    sys.exit(_wait(processes))


def _wait(processes: Sequence[subprocess.Popen[bytes]]) -> int:
    """Exit status of all; when one fails the others are terminated, and killed after :data:`GRACE`."""
    deadline = None
    while any(process.poll() is None for process in processes):
        if deadline is None and any(process.poll() not in (None, 0, EXIT_INTERRUPTED) for process in processes):
            deadline = time.monotonic() + GRACE
            for process in processes:
                process.terminate()
        if deadline is not None and time.monotonic() >= deadline:
            for process in processes:
                process.kill()
        time.sleep(0.05)
    return _status([process.returncode for process in processes])


def _status(codes: Sequence[int]) -> int:
    """One exit status for all processes; reports which process was killed, since it cannot do so itself.

    The first process writes: what it says it has saved or finished is, whatever became of the others then.
    """
    if codes[0] in (0, EXIT_INTERRUPTED):
        return codes[0]
    for rank, code in enumerate(codes):
        if code < 0 and -code != signal.SIGTERM:
            print(
                f"process {rank} of {len(codes)} was killed by {signal.Signals(-code).name}; the others were stopped. "
                "Run the same command again to continue from the last checkpoint.",
                file=sys.stderr,
                flush=True,
            )
            return EXIT_FAILURE
    return max(codes[0], EXIT_FAILURE)
