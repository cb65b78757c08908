"""Ends a process, or fills its disk, at any one of the operations by which it changes files below a folder.

The kernel tells of every system call that could change a file, whoever makes it (Python, Rust, C, a subprocess), by
``seccomp``'s user notification: the process waits until this one has looked at the path and answers "go on", answers
"no space left on device", or kills it. So no writer has to be known beforehand, and none can be forgotten.
"""

from __future__ import annotations

import array
import contextlib
import ctypes
import errno
import fcntl
import os
import platform
import re
import select
import signal
import socket
import struct
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

Disturbance = Literal["killed", "torn", "full", "refused"]
"""Killed before an operation; killed when half of its bytes are written; no space from it on; none for it alone."""

#: Whether this machine's system calls are those that are listed here.
SUPPORTED = sys.platform == "linux" and platform.machine() == "x86_64"

_LIBC = ctypes.CDLL(None, use_errno=True)
_SECCOMP, _PIDFD_GETFD = 317, 438
_RECEIVE, _ANSWER = 0xC0502100, 0xC0182101
_GO_ON = 1

# System calls of x86-64 that change files -> where they name them: a descriptor, or a folder and a path in it.
_DESCRIPTOR, _PATH, _AT = "descriptor", "path", "at"
_CALLS: dict[int, tuple[str, str, int]] = {
    1: ("write", _DESCRIPTOR, 0), 18: ("pwrite", _DESCRIPTOR, 0), 20: ("writev", _DESCRIPTOR, 0),
    296: ("pwritev", _DESCRIPTOR, 0), 328: ("pwritev2", _DESCRIPTOR, 0), 40: ("sendfile", _DESCRIPTOR, 0),
    326: ("copy_file_range", _DESCRIPTOR, 2), 275: ("splice", _DESCRIPTOR, 2), 9: ("mmap", _DESCRIPTOR, 4),
    74: ("fsync", _DESCRIPTOR, 0), 75: ("fdatasync", _DESCRIPTOR, 0), 277: ("sync_file_range", _DESCRIPTOR, 0),
    77: ("ftruncate", _DESCRIPTOR, 0), 285: ("fallocate", _DESCRIPTOR, 0), 91: ("fchmod", _DESCRIPTOR, 0),
    76: ("truncate", _PATH, 0), 2: ("open", _PATH, 0), 85: ("creat", _PATH, 0), 83: ("mkdir", _PATH, 0),
    84: ("rmdir", _PATH, 0), 87: ("unlink", _PATH, 0), 90: ("chmod", _PATH, 0), 82: ("rename", _PATH, 1),
    86: ("link", _PATH, 1), 88: ("symlink", _PATH, 1), 257: ("open", _AT, 0), 258: ("mkdir", _AT, 0),
    263: ("unlink", _AT, 0), 268: ("chmod", _AT, 0), 280: ("utime", _AT, 0), 264: ("rename", _AT, 2),
    316: ("rename", _AT, 2), 265: ("link", _AT, 2), 266: ("symlink", _AT, 1),
}  # fmt: skip
_NEEDS_SPACE = {
    "write", "pwrite", "writev", "pwritev", "pwritev2", "sendfile", "copy_file_range", "splice", "fsync", "fdatasync",
    "sync_file_range", "fallocate", "open", "creat", "mkdir", "rename", "link", "symlink",
}  # fmt: skip
_FLAGS = {2: 1, 257: 2, 9: 3}  # argument that holds the flags of open, openat, mmap
_CREATES = os.O_CREAT | os.O_TRUNC
_SHARED = 0x01


@dataclass(frozen=True)
class Point:
    """One operation of a run: what is done to which file, and the how manieth of its kind it is."""

    operation: str
    path: str
    count: int

    def __str__(self) -> str:
        return f"{self.operation} {self.path}" + (f" ({self.count})" if self.count > 1 else "")


@dataclass(frozen=True)
class Outcome:
    """How a watched process ended: exit status (negative: a signal), its operations, whether the point was reached."""

    status: int
    points: list[Point]
    reached: bool


