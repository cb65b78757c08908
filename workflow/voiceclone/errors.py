"""Errors that a person can act on, and the exit codes of every command."""

from __future__ import annotations

EXIT_FAILURE = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 75  # sysexits EX_TEMPFAIL: interrupted, state saved, run again to continue


class VoiceCloneError(Exception):
    """Something the user can mend: says what is wrong, what was expected and what to do.

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
