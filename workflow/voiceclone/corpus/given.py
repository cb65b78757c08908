"""Given texts: what is said in a speaker's recordings, from files that lie beside them.

When a plan is made the texts are matched with the recordings of the folder (:func:`read_given`), by name alone: a
path in such a file leads to no sound outside the folder. What cannot be used is refused with file, line and reason.
The stages then cut and read by this table: a stretch with a text is one utterance with that text; one that is longer
than :data:`LONGEST_MS` is cut at its pauses, and its text is shared out among the parts by what is heard in them
(:func:`share_out`).
"""

from __future__ import annotations

import logging
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from voiceclone.corpus.layouts import LAYOUTS, LONGEST_FILE, Said, Wrong, file_name, is_lhotse, layout_of
from voiceclone.errors import DataError
from voiceclone.files import Row, escape, read_tsv, table_columns, unescape
from voiceclone.languages import UNSPACED
from voiceclone.sound.slice import Span

log = logging.getLogger(__name__)
COLUMNS = table_columns("given")
LONGEST_MS = 20_000  # of a stretch that becomes an utterance as it is
OVERLAP_MS = 100  # by which two stretches may overlap: ends of subtitles do
_TABLES = re.compile(r".*\.(csv|tsv|jsonl?|txt|lab|lrc|ass|sbv|ttml|eaf|xml|jsonl\.gz)", re.IGNORECASE)
_HEAD = 4096  # bytes of a file that is no transcript we know, in which a recording's name is looked for


@dataclass(frozen=True)
class Given:
    """A stretch of a recording and what is said in it.

    Attributes:
        file: the recording, as :func:`voiceclone.files.escape` writes it.
        sha256: of the recording.
        start_ms: first millisecond; 0 where the text is all that the recording says.
        end_ms: the one after the last; None: its end.
        language: ISO code; empty: not told.
        text: what is said; empty: somebody else speaks.
        source: file and line that say so.
    """

    file: str
    sha256: str
    start_ms: int
    end_ms: int | None
    language: str
    text: str
    source: str

    def row(self) -> dict[str, object]:
        """Its row of the table."""
        whole = self.end_ms is None
        return {column: getattr(self, column) for column in COLUMNS} | ({"start_ms": None} if whole else {})

    def holds(self, start_ms: int, end_ms: int) -> bool:
        """True if it holds a stretch of its recording."""
        return start_ms >= self.start_ms and (self.end_ms is None or end_ms <= self.end_ms)


@dataclass(frozen=True)
class Refused:
    """A file of the folder, or a line of one, that is not used: its path, and why, as a code and a sentence."""

    file: str
    reason: str
    detail: str


class _Recordings:
    """The recordings of a folder by their names."""

    def __init__(self, files: Mapping[str, str]) -> None:
        self.files = files
        self._named: dict[str, list[str]] = defaultdict(list)
        for file in sorted(files):
            path = file_name(unescape(file))
            for name in {path.name, path.stem}:
                self._named[name].append(file)

    def find(self, name: str, folder: Path, strict: bool = False) -> str:
        """The recording that a file in ``folder`` calls ``name``; of several, the one that shares most folders.

        Folders need not be those of the name, which may come from another machine, unless ``strict``.

        Raises:
            DataError: there is none, the name leads out of the folder, or several share as many.
        """
        path = file_name(name)
        parts: list[str] = [] if path.is_absolute() else list(folder.parts)
        for part in path.parts[:-1]:
            if part == ".." and not parts:
                raise DataError(f"{name!r} leads out of the speaker's folder; copy the recording into it")
            parts = parts[:-1] if part == ".." else [*parts, part]
        other = path.stem if path.suffix[1:].isalnum() and not path.suffix[1:].isdigit() else ""  # it was converted
        found = self._named.get(path.name) or self._named.get(other) or []
        shared = {file: _common_end(parts, file_name(unescape(file)).parts[:-1]) for file in found}
        best = [file for file in found if shared[file] == max(shared.values())]
        if not best or (strict and parts and not shared[best[0]][0]):
            raise DataError(f"no recording {name!r} in this folder")
        if len(best) > 1:
            raise DataError(f"{name!r} may be {' or '.join(best[:3])}; write the folder too")
        return best[0]

    def has(self, stem: str) -> bool:
        """True if one of them is called so."""
        return stem in self._named

    def mentioned(self, text: str) -> bool:
        """True if a text names one of them."""
        return any(word in self._named for word in re.findall(r"[^\s\"'|,;:/\\]+", text))


