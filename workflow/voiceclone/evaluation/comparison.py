"""The table of quality and speed, every bundle beside the trained model, and whether a bundle speaks as well.

Differences are taken sentence by sentence, so that what makes a sentence long or hard affects both sides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from voiceclone.errors import VoiceCloneError
from voiceclone.evaluation.statistics import Interval, bootstrap_mean, bootstrap_median, bootstrap_ratio
from voiceclone.files import Row
from voiceclone.languages import BY_CHARACTER
from voiceclone.stages.evaluate import EvaluateSettings

Table = Sequence[Mapping[str, Any]]


def losses(table: Table, baseline: Table, settings: EvaluateSettings) -> dict[str, dict[str, float]]:
    """Mean loss of a target against its baseline over the sentences of both, per metric, with its interval.

    Args:
        table: rows of ``metrics.tsv`` of the target; positive losses mean that it is worse.
        baseline: those of the trained model.
        settings: of the evaluation.
    """
    others = {row["item"]: row for row in baseline}
    pairs = [(row, others[row["item"]]) for row in table if row["item"] in others]
    found = {
        "error_rate": [_minus(_error_rate(mine), _error_rate(theirs)) for mine, theirs in pairs],
        "similarity": [_minus(theirs["similarity_campplus"], mine["similarity_campplus"]) for mine, theirs in pairs],
        "dnsmos": [_minus(theirs["dnsmos_ovrl"], mine["dnsmos_ovrl"]) for mine, theirs in pairs],
    }
    intervals = {name: bootstrap_mean(values, settings.bootstrap, settings.seed) for name, values in found.items()}
    return {name: interval.as_dict() for name, interval in intervals.items() if interval is not None}


def check_losses(target: str, found: Mapping[str, Mapping[str, float]], settings: EvaluateSettings) -> None:
    """Fail if a target is significantly worse than allowed: the whole interval of a loss lies above its limit.

    Raises:
        VoiceCloneError: names each loss with its interval and limit.
    """
    limits = {
        "error_rate": settings.max_error_rate_loss,
        "similarity": settings.max_similarity_loss,
        "dnsmos": settings.max_dnsmos_loss,
    }
    faults = [
        f"{name} worse by {loss['value']:.3f} ({loss['low']:.3f} to {loss['high']:.3f}), allowed {limits[name]}"
        for name, loss in found.items()
        if loss["low"] > limits[name]
    ]
    if faults:
        raise VoiceCloneError(
            f"target {target}: speaks worse than the trained model: " + "; ".join(faults),
            "take a more exact target, or raise the limit under 'evaluate' if you accept the loss",
        )


def _error_rate(row: Mapping[str, Any]) -> Any:
    return row["cer"] if row["language"] in BY_CHARACTER else row["wer"]


def _minus(left: Any, right: Any) -> float | None:
    if left in (None, "") or right in (None, ""):
        return None
    return float(left) - float(right)


TRAINED = "torch-fp32"
WITHOUT_TEXT = frozenset({"recordings", "resynthesis"})
STAGES = ("text_ms", "gpt_ms", "decoder_ms", "post_ms")
LATENCY = "Latency per sentence: ms, share"
RATES = {"wer": ("word_errors", "words"), "cer": ("character_errors", "characters")}


@dataclass(frozen=True)
class Column:
    """A column of the table: heading of its group above its own, form of its numbers, ``low`` or ``high`` is better."""

    name: str
    group: str
    title: str
    style: str
    better: str


COLUMNS = (
    Column("text_ms", LATENCY, "Text", "bare_ms", "low"),
    Column("gpt_ms", LATENCY, "GPT", "bare_ms", "low"),
    Column("decoder_ms", LATENCY, "SoVITS", "bare_ms", "low"),
    Column("post_ms", LATENCY, "Post", "bare_ms", "low"),
    Column("first_audio_ms", "Speed", "First audio, ms", "bare_ms", "low"),
    Column("rtf", "Speed", "RTF", "score", "low"),
    Column("tokens_per_second", "Speed", "Tokens/s", "plain", "high"),
    Column("wer", "Quality", "WER (CER), %", "bare_percent", "low"),
    Column("cer", "Quality", "CER, %", "bare_percent", "low"),
    Column("similarity_campplus", "Quality", "Similarity", "score", "high"),
    Column("dnsmos_ovrl", "Quality", "DNSMOS", "score", "high"),
    Column("distillmos", "Quality", "DistillMOS", "score", "high"),
)


def compared_targets(summaries: Mapping[str, Any]) -> list[str]:
    """Targets that speak text, the trained model first."""
    speaking = [target for target in summaries if target not in WITHOUT_TEXT]
    return sorted(speaking, key=lambda target: target != TRAINED)


def comparison(summaries: Mapping[str, Mapping[str, Any]], tables: Mapping[str, Sequence[Row]]) -> dict[str, Any]:
    """The table over all sentences.

    Args:
        summaries: ``summary.json`` by target.
        tables: rows of ``metrics.tsv`` by target.

    Returns:
        ``columns`` that have a value, ``groups`` of them with their sizes, ``missing`` titles of those that have none,
        and ``rows``: ``target``, ``sentences``, ``engine``, ``size_bytes`` and ``peak_memory_mb`` with their ``share``
        of the trained model's, ``cells``.
    """
    targets = compared_targets(summaries)
    baseline = {row["item"]: row for row in tables.get(TRAINED, ())}
    figures = {target: _figures(summaries[target], tables[target], baseline, target) for target in targets}
    columns = [column for column in COLUMNS if any(figures[target][column.name] for target in targets)]
    if {"wer", "cer"} <= {column.name for column in columns}:
        columns = [column for column in columns if column.name != "cer"]  # shown beside the other
    trained = summaries.get(TRAINED, {})
    rows = [
        {
            "target": target,
            "sentences": len(tables[target]),
            "engine": ", ".join(summaries[target].get("engines", [])),
            **{
                name: {"value": summaries[target].get(name), "share": _share(summaries[target], trained, name)}
                for name in ("size_bytes", "peak_memory_mb")
            },
            "cells": [figures[target][column.name] for column in columns],
        }
        for target in targets
    ]
    missing = [column.title.split(",")[0] for column in COLUMNS if column not in columns and column.name not in RATES]
    groups = [(group, len(list(members))) for group, members in groupby(columns, key=lambda column: column.group)]
    return {"columns": columns, "groups": groups, "missing": missing, "rows": rows}


def _share(summary: Mapping[str, Any], trained: Mapping[str, Any], name: str) -> float | None:
    mine, theirs = summary.get(name), trained.get(name)
    return mine / theirs if mine and theirs and summary is not trained else None


def _figures(
    summary: Mapping[str, Any], table: Sequence[Row], baseline: Mapping[str, Row], target: str
) -> dict[str, dict[str, Any] | None]:
    """Per column the estimate with its interval, the note beside it, and the difference to the trained model."""
    settings = summary.get("settings", {})
    bootstrap = (settings.get("bootstrap", 2000), settings.get("seed", 0))
    pairs = [] if target == TRAINED else [(row, baseline[row["item"]]) for row in table if row["item"] in baseline]
    found: dict[str, dict[str, Any] | None] = {}
    for column in COLUMNS:
        estimate = summary.get(column.name) if column.name in RATES else summary["metrics"].get(column.name)
        found[column.name] = estimate and {
            "estimate": estimate,
            "aside": _aside(summary, table, column.name),
            "difference": _judged(_difference(pairs, column.name, bootstrap), column.better),
        }
    return found


def _aside(summary: Mapping[str, Any], table: Sequence[Row], name: str) -> str:
    """Note beside a value: of a stage its share of the latency, of the word error rate that by character."""
    if name == "wer" and summary.get("cer"):
        return f"({100 * summary['cer']['value']:.1f})"
    share = _stage_share(table, name) if name in STAGES else None
    return "" if share is None else f"{100 * share:.0f} %"


def _stage_share(table: Sequence[Row], stage: str) -> float | None:
    """Share of a stage in the latency of all sentences."""
    total = sum(_number(row, name) or 0.0 for row in table for name in STAGES)
    return sum(_number(row, stage) or 0.0 for row in table) / total if total else None


def _difference(pairs: Sequence[tuple[Row, Row]], name: str, bootstrap: tuple[int, int]) -> Interval | None:
    """Target minus trained model: of the rates over all words together, else the median over sentences."""
    if name in RATES:
        return _rate_difference(pairs, name, bootstrap)
    differences = [_minus(_number(mine, name), _number(theirs, name)) for mine, theirs in pairs]
    return bootstrap_median(differences, *bootstrap)


def _rate_difference(pairs: Sequence[tuple[Row, Row]], name: str, bootstrap: tuple[int, int]) -> Interval | None:
    errors, units = RATES[name]
    counted = [pair for pair in pairs if name == "cer" or pair[0]["language"] not in BY_CHARACTER]
    more = [(_number(mine, errors) or 0.0) - (_number(theirs, errors) or 0.0) for mine, theirs in counted]
    return bootstrap_ratio(more, [_number(mine, units) or 0.0 for mine, _ in counted], *bootstrap)


def _judged(difference: Interval | None, better: str) -> dict[str, Any] | None:
    """The difference, and whether its whole interval is on one side: ``better``, ``worse`` or an empty string."""
    if difference is None:
        return None
    above, below = difference.low > 0, difference.high < 0
    verdict = "better" if (below if better == "low" else above) else "worse" if above or below else ""
    return {**difference.as_dict(), "verdict": verdict}


def _number(row: Row, name: str) -> float | None:
    text = row.get(name)
    return float(text) if text else None
