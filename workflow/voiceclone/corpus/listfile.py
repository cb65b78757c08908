"""The training list of GPT-SoVITS: one ``path|speaker|LANGUAGE|text`` per line."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from voiceclone.errors import DataError
from voiceclone.files import write_text
from voiceclone.usertext import read_user_text, unquoted

#: Codes that GPT-SoVITS reads, in lower case, to ISO codes.
LANGUAGES = {"zh": "zh", "en": "en", "ja": "ja", "jp": "ja", "ko": "ko", "kr": "ko", "yue": "yue"}


@dataclass(frozen=True)
class ListEntry:
    """One line: audio path, speaker, ISO language code, text; the line's number and the columns after the fourth."""

    path: str
    speaker: str
    language: str
    text: str
    line: int = field(default=0, compare=False)
    more: tuple[str, ...] = field(default=(), compare=False)


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
    """Read a list in whatever encoding; language codes in any case, ``jp`` for ``ja`` too, blank lines skipped.

    Lists of other programs go on after the text, in every line (Style-Bert-VITS2: phones, tones). Spreadsheets put
    quotes around lines with commas, and programs around texts with quotes, and double those inside.

    Raises:
        DataError: a line has fewer than four fields or not as many as the first, an unknown language or an empty path
            or text; its number is named.
    """
    entries: list[ListEntry] = []
    for number, line in enumerate(read_user_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        fields = [unquoted(part.strip(), marks="") for part in unquoted(line.strip()).split("|")]
        where, expected = f"{path}: line {number}", 4 + len(entries[0].more) if entries else max(4, len(fields))
        if len(fields) != expected:
            raise DataError(
                f"{where} has {len(fields)} fields, expected {expected}: path|speaker|LANGUAGE|text",
                "write the text without '|', and every line with as many columns",
            )
        audio, speaker, code, text = fields[:4]
        if code.lower() not in LANGUAGES:
            raise DataError(f"{where}: language {code!r} is unknown, expected one of {', '.join(LANGUAGES)}")
        if not audio or not text:
            raise DataError(f"{where}: the {'path' if not audio else 'text'} is empty")
        entries.append(ListEntry(audio, speaker, LANGUAGES[code.lower()], text, number, tuple(fields[4:])))
    return entries
