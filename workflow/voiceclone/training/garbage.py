"""What a speaker's folder holds that nothing will ask for again: states of earlier data, remains of killed stages."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from voiceclone.errors import DataError
from voiceclone.files import read_tsv
from voiceclone.lineage.fingerprint import difference
from voiceclone.training.inventory import Run, find_runs, folder_size
from voiceclone.training.lock import exclusive
from voiceclone.training.state import LOCK

log = logging.getLogger(__name__)

REMAINS_AGE = 3600.0  # seconds; a younger temporary may belong to a stage that is at work
_UNFINISHED = (".writing-*", ".removing-*")


@dataclass(frozen=True)
class Garbage:
    """Something that can go.

    Attributes:
        path: file or folder.
        why: in words.
        size: bytes.
        lock: to be held while it goes; None if it has none.
    """

    path: Path
    why: str
    size: int
    lock: Path | None = None

    def remove(self) -> None:
        """Delete it.

        Raises:
            DataError: a training has begun to use it.
        """
        if self.lock is None:
            _delete(self.path)
            return
        with exclusive(self.lock, sign=False):
            _delete(self.path)


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def find_garbage(voice: Path) -> list[Garbage]:
    """What can go from a speaker's results folder.

    Never the state of a training whose model stands in ``models/``, that is at work, or that was the last of its kind
    at work: the next run would continue it.
    """
    found: list[Garbage] = []
    for runs in find_runs(voice).values():
        kept = [run for run in runs if run.stands or run.holder or run is runs[0]]
        found += [_superseded(run, runs[0]) for run in runs if run not in kept]
        for run in kept:
            if not run.holder:
                found += _unfinished(run)
    return [*found, *_remains(voice), *_unused_features(voice / "features")]


def _superseded(run: Run, by: Run) -> Garbage:
    step = f"step {run.steps[-1]}" if run.steps else "no checkpoint"
    words = difference(run.fingerprint, by.fingerprint)
    return Garbage(run.folder, f"training {step}; superseded by {by.key}: {words}", run.size, run.folder / LOCK)


def _unfinished(run: Run) -> Iterator[Garbage]:
    """Checkpoints that were being written or removed when their process was killed."""
    for pattern in _UNFINISHED:
        for path in run.folder.glob(pattern):
            yield Garbage(path, "left by a training that was killed", folder_size(path), run.folder / LOCK)


def _remains(voice: Path) -> Iterator[Garbage]:
    """Temporary files and folders of stages that were killed."""
    for path in sorted([*voice.rglob(".*.tmp"), *voice.rglob(".*.tmp.*")]):
        if "state" not in path.relative_to(voice).parts[:1] and time.time() - path.stat().st_mtime > REMAINS_AGE:
            size = folder_size(path) if path.is_dir() else path.stat().st_size
            yield Garbage(path, "left by a stage that was killed", size)


def _unused_features(features: Path) -> Iterator[Garbage]:
    """Cached features that no row of the manifest names; those that are newer are of a stage that did not end."""
    manifest = features / "manifest.tsv"
    if not manifest.is_file():
        return
    made = manifest.stat().st_mtime
    rows = read_tsv(manifest)
    for folder in sorted((features / "cache").glob("*/")):
        used = {row.get(f"key_{folder.name}", "") for row in rows}
        stale = [path for path in folder.iterdir() if path.stem not in used and path.stat().st_mtime < made]
        if stale and not used - {""}:
            yield Garbage(folder, "cached features of a kind that is not used any more", folder_size(folder))
            continue
        for path in sorted(stale):
            yield Garbage(path, "cached features of an utterance that is not in the manifest", path.stat().st_size)


def remove_all(found: list[Garbage]) -> tuple[int, list[str]]:
    """Delete what was found; bytes that became free, and why some could not go."""
    freed, problems = 0, []
    for item in found:
        try:
            item.remove()
            freed += item.size
        except DataError as error:
            problems.append(error.message)
        except OSError as error:
            problems.append(f"{item.path}: {error.strerror or error}")
    return freed, problems
