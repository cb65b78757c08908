"""The page over all voices and targets side by side."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from voiceclone.errors import DataError
from voiceclone.evaluation.evaluate import lines_of, measured
from voiceclone.evaluation.metrics import METRICS
from voiceclone.files import read_json, write_text
from voiceclone.lineage.provenance import FORMAT_VERSION
from voiceclone.report.page import page

SHOWN = ("wer", "cer", "similarity_campplus", "similarity_ge2e", "distillmos", "dnsmos_ovrl", "rtf")


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


def voice_entry(path: Path, record: Mapping[str, Any], output: Path) -> dict[str, Any]:
    """Content of the page for one voice."""
    rows = []
    summaries = measured(record["evaluations"])
    for target in (name for name in record["targets"] if name in summaries):
        summary = summaries[target]
        part = summary["by_kind"].get("heldout") or {}
        values = {**part.get("metrics", {}), "wer": part.get("wer"), "cer": part.get("cer")}
        rows.append(
            {
                "target": target,
                "cells": [values.get(name) for name in SHOWN],
                "size_bytes": summary.get("size_bytes"),
                "peak_memory_mb": summary.get("peak_memory_mb"),
                "failures": len(summary.get("failures", [])),
            }
        )
    return {
        "speaker": record["speaker"],
        "link": Path(os.path.relpath(path.parent / "report.html", output.parent)).as_posix(),
        "corpus": record["corpus"],
        "preset": record["config"].get("preset"),
        "commit": record["code"]["commit"],
        "dirty": record["code"]["dirty"],
        "created": record["created"],
        "scratch": record["from_scratch"],
        "rows": rows,
        "not_measured": lines_of(record["evaluations"]),
    }


def collect_report(provenance_files: Sequence[Path], output: Path) -> None:
    """Write one HTML page over the voices whose ``provenance.json`` are given, each linked to its own report."""
    voices = sorted(
        (voice_entry(path, read_provenance(path), output) for path in provenance_files),
        key=lambda voice: str(voice["speaker"]),
    )
    metrics = [metric for name in SHOWN for metric in METRICS if metric.name == name]
    html = page(
        "index.html",
        voices=voices,
        metrics=metrics,
        seconds=sum(voice["corpus"]["seconds"] for voice in voices),
        utterances=sum(voice["corpus"]["utterances"] for voice in voices),
        scratch=[voice["speaker"] for voice in voices if voice["scratch"]],
    )
    write_text(output, html)
