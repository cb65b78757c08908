"""How far two phone sequences agree, for comparisons with recorded front ends."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def distance(first: Sequence[str], second: Sequence[str]) -> int:
    """Levenshtein distance."""
    row = list(range(len(second) + 1))
    for i, x in enumerate(first, 1):
        diagonal, row[0] = row[0], i
        for j, y in enumerate(second, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (x != y))
    return row[-1]


def agreement(pairs: Iterable[tuple[Sequence[str], Sequence[str]]]) -> float:
    """1 less the edits per recorded phone."""
    pairs = list(pairs)
    return 1 - sum(distance(*pair) for pair in pairs) / sum(len(recorded) for _, recorded in pairs)
