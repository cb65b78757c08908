"""One command, several processes: starts a training once per device and ends as the training ends.

The processes get the variables that torchrun sets, so a script started by torchrun itself works the same. What torchrun
does not do, and a training that must not be lost needs: a signal is passed on without killing after half a minute a
process that still saves, and the exit status is that of the training (75: stopped, saved).
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from types import FrameType
from typing import NoReturn

from voiceclone.config.runtime import RuntimeSettings
from voiceclone.errors import EXIT_FAILURE, EXIT_INTERRUPTED
from voiceclone.training.distributed import expected_processes

GRACE = 30.0  # seconds that processes have to end after one of them has failed
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def wanted_processes(runtime: RuntimeSettings) -> int:
    """Processes that the settings ask for; 0 stands for one per CUDA device."""
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
    """Exit status of all; when one fails the others are asked to end, and made to after a while."""
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
    """One exit status for those of all processes; says which process was killed, for it cannot do so itself."""
    for rank, code in enumerate(codes):
        if code < 0 and -code != signal.SIGTERM:
            print(
                f"process {rank} of {len(codes)} was killed by {signal.Signals(-code).name}; the others were stopped. "
                "Run the same command again to continue from the last checkpoint.",
                file=sys.stderr,
                flush=True,
            )
            return EXIT_FAILURE
    failed = [code for code in codes if code not in (0, EXIT_INTERRUPTED)]
    if failed:
        return failed[0] if failed[0] > 0 else EXIT_FAILURE
    return EXIT_INTERRUPTED if EXIT_INTERRUPTED in codes else 0
