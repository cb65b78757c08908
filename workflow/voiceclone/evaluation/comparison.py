"""The table of quality and speed, every bundle beside the trained model, and whether a bundle speaks as well.

Differences are taken sentence by sentence, so that what makes a sentence long or hard affects both sides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

from voiceclone.errors import VoiceCloneError
from voiceclone.evaluation.metrics import BY_NAME
from voiceclone.evaluation.paired import averaged
from voiceclone.evaluation.statistics import CONFIDENCE, Interval, bootstrap_median, bootstrap_ratio, holm, paired_test
from voiceclone.files import Row
from voiceclone.languages import BY_CHARACTER
from voiceclone.stages.evaluate import EvaluateSettings

Table = Sequence[Mapping[str, Any]]


def _badness(rows: Table) -> dict[str, list[float]]:
    """Per gate the values of the sentences, larger is worse: errors, and measures with their sign turned."""

    def turned(name: str) -> list[float]:
        return [float("nan") if (value := _number(row, name)) is None else -value for row in rows]

    errors = [_number(row, _unit_columns(row)[0]) or 0.0 for row in rows]
    return {"error_rate": errors, "similarity": turned("similarity_campplus"), "dnsmos": turned("dnsmos_ovrl")}


def losses(table: Table, baseline: Table, settings: EvaluateSettings) -> dict[str, dict[str, Any]]:
    """What a target loses against its baseline, by :func:`judge` over the sentences of both.

    Args:
        table: rows of ``metrics.tsv`` of the target.
        baseline: those of the trained model.
        settings: of the evaluation.
    """
    mine, theirs = ({row["item"]: row for row in averaged(rows)} for rows in (table, baseline))
    both = [item for item in mine if item in theirs]
    before, after = (_badness([rows[item] for item in both]) for rows in (theirs, mine))
    sizes = [_number(theirs[item], _unit_columns(theirs[item])[1]) or 0.0 for item in both]
    sides = {
        name: (limit, before[name], after[name], sizes if name == "error_rate" else None)
        for name, limit in _limits(settings).items()
    }
    return judge(sides, settings.bootstrap, settings.seed)


Sides = tuple[float, Sequence[float], Sequence[float], Sequence[float] | None]


def judge(sides: Mapping[str, Sides], resamples: int, seed: int) -> dict[str, dict[str, Any]]:
    """What is lost in each metric from a first to a second side, by the paired test over sentences.

    A loss is ``significant`` where the test that takes the limit for no difference rejects it at 5 %, Holm's correction
    over the metrics included. It is ``unseen`` where these sentences would not have shown one: they find a loss with
    90 % power only above the limit, or are too few for any p below 5 %.

    Args:
        sides: per metric the limit, the sentences' values on both sides, larger is worse, and their units, as in
            :func:`voiceclone.evaluation.statistics.paired_test`.
        resamples: of the test.
        seed: the same.

    Returns:
        Per metric ``value`` with ``low`` and ``high``, positive where the second side is worse, ``n`` sentences,
        ``limit``, ``p``, ``detectable``, ``significant``, ``unseen``.
    """
    found = {}
    for name, (limit, first, second, units) in sides.items():
        allowed = [limit * size for size in units or [1.0] * len(first)]
        plain = paired_test(first, second, units, resamples, seed)
        shifted = [value + more for value, more in zip(first, allowed, strict=True)]
        beyond = paired_test(shifted, second, units, resamples, seed)
        if plain is not None and beyond is not None:
            found[name] = (limit, plain, beyond)
    adjusted = holm([beyond.p for _, _, beyond in found.values()])
    return {
        name: {
            **plain.difference.as_dict(),
            "limit": limit,
            "p": round(p, 6),
            "detectable": round(plain.detectable, 6),
            "significant": p <= 1 - CONFIDENCE and plain.difference.value > limit,
            "unseen": plain.detectable > limit or len(found) * 2.0 ** (1 - plain.difference.n) > 1 - CONFIDENCE,
        }
        for (name, (limit, plain, beyond)), p in zip(found.items(), adjusted, strict=True)
    }


def _limits(settings: EvaluateSettings) -> dict[str, float]:
    return {
        "error_rate": settings.max_error_rate_loss,
        "similarity": settings.max_similarity_loss,
        "dnsmos": settings.max_dnsmos_loss,
    }


def _unit_columns(row: Mapping[str, Any]) -> tuple[str, str]:
    """Columns of the errors that count in a language, and of what they are counted in."""
    return RATES["cer" if row["language"] in BY_CHARACTER else "wer"]


def unseen(found: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Lines about gates that passed though their sentences could not have shown a fault."""
    return [
        f"{name}: no evidence: {loss['n']:.0f} sentences would show a loss from {loss['detectable']:.2g} on, the limit "
        f"is {loss['limit']:g}"
        for name, loss in found.items()
        if loss["unseen"] and not loss["significant"]
    ]


