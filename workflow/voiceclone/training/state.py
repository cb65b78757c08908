"""The folder of one training's state: its fingerprint, its lock, the reason of a fatal end.

The fingerprint covers features, base weights, architecture and settings. The lock is exclusive and names who holds it.
The kernel holds it for the process and lets go when the process ends, however it ends: nothing is left to clear. NFS
keeps it among machines where its lock service runs (the default of version 4); a file system that knows no locks
refuses, and then a warning is all that stands between two trainers.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import logging
import os
import re
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import torch

from voiceclone.assets import Asset
from voiceclone.errors import DataError
from voiceclone.files import digest, read_json, write_json
from voiceclone.lineage.fingerprint import Fingerprint, difference
from voiceclone.lineage.revisions import revisions
from voiceclone.stages.settings import TrainingSettings
from voiceclone.training.data import Utterance


def tensor_digest(tensor: torch.Tensor) -> str:
    """First 16 hexadecimal digits of the sha256 of dtype, shape and content."""
    header = f"{tensor.dtype}{tuple(tensor.shape)}".encode()
    content = tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes() if tensor.numel() else b""
    return hashlib.sha256(header + content).hexdigest()[:16]


def base_digests(**assets: Asset | None) -> dict[str, str]:
    """Role -> content digest of the models that a training starts from."""
    return {role: asset.digest for role, asset in assets.items() if asset is not None}


def base_fingerprint(stage: str, architecture: Mapping[str, Any], base: Mapping[str, str]) -> Fingerprint:
    """What an untrained base model is made from: the same for every voice that uses it."""
    components = {"stage": stage, "revision": revisions()[stage], "settings": {"train": False}}
    return Fingerprint({}, {**components, "architecture": dict(architecture), "base": dict(base)})


def training_fingerprint(
    stage: str,
    settings: TrainingSettings,
    architecture: Mapping[str, Any],
    base: Mapping[str, str],
    utterances: Sequence[Utterance],
    features: Mapping[str, Sequence[str]],
) -> Fingerprint:
    """Everything that decides what a training computes.

    Args:
        stage: name of the stage; its revision counts.
        settings: of the training; those that only continue it are left out.
        architecture: the network's full configuration.
        base: role -> digest of the weights that it starts from and of the tokenizer.
        utterances: of the training and the held-out split.
        features: utterance -> digests of the features that this training reads.
    """
    rows = {
        item.name: f"{digest([item.split, item.language, item.text, *item.drawn_by()], 8)}"
        f"-{digest(list(features[item.name]), 8)}"
        for item in utterances
    }
    components = {
        "stage": stage,
        "revision": revisions()[stage],
        "settings": settings.fingerprint(),
        "architecture": dict(architecture),
        "base": dict(base),
    }
    return Fingerprint(rows, components)


log = logging.getLogger(__name__)
_HELD = (errno.EWOULDBLOCK, errno.EACCES)
_HOLDER = re.compile(r"pid (\d+) on (\S+) since ")


@contextmanager
def exclusive(path: Path, sign: bool = True) -> Iterator[None]:
    """Hold the lock of ``path``, a file that names its holder.

    Args:
        path: the file; made if it is missing.
        sign: whether to write down who holds it and since when; a short look inside leaves that as it was.

    Raises:
        DataError: another process holds it; the message tells which, and whether it lives.
        OSError: the file cannot be written.
    """
    with _locked_file(path) as handle:
        if sign:
            handle.truncate(0)
            handle.write(f"pid {os.getpid()} on {socket.gethostname()} since {time.strftime('%Y-%m-%d %H:%M:%S')}\n")
            handle.flush()
        yield


def holder(path: Path) -> str:
    """In words, who holds the lock of ``path`` now; empty if nobody does."""
    try:
        with path.open(encoding="utf-8") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError as error:
                return _describe(handle.read()) if error.errno in _HELD else ""
    except FileNotFoundError:
        pass
    return ""


def _locked_file(path: Path) -> IO[str]:
    """The file, open and locked; opened again if it was replaced in between."""
    while True:
        handle = path.open("a+", encoding="utf-8")
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _HELD:
                handle.seek(0)
                text = handle.read()
                handle.close()
                raise DataError(
                    f"{path.parent}: another process is at work here: {_describe(text)}",
                    "wait for it, or stop that process (kill PID): it saves its state before it ends",
                ) from error
            log.warning("%s: this file system knows no locks (%s): start no second training here", path, error.strerror)
            return handle
        if path.exists() and os.path.samestat(os.fstat(handle.fileno()), path.stat()):
            return handle
        handle.close()


def _describe(text: str) -> str:
    """What a lock file says of its holder, and whether that process lives."""
    found = _HOLDER.match(text)
    if not found:
        return "unknown"
    pid, host = int(found[1]), found[2]
    if host != socket.gethostname():
        return f"{text.strip()} (another machine: look there)"
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return f"{text.strip()} (that process is gone; one that it started, or the file server, still holds the lock)"
    except PermissionError:
        pass
    return f"{text.strip()} (alive)"


FINGERPRINT, FATAL, LOCK = "fingerprint.json", "FATAL.json", "lock"


@dataclass(frozen=True)
class StateFolder:
    """State of one training below the folder of its kind (``state/gpt``, ``state/sovits``).

    Args:
        root: folder of the kind; one folder per fingerprint lies in it.
        fingerprint: what the training is made from.
    """

    root: Path
    fingerprint: Fingerprint

    @property
    def folder(self) -> Path:
        """Folder of this training."""
        return self.root / self.fingerprint.key

    @property
    def fatal_path(self) -> Path:
        """File that holds why this training cannot go on."""
        return self.folder / FATAL

    @contextmanager
    def locked(self) -> Iterator[StateFolder]:
        """Hold the folder alone.

        Raises:
            DataError: another process trains here, or the folder cannot be written.
        """
        with ExitStack() as held:
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                held.enter_context(exclusive(self.folder / LOCK))
            except OSError as error:
                raise DataError(
                    f"{self.folder}: cannot be written ({error.strerror or error}); the state of a training lies there",
                    "free disk space or restore write permission, then run the same command again",
                ) from error
            yield self

    def previous(self) -> tuple[str, Fingerprint] | None:
        """Key and fingerprint of the training of this kind that was last at work, other than this one."""
        others = [path for path in self.root.glob(f"*/{FINGERPRINT}") if path.parent != self.folder]
        if not others:
            return None
        newest = max(others, key=lambda path: (last_used(path.parent), path.parent.name))
        return newest.parent.name, Fingerprint.from_dict(read_json(newest))

    def back_from(self) -> str:
        """In words: which other training was at work since this one last was; empty if none. Ask before locking."""
        before = self.previous()
        if before is None or not self.folder.is_dir() or last_used(self.root / before[0]) <= last_used(self.folder):
            return ""
        return f"back from training {before[0]}: {difference(before[1], self.fingerprint)}"

    def describe(self) -> str:
        """In words, for a training that starts at its first step: how it differs from the one before."""
        key = self.fingerprint.key
        if (self.folder / FINGERPRINT).is_file():
            return f"training {key}: an earlier attempt ended before its first checkpoint"
        before = self.previous()
        if before is None:
            return f"training {key}, the first one here"
        return f"new training {key}; changed since {before[0]}: {difference(before[1], self.fingerprint)}"

    def write_fingerprint(self, notes: dict[str, Any]) -> None:
        """Store the components beside the state, once."""
        path = self.folder / FINGERPRINT
        if not path.is_file():
            write_json(path, {**self.fingerprint.as_dict(), "key": self.fingerprint.key, **notes})

    def check_not_fatal(self) -> None:
        """Fail at once if this training has failed before in a way that would only repeat itself.

        Raises:
            DataError: with the stored reason.
        """
        if self.fatal_path.is_file():
            stored = read_json(self.fatal_path)
            raise DataError(
                f"this training failed before at step {stored['step']}: {stored['reason']}",
                "change the data or the settings; or, to try again from the last checkpoint, type "
                f"voiceclone state NAME --clear, which deletes {self.fatal_path}",
            )

    def write_fatal(self, step: int, reason: str) -> None:
        """Note why this training cannot go on."""
        log.error("step %d: %s", step, reason)
        try:
            write_json(self.fatal_path, {"step": step, "reason": reason, "time": time.strftime("%Y-%m-%dT%H:%M:%S%z")})
        except OSError as error:
            log.warning("%s: could not be written: %s", self.fatal_path, error)


def last_used(folder: Path) -> float:
    """When a training last took hold of its folder."""
    lock = folder / LOCK
    return lock.stat().st_mtime if lock.exists() else 0.0
