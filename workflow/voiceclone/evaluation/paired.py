"""Two evaluations side by side: voices, bundles, runs or releases, sentence by sentence over the same texts.

The unit is the sentence: seeds of one sentence are averaged first, since they share what makes it hard.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from voiceclone.errors import DataError
from voiceclone.evaluation.metrics import BY_NAME, Metric
from voiceclone.evaluation.statistics import CONFIDENCE, POWER, holm, paired_test
from voiceclone.files import Row, read_tsv, table_numbers


@dataclass(frozen=True)
class Compared:
    """A metric that decides: its name here, what it is, its columns in ``metrics.tsv``."""

    name: str
    metric: Metric
    value: str
    units: str = ""

    @property
    def unit(self) -> str:
        """Of the shown numbers: rates are shown in points of 100."""
        return "points of 100" if self.units else self.metric.unit


#: Few metrics, since each one costs the others power (Holm).
DECIDING = (
    Compared("cer", BY_NAME["cer"], "character_errors", "characters"),
    Compared("similarity", BY_NAME["similarity_campplus"], "similarity_campplus"),
    Compared("distillmos", BY_NAME["distillmos"], "distillmos"),
    Compared("dnsmos", BY_NAME["dnsmos_ovrl"], "dnsmos_ovrl"),
)
COLUMNS = ("item", "language", "text", "character_errors", "characters")
#: Columns of ``metrics.tsv`` that hold numbers which differ between the seeds of a sentence.
NUMBERS = table_numbers("metrics") - {"seed"}


def find_metrics(place: Path, target: str = "torch-fp32") -> Path:
    """``metrics.tsv`` of a voice (``results/NAME``), an evaluation, a bundle in ``results/NAME/export``, or the file.

    Raises:
        DataError: nothing was evaluated there.
    """
    candidates = [
        place,
        place / "metrics.tsv",
        place / "eval" / target / "metrics.tsv",
        place.parent.parent / "eval" / place.name / "metrics.tsv",
    ]
    found = next((path for path in candidates if path.is_file() and path.name.endswith(".tsv")), None)
    if found is None:
        raise DataError(
            f"{place}: no evaluation of {target} there",
            "expected results/NAME, results/NAME/eval/TARGET, results/NAME/export/TARGET or a metrics.tsv; "
            "'snakemake --cores all evaluate_all' makes them",
        )
    return found


AnyRow = TypeVar("AnyRow", bound=Mapping[str, Any])


def by_sentence(rows: Iterable[AnyRow]) -> dict[tuple[str, str, str], list[AnyRow]]:
    """The rows of each sentence, one a seed, by item, language and text."""
    found: dict[tuple[str, str, str], list[AnyRow]] = defaultdict(list)
    for row in rows:
        found[row["item"], row["language"], row["text"]].append(row)
    return found


def averaged(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One row a sentence: of each number the mean over the seeds that have it (else None), the rest as in the first."""
    return [
        {name: _known_mean(group, name) if name in NUMBERS else value for name, value in group[0].items()}
        for group in by_sentence(rows).values()
    ]


def _known_mean(rows: Sequence[Mapping[str, Any]], column: str) -> float | None:
    values = [float(row[column]) for row in rows if row.get(column) not in (None, "")]
    return sum(values) / len(values) if values else None


def _mean(rows: Sequence[Mapping[str, Any]], column: str) -> float:
    mean = _known_mean(rows, column)
    return float("nan") if mean is None else mean


def compare_tables(first: Sequence[Row], second: Sequence[Row], resamples: int = 5000, seed: int = 0) -> dict[str, Any]:
    """Paired comparison of two tables of ``metrics.tsv``.

    Returns:
        ``sentences`` compared, ``only_first`` and ``only_second`` of other texts, ``seeds`` of each, and per metric
        ``first``, ``second``, ``difference`` (second minus first) with its interval, ``p`` adjusted by Holm,
        ``detectable`` and a ``verdict``: ``better``, ``worse`` or ``no evidence``.

    Raises:
        DataError: no sentence stands in both.
    """
    left, right = by_sentence(first), by_sentence(second)
    names = sorted(left.keys() & right.keys())
    if not names:
        raise DataError("no sentence was spoken by both", "evaluate both with the same sentences and settings")
    tests = []
    for metric in DECIDING:
        values = [[_mean(table[name], metric.value) for name in names] for table in (left, right)]
        units = [_mean(left[name], metric.units) for name in names] if metric.units else None
        if (test := paired_test(values[0], values[1], units, resamples, seed)) is not None:
            tests.append((metric, values, units, test))
    metrics = {}
    for (metric, values, units, test), p in zip(tests, holm([test.p for *_, test in tests]), strict=True):
        scale = 100.0 if metric.units else 1.0
        means = [_overall(side, units) for side in values]
        gain = test.difference.value * (-1 if metric.metric.better == "low" else 1)
        metrics[metric.name] = {
            "title": metric.metric.title,
            "unit": metric.unit,
            "better": metric.metric.better,
            "first": scale * means[0],
            "second": scale * means[1],
            "difference": {
                "value": scale * test.difference.value,
                "low": scale * test.difference.low,
                "high": scale * test.difference.high,
                "n": test.difference.n,
            },
            "p": p,
            "detectable": scale * test.detectable,
            "verdict": "no evidence" if p > 1 - CONFIDENCE else "better" if gain > 0 else "worse",
        }
    return {
        "sentences": len(names),
        "only_first": len(left) - len(names),
        "only_second": len(right) - len(names),
        "seeds": [max(len(rows) for rows in table.values()) for table in (left, right)],
        "confidence": CONFIDENCE,
        "power": POWER,
        "metrics": metrics,
    }


def _overall(values: Sequence[float], units: Sequence[float] | None) -> float:
    kept = [(value, 1.0 if units is None else units[index]) for index, value in enumerate(values) if value == value]
    return sum(value for value, _ in kept) / sum(unit for _, unit in kept)


def worst_changes(first: Sequence[Row], second: Sequence[Row], count: int = 20) -> list[dict[str, Any]]:
    """Sentences with the most additional character errors in the second table, the worst first."""
    left, right = by_sentence(first), by_sentence(second)
    rows: list[dict[str, Any]] = [
        {
            "item": item,
            "language": language,
            "text": text,
            "first": left[item, language, text][0].get("hypothesis", ""),
            "second": right[item, language, text][0].get("hypothesis", ""),
            "errors": _mean(right[item, language, text], "character_errors")
            - _mean(left[item, language, text], "character_errors"),
        }
        for item, language, text in left.keys() & right.keys()
    ]
    changed = [row for row in rows if row["errors"] > 0]
    return sorted(changed, key=lambda row: (-row["errors"], row["item"]))[:count]


def compare(first: Path, second: Path, target: str = "torch-fp32", seed: int = 0) -> dict[str, Any]:
    """:func:`compare_tables` of two places, see :func:`find_metrics`, with their files and the worst sentences."""
    files = [find_metrics(place, target) for place in (first, second)]
    before, after = (read_tsv(file, COLUMNS) for file in files)
    return {
        "files": [file.as_posix() for file in files],
        **compare_tables(before, after, seed=seed),
        "worst": worst_changes(before, after),
    }
