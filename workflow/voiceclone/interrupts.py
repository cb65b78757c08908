"""A polite end: a signal or the time budget asks the training to stop after the step at hand."""

from __future__ import annotations

import logging
import os
import signal
import time
from types import FrameType, TracebackType

log = logging.getLogger(__name__)

# A signal to a process group can arrive twice (from the terminal or SLURM, and passed on by the workflow engine).
SAME_REQUEST_SECONDS = 1.0


class StopRequest:
    """Context in which SIGINT, SIGTERM and SIGHUP set a flag; the next one, a second later, exits at once.

    SIGHUP (a closed terminal) counts unless the process was told to ignore it, as ``nohup`` does.

    Args:
        max_seconds: the request also comes by itself after this time; None for never.
    """

    def __init__(self, max_seconds: float | None = None) -> None:
        self._end = None if max_seconds is None else time.monotonic() + max_seconds
        self._max_seconds = max_seconds
        self._signal = ""
        self._since = 0.0
        self._before: dict[int, object] = {}

    def __enter__(self) -> StopRequest:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if number == signal.SIGHUP and signal.getsignal(number) == signal.SIG_IGN:
                continue
            self._before[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if not self._signal:
            self._signal, self._since = signal.Signals(number).name, now
        elif now - self._since >= SAME_REQUEST_SECONDS:
            os._exit(128 + number)

    @property
    def signal(self) -> str:
        """The signal that asked to stop; empty while there was none."""
        return self._signal

    @property
    def reason(self) -> str:
        """Why to stop now; empty while there is no reason."""
        if self._signal:
            return self._signal
        if self._end is not None and time.monotonic() >= self._end:
            return f"time budget of {self._max_seconds:g} s"
        return ""