def check_losses(target: str, found: Mapping[str, Mapping[str, Any]]) -> None:
    """Fail if a target is significantly worse than allowed.

    Raises:
        VoiceCloneError: names each loss with its interval and limit.
    """
    faults = [
        f"{name} worse by {loss['value']:.3f} ({loss['low']:.3f} to {loss['high']:.3f}), allowed {loss['limit']}"
        for name, loss in found.items()
        if loss["significant"]
    ]
    if faults:
        raise VoiceCloneError(
            f"target {target}: speaks worse than the trained model: " + "; ".join(faults),
            "take a more exact target, or raise the limit under 'evaluate' if you accept the loss",
        )


def _minus(left: float | None, right: float | None) -> float | None:
    return None if left is None or right is None else left - right


TRAINED, HALF, ZERO_SHOT = "torch-fp32", "torch-fp16", "zero-shot"
WITHOUT_TEXT = frozenset({"recordings", "resynthesis"})
STAGES = ("text_ms", "gpt_ms", "decoder_ms", "post_ms")
LATENCY = "Latency per sentence: ms, share"
#: Entries of ``summary.json``, with a title and their parts in 10^6 bytes.
MEMORY = (("size_bytes", "Disk", 1e6), ("peak_memory_mb", "Memory", 1.0), ("gpu_memory_mb", "GPU", 1.0))
#: Name of the row of the trained model's evaluation before, of another training.
PREVIOUS = "previous release"
RATES = {"wer": ("word_errors", "words"), "cer": ("character_errors", "characters")}


@dataclass(frozen=True)
class Column:
    """A column of the table: its metric, heading of its group above its own, form of its numbers."""

    name: str
    group: str
    title: str
    style: str

    @property
    def better(self) -> str:
        """``low`` or ``high``."""
        return BY_NAME[self.name].better


COLUMNS = (
    Column("text_ms", LATENCY, "Text", "bare_ms"),
    Column("gpt_ms", LATENCY, "GPT", "bare_ms"),
    Column("decoder_ms", LATENCY, "SoVITS", "bare_ms"),
    Column("post_ms", LATENCY, "Post", "bare_ms"),
    Column("first_audio_ms", "Speed", "First audio, ms", "bare_ms"),
    Column("rtf", "Speed", "RTF", "score"),
    Column("tokens_per_second", "Speed", "Tokens/s", "plain"),
    Column("wer", "Quality", "WER (CER), %", "bare_percent"),
    Column("cer", "Quality", "CER, %", "bare_percent"),
    Column("similarity_campplus", "Quality", "Similarity", "score"),
    Column("dnsmos_ovrl", "Quality", "DNSMOS", "score"),
    Column("distillmos", "Quality", "DistillMOS", "score"),
)


#: The same beside a teacher, whose speaker is the student's: how like the speaker both are, over the speaker's own.
BESIDE_TEACHER = tuple(
    replace(column, name="similarity_relative") if column.name == "similarity_campplus" else column
    for column in COLUMNS
)


def compared_targets(summaries: Mapping[str, Any], first: str = TRAINED) -> list[str]:
    """Targets that speak text, the trained model first."""
    speaking = [target for target in summaries if target not in WITHOUT_TEXT]
    return sorted(speaking, key=lambda target: target != first)


