"""Speech data sets as others lay them out: who says what in which file. Nothing is decoded here."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from voiceclone.config.corpora import CorpusSource
from voiceclone.corpus.listfile import read_list
from voiceclone.errors import DataError
from voiceclone.files import read_tsv

SUFFIXES = (".flac", ".wav", ".opus", ".ogg", ".mp3", ".m4a")
TEACHER_COLUMNS = ("utterance", "path", "speaker", "language", "text")

_LIBRISPEECH_TEST_OTHER = (
    "367 533 1688 1998 2033 2414 2609 3005 3080 3331 3528 3538 3764 3997 4198 4294 4350 4852 5442 5484 5764 6070 6128 "
    "6432 6938 7018 7105 7902 7975 8131 8188 8280 8461"
)
#: People on whom every base voice is measured and none is trained: the reader of LJ Speech, four of LibriSpeech
#: dev-clean, all of test-other.
HELD_OUT_PEOPLE = frozenset({"lj", *(f"ls{number}" for number in f"84 652 777 1988 {_LIBRISPEECH_TEST_OTHER}".split())})

_LIBRISPEECH_ID = re.compile(r"(\d+)-\d+-\d{4}")
_LJSPEECH_ID = re.compile(r"LJ\d{3}-\d{4}")


@dataclass(frozen=True)
class Clip:
    """One utterance of a source.

    Attributes:
        id: of the utterance, ``SOURCE-NAME``.
        path: the sound file, which may be missing.
        speaker: who speaks; ids of LibriSpeech and LJ Speech give ``lsNUMBER`` and ``lj`` in every layout.
        language: ISO code.
        text: what is said, as the source writes it.
        bandwidth: in Hz, where a teacher knows it; 0: as the source's settings say.
    """

    id: str
    path: Path
    speaker: str
    language: str
    text: str
    bandwidth: int = 0


def person(stem: str, speaker: str) -> str:
    """The speaker's name; a clip of LibriSpeech or LJ Speech tells its reader by its own name, whoever packed it."""
    if found := _LIBRISPEECH_ID.fullmatch(stem):
        return f"ls{found[1]}"
    return "lj" if _LJSPEECH_ID.fullmatch(stem) else speaker


def read_source(source: CorpusSource) -> list[Clip]:
    """All clips of a source in its order.

    Raises:
        DataError: nothing lies there, or an index is damaged.
    """
    readers: dict[str, Callable[[CorpusSource, Path], Iterator[Clip]]] = {
        "librispeech": _librispeech,
        "ljspeech": _ljspeech,
        "list": _list,
        "teacher": _teacher,
    }
    place = Path(source.place()).expanduser()
    if not place.exists():
        raise DataError(f"corpora.sources {source.name!r}: {place}: nothing is there", "set its path, or leave it out")
    clips = list(readers[layout(source, place)](source, place))
    if not clips:
        raise DataError(f"corpora.sources {source.name!r}: {place}: no utterance in the layout {source.kind!r}")
    return clips


def index_files(source: CorpusSource) -> list[Path]:
    """The tables that name a source's clips, where they are there: what a change of must be seen."""
    place = Path(source.place()).expanduser()
    if layout(source, place) == "librispeech":
        return sorted(place.rglob("*.trans.txt"))
    return [_table(source, place)] if source.path else []


def layout(source: CorpusSource, place: Path) -> str:
    """The source's layout; of ``auto`` the one that lies there."""
    if source.kind != "auto":
        return source.kind
    if place.suffix == ".list" or any(place.glob("*.list")):
        return "list"
    return "ljspeech" if (place / "metadata.csv").is_file() else "librispeech"


def _table(source: CorpusSource, place: Path) -> Path:
    """The one table of a source that has one: named itself, or the only one in the folder."""
    names = {"ljspeech": "metadata.csv", "list": "*.list", "teacher": "manifest.tsv"}
    if place.is_file() or not place.exists():
        return place
    found = sorted(place.glob(names[layout(source, place)]))
    if len(found) != 1:
        wanted = names[layout(source, place)]
        raise DataError(f"corpora.sources {source.name!r}: {place}: {len(found)} files {wanted}, expected one")
    return found[0]


def _librispeech(source: CorpusSource, place: Path) -> Iterator[Clip]:
    for index in sorted(place.rglob("*.trans.txt")):
        for line in index.read_text(encoding="utf-8").splitlines():
            stem, _, text = line.strip().partition(" ")
            if stem:
                # Their texts are in capitals, which the front end would spell out.
                reader = f"ls{stem.split('-')[0]}"
                yield _clip(source, stem, _sound(index.parent / stem), reader, text.capitalize())


def _ljspeech(source: CorpusSource, place: Path) -> Iterator[Clip]:
    table = _table(source, place)
    for line in table.read_text(encoding="utf-8-sig").splitlines():
        fields = line.split("|")
        if len(fields) >= 2 and fields[0]:
            yield _clip(source, fields[0], _sound(table.parent / "wavs" / fields[0]), "", fields[-1])


def _list(source: CorpusSource, place: Path) -> Iterator[Clip]:
    table = _table(source, place)
    for entry in read_list(table):
        path = table.parent / entry.path.replace("\\", "/")
        yield _clip(source, _stem(path, table.parent), path, entry.speaker, entry.text, entry.language)


def _teacher(source: CorpusSource, place: Path) -> Iterator[Clip]:
    table = _table(source, place)
    for row in read_tsv(table, TEACHER_COLUMNS):
        path, bandwidth = table.parent / row["path"], int(float(row.get("bandwidth") or 0))
        clip = _clip(source, row["utterance"], path, row["speaker"], row["text"], row["language"])
        yield replace(clip, bandwidth=bandwidth)


def _clip(source: CorpusSource, stem: str, path: Path, speaker: str, text: str, language: str = "") -> Clip:
    name = person(Path(stem).name, speaker)
    return Clip(
        f"{source.name}-{re.sub(r'[^A-Za-z0-9_.]+', '-', stem)}", path, name or source.speaker or source.name,
        language or source.language, text.strip(),
    )  # fmt: skip


def _sound(base: Path) -> Path:
    """The file of this name with a suffix of sound; the first suffix where there is none."""
    paths = [base.with_name(base.name + suffix) for suffix in SUFFIXES]
    return next((path for path in paths if path.is_file()), paths[0])


def _stem(path: Path, folder: Path) -> str:
    """A file's name in a source: its path from the list's folder, or its own name where it lies elsewhere."""
    relative = path.relative_to(folder) if path.is_relative_to(folder) else Path(path.name)
    return relative.with_suffix("").as_posix()
