"""How much of a language's phones a corpus speaks, and a reading list that fills the gaps.

The sentences are chosen greedily, as reading lists for recordings are: each next one is that with most phones that are
still rare, for its length (van Santen and Buchsbaum 1997, "Methods for optimal text selection").
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from voiceclone.corpus.split import sentence_key
from voiceclone.errors import DataError
from voiceclone.files import read_tsv
from voiceclone.languages import LANGUAGES
from voiceclone.text.frontend import to_phones
from voiceclone.text.symbols import PUNCTUATION
from voiceclone.usertext import read_user_text

ENOUGH = 5  # times that a phone is spoken, from which it is not rare


@dataclass(frozen=True)
class Coverage:
    """What a corpus speaks of one language.

    Attributes:
        language: ISO code.
        seconds: of its utterances.
        counts: of every phone that the corpus or the lists of the language have.
    """

    language: str
    seconds: float
    counts: Counter[str]

    @property
    def missing(self) -> list[str]:
        """Phones that are never spoken."""
        return sorted(phone for phone, count in self.counts.items() if not count)

    @property
    def rare(self) -> list[str]:
        """Phones that are spoken, but fewer than :data:`ENOUGH` times."""
        return sorted(phone for phone, count in self.counts.items() if 0 < count < ENOUGH)

    def __str__(self) -> str:
        """For a terminal."""
        all_of, absent = len(self.counts), self.missing
        lines = [f"{LANGUAGES[self.language].name}: {self.seconds / 60:.1f} minutes of usable speech, "
                 f"{all_of - len(absent)} of {all_of} phones"]  # fmt: skip
        lines += [f"  missing: {' '.join(absent)}"] if absent else []
        return "\n".join([*lines, *([f"  fewer than {ENOUGH} times: {' '.join(self.rare)}"] if self.rare else [])])


def phones(text: str, language: str) -> tuple[str, ...]:
    """Phones of a text without its marks; none where it cannot be read."""
    try:
        return tuple(phone for phone in to_phones(text, language).symbols if phone not in PUNCTUATION)
    except DataError:
        return ()


def reading_lines(folder: Path, language: str) -> list[str]:
    """Lines to read aloud: of the lists of the language in ``resources/texts`` that no voice is measured with."""
    lists = [folder / f"{kind}.{language}.txt" for kind in ("conversation", "reading")]
    lines = [line.strip() for path in lists if path.is_file() for line in read_user_text(path).split("\n")]
    return [line for line in lines if line and not line.startswith("#")]


def measure(corpus: Path, texts: Path, language: str = "") -> Coverage:
    """Phones of a corpus in one language.

    Args:
        corpus: corpus.tsv.
        texts: folder of the lists, whose phones are those of the language.
        language: ISO code; empty: that of most of its speech.
    """
    rows = read_tsv(corpus, ("seconds", "language", "text"))
    seconds: dict[str, float] = defaultdict(float)
    for row in rows:
        seconds[row["language"]] += float(row["seconds"])
    chosen = language or max(sorted(seconds), key=lambda code: seconds[code])
    counts = Counter({phone: 0 for line in reading_lines(texts, chosen) for phone in phones(line, chosen)})
    counts.update(phone for row in rows if row["language"] == chosen for phone in phones(row["text"], chosen))
    return Coverage(chosen, seconds[chosen], counts)


def choose_lines(coverage: Coverage, lines: Iterable[str], count: int, spoken: Iterable[str] = ()) -> list[str]:
    """At most ``count`` lines that speak most of what is missing or rare; fewer if nothing rare is left.

    Args:
        coverage: what is spoken already.
        lines: to choose from.
        count: how many.
        spoken: texts that are in the corpus, which are not chosen.
    """
    known = {sentence_key(text) for text in spoken}
    left = {line: phones(line, coverage.language) for line in lines if sentence_key(line) not in known}
    counts = Counter(coverage.counts)
    chosen: list[str] = []
    while left and len(chosen) < count:
        best = max(left, key=lambda line: (_gain(left[line], counts), line))
        if not _gain(left[best], counts):
            break
        counts.update(left.pop(best))
        chosen.append(best)
    return chosen


def _gain(line: Sequence[str], counts: Counter[str]) -> float:
    """Worth of a line: what is missing counts most, what is spoken often enough nothing; long lines are tiring."""
    return sum(1 / (1 + counts[phone]) for phone in set(line) if counts[phone] < ENOUGH) / (10 + len(line))
