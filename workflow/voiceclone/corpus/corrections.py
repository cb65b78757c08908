"""Corrections by people: ``config/corrections/SPEAKER.tsv`` with the columns utterance, action, value, note.

Actions: ``text`` (the right text), ``language`` (ISO code), ``drop`` (leave out), ``keep`` (take in whatever the
filters say). They are applied whenever the corpus is built and belong under version control.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from voiceclone.errors import DataError
from voiceclone.files import table_columns, write_tsv
from voiceclone.usertext import read_user_text, unquoted

COLUMNS = table_columns("corrections")
ACTIONS = ("text", "language", "drop", "keep")
NEEDS_VALUE = ("text", "language")
COVERAGE = 0.8  # of a correction's interval that an utterance must cover to inherit it
_IDENTIFIER = re.compile(r"(?P<take>.+)-(?P<start>\d{7})-(?P<end>\d{7})")
_LANGUAGE = re.compile(r"[a-z]{2,3}")


@dataclass(frozen=True)
class Interval:
    """A stretch of a take, in milliseconds."""

    take: str
    start_ms: int
    end_ms: int

    def shared_ms(self, other: Interval) -> int:
        """Milliseconds that lie in both."""
        if self.take != other.take:
            return 0
        return max(0, min(self.end_ms, other.end_ms) - max(self.start_ms, other.start_ms))

    @property
    def length_ms(self) -> int:
        """Length."""
        return self.end_ms - self.start_ms


@dataclass(frozen=True)
class Correction:
    """One row of the file."""

    line: int
    utterance: str
    action: str
    value: str
    note: str = ""

    @property
    def interval(self) -> Interval:
        """Interval of the corrected utterance when the correction was written."""
        return parse_utterance(self.utterance)


def parse_utterance(identifier: str) -> Interval:
    """Take and milliseconds of an utterance id (``TAKE-START-END``, seven digits each).

    Raises:
        DataError: it is no such id.
    """
    match = _IDENTIFIER.fullmatch(identifier)
    if not match or int(match["start"]) >= int(match["end"]):
        raise DataError(
            f"{identifier!r} is no utterance id, expected TAKE-START-END with seven digits of milliseconds each",
            "copy the id from corpus.tsv or from the proof-reading page",
        )
    return Interval(match["take"], int(match["start"]), int(match["end"]))


def read_corrections(path: Path) -> list[Correction]:
    """Read and check a corrections file; blank lines and lines that start with ``#`` are skipped.

    Raises:
        DataError: names the line of a wrong header, id, action or value, and both lines of a contradiction.
    """
    numbered = [
        (number, [unquoted(cell.strip()) for cell in line.split("\t")])
        for number, line in enumerate(read_user_text(path).split("\n"), start=1)
        if line.strip() and not line.startswith("#")
    ]
    if not numbered:
        return []
    number, header = numbered[0]
    if header[:3] != list(COLUMNS[:3]) or header[3:] not in ([], ["note"]):
        raise DataError(f"{path}: line {number} is {header}, expected the header {list(COLUMNS)}, separated by tabs")
    corrections = [_parse(path, number, cells) for number, cells in numbered[1:]]
    _check_unique(path, corrections)
    return corrections


def _parse(path: Path, number: int, cells: list[str]) -> Correction:
    where = f"{path}: line {number}"
    if len(cells) > len(COLUMNS):
        raise DataError(f"{where} has {len(cells)} cells, expected {list(COLUMNS)}", "write blanks instead of tabs")
    utterance, action, value, note = (cell.strip() for cell in [*cells, "", "", ""][: len(COLUMNS)])
    if action not in ACTIONS:
        raise DataError(f"{where}: action {action!r} is unknown, expected one of {', '.join(ACTIONS)}")
    if action in NEEDS_VALUE and not value:
        raise DataError(f"{where}: action {action!r} needs a value", "to leave the utterance out, use 'drop'")
    if action == "language" and not _LANGUAGE.fullmatch(value):
        raise DataError(f"{where}: language {value!r} is no ISO code such as en, zh or yue")
    try:
        parse_utterance(utterance)
    except DataError as error:
        raise DataError(f"{where}: {error.message}", error.hint) from error
    return Correction(number, utterance, action, value, note)


def _check_unique(path: Path, corrections: Iterable[Correction]) -> None:
    """Refuse two rows with the same action, and ``drop`` beside another action, for one utterance."""
    by_utterance: dict[str, list[Correction]] = defaultdict(list)
    for correction in corrections:
        for other in by_utterance[correction.utterance]:
            if other.action == correction.action or "drop" in (other.action, correction.action):
                raise DataError(
                    f"{path}: lines {other.line} ({other.action}) and {correction.line} ({correction.action}) both "
                    f"correct {correction.utterance}",
                    "keep one of the two lines",
                )
        by_utterance[correction.utterance].append(correction)


def place_corrections(
    path: Path, corrections: Sequence[Correction], utterances: Iterable[str]
) -> dict[str, list[Correction]]:
    """Find the utterance that each correction belongs to.

    It is the one with the same id; where the slicing has changed, the one that covers at least 80 % of the correction's
    interval. A text must besides be the text of at least 80 % of that utterance: half a sentence is no correction of a
    whole one.

    Returns:
        utterance id to its corrections, in the order of the file.

    Raises:
        DataError: lists every correction that finds no place, or two that meet on one utterance.
    """
    by_take: dict[str, list[tuple[str, Interval]]] = defaultdict(list)
    for utterance in utterances:
        interval = parse_utterance(utterance)
        by_take[interval.take].append((utterance, interval))
    placed: dict[str, list[Correction]] = defaultdict(list)
    homeless = []
    for correction in corrections:
        target = _find(correction, by_take[correction.interval.take])
        if target is None:
            homeless.append(correction)
        else:
            placed[target].append(correction)
    if homeless:
        lines = "\n".join(
            f"  line {item.line}: {item.utterance} {item.action} {item.value}".rstrip() for item in homeless
        )
        raise DataError(
            f"{path}: no utterance fits these corrections (same place in the same take, at least 80 %):\n{lines}",
            "look up where the words are now in corpus/proofread.html, change the ids, or delete the lines",
        )
    for target, together in placed.items():
        _check_unique(path, [Correction(item.line, target, item.action, item.value) for item in together])
    return dict(placed)


def _find(correction: Correction, candidates: Sequence[tuple[str, Interval]]) -> str | None:
    wanted = correction.interval
    best, shared = None, 0
    for utterance, interval in candidates:
        if utterance == correction.utterance:
            return utterance
        common = wanted.shared_ms(interval)
        fits = common >= COVERAGE * wanted.length_ms
        if correction.action == "text":
            fits = fits and common >= COVERAGE * interval.length_ms
        if fits and common > shared:
            best, shared = utterance, common
    return best


def merge_corrections(path: Path, newer: Path) -> int:
    """Add the rows of ``newer`` (a download of the proof-reading page) to ``path``; newer rows replace older ones.

    Returns:
        the number of rows in ``newer``.
    """
    added = read_corrections(newer)
    add_corrections(path, added, newer)
    return len(added)


def add_corrections(path: Path, added: Sequence[Correction], source: Path) -> None:
    """Add corrections to ``path``; they replace older ones of the same utterance and action.

    Args:
        path: the corrections file, made if it is not there.
        added: what to add.
        source: where they come from, for messages.
    """
    _check_unique(source, added)
    replaced = {(item.utterance, item.action) for item in added}
    exclusive = {item.utterance: item.action == "drop" for item in added}
    older = read_corrections(path) if path.is_file() else []
    kept = [
        item
        for item in older
        if (item.utterance, item.action) not in replaced
        and not (item.utterance in exclusive and (exclusive[item.utterance] or item.action == "drop"))
    ]
    rows = [{column: getattr(item, column) for column in COLUMNS} for item in [*kept, *added]]
    write_tsv(path, COLUMNS, rows, sort_by=("utterance", "action"))
