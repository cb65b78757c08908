"""Figures over the sentences of an evaluation, each with its interval; seeds of a sentence are averaged first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from voiceclone.evaluation.measure import MEASURES
from voiceclone.evaluation.metrics import MEANS
from voiceclone.evaluation.paired import averaged, by_sentence
from voiceclone.evaluation.statistics import (
    Interval,
    bootstrap_mean,
    bootstrap_median,
    bootstrap_ratio,
    known,
    variance_components,
)
from voiceclone.languages import BY_CHARACTER
from voiceclone.stages.evaluate import EvaluateSettings

TIMINGS = ("text_ms", "gpt_ms", "decoder_ms", "post_ms")
MEDIANS = (*MEASURES, "seconds", "rtf", *TIMINGS, "tokens_per_second", "first_audio_ms")
Rows = Sequence[Mapping[str, Any]]


def error_rates(sentences: Rows, settings: EvaluateSettings) -> dict[str, dict[str, float] | None]:
    """``wer`` and ``cer`` over all words and characters together, and their means over sentences (``_macro``).

    Args:
        sentences: rows of ``metrics.tsv``, one a sentence, with numbers as numbers.
        settings: of the bootstrap.
    """
    resampling = settings.bootstrap, settings.seed
    rates: dict[str, dict[str, float] | None] = {}
    for name, edits, units in (("wer", "word_errors", "words"), ("cer", "character_errors", "characters")):
        counted = [row for row in sentences if name == "cer" or row["language"] not in BY_CHARACTER]
        above, below = [row[edits] for row in counted], [row[units] for row in counted]
        rates[name] = _as_dict(bootstrap_ratio(above, below, *resampling))
        rates[f"{name}_macro"] = _as_dict(bootstrap_mean((row[name] for row in counted), *resampling))
    return rates


def summarise_rows(rows: Rows, settings: EvaluateSettings) -> dict[str, Any]:
    """Number of sentences, error rates, and under ``metrics`` the medians and means of the rest, with intervals."""
    sentences = averaged(rows)
    resampling = settings.bootstrap, settings.seed
    numbers = {name: _as_dict(bootstrap_median((row[name] for row in sentences), *resampling)) for name in MEDIANS}
    numbers |= {name: _as_dict(bootstrap_mean((row[name] for row in sentences), *resampling)) for name in MEANS}
    return {
        "sentences": len(sentences),
        **error_rates(sentences, settings),
        "metrics": {name: value for name, value in numbers.items() if value},
    }


def summarise_by(column: str, rows: Rows, settings: EvaluateSettings) -> dict[str, Any]:
    """Summaries of the rows with each value of a column, but for those that have none."""
    return {
        value: summarise_rows([row for row in rows if row[column] == value], settings)
        for value in sorted({row[column] for row in rows} - {""})
    }


def variances(rows: Rows) -> dict[str, dict[str, float]]:
    """Per metric the variance between sentences and that between seeds; none where each was spoken once."""
    groups = list(by_sentence(rows).values())
    found = {
        name: variance_components([list(known(row[name] for row in group)) for group in groups])
        for name in ("wer", "cer", *MEDIANS, *MEANS)
    }
    return {name: {part: round(value, 6) for part, value in parts.items()} for name, parts in found.items() if parts}


def floor(rows: Rows, recordings: Iterable[Mapping[str, Any]], settings: EvaluateSettings) -> dict[str, Any]:
    """Error rates of the recogniser on the speaker's own recordings of the same sentences; empty without any."""
    items = {row["item"] for row in rows}
    real = [row for row in averaged(recordings) if row["item"] in items]
    return {"sentences": len(real), **error_rates(real, settings)} if real else {}


def _as_dict(interval: Interval | None) -> dict[str, float] | None:
    return None if interval is None else interval.as_dict()
