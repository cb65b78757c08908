"""Corrections by people: ``config/corrections/SPEAKER.tsv`` with the columns utterance, action, value, note.

Actions: ``text`` (the right text), ``language`` (ISO code), ``drop`` (leave out), ``keep`` (take in whatever the
filters say), ``split`` (divide at this millisecond of the take), ``merge`` (make one with the utterance that is named
and what lies between). The first four are applied whenever the corpus is built, the others when the takes are sliced.
They belong under version control.
"""

from __future__ import annotations

import logging
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from voiceclone.errors import DataError
from voiceclone.files import table_columns, write_tsv
from voiceclone.sound.slice import Cut
from voiceclone.usertext import read_user_text, unquoted

log = logging.getLogger(__name__)
COLUMNS = table_columns("corrections")
CUTS = ("split", "merge")  # after them the utterance has another name
ACTIONS = ("text", "language", "drop", "keep", *CUTS)
NEEDS_VALUE = ("text", "language", *CUTS)
ALONE = ("drop", *CUTS)  # beside which no other action makes sense
LEAST_MS, WIDEST_MS = 300, 3000  # of a part of a split utterance; between two that are merged
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
    corrections = [parse_correction(path, number, cells) for number, cells in numbered[1:]]
    _check_unique(path, corrections)
    return corrections


def parse_correction(path: Path, number: int, cells: list[str]) -> Correction:
    """A row of a corrections file; ``path`` and ``number`` of its line are for messages.

    Raises:
        DataError: it is no such row.
    """
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
        interval = parse_utterance(utterance)
        if action in CUTS:
            _cut(interval, action, value)
    except DataError as error:
        raise DataError(f"{where}: {error.message}", error.hint) from error
    return Correction(number, utterance, action, value, note)


def _cut(interval: Interval, action: str, value: str) -> Cut:
    """What a correction says of slices.

    Raises:
        DataError: the value is no place in the utterance, or no utterance that follows it closely.
    """
    if action == "split":
        if not value.isdecimal() or not LEAST_MS <= int(value) - interval.start_ms <= interval.length_ms - LEAST_MS:
            raise DataError(
                f"split at {value!r}: expected a millisecond of the take, at least {LEAST_MS} ms from "
                f"{interval.start_ms} and {interval.end_ms}"
            )
        return Cut(interval.start_ms, interval.end_ms, int(value))
    other = parse_utterance(value)
    if other.take != interval.take or not 0 <= other.start_ms - interval.end_ms <= WIDEST_MS:
        raise DataError(f"merge with {value!r}: expected the utterance after it, at most {WIDEST_MS} ms away")
    return Cut(interval.start_ms, other.end_ms)


def read_cuts(path: Path | None) -> dict[str, list[Cut]]:
    """Take to the cuts that a file of corrections says, in order; none without a file.

    Raises:
        DataError: the file is wrong, see :func:`read_corrections`.
    """
    cuts: dict[str, list[Cut]] = defaultdict(list)
    for item in read_corrections(path) if path is not None else []:
        if item.action in CUTS:
            cuts[item.interval.take].append(_cut(item.interval, item.action, item.value))
    return {take: sorted(found, key=lambda cut: (cut.start_ms, -cut.end_ms)) for take, found in cuts.items()}


def record_cuts(path: Path, target: Path) -> None:
    """Write the corrections of slices alone to ``target``, so that a corrected text leaves the slices as they are.

    Args:
        path: a speaker's corrections, which need not be there.
        target: removed if there are none. Where the corrections are wrong, it stays: the corpus stage says so.
    """
    try:
        cuts = [item for item in (read_corrections(path) if path.is_file() else []) if item.action in CUTS]
    except DataError as error:
        log.info("%s", error)
        return
    if not cuts:
        target.unlink(missing_ok=True)
        return
    write_tsv(target, COLUMNS, [{column: getattr(item, column) for column in COLUMNS} for item in cuts], COLUMNS[:2])


def _check_unique(path: Path, corrections: Iterable[Correction]) -> None:
    """Refuse two rows with the same action, and ``drop`` or a cut beside another action, for one utterance."""
    by_utterance: dict[str, list[Correction]] = defaultdict(list)
    for correction in corrections:
        for other in by_utterance[correction.utterance]:
            if other.action == correction.action or not {other.action, correction.action}.isdisjoint(ALONE):
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
        if correction.action in CUTS:  # the slices have followed them
            continue
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


def add_corrections(path: Path, added: Sequence[Correction], source: Path, forgotten: Collection[str] = ()) -> None:
    """Add corrections to ``path``; they replace older ones of the same utterance and action.

    Args:
        path: the corrections file, made if it is not there.
        added: what to add.
        source: where they come from, for messages.
        forgotten: utterances whose older corrections all go.

    Raises:
        DataError: what is added contradicts itself; the file stays as it is.
    """
    _check_unique(source, added)
    replaced = {(item.utterance, item.action) for item in added}
    exclusive = {item.utterance: item.action in ALONE for item in added}
    exclusive |= {item.value: True for item in added if item.action == "merge"}  # both are one now
    older = read_corrections(path) if path.is_file() else []
    kept = [
        item
        for item in older
        if item.utterance not in forgotten
        and (item.utterance, item.action) not in replaced
        and not (item.utterance in exclusive and (exclusive[item.utterance] or item.action in ALONE))
    ]
    rows = [{column: getattr(item, column) for column in COLUMNS} for item in [*kept, *added]]
    write_tsv(path, COLUMNS, rows, sort_by=("utterance", "action"))