def watch(
    work: Callable[[], object],
    root: Path,
    at: Point | None = None,
    how: Disturbance = "killed",
    log: Path | None = None,
) -> Outcome:
    """Run ``work`` in a forked process and disturb it at one of its operations below ``root``.

    Args:
        work: what to run; its exception ends the process with its ``exit_code``, or 99 if it has none.
        root: folder below which operations count.
        at: the operation; None: they are only listed.
        how: what happens there.
        log: takes the standard output and standard error of the process.
    """
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        _child(work, theirs, log)
    theirs.close()
    with ours:
        listener = _receive_descriptor(ours)
    try:
        points, reached = _Watcher(pid, listener, root.resolve(), at, how).follow()
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    finally:
        os.close(listener)
    return Outcome(status, points, reached)


def in_child(work: Callable[[], object]) -> int:
    """Run ``work`` in a forked process that nobody watches; its exit status."""
    pid = os.fork()
    if pid == 0:
        _child(work, None, None)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _child(work: Callable[[], object], ours: socket.socket | None, log: Path | None) -> None:
    """Be watched, do the work and end; nothing of the test runs in this process."""
    code = 0
    try:
        os.setpgid(0, 0)
        if log is not None:
            descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(descriptor, 1), os.dup2(descriptor, 2)
            sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
        if ours is not None:
            listener = _install()
            ours.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [listener]))])
            os.close(listener)
            ours.close()
        work()
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException as error:
        code = getattr(error, "exit_code", 99)
        print(f"error: {error}" if code != 99 else f"Traceback: {error!r}", file=sys.stderr)
    with contextlib.suppress(OSError):
        sys.stdout.flush(), sys.stderr.flush()
    os._exit(code)


def _receive_descriptor(ours: socket.socket) -> int:
    data, ancillary, _, _ = ours.recvmsg(1, socket.CMSG_SPACE(4))
    if not data:
        pytest.skip("this machine's kernel or container does not let a process watch system calls")
    return int(array.array("i", ancillary[0][2])[0])