def _common_end(one: Sequence[str], other: Sequence[str]) -> tuple[int, int]:
    """How many last parts two paths share; and, of equals, the one with fewer parts beside."""
    count = 0
    while count < min(len(one), len(other)) and one[-1 - count] == other[-1 - count]:
        count += 1
    return count, -len(other)


def read_given(folder: Path, texts: Iterable[Path], recordings: Mapping[str, str]) -> tuple[list[Given], list[Refused]]:
    """What the files beside the recordings say.

    Args:
        folder: the speaker's folder; its name tells which lines of a file with several speakers are meant.
        texts: files below it that may hold texts, none of which leads out of it.
        recordings: file (escaped) to sha256.

    Returns:
        stretches of the recordings in order; files and lines that are not used, other speakers' recordings among them.
    """
    known, refused = _Recordings(recordings), []
    by_file: dict[str, list[Given]] = {}
    order = [*LAYOUTS, ""]
    files: list[tuple[int, Path, list[Said | Wrong]]] = []
    for layout, path in sorted((order.index(layout_of(path)), path) for path in texts):
        try:
            files.append((layout, path, _lines(order[layout], path, known)))
        except DataError as error:
            message = error.message.replace(f"{path}: ", "")
            files.append((layout, path, [Wrong(0, f"{message}; {error.hint}".rstrip("; "))]))
    speakers: dict[int, set[str]] = defaultdict(set)
    for layout, _, lines in files:  # of all files of a layout: LibriSpeech has one for each reader's chapter
        speakers[layout] |= {line.speaker for line in lines if isinstance(line, Said)}
    for layout, path, lines in files:
        rows, wrong = _match(path, folder, lines, known, _own(speakers[layout], folder.name))
        refused += wrong
        for file, found in _group(rows).items():
            if not (first := by_file.get(file)):
                by_file[file], overlapping = _in_order(found)
                refused += overlapping
            elif [(row.start_ms, row.text) for row in first] != [(row.start_ms, row.text) for row in found]:
                name = escape(path.relative_to(folder).as_posix())
                refused.append(Refused(name, "transcript", f"{file} has its text from {first[0].source}; keep one"))
    for file, rows in by_file.items():
        if not any(row.text for row in rows):
            detail = f"{rows[0].source} says that somebody else speaks; expected {folder.name}"
            refused.append(Refused(file, "other-speaker", detail))
    return [row for file in sorted(by_file) for row in by_file[file] if any(r.text for r in by_file[file])], refused


def _group(rows: Iterable[Given]) -> dict[str, list[Given]]:
    grouped: dict[str, list[Given]] = defaultdict(list)
    for row in rows:
        grouped[row.file].append(row)
    return grouped


def _own(speakers: set[str], name: str) -> set[str]:
    """Speakers of a layout's files who are this voice: the only one, or those who are called like its folder."""
    return speakers if len(speakers) < 2 else {one for one in speakers if one.lower() in ("", name, f"ls{name}")}


def _lines(layout: str, path: Path, known: _Recordings) -> list[Said | Wrong]:
    """What a file says; nothing if it seems to be no transcript, and why not if it seems to be one that is not read."""
    if path.stat().st_size > LONGEST_FILE and layout:
        return [Wrong(0, f"more than {LONGEST_FILE // 10**6} MB of text")]
    if layout == "lhotse":
        told = is_lhotse(path)
        if told is None:  # recordings and features stand beside the manifest that says the texts
            return []
        layout = layout if told else ""
    stem = re.sub(r"\.(normalized|original)$", "", path.stem)
    if layout and (layout != "text" or known.has(stem)):
        return list(LAYOUTS[layout][1](path))
    if path.suffix.lower() == ".lab":
        return [Wrong(0, "no recording of this name")]
    if known.has(stem) or (path.suffix != ".gz" and known.mentioned(_head(path))):
        return [Wrong(0, "it names recordings, in a layout that is not read; docs/configuration.md has those that are")]
    return []


