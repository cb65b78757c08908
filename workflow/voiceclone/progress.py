"""Progress that a person can follow: one short line on standard output, never more often than every few seconds.

Rules send standard error (the full log) to the log file and leave standard output alone, so these lines reach the
terminal of whoever runs the workflow, and the job's output file on a cluster.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")


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
        interval: least seconds between two lines.
        done: units that were finished before (a resumed run); they do not enter the estimate.
    """

    def __init__(self, label: str, total: int, interval: float = 5.0, done: int = 0) -> None:
        self.label, self.total, self.interval = label, total, interval
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
        print(
            "  ".join(part for part in (f"    {self.label}", f"{self.done}/{self.total}", note, tail) if part),
            flush=True,
        )

    def track(self, items: Iterable[Item]) -> Iterator[Item]:
        """Yield the items, counting each when its work is over."""
        for item in items:
            yield item
            self.update()


def announce(message: str) -> None:
    """Print one line of plain information on standard output."""
    print(f"    {message}", file=sys.stdout, flush=True)
