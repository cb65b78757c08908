"""Worker processes and their queue, which is bounded and fair: keys take turns."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import subprocess
import sys
import threading
import time
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Iterable
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from voiceclone.serving.worker import END, FAILED, SOUND, WORDS, Order, WorkerSettings

if TYPE_CHECKING:
    from voiceclone.speaking.timing import Word

log = logging.getLogger(__name__)
Item = TypeVar("Item")
#: Seconds between checks for a cancellation, and until a worker that ignores one is killed.
POLL_SECONDS, GRACE_SECONDS = 0.1, 10.0


class QueueFull(Exception):
    """The queue is full or closed."""


class FairQueue(Generic[Item]):
    """Keys take turns; what one key asks for is answered in its order.

    Args:
        max_size: items that may wait.
    """

    def __init__(self, max_size: int) -> None:
        self._max_size, self._waiting = max_size, OrderedDict[str, deque[Item]]()
        self._changed, self._closed = threading.Condition(), False

    def __len__(self) -> int:
        with self._changed:
            return sum(map(len, self._waiting.values()))

    def put(self, key: str, item: Item) -> None:
        """Add an item.

        Raises:
            QueueFull: as many wait already, or the queue is closed.
        """
        with self._changed:
            if self._closed or sum(map(len, self._waiting.values())) >= self._max_size:
                raise QueueFull
            self._waiting.setdefault(key, deque()).append(item)
            self._changed.notify()

    def get(self) -> Item | None:
        """The next item, as soon as there is one; None: the queue is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._waiting)
            if self._closed:
                return None
            key, items = self._waiting.popitem(last=False)
            item = items.popleft()
            if items:
                self._waiting[key] = items  # behind the others
            return item

    def remove(self, key: str, item: Item) -> bool:
        """Remove a waiting item; false: it does not wait any more."""
        with self._changed:
            items = self._waiting.get(key)
            if items is None or item not in items:
                return False
            items.remove(item)
            if not items:
                del self._waiting[key]
            return True

    def close(self) -> list[Item]:
        """Refuse new items and wake all waiting threads; returns the items that were left."""
        with self._changed:
            self._closed = True
            left = [item for items in self._waiting.values() for item in items]
            self._waiting.clear()
            self._changed.notify_all()
            return left


class Job:
    """An order that is queued or spoken; its answers wait here until they are sent.

    Attributes:
        seconds: of sound so far.
        began: monotonic time at which a worker took it; 0: it waits.
        words: with their times, not yet sent on.
    """

    def __init__(self, key: str, order: Order) -> None:
        self.key, self.order = key, order
        self.cancelled, self.begun_sound, self.seconds, self.began = False, False, 0.0, 0.0
        self.words: deque[Word] = deque()
        self._loop, self._answers = asyncio.get_running_loop(), asyncio.Queue[tuple[str, Any]]()

    def put(self, kind: str, value: Any) -> None:
        """Called by a worker's thread."""
        if kind == WORDS:
            self.words.extend(value)
            return
        if kind == SOUND:
            data, self.seconds = value
            if not data:
                return
            self.begun_sound, value = True, data
        try:
            self._loop.call_soon_threadsafe(self._answers.put_nowait, (kind, value))
        except RuntimeError:  # the server has ended
            self.cancelled = True

    async def next(self) -> tuple[str, Any]:
        """The next answer: a kind of :mod:`voiceclone.serving.worker` and sound or words."""
        return await self._answers.get()

    async def sounds(self) -> AsyncIterator[bytes]:
        """The sound from here on.

        Raises:
            ConnectionError: the speech ended before its end.
        """
        while True:
            kind, value = await self.next()
            if kind == END:
                return
            if kind != SOUND:
                raise ConnectionError(value)
            yield value