def _match(
    path: Path, folder: Path, lines: Sequence[Said | Wrong], known: _Recordings, own: set[str]
) -> tuple[list[Given], list[Refused]]:
    """The lines of one file as stretches of recordings, and those that are not used."""
    name = escape(path.relative_to(folder).as_posix())
    said = [line for line in lines if isinstance(line, Said)]
    named = Counter(file_name(given).name for given in {line.name for line in said})
    rows: list[Given] = []
    refused: list[Refused] = []
    for line in lines:
        where = f"line {line.line}: " if line.line else ""
        try:
            if isinstance(line, Wrong):
                raise DataError(line.detail)
            file = known.find(line.name, path.parent.relative_to(folder), named[file_name(line.name).name] > 1)
            start, end = _milliseconds(line.bounds)
        except DataError as error:
            if isinstance(line, Wrong) or line.speaker in own:
                refused.append(Refused(name, "transcript", where + error.message))
            continue
        mine = line.speaker in own
        text, who = (" ".join(line.text.split()), "") if mine else ("", f" ({line.speaker})")
        source = f"{name} {where}".rstrip(": ") + who
        rows.append(Given(file, known.files[file], start, end, line.language, text, source))
    if said and own.isdisjoint(line.speaker for line in said):
        names = ", ".join(sorted({line.speaker for line in said})[:5])
        refused.append(Refused(name, "transcript", f"nobody in it is called {folder.name}: {names}"))
    return rows, refused


def _milliseconds(bounds: tuple[float, float] | None) -> tuple[int, int | None]:
    if bounds is None:
        return 0, None
    if not 0 <= bounds[0] < bounds[1] < 1e6:
        raise DataError(f"{bounds[0]:g} to {bounds[1]:g} s is no stretch of a recording")
    return round(1000 * bounds[0]), round(1000 * bounds[1])


def _head(path: Path) -> str:
    with path.open("rb") as handle:
        return handle.read(_HEAD).decode("utf-8", "replace")


def _in_order(rows: Iterable[Given]) -> tuple[list[Given], list[Refused]]:
    """Stretches of one recording in order of time without overlap; those that overlap with one before are refused."""
    kept: list[Given] = []
    refused = []
    for row in sorted(rows, key=lambda row: (row.start_ms, row.end_ms or 0)):
        before = kept[-1] if kept else None
        if before is None:
            kept.append(row)
        elif _after(before, row):
            kept.append(replace(row, start_ms=max(row.start_ms, before.end_ms or 0)))
        elif (before.start_ms, before.end_ms, before.text) != (row.start_ms, row.end_ms, row.text):
            file, _, where = row.source.partition(" line ")
            detail = f"line {where}: it overlaps with what {before.source} says of {row.file}; keep one"
            refused.append(Refused(file, "transcript", detail))
    return kept, refused


def _after(before: Given, row: Given) -> bool:
    """True if a stretch begins where the one before it ends, but for a little."""
    if before.end_ms is None or row.end_ms is None:
        return False
    return row.start_ms > before.end_ms - OVERLAP_MS and row.end_ms > before.end_ms


def find_texts(folder: Path) -> Iterator[Path]:
    """Files below a folder that may hold texts, by their names, sorted; hidden ones left out."""
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if not hidden and (layout_of(path) or _TABLES.fullmatch(path.name)) and path.is_file():
            yield path


def by_take(given: Path | None, takes: Path) -> dict[str, list[Given]]:
    """Stretches with a text of every take, in order of time.

    Args:
        given: table of given texts; None: there are none.
        takes: table of takes; the digest of a recording tells which it is.
    """
    if given is None:
        return {}
    of_sound = {row["sha256"]: row["take"] for row in read_tsv(takes, ("take", "sha256"))}
    found: dict[str, list[Given]] = defaultdict(list)
    for row in read_tsv(given, COLUMNS):
        if row["sha256"] in of_sound:
            times = int(row["start_ms"] or 0), int(row["end_ms"]) if row["end_ms"] else None
            text = Given(row["file"], row["sha256"], *times, row["language"], row["text"], row["source"])
            found[of_sound[row["sha256"]]].append(text)
    # Two files of the same bytes are one take: the texts of the first.
    return {
        take: sorted((row for row in rows if row.file == rows[0].file), key=lambda row: row.start_ms)
        for take, rows in found.items()
    }