def comparison(
    summaries: Mapping[str, Mapping[str, Any]],
    tables: Mapping[str, Sequence[Row]],
    first: str = TRAINED,
    shown: Sequence[Column] = COLUMNS,
) -> dict[str, Any]:
    """The table over all sentences.

    Args:
        summaries: ``summary.json`` by target.
        tables: rows of ``metrics.tsv`` by target.
        first: target that the others are held against.
        shown: columns.

    Returns:
        ``columns`` that have a value, ``groups`` of them with their sizes, titles of ``memory``, ``missing`` titles of
        columns that have none, and ``rows``: ``target``, ``sentences``, ``engine``, ``memory`` in ``mb`` with its
        ``share`` of the trained model's, ``cells``.
    """
    targets = compared_targets(summaries, first)
    spoken = {target: averaged(tables[target]) for target in targets}
    baseline = {row["item"]: row for row in spoken.get(first, ())}
    figures = {
        target: _figures(summaries[target], spoken[target], {} if target == first else baseline, shown)
        for target in targets
    }
    columns = [column for column in shown if any(figures[target][column.name] for target in targets)]
    if {"wer", "cer"} <= {column.name for column in columns}:
        columns = [column for column in columns if column.name != "cer"]  # shown beside the other
    trained = summaries.get(first, {})
    memory = [entry for entry in MEMORY if any(summaries[target].get(entry[0]) for target in targets)]
    rows = [
        {
            "target": target,
            "sentences": len(spoken[target]),
            "engine": ", ".join(summaries[target].get("engines", [])),
            "memory": [
                {"mb": (summaries[target].get(name) or 0) / unit, "share": _share(summaries[target], trained, name)}
                for name, _, unit in memory
            ],
            "cells": [figures[target][column.name] for column in columns],
        }
        for target in targets
    ]
    missing = [column.title.split(",")[0] for column in shown if column not in columns and column.name not in RATES]
    groups = [(group, len(list(members))) for group, members in groupby(columns, key=lambda column: column.group)]
    titles = [title for _, title, _ in memory]
    return {"columns": columns, "groups": groups, "memory": titles, "missing": missing, "rows": rows}


def _share(summary: Mapping[str, Any], trained: Mapping[str, Any], name: str) -> float | None:
    mine, theirs = summary.get(name), trained.get(name)
    return mine / theirs if mine and theirs and summary is not trained else None


def _figures(
    summary: Mapping[str, Any], table: Table, baseline: Mapping[str, Mapping[str, Any]], shown: Sequence[Column]
) -> dict[str, dict[str, Any] | None]:
    """Per column the estimate with its interval, the note beside it, and the difference to the baseline's rows."""
    settings = summary.get("settings", {})
    bootstrap = (settings.get("bootstrap", 2000), settings.get("seed", 0))
    pairs = [(row, baseline[row["item"]]) for row in table if row["item"] in baseline]
    found: dict[str, dict[str, Any] | None] = {}
    for column in shown:
        estimate = summary.get(column.name) if column.name in RATES else summary["metrics"].get(column.name)
        found[column.name] = estimate and {
            "estimate": estimate,
            "aside": _aside(summary, table, column.name),
            "difference": _judged(_difference(pairs, column.name, bootstrap), column.better),
        }
    return found


def _aside(summary: Mapping[str, Any], table: Table, name: str) -> str:
    """Note beside a value: of a stage its share of the latency, of the word error rate that by character."""
    if name == "wer" and summary.get("cer"):
        return f"({100 * summary['cer']['value']:.1f})"
    share = _stage_share(table, name) if name in STAGES else None
    return "" if share is None else f"{100 * share:.0f} %"


def _stage_share(table: Table, stage: str) -> float | None:
    """Share of a stage in the latency of all sentences."""
    total = sum(_number(row, name) or 0.0 for row in table for name in STAGES)
    return sum(_number(row, stage) or 0.0 for row in table) / total if total else None


def _difference(
    pairs: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]], name: str, bootstrap: tuple[int, int]
) -> Interval | None:
    """Target minus trained model: of the rates over all words together, else the median over sentences."""
    if name in RATES:
        return _rate_difference(pairs, name, bootstrap)
    differences = [_minus(_number(mine, name), _number(theirs, name)) for mine, theirs in pairs]
    return bootstrap_median(differences, *bootstrap)


def _rate_difference(
    pairs: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]], name: str, bootstrap: tuple[int, int]
) -> Interval | None:
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


def _number(row: Mapping[str, Any], name: str) -> float | None:
    value = row.get(name)
    return None if value in (None, "") else float(value)
