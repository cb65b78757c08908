"""Results per item, keyed by content: a stage that starts again redoes only the items whose inputs changed.

The key is the digest of stage, revision, settings and the content digests of the item's inputs. Beside the item's
files stands a JSON sidecar with the key and the sha256 of each file, written last; so a half-written item is never
taken for a whole one, and a damaged file is made again.
"""

from __future__ import annotations

import logging
import shutil
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from voiceclone.errors import DataError
from voiceclone.files import digest, read_json, sha256_file, write_json
from voiceclone.lineage.revisions import revisions
from voiceclone.stages.settings import Block

log = logging.getLogger(__name__)


def item_key(stage: str, settings: Block | Mapping[str, Any] | None, *content: str) -> str:
    """Key of one item: 16 hexadecimal digits over stage, its revision, settings and input digests."""
    values = settings.model_dump(mode="json") if isinstance(settings, Block) else dict(settings or {})
    return digest([stage, revisions()[stage], values, list(content)])


def read_sidecar(sidecar: Path, key: str) -> dict[str, Any] | None:
    """The record stored for ``key``, or None if the item must be made (again)."""
    if not sidecar.is_file():
        return None
    try:
        stored = read_json(sidecar)
        if stored["key"] != key:
            return None
        for name, expected in stored["files"].items():
            path = sidecar.parent / name
            if not path.is_file() or sha256_file(path) != expected:
                log.warning("%s: missing or damaged, made again", path)
                return None
        return dict(stored["record"])
    except (DataError, KeyError, TypeError):
        log.warning("%s: damaged, its item is made again", sidecar)
        return None


def write_sidecar(sidecar: Path, key: str, record: Mapping[str, Any], files: Sequence[Path] = ()) -> None:
    """Mark an item as done: its key, plain-typed record and the digests of its files (below the sidecar's folder)."""
    digests = {path.relative_to(sidecar.parent).as_posix(): sha256_file(path) for path in files}
    write_json(sidecar, {"key": key, "record": dict(record), "files": digests})


class ItemCache:
    """The items of a stage in one folder: each made once, found as long as its inputs stay, deleted when it is gone.

    Args:
        stage: of the keys, see :func:`item_key`.
        settings: of the keys.
        folder: of the sidecars ``NAME.json``; files of an item are ``NAME.flac`` or lie in the folder ``NAME``.
    """

    def __init__(self, stage: str, settings: Block | Mapping[str, Any] | None, folder: Path) -> None:
        self._stage, self._settings, self.folder = stage, settings, folder
        self._lock = threading.Lock()
        self.made = self.found = 0

    def find(self, name: str, inputs: Sequence[str]) -> dict[str, Any] | None:
        """The record of an item with these digests of inputs; None: it must be made."""
        record = read_sidecar(self.folder / f"{name}.json", item_key(self._stage, self._settings, *inputs))
        with self._lock:
            self.found += record is not None
        return record

    def put(
        self, name: str, inputs: Sequence[str], record: dict[str, Any], files: Sequence[Path] = ()
    ) -> dict[str, Any]:
        """Keep the record of an item that was made, with its files; returns it."""
        write_sidecar(self.folder / f"{name}.json", item_key(self._stage, self._settings, *inputs), record, files)
        with self._lock:
            self.made += 1
        return record

    def get(
        self, name: str, inputs: Sequence[str], make: Callable[[], dict[str, Any]], files: Sequence[Path] = ()
    ) -> dict[str, Any]:
        """The record of an item, found or made."""
        record = self.find(name, inputs)
        return self.put(name, inputs, make(), files) if record is None else record

    def summary(self) -> str:
        """How many items were made and how many were there, for the log."""
        return f"{self.made} made, {self.found} from cache"

    def prune(self, names: Collection[str]) -> None:
        """Delete what belongs to items of other names."""
        for path in self.folder.glob("[!.]*"):
            if path.is_dir() and path.name not in names:
                shutil.rmtree(path)
            elif path.suffix in (".json", ".flac") and path.stem not in names:
                log.info("%s: its item is gone, removed", path.name)
                path.unlink()
