"""An exclusive lock on a folder that tells who holds it.

The kernel holds the lock for the process and lets go when the process ends, however it ends: nothing is left to clear.
NFS keeps it among machines where its lock service runs (the default of version 4); a file system that knows no locks
refuses, and then a warning is all that stands between two trainers.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from voiceclone.errors import DataError

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
