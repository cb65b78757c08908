"""The page over all voices and targets: side by side, what changed, the worst sentences, trends; the same as CSV."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from voiceclone.errors import DataError
from voiceclone.evaluation.comparison import WITHOUT_TEXT
from voiceclone.evaluation.evaluate import COLUMNS as METRICS_COLUMNS
from voiceclone.evaluation.evaluate import lines_of, measured
from voiceclone.evaluation.metrics import METRICS
from voiceclone.evaluation.summary import summarise_rows
from voiceclone.files import Row, clean_cell, read_json, table_columns, write_text
from voiceclone.languages import BY_CHARACTER
from voiceclone.lineage.provenance import FORMAT_VERSION
from voiceclone.report.material import optional_table
from voiceclone.report.page import page
from voiceclone.report.trends import SHOWN, figures_of, main_part, read_history, record_evaluations, significant, trend
from voiceclone.report.words import is_intelligible, language_name, target_name
from voiceclone.stages.evaluate import EvaluateSettings

HISTORY = "evaluations.jsonl"
COLUMNS = table_columns("index")
ALL = "all"
#: Sentences of one voice and target, and of the page, in the table of the worst.
WORST_OF_EACH, MOST_WORST = 20, 1000
#: Fewer resamples than in the evaluation: these intervals are many.
BY_LANGUAGE = EvaluateSettings(bootstrap=500)


def read_provenance(path: Path) -> dict[str, Any]:
    """``provenance.json`` of a voice.

    Raises:
        DataError: another program or a later version wrote it.
    """
    record = read_json(path)
    if not isinstance(record, dict) or record.get("format_version") != FORMAT_VERSION:
        raise DataError(
            f"{path}: not a provenance file of format {FORMAT_VERSION}", "make the report of this voice again"
        )
    return record


def address(path: Path, output: Path) -> str:
    """Relative address of a file for a page."""
    return quote(Path(os.path.relpath(path, output.parent)).as_posix())


def by_language(summary: Mapping[str, Any], table: Sequence[Row]) -> dict[str, Mapping[str, Any]]:
    """Figures of the shared sentences by language, under ``all`` those of every language together."""
    part = main_part(summary)
    kind = "heldout" if summary["by_kind"].get("heldout") else ""
    rows = [row for row in table if not kind or row["kind"] == kind]
    languages = sorted({row["language"] for row in rows})
    found = {ALL: part}
    for language in languages if len(languages) > 1 else ():
        found[language] = summarise_rows(numbers([r for r in rows if r["language"] == language]), BY_LANGUAGE)
    return found


def numbers(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Rows of a table, cells that are empty or of a column that an earlier version did not have as None."""
    return [dict.fromkeys(METRICS_COLUMNS) | {name: cell or None for name, cell in row.items()} for row in rows]


