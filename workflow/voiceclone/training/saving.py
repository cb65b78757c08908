"""When to save, and what to do while it is not possible."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from voiceclone.config.runtime import RuntimeSettings
from voiceclone.errors import DataError
from voiceclone.progress import announce
from voiceclone.training.writer import CheckpointWriter

log = logging.getLogger(__name__)

RETRY_SECONDS = 30.0  # after a save that failed


class Saver:
    """Decides when a training saves. Where a save fails, the training goes on in memory and tries again for a while.

    A full disk is most often noticed and mended by a person; what was trained since the last checkpoint would be lost
    if the training ended at once. After ``save_patience_minutes`` without a save it does end.

    Args:
        writer: brings checkpoints to the disk.
        submit: hands the state of this moment to the writer.
        runtime: intervals and patience.
        label: who is working, for the messages.
    """

    def __init__(
        self, writer: CheckpointWriter, submit: Callable[[], None], runtime: RuntimeSettings, label: str
    ) -> None:
        self._writer, self._submit, self._runtime, self._label = writer, submit, runtime, label
        self._tried = time.monotonic()
        self._failing_since: float | None = None

    def due(self, step: int) -> bool:
        """Whether to save after this step.

        Raises:
            DataError: no save has been possible for longer than the patience.
        """
        runtime, waited = self._runtime, time.monotonic() - self._tried
        if not self._writer.busy:
            self._collect()
        if self._failing_since is not None:
            return waited >= RETRY_SECONDS and not self._writer.busy
        every = runtime.keep_every_steps
        at_step = step % runtime.save_every_steps == 0 or (every > 0 and step % every == 0)
        return at_step or waited >= 60 * runtime.save_every_minutes

    def save(self) -> None:
        """Have the state of this moment written, while the training goes on.

        Raises:
            DataError: no save has been possible for longer than the patience.
        """
        self._collect()
        self._tried = time.monotonic()
        self._submit()

    def finish(self, hurry: Callable[[], bool], submitted: bool = False) -> None:
        """Have the state of this moment written and wait until it stands.

        Args:
            hurry: whether to give up at the first failure, because somebody waits for the end.
            submitted: whether the writer has it already.

        Raises:
            DataError: it could not be written.
        """
        if not submitted:
            self.save()
        self._collect(last=hurry())
        while self._failing_since is not None:
            while time.monotonic() - self._tried < RETRY_SECONDS and not hurry():
                time.sleep(0.1)
            self.save()
            self._collect(last=hurry())

    def close(self) -> None:
        """Wait for what is being written; a failure is logged, for the caller has a graver one."""
        try:
            self._writer.wait()
        except DataError as error:
            log.warning("%s", error)

    def _collect(self, last: bool = False) -> None:
        """Wait for the writer and take note of how it ended; raise its error when patience is over."""
        try:
            stands = self._writer.wait()
        except DataError as error:
            now = time.monotonic()
            self._failing_since = self._failing_since or now
            if last or now - self._failing_since >= 60 * self._runtime.save_patience_minutes:
                raise
            log.warning("%s", error)
            announce(f"{self._label}  NOT SAVED: {error.message}; it goes on in memory and tries again")
        else:
            if stands and self._failing_since is not None:
                announce(f"{self._label}  saving works again")
                self._failing_since = None
