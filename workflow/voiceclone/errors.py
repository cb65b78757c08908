"""Errors that a person can act on, and the exit codes of every command."""

from __future__ import annotations

import errno
import re

EXIT_FAILURE = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 75  # sysexits EX_TEMPFAIL: interrupted, state saved, run again to continue


class VoiceCloneError(Exception):
    """Something the user can fix: says what is wrong, what was expected and what to do.

    Args:
        message: names the file, the configuration key or the utterance, and what was expected.
        hint: the next thing to do.
    """

    exit_code = EXIT_FAILURE

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  -> {self.hint}" if self.hint else self.message


class ConfigError(VoiceCloneError):
    """A configuration key or command-line value is wrong."""

    exit_code = EXIT_USAGE


class AssetError(VoiceCloneError):
    """A pretrained model is missing, unreachable or not the one that was pinned."""


class DataError(VoiceCloneError):
    """Recordings, transcripts or features do not allow the stage to go on."""


class Interrupted(VoiceCloneError):
    """A signal or time budget ended the stage; its state is saved."""

    exit_code = EXIT_INTERRUPTED


_STORAGE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.EFBIG}
_RUST = re.compile(r"\(os error (\d+)\)")  # how safetensors tells what the system said


def storage_errno(error: BaseException) -> int | None:
    """The system's number for a disk that is full, damaged or not to be written; None for any other error."""
    found = _RUST.search(str(error))
    number = error.errno if isinstance(error, OSError) else int(found[1]) if found else None
    return number if number in _STORAGE else None


def explain(error: Exception) -> VoiceCloneError | None:
    """What a person reads of an error; None for one that is nobody's but ours."""
    if isinstance(error, VoiceCloneError):
        return error
    if isinstance(error, OSError) and storage_errno(error) is not None:
        where = f"{error.filename}: " if error.filename else ""
        return DataError(
            f"{where}cannot be written or read ({error.strerror})",
            "free disk space or fix the permissions, then run the same command again: what was finished is kept",
        )
    return None
