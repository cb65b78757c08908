"""Checkpoints that are whole or absent: written beside, synced, renamed, checked by sha256 before they are used.

A checkpoint is a folder ``step-00000120`` with one safetensors file per part that has tensors, ``state.json`` with all
plain values, ``history.jsonl``, and ``checkpoint.json``, written last: step, fingerprint, versions and the sha256 and
size of every other file. No pickle anywhere, so a checkpoint can be opened by anybody, on any device.

Training continues while :class:`CheckpointWriter` writes: the state is copied to host memory and a thread brings it
to the disk. :class:`Saver` decides when to save, and keeps training while the disk is full.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from pydantic import BaseModel, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from voiceclone.errors import DataError
from voiceclone.files import canonical_json, fsync_folder, sha256_file
from voiceclone.progress import announce
from voiceclone.stages.settings import RuntimeSettings
from voiceclone.training.processes import versions
from voiceclone.training.state import StateFolder


class Stateful(Protocol):
    """Anything that must survive a stop: modules, optimisers, schedules, scalers."""

    def state_dict(self) -> Mapping[str, Any]:
        """Nested tensors and plain values."""

    def load_state_dict(self, state: Any) -> Any:
        """Restore them."""


log = logging.getLogger(__name__)
MARKER = "checkpoint.json"
_NAME = re.compile(r"step-(\d{8})")
_WRITING, _REPLACED, _REMOVING = ".writing-", ".replaced-", ".removing-"


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
    metric: float | None = None


class DamagedCheckpointError(Exception):
    """A checkpoint that must not be used; the message names the file and what is wrong with it."""


@dataclass(frozen=True)
class Checkpoint:
    """A verified checkpoint: its folder, its record and the state of every part."""

    folder: Path
    record: CheckpointRecord
    parts: dict[str, Any]
    history: list[dict[str, Any]]


@dataclass(frozen=True)
class Snapshot:
    """State of a training at one step, independent of the objects that train.

    Attributes:
        step: of the training.
        state: part -> plain values, its tensors replaced by references.
        tensors: part -> name -> tensor on the host.
        history: logged rows up to the step.
        versions: that results depend on, beside data and settings.
        metric: held-out metric of the step, lower is better; None if the step was not validated.
    """

    step: int
    state: dict[str, Any]
    tensors: dict[str, dict[str, torch.Tensor]]
    history: list[Mapping[str, Any]]
    versions: dict[str, str]
    metric: float | None = None


Copy = Callable[[str, torch.Tensor], torch.Tensor]


def to_host(name: str, tensor: torch.Tensor) -> torch.Tensor:
    """A copy on the CPU in memory of its own."""
    return tensor.detach().to("cpu", copy=True).contiguous()


def take_snapshot(
    step: int,
    parts: Mapping[str, Any],
    history: Iterable[Mapping[str, Any]],
    versions: Mapping[str, str],
    metric: float | None = None,
    copy: Copy = to_host,
) -> Snapshot:
    """Copy the state of all parts, so that training can continue while it is written."""
    state: dict[str, Any] = {}
    tensors: dict[str, dict[str, torch.Tensor]] = {}
    for part, values in parts.items():
        held = tensors[part] = {}

        def copied(name: str, tensor: torch.Tensor, part: str = part) -> torch.Tensor:
            return copy(f"{part}/{name}", tensor)

        state[part] = pack(values, "", held, copied)
    return Snapshot(step, state, tensors, list(history), dict(versions), metric)


def pack(value: Any, name: str, tensors: dict[str, torch.Tensor], copy: Copy = to_host) -> Any:
    """Replace the tensors in nested plain values by references; collect copies of them on the CPU in ``tensors``."""
    if isinstance(value, torch.Tensor):
        tensors[name] = copy(name, value)
        return {"$tensor": name}
    if isinstance(value, Mapping):
        named = ((key, f"{name}.{key}" if name else str(key), item) for key, item in value.items())
        return {"$items": [[key, pack(item, path, tensors, copy)] for key, path, item in named]}
    if isinstance(value, tuple):
        return {"$tuple": [pack(item, f"{name}.{index}", tensors, copy) for index, item in enumerate(value)]}
    if isinstance(value, list):
        return [pack(item, f"{name}.{index}", tensors, copy) for index, item in enumerate(value)]
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
        keep_every: those of the steps that it divides are kept as well; 0: none.
        keep_best: number of those with the lowest held-out metric that are kept as well.
    """

    def __init__(self, folder: Path, fingerprint: str, keep: int = 3, keep_every: int = 0, keep_best: int = 0) -> None:
        self.folder, self.fingerprint, self.keep = Path(folder), fingerprint, max(2, keep)
        self.keep_every, self.keep_best = keep_every, keep_best
        self._damaged: set[int] = set()

    def steps(self) -> list[int]:
        """Steps of the checkpoint folders, oldest first, whether or not they are whole."""
        names = [_NAME.fullmatch(path.name) for path in self.folder.iterdir()] if self.folder.is_dir() else []
        return sorted(int(name[1]) for name in names if name)

    def path(self, step: int) -> Path:
        """Folder of the checkpoint of ``step``."""
        return self.folder / f"step-{step:08d}"

    def write(self, snapshot: Snapshot) -> Path:
        """Write the checkpoint of a snapshot; then remove older ones beyond the number to keep.

        Raises:
            DataError: the disk is full or the folder cannot be written; the checkpoints before it are untouched.
        """
        target, temporary = self.path(snapshot.step), self.folder / f"{_WRITING}{snapshot.step:08d}"
        try:
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir(parents=True)
            self._fill(temporary, snapshot)
            self._put(temporary, target)
        except (OSError, SafetensorError) as error:  # the latter is how a full disk shows in save_file
            shutil.rmtree(temporary, ignore_errors=True)
            last = max(self.steps(), default=None)
            raise DataError(
                f"{target}: the checkpoint could not be written ({getattr(error, 'strerror', None) or error}); "
                + (f"the one of step {last} is kept" if last is not None else "there is none before it"),
                "free disk space or restore write permission, then run the same command again",
            ) from error
        self._damaged.discard(snapshot.step)
        self.prune()
        return target

    def _fill(self, folder: Path, snapshot: Snapshot) -> None:
        """Write and sync the files of a checkpoint, the marker last."""
        for name, tensors in snapshot.tensors.items():
            if tensors:
                save_file(tensors, folder / f"{name}.safetensors")
                _sync(folder / f"{name}.safetensors")
        _write(folder / "state.json", canonical_json(snapshot.state) + "\n")
        _write(folder / "history.jsonl", "".join(canonical_json(row) + "\n" for row in snapshot.history))
        files = {
            path.name: FileRecord(sha256=sha256_file(path), size=path.stat().st_size)
            for path in sorted(folder.iterdir())
        }
        record = CheckpointRecord(
            step=snapshot.step,
            fingerprint=self.fingerprint,
            time=time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            versions=snapshot.versions,
            files=files,
            metric=snapshot.metric,
        )
        _write(folder / MARKER, record.model_dump_json(indent=2) + "\n")
        fsync_folder(folder)

    def _put(self, temporary: Path, target: Path) -> None:
        """Give a written checkpoint its name; one that has it is kept until the new one is in place."""
        replaced = self.folder / target.name.replace("step-", _REPLACED)
        if target.exists():  # damaged, or saved again after its validation
            shutil.rmtree(replaced, ignore_errors=True)
            target.rename(replaced)
        temporary.rename(target)
        fsync_folder(self.folder)
        shutil.rmtree(replaced, ignore_errors=True)

    def verify(self, step: int, content: bool = True) -> CheckpointRecord:
        """Check the record, the size and, with ``content``, the digest of every file of a checkpoint.

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
            if content and sha256_file(path) != expected.sha256:
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
                log.warning("checkpoint of step %d is damaged, skipped: %s", step, error)
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
        """Remove the remains of an attempt that was killed while saving; put back what it was about to replace."""
        for path in self.folder.glob(f"{_REPLACED}*"):
            target = self.folder / path.name.replace(_REPLACED, "step-")
            if not target.exists():
                path.rename(target)
        for prefix in (_WRITING, _REPLACED, _REMOVING):
            for path in self.folder.glob(f"{prefix}*"):
                shutil.rmtree(path, ignore_errors=True)

    def prune(self) -> None:
        """Remove checkpoints that no rule keeps; damaged ones do not count, so they never push out a whole one."""
        whole = {step: record for step in self.steps() if (record := self._looks_whole(step)) is not None}
        judged = sorted((record.metric, step) for step, record in whole.items() if record.metric is not None)
        kept = set(sorted(whole)[-self.keep :]) | {step for _, step in judged[: self.keep_best]}
        for step in whole.keys() - kept:
            if self.keep_every == 0 or step % self.keep_every:
                self._remove(step)

    def _looks_whole(self, step: int) -> CheckpointRecord | None:
        """Record of a checkpoint whose files have their sizes; their content is not read."""
        try:
            return None if step in self._damaged else self.verify(step, content=False)
        except DamagedCheckpointError:
            return None

    def _remove(self, step: int) -> None:
        """Remove a checkpoint; half removed, it has another name and is taken for none."""
        removing = self.folder / f"{_REMOVING}{step:08d}"
        try:
            self.path(step).rename(removing)
        except OSError as error:
            log.warning("%s could not be removed: %s", self.path(step), error)
        shutil.rmtree(removing, ignore_errors=True)


class HostMemory:
    """Copies of tensors on the host, in memory that the next copies of the same shapes use again.

    Page-locked for tensors of a GPU, so that all copies of a snapshot run at the speed of the bus.
    """

    def __init__(self) -> None:
        self._held: dict[str, torch.Tensor] = {}

    def copy(self, name: str, tensor: torch.Tensor) -> torch.Tensor:
        """Start to copy a tensor; the copy is complete after :meth:`settle`."""
        held = self._held.get(name)
        if held is None or held.shape != tensor.shape or held.dtype != tensor.dtype:
            held = self._held[name] = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=tensor.is_cuda)
        held.copy_(tensor.detach(), non_blocking=True)
        return held

    @staticmethod
    def settle() -> None:
        """Wait until all copies are complete."""
        if torch.cuda.is_initialized():
            torch.cuda.synchronize()


class CheckpointWriter:
    """Writes one checkpoint at a time in a thread of its own.

    Args:
        store: where checkpoints lie; no other thread uses it while one is being written.
        before: what to bring to the disk before the checkpoint that relies on it.
    """

    def __init__(self, store: CheckpointStore, before: Callable[[], None] = lambda: None) -> None:
        self._store, self._before = store, before
        self._memory = HostMemory()
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    @property
    def busy(self) -> bool:
        """True while a checkpoint is being written."""
        return self._thread is not None and self._thread.is_alive()

    def submit(
        self,
        step: int,
        parts: Mapping[str, Any],
        history: Iterable[Mapping[str, Any]],
        versions: Mapping[str, str],
        metric: float | None = None,
    ) -> None:
        """Copy the state and have it written; waits for the checkpoint before it, and raises what that one raised."""
        self.wait()
        began = time.monotonic()
        snapshot = take_snapshot(step, parts, history, versions, metric, self._memory.copy)
        self._memory.settle()
        self._thread = threading.Thread(
            target=self._write, args=(snapshot, time.monotonic() - began), name=f"checkpoint-{step}"
        )
        self._thread.start()

    def _write(self, snapshot: Snapshot, copied: float) -> None:
        began = time.monotonic()
        try:
            self._before()
            path = self._store.write(snapshot)
            log.info("saved %s in %.2f s; the training waited %.3f s", path, time.monotonic() - began, copied)
        except BaseException as error:  # handed to the training, which decides
            self._error = error

    def wait(self) -> bool:
        """Wait until nothing is being written; true, once for each checkpoint, if one is complete now.

        Raises:
            DataError: the checkpoint could not be written.
        """
        if self._thread is None:
            return False
        self._thread.join()
        self._thread = None
        error, self._error = self._error, None
        if error is not None:
            raise error
        return True


RETRY_SECONDS = 30.0  # after a save that failed


class Saver:
    """Decides when a training saves. If a save fails, the training continues in memory and retries for a while.

    A full disk is most often noticed and fixed by a person; what was trained since the last checkpoint would be lost
    if the training ended at once. After ``save_patience_minutes`` without a save it does end.

    Args:
        writer: brings checkpoints to the disk.
        submit: hands the current state to the writer.
        runtime: intervals and patience.
        label: prefix of the messages.
    """

    def __init__(
        self, writer: CheckpointWriter, submit: Callable[[], None], runtime: RuntimeSettings, label: str
    ) -> None:
        self._writer, self._submit, self._runtime, self._label = writer, submit, runtime, label
        self._tried = time.monotonic()
        self._failing_since: float | None = None

    def due(self, step: int) -> bool:
        """True if this step is to be saved.

        Raises:
            DataError: no save has been possible for longer than the patience.
        """
        runtime, waited = self._runtime, time.monotonic() - self._tried
        if not self._writer.busy:
            self._collect()
        if self._failing_since is not None:
            return waited >= RETRY_SECONDS and not self._writer.busy
        every = runtime.keep_every_steps
        at_step = step % runtime.save_every_steps == 0 or (every > 0 and step % every == 0)
        return at_step or waited >= 60 * runtime.save_every_minutes

    def save(self) -> None:
        """Have the current state written, while the training continues.

        Raises:
            DataError: no save has been possible for longer than the patience.
        """
        self._collect()
        self._tried = time.monotonic()
        self._submit()

    def finish(self, hurry: Callable[[], bool], submitted: bool = False) -> None:
        """Have the current state written and wait until it is complete.

        Args:
            hurry: true to give up at the first failure, because somebody waits for the end.
            submitted: the writer has it already.

        Raises:
            DataError: it could not be written.
        """
        if not submitted:
            self.save()
        self._collect(last=hurry())
        while self._failing_since is not None:
            while time.monotonic() - self._tried < RETRY_SECONDS and not hurry():
                time.sleep(0.1)
            self.save()
            self._collect(last=hurry())

    def close(self) -> None:
        """Wait for the writer; a failure is only logged, since the caller may have a graver one."""
        try:
            self._writer.wait()
        except DataError as error:
            log.warning("%s", error)

    def _collect(self, last: bool = False) -> None:
        """Wait for the writer and note its outcome; raise its error when patience is over."""
        try:
            complete = self._writer.wait()
        except DataError as error:
            now = time.monotonic()
            self._failing_since = self._failing_since or now
            if last or now - self._failing_since >= 60 * self._runtime.save_patience_minutes:
                raise
            log.warning("%s", error)
            announce(f"{self._label}  NOT SAVED: {error.message}; training continues in memory and retries")
        else:
            if complete and self._failing_since is not None:
                announce(f"{self._label}  saving works again")
                self._failing_since = None


WEIGHTS = ("model", "discriminator")  # parts that a warm start takes over


def restore(parts: Mapping[str, Stateful], checkpoint: Checkpoint) -> None:
    """Restore all parts from a checkpoint; one whose ``optional`` is true may be missing there.

    Raises:
        DataError: the checkpoint has other parts.
    """
    required = {name for name, part in parts.items() if not getattr(part, "optional", False)}
    missing = (required - checkpoint.parts.keys()) | (checkpoint.parts.keys() - parts.keys())
    if missing:
        raise DataError(
            f"{checkpoint.folder}: its parts differ from this version's: {sorted(missing)}",
            "it was written by another version; use that one, or delete the state folder to start from scratch",
        )
    for name, part in parts.items():
        if name in checkpoint.parts:
            part.load_state_dict(checkpoint.parts[name])


def why_it_resumes(checkpoint: Checkpoint, back: str) -> str:
    """In words: the other training that ran in between, if any (``back``), and the versions that are new."""
    now, recorded = versions(), checkpoint.record.versions.items()
    changed = [f"{name} {old} -> {now.get(name)}" for name, old in recorded if now.get(name) != old]
    return "; ".join(["saved state found", *([back] if back else []), *changed])


def load_previous(state: StateFolder, parts: Mapping[str, Stateful]) -> str | None:
    """Take the weights of the training before this one, if it has any; returns ``"<key> step <n>"``.

    Raises:
        DataError: they are of another architecture.
    """
    previous = state.previous()
    if previous is None:
        return None
    key = previous[0]
    try:
        checkpoint = CheckpointStore(state.root / key, key).newest()
    except DataError as error:
        log.warning("warm start is not possible: %s", error)
        return None
    if checkpoint is None:
        return None
    try:
        for name in WEIGHTS:
            if name in parts:
                parts[name].load_state_dict(checkpoint.parts[name])
    except RuntimeError as error:
        raise DataError(
            f"warm start from {key}: its model does not fit this one ({str(error).splitlines()[0]})",
            "set warm_start to none: the architecture has changed",
        ) from error
    return f"{key} step {checkpoint.record.step}"