def target_rows(summary: Mapping[str, Any], table: Sequence[Row], last: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rows of one target: all languages, then each where there are several.

    Args:
        summary: of the target.
        table: its ``metrics.tsv``.
        last: its last line of the history, for what changed.
    """
    languages = sorted({row["language"] for row in table})
    rows = []
    for language, part in by_language(summary, table).items():
        cells = figures_of(part)
        rows.append(
            {
                "target": summary["target"],
                "language": language,
                # A filter by language finds the only row of a voice that speaks but one.
                "filter": language if language != ALL else languages[0] if len(languages) == 1 else "",
                "sentences": part.get("sentences"),
                "cells": cells,
                "changes": last.get("changes", {}) if language == ALL else {},
                "size_bytes": summary.get("size_bytes"),
                "peak_memory_mb": summary.get("peak_memory_mb"),
                "failures": sum(bool(row.get("failure")) for row in table if language in (ALL, row["language"])),
            }
        )
    return rows


def error_rate(row: Row) -> float:
    """Share of a sentence that is wrong, of characters or words as its language has it."""
    return float(row["cer" if row["language"] in BY_CHARACTER else "wer"] or 0)


def worst_sentences(table: Sequence[Row], voice: str, target: str, folder: Path, output: Path) -> list[dict[str, Any]]:
    """Sentences of a target in which anything was misheard, the worst first."""
    wrong = [row for row in table if error_rate(row) > 0]
    wrong.sort(key=lambda row: (not row.get("failure"), -error_rate(row), row["item"]))
    return [
        {
            **row,
            "voice": voice,
            "target": target,
            "rate": error_rate(row),
            "sound": address(folder / row["audio"], output) if row["audio"] else "",
        }
        for row in wrong[:WORST_OF_EACH]
    ]


def voice_entry(
    path: Path, record: Mapping[str, Any], output: Path, history: Mapping[tuple[str, str], Sequence[Mapping[str, Any]]]
) -> dict[str, Any]:
    """Content of the page for one voice."""
    rows, worst = [], []
    summaries = measured(record["evaluations"])
    for target in (name for name in record["targets"] if name in summaries):
        folder = path.parent / "eval" / target
        table = optional_table(folder / "metrics.tsv")
        lines = history.get((record["speaker"], target), ())
        rows += target_rows(summaries[target], table, lines[-1] if lines else {})
        if target not in WITHOUT_TEXT:
            worst += worst_sentences(table, record["speaker"], target, folder, output)
    return {
        "speaker": record["speaker"],
        "link": address(path.parent / "report.html", output),
        "corpus": record["corpus"],
        "preset": record["config"].get("preset"),
        "version": record["code"]["version"],
        "commit": record["code"]["commit"],
        "dirty": record["code"]["dirty"],
        "created": record["created"],
        "intelligible": is_intelligible(summaries),
        "rows": rows,
        "worst": worst,
        "not_measured": lines_of(record["evaluations"]),
    }


def filters(
    voices: Sequence[Mapping[str, Any]], worst: Sequence[Mapping[str, Any]], history: Iterable[tuple[str, str]]
) -> list[tuple[str, str, list[tuple[str, str]]]]:
    """Property, heading and options (value, words) of each filter."""
    rows = [row for voice in voices for row in voice["rows"]]
    languages = sorted({row["language"] for row in worst} | {row["filter"] for row in rows} - {""})
    return [
        ("voice", "Voice", [(n, n) for n in sorted({voice["speaker"] for voice in voices} | {n for n, _ in history})]),
        ("language", "Language", [(code, language_name(code)) for code in languages]),
        ("target", "Target", [(name, target_name(name)) for name in dict.fromkeys(row["target"] for row in rows)]),
    ]


def csv_text(voices: Sequence[Mapping[str, Any]]) -> str:
    """The table side by side as CSV (RFC 4180, LF); columns as in ``workflow/schemas/index.schema.yaml``."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for voice in voices:
        for row in voice["rows"]:
            cells = {
                "voice": voice["speaker"],
                "time": voice["created"],
                **{k: voice[k] for k in ("version", "commit")},
            }
            for name, cell in row["cells"].items():
                if cell:
                    cells |= {name: cell["value"], f"{name}_low": cell["low"], f"{name}_high": cell["high"]}
            for verdict in ("worse", "better"):
                cells[verdict] = ",".join(n for n, change in row["changes"].items() if change["verdict"] == verdict)
            cells |= {name: row[name] for name in COLUMNS if name in row}
            writer.writerow({name: clean_cell(cell) for name, cell in cells.items()})
    return text.getvalue()


def collect_report(provenance_files: Sequence[Path], output: Path) -> None:
    """Write one HTML page over the voices whose ``provenance.json`` are given, each linked to its own report.

    Beside it goes its table as CSV. Evaluations that are not in the history yet, ``evaluations.jsonl`` in the folder
    of results, are appended to it.
    """
    records = sorted(
        ((path, read_provenance(path)) for path in provenance_files), key=lambda entry: str(entry[1]["speaker"])
    )
    known = output.parent.parent / HISTORY
    for path, record in records:
        record_evaluations(known, path.parent, record)
    history = read_history(known)
    voices = [voice_entry(path, record, output, history) for path, record in records]
    worst = sorted(
        (row for voice in voices for row in voice["worst"]), key=lambda row: (not row.get("failure"), -row["rate"])
    )
    html = page(
        "index.html",
        voices=voices,
        metrics={name: metric for name in SHOWN for metric in METRICS if metric.name == name},
        seconds=sum(voice["corpus"]["seconds"] for voice in voices),
        utterances=sum(voice["corpus"]["utterances"] for voice in voices),
        unclear=[voice["speaker"] for voice in voices if not voice["intelligible"]],
        changes=significant(history),
        worst=worst[:MOST_WORST],
        trends=[trend(history, name) for name in sorted({voice for voice, _ in history})],
        worst_of_each=WORST_OF_EACH,
        filters=filters(voices, worst, history),
    )
    write_text(output.with_suffix(".csv"), csv_text(voices))
    write_text(output, html)
