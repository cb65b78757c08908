"""Files that an earlier run left for takes that are gone."""

from __future__ import annotations

import logging
from pathlib import Path

log = logging.getLogger(__name__)


def remove_stale(folder: Path, takes: set[str]) -> None:
    """Delete files of takes that no longer exist from a stage's folder."""
    for path in folder.glob("*"):
        if path.suffix in (".flac", ".json") and path.stem not in takes and not path.name.startswith("."):
            log.info("%s: its take is gone, removed", path.name)
            path.unlink()