class Pool:
    """Processes that speak.

    Args:
        workers: number of processes, each on one core.
        max_waiting: orders that may wait.
        max_seconds: of computing for an order.
        settings: of the workers.
        first: orders that every worker runs before all others, to open its voices; their sound is dropped.
    """

    def __init__(
        self,
        workers: int,
        max_waiting: int,
        max_seconds: float,
        settings: WorkerSettings,
        first: Iterable[Order] = (),
    ) -> None:
        self.queue: FairQueue[Job] = FairQueue(max_waiting)
        self._workers = [_Worker(self.queue, max_seconds, settings, list(first)) for _ in range(workers)]

    @property
    def ready(self) -> int:
        """Workers whose process lives and has opened its voices."""
        return sum(worker.ready for worker in self._workers)

    @property
    def processes(self) -> list[int]:
        """Process ids of the workers."""
        return [worker.process.pid for worker in self._workers if worker.process is not None]

    def submit(self, key: str, order: Order) -> Job:
        """Queue an order; called in an event loop.

        Raises:
            QueueFull: too many wait.
        """
        job = Job(key, order)
        self.queue.put(key, job)
        return job

    def cancel(self, job: Job) -> None:
        """Cancel a job, queued or running."""
        job.cancelled = True
        self.queue.remove(job.key, job)

    def close(self) -> None:
        """End all processes; what waits fails."""
        for job in self.queue.close():
            job.put(FAILED, "the server ends")
        for worker in self._workers:
            worker.close()


class _Worker:
    """A process and the thread that gives it orders; another process takes its place when it dies."""

    def __init__(self, queue: FairQueue[Job], max_seconds: float, settings: WorkerSettings, first: list[Order]) -> None:
        self._queue, self._most_seconds, self._settings, self._first = queue, max_seconds, settings, first
        self.process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None
        self.ready, self._closed = False, False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        self._warm_up()
        while (job := self._queue.get()) is not None:
            if job.cancelled:
                continue
            for last in (False, True):
                try:
                    self._speak(job)
                except (EOFError, OSError, TimeoutError) as error:
                    log.error("a worker died or hung: %s", error or type(error).__name__)
                    self._kill()
                    overdue = isinstance(error, TimeoutError)
                    if last or overdue or job.begun_sound or job.cancelled:  # else nobody has heard of it
                        job.put(FAILED, "it took too long" if overdue else "the speech was interrupted")
                        break
                else:
                    break
        self._kill()

    def _warm_up(self) -> None:
        """Start a process and open the voices; what fails will fail again when it is asked for."""
        try:
            connection = self._connect()
            for order in self._first:
                connection.send(order)
                kind = SOUND
                while kind == SOUND and not self._closed:
                    if connection.poll(POLL_SECONDS):
                        kind, _ = connection.recv()
            self.ready = not self._closed
        except (EOFError, OSError) as error:
            log.error("a worker died: %s", error or type(error).__name__)
            self._kill()

    def _speak(self, job: Job) -> None:
        connection = self._connect()
        self.ready = True
        job.began = time.monotonic()
        connection.send(job.order)
        asked_to_end = 0.0
        while True:
            while not connection.poll(POLL_SECONDS):
                now = time.monotonic()
                late = now - job.began > self._most_seconds
                if (late or job.cancelled or self._closed) and not asked_to_end:
                    asked_to_end = now
                    connection.send(None)
                if asked_to_end and (now - asked_to_end > GRACE_SECONDS or self._closed):
                    raise TimeoutError("it did not end when it was asked to")
            kind, value = connection.recv()
            if kind in (SOUND, WORDS):
                if (job.cancelled or time.monotonic() - job.began > self._most_seconds) and not asked_to_end:
                    asked_to_end = time.monotonic()
                    connection.send(None)
                job.put(kind, value)
                continue
            cut = kind == END and asked_to_end and not job.cancelled
            job.put(*((FAILED, "it took too long") if cut else (kind, value)))
            return

    def _connect(self) -> Connection:
        """The connection to the process, which is started where there is none."""
        if self.process is not None and self.process.poll() is not None:
            self._kill()
        if self._connection is None:
            self._connection, theirs = multiprocessing.Pipe()
            with theirs:
                command = [sys.executable, "-m", "voiceclone.serving.worker", str(theirs.fileno())]
                self.process = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()],
                    env={**os.environ, "OMP_NUM_THREADS": "1"},
                )  # fmt: skip
            self._connection.send(self._settings)
        return self._connection

    def _kill(self) -> None:
        self.ready = False
        if self._connection is not None:
            self._connection.close()
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        self._connection = self.process = None

    def close(self) -> None:
        """End the thread and the process."""
        self._closed = True
        self._thread.join(timeout=GRACE_SECONDS)
