"""The training list of GPT-SoVITS: one ``path|speaker|LANGUAGE|text`` per line.

A proof-read .list back into corrections: people who correct with GPT-SoVITS's own tools keep their work.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from voiceclone.corpus.corrections import Correction, add_corrections
from voiceclone.errors import DataError
from voiceclone.files import read_tsv, write_text
from voiceclone.languages import LANGUAGES
from voiceclone.text.inline import plain
from voiceclone.usertext import read_user_text, unquoted

#: Codes that GPT-SoVITS reads, in lower case, to ISO codes.
CODES = {code: row.code for row in LANGUAGES.values() for code in (row.code, *row.upstream)}


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
        if entry.language not in LANGUAGES:
            raise DataError(
                f"{entry.path}: language {entry.language!r} has no code in the .list format, which knows "
                f"{', '.join(sorted(LANGUAGES))}"
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
    for number, entry in list_lines(read_user_text(path)):
        if isinstance(entry, DataError):
            raise DataError(f"{path}: line {number}{entry.message}", entry.hint) from entry
        entries.append(entry)
    return entries


def list_lines(content: str) -> Iterator[tuple[int, ListEntry | DataError]]:
    """Every line of a list with its number: the entry, or what is wrong with the line."""
    width = 0
    for number, line in enumerate(content.split("\n"), start=1):
        if not line.strip():
            continue
        fields = [unquoted(part.strip(), marks="") for part in unquoted(line.strip()).split("|")]
        expected = width or max(4, len(fields))
        audio, speaker, code, text = [*fields, "", "", "", ""][:4]
        if len(fields) != expected:
            yield (
                number,
                DataError(
                    f" has {len(fields)} fields, expected {expected}: path|speaker|LANGUAGE|text",
                    "write the text without '|', and every line with as many columns",
                ),
            )
        elif code.lower() not in CODES:
            yield number, DataError(f": language {code!r} is unknown, expected one of {', '.join(CODES)}")
        elif not audio or not text:
            yield number, DataError(f": the {'path' if not audio else 'text'} is empty")
        else:
            width = len(fields)
            yield number, ListEntry(audio, speaker, CODES[code.lower()], text, number, tuple(fields[4:]))


@dataclass(frozen=True)
class Imported:
    """Outcome of importing a list.

    Attributes:
        texts: corrections of texts.
        languages: corrections of languages.
        same: lines that say what the corpus says.
        unknown: paths that are no utterance of this corpus.
        more: lines whose columns after the fourth were left out.
    """

    texts: int
    languages: int
    same: int
    unknown: tuple[str, ...]
    more: int


def import_as_corrections(source: Path, results: Path, corrections: Path) -> Imported:
    """Merge the texts and languages of a .list that differ from the corpus into a corrections file.

    Args:
        source: the .list; its audio file names are utterance ids, its folders do not matter.
        results: results/SPEAKER.
        corrections: config/corrections/SPEAKER.tsv, made if it is not there.

    Raises:
        DataError: the list cannot be read, or says two different things of one utterance; the lines are named.
    """
    known = {
        row["utterance"]: (plain(row["text"]), row["language"])
        for row in read_tsv(results / "corpus" / "corpus.tsv", ("utterance", "text", "language"))
    }
    known |= {row["utterance"]: ("", "") for row in read_tsv(results / "corpus" / "rejected.tsv", ("utterance",))}
    entries = read_list(source)
    unknown = tuple(entry.path for entry in entries if utterance_of(entry) not in known)
    named = _each_once(source, (entry for entry in entries if utterance_of(entry) in known))
    rows = [row for name, entry in named.items() for row in _differences(source, name, entry, known)]
    if rows:
        add_corrections(corrections, rows, source)
    changed = {row.utterance for row in rows}
    actions = [row.action for row in rows]
    more = sum(bool(entry.more) for entry in entries)
    return Imported(actions.count("text"), actions.count("language"), len(named) - len(changed), unknown, more)


def utterance_of(entry: ListEntry) -> str:
    """The utterance that a line speaks of: its file's name, with folders of any system."""
    return Path(entry.path.replace("\\", "/")).stem


def _each_once(source: Path, entries: Iterable[ListEntry]) -> dict[str, ListEntry]:
    """Lines by utterance; the same line twice counts once."""
    named: dict[str, ListEntry] = {}
    for entry in entries:
        name = utterance_of(entry)
        first = named.setdefault(name, entry)
        if (first.text, first.language) != (entry.text, entry.language):
            raise DataError(
                f"{source}: lines {first.line} and {entry.line} say different things of {name}: "
                f"{first.language} {first.text!r} and {entry.language} {entry.text!r}",
                "keep one of the two lines",
            )
    return named


def _differences(
    source: Path, name: str, entry: ListEntry, known: Mapping[str, tuple[str, str]]
) -> Iterator[Correction]:
    text, language = known[name]
    note = f"from {source.name}"
    if entry.text != text:
        yield Correction(entry.line, name, "text", entry.text, note)
    if entry.language != language and (language or entry.text != text):
        yield Correction(entry.line, name, "language", entry.language, note)