def given_spans(given: Path | None, takes: Path) -> dict[str, list[Span]]:
    """Take to the spans that its texts give to the slicing; one that is longer than an utterance has no state."""
    if given is None:
        return {}
    lengths = {row["take"]: round(1000 * float(row["seconds"])) for row in read_tsv(takes, ("take", "seconds"))}
    spans: dict[str, list[Span]] = {}
    for take, rows in by_take(given, takes).items():
        # A clean take may be some milliseconds longer than the table says: a span that reaches the end reaches it all.
        ends = [lengths[take] + 1000 if row.end_ms is None else row.end_ms for row in rows]
        spans[take] = [
            Span(row.start_ms, end, "rejected", "other-speaker")
            if not row.text
            else Span(row.start_ms, end, "slice" if min(end, lengths[take]) - row.start_ms <= LONGEST_MS else "")
            for row, end in zip(rows, ends, strict=True)
        ]
    return spans


def group(rows: Sequence[Row], given: Sequence[Given]) -> list[tuple[Given | None, list[Row]]]:
    """Utterances of a take by the stretch with a text that holds them; None: those that none holds.

    Args:
        rows: of slices/manifest.tsv.
        given: of the take.
    """
    held: dict[int, list[Row]] = defaultdict(list)
    for row in rows:
        times = int(row["start_ms"]), int(row["end_ms"])
        held[next((at for at, item in enumerate(given) if item.holds(*times)), -1)].append(row)
    return [(given[at] if at >= 0 else None, own) for at, own in sorted(held.items())]


def share_out(text: str, heard: Sequence[str], language: str) -> list[str]:
    """Cut a text into the parts that consecutive utterances speak, by what a recogniser heard in each.

    The words of the text (characters where blanks part no words) are aligned with those heard at least edit distance;
    words that were not heard stay with their neighbours, or, between two utterances, are parted after a mark.

    Args:
        text: what is said in all of them together.
        heard: what was heard in each.
        language: ISO code.

    Returns:
        as many parts as utterances; joined they are the text. A part is empty where nothing fits.
    """
    from rapidfuzz.distance import Levenshtein

    words = list(_words(text, language))
    spoken = [(word, owner) for owner, part in enumerate(heard) for _, word in _words(part, language)]
    owners: list[int | None] = [None] * len(words)
    for step in Levenshtein.opcodes([word for _, word in words], [word for word, _ in spoken]):
        length, wide = step.src_end - step.src_start, step.dest_end - step.dest_start
        for at in range(length if wide else 0):
            owners[step.src_start + at] = spoken[step.dest_start + at * wide // length][1]
    parts = [""] * len(heard)
    for at, (start, end, owner) in enumerate(_runs(text, [place for place, _ in words], owners)):
        parts[owner] += text[0 if at == 0 else start : end]
    return [part.strip() for part in parts]


def _words(text: str, language: str) -> Iterator[tuple[int, str]]:
    """Start and bare letters of every word, or of every character where blanks part no words."""
    pattern = r"[^\W_]" if language in UNSPACED else r"\S+"
    for found in re.finditer(pattern, text):
        if letters := "".join(character for character in found[0].lower() if character.isalnum()):
            yield found.start(), letters


def _runs(text: str, starts: Sequence[int], owners: list[int | None]) -> Iterator[tuple[int, int, int]]:
    """Start, end and utterance of each stretch of text; words without an utterance get one first."""
    filled: list[int] = []
    at = 0
    while at < len(owners):
        end = next((place for place in range(at, len(owners)) if owners[place] is not None), len(owners))
        before, after = filled[-1] if filled else None, owners[end] if end < len(owners) else None
        if end > at:
            left = before if before is not None else after or 0
            right = after if after is not None else left
            gap = [starts[place] for place in range(at, end)] + [starts[end] if end < len(starts) else len(text)]
            # The last mark that ends a phrase parts what was not heard between two utterances.
            stops = [n for n in range(len(gap)) if re.search(r"[.,;:!?。，；：！？、…—-]\W*$", text[: gap[n]])]
            first = 0 if left == right else (stops[-1] if stops else len(gap) - 1)
            filled += [left] * first + [right] * (end - at - first)
        if end < len(owners):
            filled.append(int(owners[end] or 0))
        at = end + 1
    begin = 0
    for place in range(1, len(filled) + 1):
        if place == len(filled) or filled[place] != filled[begin]:
            yield starts[begin], starts[place] if place < len(starts) else len(text), filled[begin]
            begin = place
