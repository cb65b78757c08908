"""The training list of GPT-SoVITS: one ``path|speaker|LANGUAGE|text`` per line."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from voiceclone.errors import DataError
from voiceclone.files import write_text

#: Codes that GPT-SoVITS reads, in lower case, to ISO codes.
LANGUAGES = {"zh": "zh", "en": "en", "ja": "ja", "jp": "ja", "ko": "ko", "kr": "ko", "yue": "yue"}


@dataclass(frozen=True)
class ListEntry:
    """One line: audio path, speaker, ISO language code, text."""

    path: str
    speaker: str
    language: str
    text: str


def write_list(target: Path, entries: Iterable[ListEntry]) -> None:
    """Write a list in the order given, atomically.

    Raises:
        DataError: a field contains ``|`` or a line end, or a language has no code in this format.
    """
    lines = []
    for entry in entries:
        if entry.language not in LANGUAGES.values():
            raise DataError(
                f"{entry.path}: language {entry.language!r} has no code in the .list format, which knows "
                f"{', '.join(sorted(set(LANGUAGES.values())))}"
            )
        fields = (entry.path, entry.speaker, entry.language.upper(), entry.text)
        if any(mark in field for field in fields for mark in "|\n\r"):
            raise DataError(
                f"{entry.path}: {'|'.join(fields)!r} has '|' or a line end inside a field, where it cannot be written",
                "write the text without it in a 'text' correction",
            )
        lines.append("|".join(fields) + "\n")
    write_text(target, "".join(lines))


def read_list(path: Path) -> list[ListEntry]:
    """Read a list; language codes in any case, ``jp`` for ``ja`` too, blank lines skipped.

    Raises:
        DataError: a line has not four fields, an unknown language or an empty path or text; its number is named.
    """
    entries = []
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").split("\n"), start=1):
        if not line.strip():
            continue
        fields = [field.strip() for field in line.rstrip("\r").split("|")]
        where = f"{path}: line {number}"
        if len(fields) != 4:
            raise DataError(f"{where} has {len(fields)} fields, expected 4: path|speaker|LANGUAGE|text")
        audio, speaker, code, text = fields
        if code.lower() not in LANGUAGES:
            raise DataError(f"{where}: language {code!r} is unknown, expected one of {', '.join(LANGUAGES)}")
        if not audio or not text:
            raise DataError(f"{where}: the {'path' if not audio else 'text'} is empty")
        entries.append(ListEntry(audio, speaker, LANGUAGES[code.lower()], text))
    return entries
