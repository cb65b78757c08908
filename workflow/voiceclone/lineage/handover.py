"""What the workflow engine hands to its jobs as files, because text from people must not become part of a command.

Settings lie in ``results/settings/STAGE-DIGEST.json``. The digest names the content, so a file never changes under a
job that reads it, and other settings are another file: the stage runs again, and no other.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from voiceclone.files import digest, write_text
from voiceclone.lineage.contents import TABLE, recorded

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
