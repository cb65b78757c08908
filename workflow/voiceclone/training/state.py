"""The folder of one training's state: its fingerprint, its lock, the reason of a fatal end."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from voiceclone.errors import DataError
from voiceclone.files import read_json, write_json
from voiceclone.lineage.fingerprint import Fingerprint, difference
from voiceclone.training.lock import exclusive

log = logging.getLogger(__name__)

FINGERPRINT, FATAL, LOCK = "fingerprint.json", "FATAL.json", "lock"


@dataclass(frozen=True)
class StateFolder:
    """State of one training below the folder of its kind (``state/gpt``, ``state/sovits``).

    Args:
        root: folder of the kind; one folder per fingerprint lies in it.
        fingerprint: what the training is made from.
    """

    root: Path
    fingerprint: Fingerprint

    @property
    def folder(self) -> Path:
        """Folder of this training."""
        return self.root / self.fingerprint.key

    @property
    def fatal_path(self) -> Path:
        """File that holds why this training cannot go on."""
        return self.folder / FATAL

    @contextmanager
    def locked(self) -> Iterator[StateFolder]:
        """Hold the folder alone.

        Raises:
            DataError: another process trains here, or the folder cannot be written.
        """
        with ExitStack() as held:
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                held.enter_context(exclusive(self.folder / LOCK))
            except OSError as error:
                raise DataError(
                    f"{self.folder}: cannot be written ({error.strerror or error}); the state of a training lies there",
                    "free disk space or restore write permission, then run the same command again",
                ) from error
            yield self

    def previous(self) -> tuple[str, Fingerprint] | None:
        """Key and fingerprint of the training of this kind that was last at work, other than this one."""
        others = [path for path in self.root.glob(f"*/{FINGERPRINT}") if path.parent != self.folder]
        if not others:
            return None
        newest = max(others, key=lambda path: (last_used(path.parent), path.parent.name))
        return newest.parent.name, Fingerprint.from_dict(read_json(newest))

    def back_from(self) -> str:
        """In words: which other training was at work since this one last was; empty if none. Ask before locking."""
        before = self.previous()
        if before is None or not self.folder.is_dir() or last_used(self.root / before[0]) <= last_used(self.folder):
            return ""
        return f"back from training {before[0]}: {difference(before[1], self.fingerprint)}"

    def describe(self) -> str:
        """In words, for a training that starts at its first step: how it differs from the one before."""
        key = self.fingerprint.key
        if (self.folder / FINGERPRINT).is_file():
            return f"training {key}: an earlier attempt ended before its first checkpoint"
        before = self.previous()
        if before is None:
            return f"training {key}, the first one here"
        return f"new training {key}; changed since {before[0]}: {difference(before[1], self.fingerprint)}"

    def write_fingerprint(self, notes: dict[str, Any]) -> None:
        """Store the components beside the state, once."""
        path = self.folder / FINGERPRINT
        if not path.is_file():
            write_json(path, {**self.fingerprint.as_dict(), "key": self.fingerprint.key, **notes})

    def check_not_fatal(self) -> None:
        """Fail at once if this training has failed before in a way that would only repeat itself.

        Raises:
            DataError: with the stored reason.
        """
        if self.fatal_path.is_file():
            stored = read_json(self.fatal_path)
            raise DataError(
                f"this training failed before at step {stored['step']}: {stored['reason']}",
                "change the data or the settings; or, to try again from the last checkpoint, type "
                f"voiceclone state NAME --clear, which deletes {self.fatal_path}",
            )

    def write_fatal(self, step: int, reason: str) -> None:
        """Note why this training cannot go on."""
        log.error("step %d: %s", step, reason)
        try:
            write_json(self.fatal_path, {"step": step, "reason": reason, "time": time.strftime("%Y-%m-%dT%H:%M:%S%z")})
        except OSError as error:
            log.warning("%s: could not be written: %s", self.fatal_path, error)


def last_used(folder: Path) -> float:
    """When a training last took hold of its folder."""
    lock = folder / LOCK
    return lock.stat().st_mtime if lock.exists() else 0.0