def _install() -> int:
    """Have the kernel ask about the calls of this process and its children; returns the descriptor it asks through."""
    program = _program()
    buffer = ctypes.create_string_buffer(program, len(program))

    class Filter(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("code", ctypes.c_void_p))

    whole = Filter(len(program) // 8, ctypes.cast(buffer, ctypes.c_void_p))
    no_new_privileges, set_filter, new_listener = 38, 1, 1 << 3
    _LIBC.prctl(no_new_privileges, 1, 0, 0, 0)
    descriptor = _LIBC.syscall(_SECCOMP, set_filter, new_listener, ctypes.byref(whole))
    if descriptor < 0:
        raise OSError(ctypes.get_errno(), "seccomp")
    return int(descriptor)


def _program() -> bytes:
    """The filter, in the kernel's small language: ask about these calls, allow all others."""
    load, equal, has_bit, give_back = 0x20, 0x15, 0x45, 0x06
    ask, allow = 0x7FC00000, 0x7FFF0000
    lines = [(load, 0, 0, 0)]
    for number in _CALLS:
        flags = _FLAGS.get(number)
        if flags is None:
            lines += [(equal, 0, 1, number), (give_back, 0, 0, ask)]
        else:  # only where the flags say that a file may be made, emptied or changed
            bits = _SHARED if number == 9 else _CREATES
            lines += [(equal, 0, 4, number), (load, 0, 0, 16 + 8 * flags), (has_bit, 0, 1, bits)]
            lines += [(give_back, 0, 0, ask), (give_back, 0, 0, allow)]
    lines.append((give_back, 0, 0, allow))
    return b"".join(struct.pack("HBBI", *line) for line in lines)


class _Watcher:
    """Answers the kernel's questions about one process and its children until they end."""

    def __init__(self, pid: int, listener: int, root: Path, at: Point | None, how: Disturbance) -> None:
        self.pid, self.listener, self.root, self.at, self.how = pid, listener, root, at, how
        self.counts: Counter[tuple[str, str]] = Counter()
        self.points: list[Point] = []
        self.reached = False

    def follow(self) -> tuple[list[Point], bool]:
        ended = os.pidfd_open(self.pid)
        poll = select.poll()
        poll.register(self.listener, select.POLLIN)
        poll.register(ended, select.POLLIN)
        try:
            while True:
                ready = dict(poll.poll())
                if ready.get(self.listener, 0) & select.POLLIN:
                    self._answer_one()
                elif ended in ready:
                    return self.points, self.reached
        finally:
            os.close(ended)

    def _answer_one(self) -> None:
        question = bytearray(80)
        try:
            fcntl.ioctl(self.listener, _RECEIVE, question)
        except OSError as error:
            if error.errno in {errno.ENOENT, errno.EINTR}:  # whoever asked is gone
                return
            raise
        number_of, task, _, call, _, _, *arguments = struct.unpack("QIIiIQ6Q", question)
        refused = 0
        point = self._point(task, call, arguments)
        if point is not None:
            self.points.append(point)
            here = point == self.at
            self.reached |= here
            if here and self.how in {"killed", "torn"}:
                if self.how == "torn":
                    self._write_half(task, call, arguments)
                os.killpg(self.pid, signal.SIGKILL)
                return
            full = here or (self.reached and self.how == "full")
            refused = errno.ENOSPC if full and point.operation in _NEEDS_SPACE else 0
        answer = struct.pack("QqiI", number_of, 0, -refused, 0 if refused else _GO_ON)
        with contextlib.suppress(OSError):
            fcntl.ioctl(self.listener, _ANSWER, answer)

    def _point(self, task: int, call: int, arguments: list[int]) -> Point | None:
        """The operation, if it is one on a file below the root."""
        name, kind, place = _CALLS[call]
        try:
            if kind == _DESCRIPTOR:
                path = Path(f"/proc/{task}/fd/{_signed(arguments[place])}").readlink()
            elif kind == _PATH:
                path = _below(task, None, _text(task, arguments[place]))
            elif call == 266:
                path = _below(task, arguments[1], _text(task, arguments[2]))
            else:
                path = _below(task, arguments[place], _text(task, arguments[place + 1]))
        except OSError:  # no such descriptor, or a pointer to nowhere: the call fails by itself
            return None
        if self.root not in path.parents and path != self.root:
            return None
        if name == "open" and path.exists() and not arguments[_FLAGS[call]] & os.O_TRUNC:
            return None  # it makes nothing
        found = (name, plain_name(path.relative_to(self.root)))
        self.counts[found] += 1
        return Point(*found, self.counts[found])

    def _write_half(self, task: int, call: int, arguments: list[int]) -> None:
        """Do the first half of a write in its place."""
        name = _CALLS[call][0]
        if name not in {"write", "pwrite"}:
            return
        half = _memory(task, arguments[1], arguments[2] // 2)
        process = os.pidfd_open(_process(task))
        descriptor = _LIBC.syscall(_PIDFD_GETFD, process, _signed(arguments[0]), 0)
        os.close(process)
        if descriptor < 0:
            raise OSError(ctypes.get_errno(), "pidfd_getfd")
        os.write(descriptor, half) if name == "write" else os.pwrite(descriptor, half, arguments[3])
        os.close(descriptor)


def plain_name(path: Path) -> str:
    """A path without what differs from run to run: random parts of temporary names, times and process numbers."""
    text = re.sub(r"\.[a-z0-9_]{8}\.tmp|\.tmp[A-Za-z0-9]{6}$", ".*.tmp", path.as_posix())
    return re.sub(r"tfevents\..*", "tfevents", text)


def _signed(value: int) -> int:
    return ctypes.c_int(value & 0xFFFFFFFF).value


def _below(task: int, folder: int | None, text: str) -> Path:
    """An absolute path from what a call names."""
    if folder is None or _signed(folder) == -100:
        base = Path(f"/proc/{task}/cwd").readlink()
    else:
        base = Path(f"/proc/{task}/fd/{_signed(folder)}").readlink()
    path = Path(os.path.normpath(base / text))
    return path.parent.resolve() / path.name


def _memory(task: int, address: int, size: int) -> bytes:
    with open(f"/proc/{task}/mem", "rb", buffering=0) as memory:  # noqa: PTH123
        memory.seek(address)
        return memory.read(size)


def _text(task: int, address: int) -> str:
    """A string that ends with a zero; it may end just before a page that is not there."""
    found = b""
    while b"\0" not in found:
        start = address + len(found)
        found += _memory(task, start, 4096 - start % 4096)
    return found.split(b"\0")[0].decode(errors="surrogateescape")


def _process(task: int) -> int:
    """The process that a thread belongs to."""
    status = Path(f"/proc/{task}/status").read_text(encoding="utf-8")
    return int(re.search(r"Tgid:\s*(\d+)", status)[1])  # type: ignore[index]
