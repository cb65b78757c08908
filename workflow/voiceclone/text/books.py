"""Books and subtitles as text: ``.txt``, ``.md``, ``.epub`` and ``.srt``.

Nothing is unpacked to a disk, and XML is read as HTML is: without entities of its own, so that no small file becomes a
large one. Names in an archive lead to other names in it and nowhere else.
"""

from __future__ import annotations

import posixpath
import re
import zipfile
import zlib
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

from voiceclone.errors import DataError
from voiceclone.usertext import decode, read_user_text

#: Most bytes of one document of an EPUB, and of all together.
LARGEST_PART, LARGEST_BOOK = 20_000_000, 200_000_000
ENDINGS = (".txt", ".md", ".epub", ".srt")
_HEADING = re.compile(r"#{1,2}\s+(?P<title>.+?)\s*#*$")
_CHAPTER = re.compile(
    r"(?:(?:chapter|part|book)\s+(?:\d+|[ivxlc]+|[a-z]+)\b.{0,60}|(?:prologue|epilogue|preface|introduction)"
    r"|第[\d一二三四五六七八九十百零〇]+[章回節节部話话].{0,40}|제\s?\d+\s?장.{0,40})$",
    re.IGNORECASE,
)
_BLOCKS = {
    "p",
    "div",
    "li",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "blockquote",
    "br",
    "tr",
    "section",
    "article",
    "dt",
    "dd",
}
_UNREAD = {"script", "style", "head", "rt", "rp"}
_TIMES = re.compile(r"(?:(\d+):)?(\d{1,2}):(\d{1,2})[,.](\d{1,3})")


@dataclass(frozen=True)
class Chapter:
    """A chapter: its title, which is spoken too where the text has it, and its paragraphs."""

    title: str
    paragraphs: tuple[str, ...]


@dataclass(frozen=True)
class TimedText:
    """A subtitle: seconds from which to which it stands, and its text on one line."""

    start: float
    end: float
    text: str


def read_book(path: Path) -> list[Chapter]:
    """Chapters of a book, by the ending of its name.

    Raises:
        DataError: another ending, a damaged file, or nothing in it.
    """
    ending = path.suffix.lower()
    if ending not in (".txt", ".md", ".epub"):
        raise DataError(f"{path}: unknown kind of book, expected {', '.join(ENDINGS)}")
    chapters = _of_epub(path) if ending == ".epub" else _of_text(read_user_text(path), path.stem, ending == ".md")
    chapters = [chapter for chapter in chapters if any(re.search(r"\w", text) for text in chapter.paragraphs)]
    if not chapters:
        raise DataError(f"{path}: there is no text in it")
    return chapters


def read_subtitles(path: Path) -> list[TimedText]:
    """Subtitles of a ``.srt`` file in the order of their times; tags and notes of sounds in brackets left out.

    Raises:
        DataError: none in it, or one whose times are no times; names its number.
    """
    found = []
    for number, block in enumerate(re.split(r"\n\s*\n", read_user_text(path).strip()), start=1):
        lines = block.strip().split("\n")
        place = next((index for index, line in enumerate(lines[:2]) if "-->" in line), None)
        times = [] if place is None else [_seconds(match) for match in _TIMES.finditer(lines[place])]
        if place is None or len(times) != 2 or times[1] <= times[0]:
            raise DataError(f"{path}: subtitle {number}: expected a line such as 00:00:01,000 --> 00:00:03,500")
        text = re.sub(r"<[^>]*>|\{\\[^}]*\}|\[[^\]]*\]", "", " ".join(lines[place + 1 :]))
        if re.search(r"\w", text):
            spoken = re.sub(r"(?:^|(?<= ))-\s*", "", " ".join(text.split()))
            found.append(TimedText(times[0], times[1], spoken))
    if not found:
        raise DataError(f"{path}: there is no text in it")
    return sorted(found, key=lambda one: one.start)


def _seconds(match: re.Match[str]) -> float:
    hours, minutes, seconds, part = match.groups(default="0")
    return int(hours) * 3600 + int(minutes) * 60 + int(seconds) + int(part.ljust(3, "0")) / 1000


