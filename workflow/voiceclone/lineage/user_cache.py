"""What speaking keeps between runs, in the user's cache folder: values by the digest of all that decides them."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Generic, TypeVar

from voiceclone.files import atomic_path

log = logging.getLogger(__name__)
Value = TypeVar("Value")
#: Another folder than the default; empty: nothing is kept on disk.
VARIABLE = "VOICECLONE_CACHE"
DIGEST = 32  # bytes of sha256 before the content of an entry
#: Entries that a process writes between two looks at how many there are, and seconds after which what a killed one left
#: is removed.
LOOK, LEFT = 64, 3600.0


def cache_folder(name: str) -> Path | None:
    """A folder below ``$VOICECLONE_CACHE``, else below ``voiceclone`` in the user's cache; None: nothing is kept."""
    given = os.environ.get(VARIABLE)
    if given is not None:
        return Path(given) / name if given else None
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "voiceclone" / name


class UserCache(Generic[Value]):
    """Values by key: the most recent in memory, more of them on disk, for all processes of a user.

    An entry on disk is a file: sha256 of the content, then the content. It is written whole or not at all; a damaged
    one is made again; those that were used longest ago go first.

    Args:
        folder: of the entries on disk; None: memory alone.
        encode: content of a value.
        decode: value of a content.
        most: values that are kept in memory.
        most_on_disk: entries that are kept there, give or take those of :data:`LOOK`.

    Attributes:
        asked: requests.
        in_memory: hits in memory.
        on_disk: hits on disk.
    """

    def __init__(
        self,
        folder: Path | None,
        encode: Callable[[Value], bytes],
        decode: Callable[[bytes], Value],
        most: int,
        most_on_disk: int = 0,
    ) -> None:
        self._folder, self._encode, self._decode = folder, encode, decode
        self._most, self._most_on_disk, self._written = most, most_on_disk, 0
        self._recent: OrderedDict[str, Value] = OrderedDict()
        self.asked = self.in_memory = self.on_disk = 0

    def __contains__(self, key: str) -> bool:
        """Whether a value is in memory."""
        return key in self._recent

    def find(self, key: str) -> Value | None:
        """The value of a key, if it is kept."""
        self.asked += 1
        if key in self._recent:
            self.in_memory += 1
            self._recent.move_to_end(key)
            return self._recent[key]
        found = self._read(key)
        if found is not None:
            self.on_disk += 1
            self._remember(key, found)
        return found

    def put(self, key: str, value: Value) -> Value:
        """Keep a value; returns it."""
        self._write(key, value)
        return self._remember(key, value)

    def get(self, key: str, make: Callable[[], Value]) -> Value:
        """The value of a key; a missing one is made and kept."""
        found = self.find(key)
        return self.put(key, make()) if found is None else found

    def forget(self) -> None:
        """Empty the memory."""
        self._recent.clear()

    def summary(self) -> str:
        """The hit rate, for the log: ``3 of 4 from the cache (75.0 %), 1 of them from disk``."""
        found = self.in_memory + self.on_disk
        share = 100 * found / max(self.asked, 1)
        return f"{found} of {self.asked} from the cache ({share:.1f} %), {self.on_disk} of them from disk"

    def _remember(self, key: str, value: Value) -> Value:
        self._recent[key] = value
        self._recent.move_to_end(key)
        if len(self._recent) > self._most:
            self._recent.popitem(last=False)
        return value

    def _read(self, key: str) -> Value | None:
        if self._folder is None:
            return None
        path = self._folder / key
        try:
            data = path.read_bytes()
            if hashlib.sha256(data[DIGEST:]).digest() != data[:DIGEST]:
                raise ValueError("its digest differs")
            value = self._decode(data[DIGEST:])
        except FileNotFoundError:
            return None
        except (OSError, KeyError, ValueError, TypeError) as error:
            log.warning("%s: damaged (%s), made again", path, error)
            return None
        with suppress(OSError):
            path.touch()  # the oldest entries go first
        return value

    def _write(self, key: str, value: Value) -> None:
        if self._folder is None:
            return
        content = self._encode(value)
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # how somebody sounds is nobody else's business
            with atomic_path(self._folder / key, durable=False) as temporary:
                temporary.write_bytes(hashlib.sha256(content).digest() + content)
            if self._written % LOOK == 0:
                self._prune(self._folder)
            self._written += 1
        except OSError as error:
            log.warning("%s: cannot be written (%s), its values are kept in memory alone", self._folder, error)
            self._folder = None

    def _prune(self, folder: Path) -> None:
        entries = sorted(folder.glob("[!.]*"), key=_time)
        for old in entries[: max(0, len(entries) - self._most_on_disk)]:
            old.unlink(missing_ok=True)
        for left in folder.glob(".*.tmp"):
            if _time(left) < time.time() - LEFT:
                shutil.rmtree(left, ignore_errors=True)


def _time(entry: Path) -> float:
    """Time of the last use of an entry; 0 if another process has just removed it."""
    try:
        return entry.stat().st_mtime
    except FileNotFoundError:
        return 0.0
