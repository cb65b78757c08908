"""A proof-read .list back into corrections: people who correct with GPT-SoVITS's own tools keep their work."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from voiceclone.corpus.corrections import Correction, add_corrections
from voiceclone.corpus.listfile import ListEntry, read_list
from voiceclone.errors import DataError
from voiceclone.files import read_tsv
from voiceclone.text.inline import plain


@dataclass(frozen=True)
class Imported:
    """What became of a list.

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