def _of_text(text: str, name: str, markdown: bool) -> list[Chapter]:
    """Chapters by their headings, each a line of its own; the heading is spoken."""
    chapters: list[tuple[str, list[str]]] = [(name, [])]
    for paragraph in re.split(r"\n[^\S\n]*\n", text):
        heading = _heading(paragraph.strip(), markdown)
        if heading:
            chapters.append((heading, [heading]))
        elif paragraph.strip():
            chapters[-1][1].append(_without_marks(paragraph) if markdown else paragraph)
    return [Chapter(title, tuple(paragraphs)) for title, paragraphs in chapters]


def _heading(paragraph: str, markdown: bool) -> str:
    match = _HEADING.fullmatch(paragraph) if markdown else None
    if match:
        return match["title"]
    return paragraph if not markdown and _CHAPTER.fullmatch(paragraph) else ""


def _without_marks(text: str) -> str:
    """Markdown as it is read aloud: no code blocks, pictures, rules, addresses of links, stars."""
    text = re.sub(r"(?ms)^(```|~~~).*?(^\1|\Z)", "", text)
    text = re.sub(r"!\[[^\]]*\]\([^)]*\)|^\s*(?:[-*_]\s*){3,}$", "", text, flags=re.MULTILINE)
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)
    text = re.sub(r"^\s*(?:#+|>+|[-*+]|\d+\.)\s+", "", text, flags=re.MULTILINE)
    return re.sub(r"(\*\*|__|\*|`)(?=\S)(.+?)\1", r"\2", text)


class _Parser(HTMLParser):
    """Elements with their attributes, and the text of a page by paragraphs."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.paragraphs, self.title = [""], ""
        self._unread, self._heading = 0, False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        tag = tag.rpartition(":")[2]
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        self._unread += tag in _UNREAD
        self._heading |= tag in ("h1", "h2", "h3")
        if tag in _BLOCKS:
            self.paragraphs.append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in _UNREAD:
            self._unread = max(0, self._unread - 1)
        if tag in ("h1", "h2", "h3"):
            self._heading = False
        if tag in _BLOCKS:
            self.paragraphs.append("")

    def handle_data(self, data: str) -> None:
        if self._unread:
            return
        self.paragraphs[-1] += data
        if self._heading and len(self.title) < 200:
            self.title += data


def _parsed(data: bytes, name: str) -> _Parser:
    parser = _Parser()
    parser.feed(decode(data, name))
    parser.close()
    return parser


def _of_epub(path: Path) -> list[Chapter]:
    """A chapter for each document of the spine (EPUB 3.3, section 5.6), in its order."""
    try:
        with zipfile.ZipFile(path) as archive:
            book = _Archive(archive, path)
            root = next((at["full-path"] for tag, at in book.parse("META-INF/container.xml").elements
                         if tag == "rootfile" and "full-path" in at), "")  # fmt: skip
            package = book.parse(root).elements
            documents = {at.get("id", ""): at.get("href", "") for tag, at in package if tag == "item"}
            spine = [at.get("idref", "") for tag, at in package if tag == "itemref" and at.get("linear") != "no"]
            chapters = []
            for place, name in enumerate(spine, start=1):
                page = book.parse(posixpath.join(posixpath.dirname(root), unquote(documents.get(name, ""))))
                paragraphs = tuple(" ".join(text.split()) for text in page.paragraphs if text.strip())
                chapters.append(Chapter(" ".join(page.title.split()) or f"{path.stem} {place}", paragraphs))
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError, OSError) as error:
        raise DataError(f"{path}: no EPUB, damaged, or locked ({error})") from error
    return chapters


class _Archive:
    """Parts of an archive, bounded."""

    def __init__(self, archive: zipfile.ZipFile, path: Path) -> None:
        self._archive, self._path, self._left = archive, path, LARGEST_BOOK

    def parse(self, name: str) -> _Parser:
        """A page by its name in the archive.

        Raises:
            DataError: there is none, or it is too large.
        """
        name = posixpath.normpath(name)
        if name not in self._archive.namelist():
            raise DataError(f"{self._path}: it has no part {name[:200]!r}, which it names")
        most = min(LARGEST_PART, self._left)
        with self._archive.open(name) as part:
            data = part.read(most + 1)
        self._left -= len(data)
        if len(data) > most:
            raise DataError(f"{self._path}: {name}: more than {most / 1e6:.0f} MB unpacked")
        return _parsed(data, f"{self._path}: {name}")
