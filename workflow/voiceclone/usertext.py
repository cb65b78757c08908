"""The one reader of text files that people write: whatever encoding their editor or spreadsheet chose.

UTF-8 and anything with a byte order mark say what they are. Other bytes are decoded with each encoding that the
supported languages are written in, and the one is taken whose characters are what such a text is made of; where that
is not plain, the file is refused with the line and the way out. A first line ``# coding: gbk`` tells it.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path

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
ENCODINGS = ("cp949", "cp932", "gb18030", "euc_jp", "big5", "cp1252")
#: Least share of characters outside ASCII that must be usual in texts of the encoding.
PLAUSIBLE = 0.75
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
    if encoding := _utf16_without_mark(data):
        return _as_told(data, encoding, name)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        first = error
    expected = [encoding for row in map(LANGUAGES.get, languages) if row for encoding in row.encodings]
    candidates = [*expected, "cp1252"] if expected else list(ENCODINGS)
    best, score = "", 0.0
    for encoding in candidates:
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        found = plausibility(text, encoding)
        if found > score:
            best, score = text, found
    if score >= PLAUSIBLE:
        return best
    line = _line(data, first)
    shown = data.split(b"\n")[line - 1].decode("ascii", "replace").strip()[:60]
    raise DataError(f"{name}: line {line} is not UTF-8, and no other encoding fits plainly: {shown!r}", WAY_OUT)


def _utf16_without_mark(data: bytes) -> str:
    """Every second byte of Western characters and line ends is zero."""
    even, odd = data[0::2].count(0), data[1::2].count(0)
    if max(even, odd) < max(1, len(data) // 50) or min(even, odd) > max(even, odd) // 10:
        return ""
    return "utf-16-be" if even > odd else "utf-16-le"


def plausibility(text: str, encoding: str) -> float:
    """Share of the characters outside ASCII that texts in this encoding usually hold.

    Each double-byte code keeps its frequent characters in a block of their own (GB 2312 and JIS X 0208 level 1, the
    syllables of KS X 1001); bytes of another code land outside of it soon.
    """
    usual = _USUAL.get(encoding, _western)
    total, found, before = 0, 0.0, ""
    for ascii_, characters in groupby(text, str.isascii):
        run = "".join(characters)
        if not ascii_:
            total += len(run)
            found += usual(run) if _may_follow(before, run, encoding) else 0
        before = run[-1]
    return found / total if total else 1.0


def _may_follow(before: str, run: str, encoding: str) -> bool:
    """False inside a word, "ItÕs" and "Don稚": a capital letter, or a single eastern character."""
    if encoding in _USUAL:
        return not (before.isalpha() and len(run) == 1)
    return not (before.islower() and run[0].isupper())


def _in_rows(encoding: str, *rows: tuple[int, int]) -> Callable[[str], float]:
    """How many characters of a run lie in these rows (lead bytes) of a double-byte code."""

    def count(run: str) -> float:
        leads = [code[0] for character in run if len(code := character.encode(encoding, "ignore")) == 2]
        return sum(any(first <= lead <= last for first, last in rows) for lead in leads)

    return count


def _western(run: str) -> float:
    """Accented letters and typographic marks stand alone or in twos between plain letters."""
    if len(run) > 2 or (run[0].islower() and run[-1].isupper()):
        return 0.0
    usual = [character for character in run if character.isalpha() or character in "‘’“”–—…€£°§«»¿¡·"]
    return len(usual) * (1.0 if len(run) == 1 else 0.8)


_USUAL = {
    "gb18030": _in_rows("gb2312", (0xA1, 0xA1), (0xA3, 0xA3), (0xB0, 0xD7)),
    "cp932": _in_rows("cp932", (0x81, 0x83), (0x88, 0x97)),
    "euc_jp": _in_rows("euc_jp", (0xA1, 0xA1), (0xA3, 0xA5), (0xB0, 0xCF)),
    "cp949": _in_rows("euc_kr", (0xA1, 0xA1), (0xA3, 0xA3), (0xB0, 0xC8)),
    "big5": _in_rows("big5", (0xA1, 0xA3), (0xA4, 0xC6)),
    "big5hkscs": _in_rows("big5hkscs", (0x87, 0xA0), (0xA1, 0xA3), (0xA4, 0xC6)),
}


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
