"""Time stamps that follow content: a copied project, or a touched file, plans nothing anew.

The workflow engine compares the times of files. Copies without times (``cp -r``, a clone, object storage) change them
all. So at the start and end of every run the digests and times of what the rules read and write are recorded in one
table, and before the next plan is made every file whose content is the recorded one gets its recorded time back. A
file with another content keeps its own, later time: what reads it runs again, and nothing else.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from pathlib import Path

from voiceclone.errors import DataError
from voiceclone.files import Row, read_tsv, sha256_file, write_tsv

log = logging.getLogger(__name__)

TABLE = Path("results/contents.tsv")
COLUMNS = ("file", "size", "time_ns", "sha256")


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
