"""What the workflow engine hands to its jobs as files, because text from people must not become part of a command.

Settings lie in ``results/settings/STAGE-DIGEST.json``. The digest names the content, so a file never changes under a
job that reads it, and other settings are another file: the stage runs again, and no other.

Time stamps that follow content: a copied project, or a touched file, plans nothing.

The workflow engine compares the times of files. Copies without times (``cp -r``, a clone, object storage) change them
all. So at the start and end of every run the digests and times of what the rules read and write are recorded in one
table, and before the next plan is made every file whose content is the recorded one gets its recorded time back. A
file with another content keeps its own, later time: what reads it runs again, and nothing else.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from voiceclone.errors import DataError
from voiceclone.files import Row, digest, read_tsv, sha256_file, table_columns, write_text, write_tsv

log = logging.getLogger(__name__)
TABLE = Path("results/contents.tsv")
COLUMNS = table_columns("contents")


def recorded(root: Path) -> dict[str, Row]:
    """The table of the last run by file; empty where there is none or it is damaged."""
    try:
        return {row["file"]: row for row in read_tsv(root / TABLE, COLUMNS)}
    except (OSError, DataError, ValueError):
        return {}


def restore_times(root: Path) -> list[str]:
    """Give the files of a working folder whose content is the recorded one their recorded times.

    Returns:
        the files whose time was changed.
    """
    restored = []
    for file, row in recorded(root).items():
        path = root / file
        try:
            status = path.stat()
            same_time = status.st_mtime_ns == int(row["time_ns"])
            if same_time or status.st_size != int(row["size"]) or sha256_file(path) != row["sha256"]:
                continue
            os.utime(path, ns=(status.st_atime_ns, int(row["time_ns"])))
        except (OSError, ValueError) as error:  # gone, or not ours to change: the engine decides by the time it has
            log.info("%s: time left as it is (%s)", file, error)
            continue
        restored.append(file)
    return restored


def record_times(root: Path, files: Iterable[str]) -> None:
    """Record digest and time of these files of a working folder, as far as they are there.

    A file with the size and time of the table before is not read again.
    """
    known = recorded(root)
    rows = []
    for file in sorted(set(files)):
        path = root / file
        if not path.is_file():
            continue
        status = path.stat()
        row = {"file": file, "size": str(status.st_size), "time_ns": str(status.st_mtime_ns)}
        before = known.get(file)
        same = before is not None and all(before[key] == value for key, value in row.items())
        rows.append({**row, "sha256": before["sha256"] if before and same else sha256_file(path)})
    write_tsv(root / TABLE, COLUMNS, rows)


FOLDER = "results/settings"


def settings_file(stage: str, values: Mapping[str, Any]) -> str:
    """Name of the file that holds these values."""
    return f"{FOLDER}/{stage}-{digest(dict(values), length=12)}.json"


class Handover:
    """Writes the files that jobs read.

    Args:
        root: the working folder.
        write: whether to write; jobs only read what the process that started them wrote.
    """

    def __init__(self, root: Path, write: bool) -> None:
        self._root, self._write = root, write
        # What the last run did not use counts as new, though it lay here before: whoever goes back to older settings
        # finds them changed.
        self._used_last = set(recorded(root)) if (root / TABLE).is_file() else None
        self.files: list[str] = []

    def settings(self, stage: str, values: Mapping[str, Any]) -> str:
        """Write these values unless they are there; the path of the file, from the working folder."""
        name = settings_file(stage, values)
        if name in self.files:
            return name
        self.files.append(name)
        path = self._root / name
        outdated = self._used_last is not None and name not in self._used_last
        if self._write and (outdated or not path.is_file()):
            # Escaped to ASCII: any encoding that a machine is set to reads it.
            write_text(path, json.dumps(dict(values), sort_keys=True, indent=2, default=str) + "\n")
        return name

    def forget_others(self) -> None:
        """Remove the files that this configuration does not use; for the end of a run, when no job reads them."""
        for path in (self._root / FOLDER).glob("*-*.json"):
            if path.relative_to(self._root).as_posix() not in self.files:
                path.unlink()
