"""Progress that a person can follow: one short line on standard output, never more often than every few seconds.

Rules send standard error (the full log) to the log file and leave standard output alone, so these lines reach the
terminal of whoever runs the workflow, and the job's output file on a cluster. A stage that a person started by itself
on a terminal shows a bar instead.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self, TypeVar

Item = TypeVar("Item")


@contextmanager
def unheard() -> Iterator[None]:
    """Where nobody can read any more (a closed terminal, a full disk), the work continues without output."""
    try:
        yield
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())  # also for what Python flushes when it ends, or its status would be 120
        os.close(nowhere)


def tell(line: str) -> None:
    """Print a line."""
    with unheard():
        print(line, flush=True)


def clock(seconds: float) -> str:
    """Seconds as ``m:ss`` or ``h:mm:ss``."""
    whole = int(seconds)
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02d}:{whole % 60:02d}" if hours else f"{minutes}:{whole % 60:02d}"


class Progress:
    """Counts done work and prints ``label  done/total  note  time left``.

    Args:
        label: who is working, for example ``"anna · transcribe"``.
        total: units of work in all.
        interval: least seconds between two lines; None: those of the class.
        done: units that were finished before (a resumed run); they do not enter the estimate.
    """

    #: Least seconds between two lines; a stage sets it to the user's ``runtime.progress_seconds``.
    interval: float = 5.0

    def __init__(self, label: str, total: int, interval: float | None = None, done: int = 0) -> None:
        self.label, self.total = label, total
        if interval is not None:
            self.interval = interval
        self.done = self._start_done = done
        self._start = time.monotonic()
        self._last = 0.0

    def update(self, units: int = 1, note: str = "") -> None:
        """Count ``units`` more; print when it is time."""
        self.done += units
        now = time.monotonic()
        if now - self._last >= self.interval or self.done >= self.total:
            self._last = now
            self.say(note)

    def say(self, note: str = "") -> None:
        """Print the line now."""
        elapsed = time.monotonic() - self._start
        fresh = self.done - self._start_done
        left = elapsed / fresh * (self.total - self.done) if fresh > 0 else 0.0
        tail = f"{clock(left)} left" if self.done < self.total else f"done in {clock(elapsed)}"
        tell("  ".join(part for part in (f"    {self.label}", f"{self.done}/{self.total}", note, tail) if part))

    def track(self, items: Iterable[Item]) -> Iterator[Item]:
        """Yield the items, counting each when its work is over."""
        for item in items:
            yield item
            self.update()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to close."""


class Bar(Progress):
    """The same as a bar that stays on the last line of a terminal; what is printed meanwhile appears above it."""

    def __init__(self, label: str, total: int, interval: float | None = None, done: int = 0) -> None:
        from rich import progress

        super().__init__(label, total, interval, done)
        self._bar: Any = progress.Progress(
            progress.TextColumn("    {task.description}"),
            progress.BarColumn(),
            progress.MofNCompleteColumn(),
            progress.TextColumn("{task.fields[note]}"),
            progress.TimeRemainingColumn(),
        )
        self._task = self._bar.add_task(label, total=total, completed=done, note="")

    def update(self, units: int = 1, note: str = "") -> None:
        """Count ``units`` more."""
        self.done += units
        with unheard():
            self._bar.update(self._task, advance=units, note=note)

    def say(self, note: str = "") -> None:
        """Show a note."""
        with unheard():
            self._bar.update(self._task, note=note)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with unheard():
            self._bar.stop()


def owns_terminal() -> bool:
    """Whether standard output is a terminal and this process was started on it by itself, not by a workflow engine."""
    try:
        return sys.stdout.isatty() and os.getpgrp() == os.getpid() == os.tcgetpgrp(sys.stdout.fileno())
    except (OSError, ValueError):
        return False


def open_progress(label: str, total: int, interval: float | None = None, done: int = 0) -> Progress:
    """A bar on the terminal of a person, else lines; to be used with ``with``."""
    return (Bar if owns_terminal() else Progress)(label, total, interval, done)


def announce(message: str) -> None:
    """Print one line of plain information on standard output."""
    tell(f"    {message}")
