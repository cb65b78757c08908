"""References of clips that were read before, by content: in memory, and in the user's cache folder.

An entry's name is the digest of all that decides it: the bytes of the clips, the networks, the phones of the words.
"""

from __future__ import annotations

import logging
import os
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from voiceclone.files import atomic_path, digest
from voiceclone.inference.bundle import Reference

log = logging.getLogger(__name__)

#: Names the folder in place of the usual one; empty: nothing is kept on disk.
VARIABLE = "VOICECLONE_CACHE"
#: Entries that are kept in memory and on disk.
IN_MEMORY, ON_DISK = 64, 500


def cache_folder() -> Path | None:
    """Where references are kept: ``$VOICECLONE_CACHE``, else ``voiceclone`` in the user's cache; None: nowhere."""
    named = os.environ.get(VARIABLE)
    if named is not None:
        return Path(named) / "references" if named else None
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "voiceclone" / "references"


class ReferenceCache:
    """References by key.

    Args:
        folder: of the entries on disk; None: memory alone.

    Attributes:
        asked: references that were asked for.
        in_memory: of those, how many were in memory.
        on_disk: of those, how many were on disk.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._recent: OrderedDict[str, Reference] = OrderedDict()
        self.asked = self.in_memory = self.on_disk = 0

    def get(self, key: str, make: Callable[[], Reference]) -> Reference:
        """The reference of a key; made, and kept, where it is not there."""
        self.asked += 1
        found = self._recent.get(key)
        if found is not None:
            self.in_memory += 1
        elif (found := self._read(key)) is not None:
            self.on_disk += 1
        else:
            found = make()
            self._write(key, found)
        self._recent[key] = found
        self._recent.move_to_end(key)
        if len(self._recent) > IN_MEMORY:
            self._recent.popitem(last=False)
        return found

    def summary(self) -> str:
        """The hit rate, for the log: ``references: 3 of 4 from the cache (75.0 %), 1 of them from disk``."""
        found = self.in_memory + self.on_disk
        share = 100 * found / max(self.asked, 1)
        return f"references: {found} of {self.asked} from the cache ({share:.1f} %), {self.on_disk} of them from disk"

    def _path(self, key: str) -> Path | None:
        return None if self._folder is None else self._folder / f"{key}.safetensors"

    def _read(self, key: str) -> Reference | None:
        path = self._path(key)
        if path is None or not path.is_file():
            return None
        try:
            with safe_open(str(path), framework="numpy") as file:
                notes, tensors = file.metadata() or {}, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            reference = Reference(
                tensors["tokens"], tensors["phones"], tensors["style"], tensors.get("bert"), notes["text"]
            )
            if _digest(reference) != notes["digest"]:
                raise ValueError("its digest differs")
        except (SafetensorError, OSError, KeyError, ValueError) as error:
            log.warning("%s: damaged (%s), the clip is read again", path, error)
            return None
        with suppress(OSError):
            path.touch()  # the oldest entries go first
        return reference

    def _write(self, key: str, reference: Reference) -> None:
        path = self._path(key)
        if path is None:
            return
        notes = {"text": reference.text, "digest": _digest(reference)}
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)  # how somebody sounds is nobody else's business
            with atomic_path(path) as temporary:
                save_file(reference.tensors(), temporary, metadata=notes)
            for old in sorted(path.parent.glob("*.safetensors"), key=_time)[:-ON_DISK]:
                old.unlink(missing_ok=True)
        except OSError as error:
            log.warning("%s: cannot be written (%s), references are kept in memory alone", path, error)
            self._folder = None


def _time(entry: Path) -> float:
    """When an entry was used last; 0 where another process has just removed it."""
    try:
        return entry.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _digest(reference: Reference) -> str:
    return digest([reference.digest, reference.text])
