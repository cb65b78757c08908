"""Which sentences an evaluation speaks: held-out utterances, the fixed sets, other languages, the user's own lists.

A set has one sentence a line, ``id<TAB>text``, then if wanted ``<TAB>stratum`` and ``<TAB>language``; a list of the
user may be plain lines, or a ``meta.lst`` of seed-tts-eval (Anastassiou et al. 2024). No sentence that was trained on
is spoken: an error rate on it would say how well it was learnt by heart.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from voiceclone.corpus.split import HELDOUT, TRAIN, sentence_key
from voiceclone.errors import DataError
from voiceclone.files import Row
from voiceclone.languages import LANGUAGES
from voiceclone.stages.evaluate import EvaluateSettings
from voiceclone.stages.gather import GROUP
from voiceclone.usertext import read_user_text

MIXED, CROSS_LINGUAL, OWN = "mixed", "cross-lingual", "own"
#: Kinds of sentences that are in another language than the voice's, at least in part: no headline counts them.
FOREIGN = frozenset({MIXED, CROSS_LINGUAL})
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")


@dataclass(frozen=True)
class Item:
    """One sentence of the evaluation: a held-out utterance (``id`` is its utterance id) or one of a set.

    ``turn`` numbers the seeds that it is spoken with, from 0. ``member`` of a group says whose voice it is spoken in,
    and held against; empty: that of the voice's own clip.
    """

    id: str
    kind: str
    language: str
    text: str
    stratum: str = ""
    turn: int = 0
    member: str = ""

    @property
    def name(self) -> str:
        """Of its files."""
        return f"{self.id}@{self.turn}" if self.turn else self.id


def by_hash(names: Iterable[str], limit: int) -> list[str]:
    """The ``limit`` names with the smallest hash, sorted: a choice that stays when other names come or go."""
    chosen = sorted(names, key=lambda name: hashlib.sha256(name.encode()).digest())[:limit]
    return sorted(chosen)


def read_set(path: Path, kind: str = "fixed") -> list[Item]:
    """Sentences of a set ``LANGUAGE.txt``; a fourth column names the language where the file's name does not.

    Raises:
        DataError: a line has another form, or an id comes twice.
    """
    return _read(path, kind, path.stem, lambda number, line: line)


def read_sentences(path: Path) -> list[tuple[str, str]]:
    """Ids and texts of a set, see :func:`read_set`."""
    return [(item.id, item.text) for item in read_set(path)]


def read_own(path: Path, language: str = "") -> list[Item]:
    """Sentences of a user's list, of kind ``own``; their ids begin with ``own-``.

    Args:
        path: one sentence a line, with or without an id before it and a tab between, '#' begins a comment; or, if it
            ends with ``.lst``, a list of seed-tts-eval: ``utt|prompt text|prompt wav|text[|wav]``, whose prompts do
            not count: the voice has its own.
        language: of a list that is not called ``NAME.LANGUAGE.txt`` or ``LANGUAGE/NAME.txt``.

    Raises:
        DataError: it cannot be read, a line has another form, an id comes twice, or the language is unknown.
    """
    names = (*reversed(path.stem.split(".")), path.parent.name)
    language = next((name for name in names if name in LANGUAGES), language)
    plain_id = re.sub("[^A-Za-z0-9_-]+", "_", path.stem)

    def as_cells(number: int, line: str) -> str:
        if path.suffix == ".lst":
            cells = line.split("|")
            return f"{cells[0]}\t{cells[3]}" if len(cells) in (4, 5) else ""
        if line.startswith("#"):
            return "#"
        return line if "\t" in line else f"{plain_id}-{number:03d}\t{line}"

    return [replace(item, id=f"{OWN}-{item.id}") for item in _read(path, OWN, language, as_cells)]


def _read(path: Path, kind: str, language: str, as_cells: Callable[[int, str], str]) -> list[Item]:
    """Sentences of a file whose lines are made into cells of a set: empty for a wrong line, '#' for a comment."""
    items: dict[str, Item] = {}
    for number, line in enumerate(read_user_text(path).split("\n"), start=1):
        if not line.strip() or (cells := as_cells(number, line)) == "#":
            continue
        name, text, stratum, own = (cell.strip() for cell in (cells.split("\t") + [""] * 3)[:4])
        place = f"{path}: line {number}"
        if not name or not text or cells.count("\t") > 3:
            form = "utt|prompt text|prompt wav|text" if path.suffix == ".lst" else "id<TAB>text"
            raise DataError(f"{place}: expected '{form}', found {line[:60]!r}")
        if not _NAME.fullmatch(name):
            raise DataError(f"{place}: id {name[:60]!r} names a sound file: ASCII letters, digits, '.', '-', '_' only")
        if (own or language) not in LANGUAGES:
            raise DataError(
                f"{place}: language {own or language!r} is not one of {', '.join(LANGUAGES)}",
                "call the list after its language, for example mine.en.txt, or write it in a fourth column",
            )
        if name in items:
            raise DataError(f"{place}: id {name!r} comes twice")
        items[name] = Item(name, kind, own or language, text, stratum)
    return list(items.values())


def evaluation_items(
    corpus: Sequence[Row], sentences: Sequence[Path], target: str, settings: EvaluateSettings
) -> tuple[list[Item], list[str]]:
    """The sentences of a target.

    Args:
        corpus: rows of corpus.tsv with features.
        sentences: the fixed sets, ``LANGUAGE.txt`` and ``mixed.txt``.
        target: one that does not read text (``recordings``, ``resynthesis``) has held-out utterances alone.
        settings: how many of each, and the user's lists; of a group, so many held-out utterances of each member.

    Returns:
        The sentences, and a line for each that is left out because it was trained on.

    Raises:
        DataError: a set or list is broken, or two lists have a sentence of one id.
    """
    heldout = [
        Item(row["utterance"], HELDOUT, row["language"], row["text"], member=member_of(row))
        for row in corpus
        if row["split"] == HELDOUT
    ]
    never, lines = without_trained(heldout, corpus)
    members = {item.member for item in never}
    chosen = {
        name for who in members for name in by_hash((one.id for one in never if one.member == who), settings.heldout)
    }
    items = sorted((item for item in never if item.id in chosen), key=lambda item: item.id)
    if target in ("recordings", "resynthesis"):
        return items, lines
    spoken = {row["language"] for row in corpus}
    only = min(spoken) if len(spoken) == 1 else ""
    others: list[Item] = []
    for path in sorted(sentences, key=lambda path: path.stem):
        if path.stem == MIXED:
            known = [item for item in read_set(path, MIXED) if item.language in spoken]
            others += known[: settings.mixed]
        elif path.stem in spoken:
            others += read_set(path)[: settings.fixed]
        elif path.stem in LANGUAGES:
            others += read_set(path, CROSS_LINGUAL)[: settings.cross_lingual]
    for name in settings.sentences:
        found = read_own(Path(name), only)
        if double := {item.id for item in others} & {item.id for item in found}:
            raise DataError(f"{name}: id {min(double)!r} stands in another list too", "give each sentence its own id")
        others += found
    others, more = without_trained(others, corpus)
    return [*items, *others], [*lines, *more]


def member_of(row: Row) -> str:
    """Who of a group speaks an utterance, by its row of ``corpus.tsv`` or ``manifest.tsv``; empty in other voices."""
    return row["speaker"] if row.get("source") == GROUP else ""


def without_trained(items: Iterable[Item], corpus: Sequence[Row]) -> tuple[list[Item], list[str]]:
    """Sentences whose text, case, marks and blanks aside, is that of no training utterance; a line for each other.

    The split goes by sound, so that no utterance changes sides when a text is corrected: what somebody says twice may
    stand on both.
    """
    trained = {sentence_key(row["text"]): row["utterance"] for row in corpus if row["split"] == TRAIN}
    kept, lines = [], []
    for item in items:
        twin = trained.get(sentence_key(item.text)) if sentence_key(item.text) else None
        if twin is None:
            kept.append(item)
        else:
            lines.append(f"{item.id}: left out, its text is that of training utterance {twin}")
    return kept, lines
