"""Checkpoints that are whole or absent: written beside, synced, renamed, checked by sha256 before they are used.

A checkpoint is a folder ``step-00000120`` with one safetensors file per part that has tensors, ``state.json`` with all
plain values, ``history.jsonl``, and ``checkpoint.json``, written last: step, fingerprint, versions and the sha256 and
size of every other file. No pickle anywhere, so a checkpoint can be opened by anybody, on any device.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ValidationError
from safetensors.torch import load_file, save_file

from voiceclone.errors import DataError
from voiceclone.files import canonical_json, fsync_folder, sha256_file

log = logging.getLogger(__name__)

MARKER = "checkpoint.json"
_NAME = re.compile(r"step-(\d{8})")
_TEMPORARY = ".writing-"


class FileRecord(BaseModel):
    """Digest and size of one file of a checkpoint."""

    sha256: str
    size: int


class CheckpointRecord(BaseModel):
    """Content of ``checkpoint.json``."""

    format: Literal[1] = 1
    step: int
    fingerprint: str
    time: str
    versions: dict[str, str]
    files: dict[str, FileRecord]


class DamagedCheckpointError(Exception):
    """A checkpoint that must not be used; the message names the file and what is wrong with it."""


@dataclass(frozen=True)
class Checkpoint:
    """A verified checkpoint: its folder, its record and the state of every part."""

    folder: Path
    record: CheckpointRecord
    parts: dict[str, Any]
    history: list[dict[str, Any]]


def pack(value: Any, name: str, tensors: dict[str, torch.Tensor]) -> Any:
    """Replace the tensors in nested plain values by references; collect copies of them on the CPU in ``tensors``."""
    if isinstance(value, torch.Tensor):
        tensors[name] = value.detach().to("cpu", copy=True).contiguous()
        return {"$tensor": name}
    if isinstance(value, Mapping):
        return {
            "$items": [[key, pack(item, f"{name}.{key}" if name else str(key), tensors)] for key, item in value.items()]
        }
    if isinstance(value, tuple):
        return {"$tuple": [pack(item, f"{name}.{index}", tensors) for index, item in enumerate(value)]}
    if isinstance(value, list):
        return [pack(item, f"{name}.{index}", tensors) for index, item in enumerate(value)]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"{name}: {type(value).__name__} cannot be stored, expected tensors and plain values")


def unpack(value: Any, tensors: Mapping[str, torch.Tensor]) -> Any:
    """Undo :func:`pack`."""
    if isinstance(value, list):
        return [unpack(item, tensors) for item in value]
    if isinstance(value, dict):
        ((kind, content),) = value.items()
        if kind == "$tensor":
            return tensors[content]
        if kind == "$tuple":
            return tuple(unpack(item, tensors) for item in content)
        return {key: unpack(item, tensors) for key, item in content}
    return value


def _write(path: Path, text: str) -> None:
    """Write text and make it durable."""
    with path.open("w", encoding="utf-8", newline="\n") as handle:
        handle.write(text)
        handle.flush()
        os.fsync(handle.fileno())


def _sync(path: Path) -> None:
    with path.open("rb") as handle:
        os.fsync(handle.fileno())


class CheckpointStore:
    """The checkpoints of one training.

    Args:
        folder: the state folder; the caller holds its lock.
        fingerprint: key of the training; a checkpoint of another one is not used.
        keep: newest checkpoints kept, at least 2.
    """

    def __init__(self, folder: Path, fingerprint: str, keep: int = 3) -> None:
        self.folder, self.fingerprint, self.keep = Path(folder), fingerprint, max(2, keep)
        self._damaged: set[int] = set()

    def steps(self) -> list[int]:
        """Steps of the checkpoint folders, oldest first, whether or not they are whole."""
        names = [_NAME.fullmatch(path.name) for path in self.folder.iterdir()] if self.folder.is_dir() else []
        return sorted(int(name[1]) for name in names if name)

    def path(self, step: int) -> Path:
        """Folder of the checkpoint of ``step``."""
        return self.folder / f"step-{step:08d}"

    def save(
        self, step: int, parts: Mapping[str, Any], history: Iterable[Mapping[str, Any]], versions: Mapping[str, str]
    ) -> Path:
        """Write the checkpoint of ``step``; older ones beyond the number to keep go after it stands.

        Raises:
            DataError: the disk is full or the folder cannot be written; the checkpoints before it are untouched.
        """
        target, temporary = self.path(step), self.folder / f"{_TEMPORARY}{step:08d}"
        try:
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir(parents=True)
            self._fill(temporary, step, parts, history, versions)
            if target.exists():  # damaged, or of a continuation from an older one
                shutil.rmtree(target)
            temporary.rename(target)
            fsync_folder(self.folder)
        except OSError as error:
            shutil.rmtree(temporary, ignore_errors=True)
            last = max(self.steps(), default=None)
            raise DataError(
                f"{target}: the checkpoint could not be written ({error.strerror or error}); "
                + (f"the one of step {last} is kept" if last is not None else "there is none before it"),
                "free disk space or restore write permission, then run the same command again",
            ) from error
        self._damaged.discard(step)
        self.prune()
        return target

    def _fill(
        self,
        folder: Path,
        step: int,
        parts: Mapping[str, Any],
        history: Iterable[Mapping[str, Any]],
        versions: Mapping[str, str],
    ) -> None:
        """Write and sync the files of a checkpoint, the marker last."""
        state = {}
        for name, values in parts.items():
            tensors: dict[str, torch.Tensor] = {}
            state[name] = pack(values, "", tensors)
            if tensors:
                save_file(tensors, folder / f"{name}.safetensors")
                _sync(folder / f"{name}.safetensors")
        _write(folder / "state.json", canonical_json(state) + "\n")
        _write(folder / "history.jsonl", "".join(canonical_json(row) + "\n" for row in history))
        files = {
            path.name: FileRecord(sha256=sha256_file(path), size=path.stat().st_size)
            for path in sorted(folder.iterdir())
        }
        record = CheckpointRecord(
            step=step,
            fingerprint=self.fingerprint,
            time=time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            versions=dict(versions),
            files=files,
        )
        _write(folder / MARKER, record.model_dump_json(indent=2) + "\n")
        fsync_folder(folder)

    def verify(self, step: int) -> CheckpointRecord:
        """Check the record and the digest of every file of a checkpoint.

        Raises:
            DamagedCheckpointError: something is missing, changed, or belongs to another training.
        """
        folder = self.path(step)
        try:
            record = CheckpointRecord.model_validate_json((folder / MARKER).read_text(encoding="utf-8"))
        except (OSError, ValueError, ValidationError) as error:
            raise DamagedCheckpointError(
                f"{folder / MARKER}: missing or not readable ({type(error).__name__})"
            ) from error
        if record.step != step:
            raise DamagedCheckpointError(f"{folder / MARKER}: says step {record.step}, expected {step}")
        if record.fingerprint != self.fingerprint:
            raise DamagedCheckpointError(
                f"{folder / MARKER}: belongs to training {record.fingerprint}, expected {self.fingerprint}"
            )
        for name, expected in record.files.items():
            path = folder / name
            if not path.is_file():
                raise DamagedCheckpointError(f"{path}: missing")
            if path.stat().st_size != expected.size:
                raise DamagedCheckpointError(f"{path}: has {path.stat().st_size} bytes, expected {expected.size}")
            if sha256_file(path) != expected.sha256:
                raise DamagedCheckpointError(f"{path}: its sha256 differs from the one recorded")
        return record

    def load(self, step: int) -> Checkpoint:
        """Verify and read the checkpoint of ``step``.

        Raises:
            DamagedCheckpointError: it must not be used.
        """
        folder, record = self.path(step), self.verify(step)
        state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
        parts = {}
        for name, values in state.items():
            path = folder / f"{name}.safetensors"
            parts[name] = unpack(values, load_file(path) if path.is_file() else {})
        history = [json.loads(line) for line in (folder / "history.jsonl").read_text(encoding="utf-8").splitlines()]
        return Checkpoint(folder, record, parts, history)

    def newest(self) -> Checkpoint | None:
        """The newest checkpoint that is whole; None if there has never been one.

        Raises:
            DataError: there are checkpoints, but not one that can be used: never silently from scratch.
        """
        damaged = []
        for step in reversed(self.steps()):
            try:
                checkpoint = self.load(step)
            except DamagedCheckpointError as error:
                log.warning("checkpoint of step %d is damaged and passed over: %s", step, error)
                damaged.append(str(error))
                self._damaged.add(step)
                continue
            if damaged:
                log.warning("continuing from the checkpoint before it: step %d", step)
            return checkpoint
        if damaged:
            raise DataError(
                f"{self.folder}: none of its {len(damaged)} checkpoints can be used:\n  " + "\n  ".join(damaged),
                "restore a checkpoint from a backup; to start this training from scratch delete the folder",
            )
        return None

    def sweep(self) -> None:
        """Remove what an attempt that was killed in mid-save left behind."""
        for path in self.folder.glob(f"{_TEMPORARY}*"):
            shutil.rmtree(path, ignore_errors=True)

    def prune(self) -> None:
        """Remove all but the newest; damaged ones do not count, so they never push out one that is whole."""
        whole = [step for step in self.steps() if step not in self._damaged]
        for step in whole[: -self.keep]:
            shutil.rmtree(self.path(step), ignore_errors=True)
