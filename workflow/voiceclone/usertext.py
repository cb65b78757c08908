"""The one reader of text files that people write: whatever encoding their editor or spreadsheet chose.

UTF-8 and anything with a byte order mark say what they are, and a first line ``# coding: gbk`` tells it. Of other bytes
the likeliest encoding is taken (:mod:`voiceclone.encodings`); where none is plain, the file is refused with the line
and the way out.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Sequence
from pathlib import Path

from voiceclone.encodings import likeliest
from voiceclone.errors import DataError
from voiceclone.files import Row
from voiceclone.languages import LANGUAGES

BOMS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
WAY_OUT = "save the file as UTF-8, or write as its first line the encoding it has, for example: # coding: gbk"
_COOKIE = re.compile(rb"\s*#.*?coding[:=]\s*([-\w.]+)")


def read_user_text(path: Path, languages: Sequence[str] = (), name: str = "") -> str:
    """Text of a file; every line end as ``\\n``, without byte order mark.

    Args:
        path: the file.
        languages: ISO codes of what is written in it, where that is known.
        name: what to call it in messages; left out: its path.

    Raises:
        DataError: it cannot be read, or its encoding is not plain; names file, line and the way out.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise DataError(f"{name or path}: cannot be read ({error.strerror})") from error
    return decode(data, name or str(path), languages)


def decode(data: bytes, name: str, languages: Sequence[str] = ()) -> str:
    """Text of bytes, see :func:`read_user_text`; ``name`` is what messages call them."""
    told = _COOKIE.match(data.split(b"\n", 1)[0])
    if told:
        data = data[told.end() :].lstrip(b" \r-*#")  # the line stays, empty: numbers of lines remain
        text = _as_told(data, told[1].decode(), name)
    else:
        mark = next((encoding for mark, encoding in BOMS.items() if data.startswith(mark)), None)
        text = _as_told(data, mark, name) if mark else _detected(data, name, languages)
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if "\0" in text:
        number = text[: text.index("\0")].count("\n") + 1
        raise DataError(f"{name}: line {number} holds a zero byte: no text file", WAY_OUT)
    return text


def _as_told(data: bytes, encoding: str, name: str) -> str:
    try:
        return data.decode(encoding)
    except LookupError as error:
        raise DataError(f"{name}: line 1: {encoding!r} is no encoding that is known here", WAY_OUT) from error
    except UnicodeError as error:
        raise DataError(f"{name}: line {_line(data, error)}: not {encoding}", WAY_OUT) from error


def _line(data: bytes, error: UnicodeError) -> int:
    return data[: getattr(error, "start", 0)].count(b"\n") + 1


def _detected(data: bytes, name: str, languages: Sequence[str]) -> str:
    if b"\x1b$" in data:
        return _as_told(data, "iso2022_jp", name)
    if b"\0" not in data:
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError as error:
            line = _line(data, error)
    told = [encoding for row in map(LANGUAGES.get, languages) if row for encoding in row.encodings]
    if text := likeliest(data, told):
        return text
    if b"\0" in data:
        return _as_told(data, "utf-8", name)
    shown = data.split(b"\n")[line - 1].decode("ascii", "replace").strip()[:60]
    raise DataError(f"{name}: line {line} is not UTF-8, and no other encoding fits plainly: {shown!r}", WAY_OUT)


def unquoted(cell: str, marks: str = ",\t") -> str:
    """A cell without the quotes that spreadsheets put around one with ``marks`` or quotes, which they double.

    A cell that is a quotation without any of these keeps its quotes.
    """
    inner = cell[1:-1]
    if re.fullmatch(r'"(?:[^"]|"")*"', cell) and ('""' in inner or any(mark in inner for mark in marks)):
        return inner.replace('""', '"')
    return cell


def read_user_tsv(path: Path, required: Sequence[str], languages: Sequence[str] = ()) -> list[tuple[int, Row]]:
    """Line numbers and rows of a table that a person wrote; blank lines and lines that start with ``#`` are skipped.

    Raises:
        DataError: names file and line of a missing column or a row with more cells than the header.
    """
    lines = [
        (number, [unquoted(cell.strip()) for cell in line.split("\t")])
        for number, line in enumerate(read_user_text(path, languages).split("\n"), start=1)
        if line.strip() and not line.startswith("#")
    ]
    if not lines:
        return []
    (number, header), *rows = lines
    missing = [column for column in required if column not in header]
    if missing:
        raise DataError(
            f"{path}: line {number}: columns {missing} are missing, found {header}", "columns are separated by tabs"
        )
    for number, cells in rows:
        if len(cells) > len(header):
            raise DataError(f"{path}: line {number} has {len(cells)} cells, the header has {len(header)}")
    return [(number, dict(zip(header, [*cells, *[""] * len(header)], strict=False))) for number, cells in rows]
