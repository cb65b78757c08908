"""Removes what a speaker's folder no longer needs: states of earlier data, remains of killed stages.

What trainings a speaker has: read from their state folders, without torch and without a lock.
"""

from __future__ import annotations

import logging
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from voiceclone.errors import DataError
from voiceclone.files import check_speaker, read_json, read_jsonl, read_tsv
from voiceclone.lineage.fingerprint import Fingerprint, difference
from voiceclone.training.state import FATAL, FINGERPRINT, LOCK, exclusive, holder, last_used

_STEP = re.compile(r"step-(\d{8})")


@dataclass(frozen=True)
class Run:
    """One training: a folder of state.

    Attributes:
        folder: named by the fingerprint, in the folder of its kind.
        exported: its model is the one in ``models/``.
    """

    folder: Path
    exported: bool

    @property
    def kind(self) -> str:
        """``gpt`` or ``sovits``."""
        return self.folder.parent.name

    @property
    def key(self) -> str:
        """The fingerprint."""
        return self.folder.name

    @cached_property
    def fingerprint(self) -> Fingerprint:
        """Fingerprint of what it is made from."""
        return Fingerprint.from_dict(read_json(self.folder / FINGERPRINT))

    @cached_property
    def steps(self) -> list[int]:
        """Steps of its checkpoints, oldest first."""
        found = (_STEP.fullmatch(path.parent.name) for path in self.folder.glob("step-*/checkpoint.json"))
        return sorted(int(name[1]) for name in found if name)

    @cached_property
    def size(self) -> int:
        """Bytes on disk."""
        return folder_size(self.folder)

    @property
    def holder(self) -> str:
        """The process that trains it now; empty if none does."""
        return holder(self.folder / LOCK)

    @property
    def fatal(self) -> dict[str, Any] | None:
        """Why it cannot continue; empty if it can."""
        path = self.folder / FATAL
        return dict(read_json(path)) if path.is_file() else None

    @property
    def resumes(self) -> list[dict[str, Any]]:
        """Steps at which it was continued, and why."""
        path = self.folder / "history.jsonl"
        try:
            return [row for row in read_jsonl(path) if row.get("event") == "resumed"] if path.is_file() else []
        except DataError:
            return []

    def describe(self) -> str:
        """One line: fingerprint, newest step, number of checkpoints, size, resumes, what it is doing."""
        newest = f"step {self.steps[-1]}" if self.steps else "no checkpoint"
        resumes = f", resumed {len(self.resumes)} times" if self.resumes else ""
        status = "  its model is in models/" if self.exported else ""
        if self.holder:
            status = f"  RUNNING: {self.holder}"
        elif self.fatal is not None:
            status = f"  FAILED at step {self.fatal['step']}: {self.fatal['reason']}"
        return f"{self.key}  {newest:<14} {len(self.steps)} checkpoints  {self.size / 1e6:8.1f} MB{resumes}{status}"


def folder_size(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir())


def find_runs(voice: Path) -> dict[str, list[Run]]:
    """Kind -> trainings of a speaker's results folder, the one that ran last first."""
    found: dict[str, list[Run]] = {}
    for path in sorted(voice.glob(f"state/*/*/{FINGERPRINT}"), key=lambda path: -last_used(path.parent)):
        report = voice / "models" / f"{path.parent.parent.name}.json"
        exported = report.is_file() and read_json(report).get("fingerprint") == path.parent.name
        found.setdefault(path.parent.parent.name, []).append(Run(path.parent, exported))
    return dict(sorted(found.items()))


def state_lines(results: Path, speaker: str) -> list[str]:
    """One line for each training of a speaker, newest first within its kind, and what changed since the one before.

    Raises:
        DataError: the speaker has no state.
    """
    lines = []
    for kind, runs in find_runs(results / check_speaker(speaker)).items():
        for run, before in zip(runs, [*runs[1:], None], strict=True):
            lines.append(f"{kind:<7} {run.describe()}")
            if before is not None:
                lines.append(f"{'':<7} changed since {before.key}: {difference(before.fingerprint, run.fingerprint)}")
    if not lines:
        raise DataError(f"{results / speaker}: no training has been started", "run the workflow first")
    return lines


def clear_failures(results: Path, speaker: str) -> list[str]:
    """Let trainings that ended for good try again from their last checkpoint; one line for each.

    Raises:
        DataError: a training of the speaker is running.
    """
    lines = []
    for kind, runs in find_runs(results / check_speaker(speaker)).items():
        for run in runs:
            if run.fatal is not None:
                with exclusive(run.folder / LOCK, sign=False):
                    lines.append(f"{kind} {run.key}: cleared: {run.fatal['reason']}")
                    (run.folder / FATAL).unlink()
    return lines


log = logging.getLogger(__name__)
REMAINS_AGE = 3600.0  # seconds; a younger temporary may belong to a running stage
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
    """List what can be removed from a speaker's results folder.

    Never the state of a training whose model is in ``models/``, that is running, or that ran last of its kind: the next
    run would continue it.
    """
    found: list[Garbage] = []
    for runs in find_runs(voice).values():
        kept = [run for run in runs if run.exported or run.holder or run is runs[0]]
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
