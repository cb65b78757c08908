"""Spoken sound to a file, marked as generated."""

from __future__ import annotations

from pathlib import Path

from voiceclone.errors import ConfigError
from voiceclone.inference.speech import Speech
from voiceclone.lineage.rights import GENERATED_NOTICE

FORMATS = (".wav", ".flac", ".ogg")


def check_format(path: Path, name: str = "--output") -> Path:
    """The path of a sound file that can be written.

    Raises:
        ConfigError: its ending names no known format.
    """
    if path.suffix.lower() not in FORMATS:
        raise ConfigError(f"{name} {path}: unknown format {path.suffix!r}, expected .wav, .flac or .ogg")
    return path


def write_speech(path: Path, speech: Speech) -> None:
    """Write speech as WAV, FLAC or OGG Vorbis by the file's ending, atomically, with the notice in its comment."""
    from voiceclone.sound.io import write_sound

    kind = check_format(path).suffix[1:].upper()
    write_sound(path, speech.samples, speech.rate, kind, comment=GENERATED_NOTICE)
