"""Results per item, keyed by content: a stage that starts again redoes only the items whose inputs changed.

The key is the digest of stage, revision, settings and the content digests of the item's inputs. Beside the item's
files stands a JSON sidecar with the key and the sha256 of each file, written last; so a half-written item is never
taken for a whole one, and a damaged file is made again.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from voiceclone.config.base import Block
from voiceclone.errors import DataError
from voiceclone.files import digest, read_json, sha256_file, write_json
from voiceclone.stages import REVISIONS

log = logging.getLogger(__name__)


def item_key(stage: str, settings: Block | Mapping[str, Any] | None, *content: str) -> str:
    """Key of one item: 16 hexadecimal digits over stage, its revision, settings and input digests."""
    values = settings.model_dump(mode="json") if isinstance(settings, Block) else dict(settings or {})
    return digest([stage, REVISIONS[stage], values, list(content)])


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
