"""Targets that cannot run on this machine: their files say so, and so does the report."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from voiceclone.files import write_json, write_tsv
from voiceclone.progress import announce
from voiceclone.tensorrt.engines import why_not
from voiceclone.tensorrt.standard import is_tensorrt

log = logging.getLogger(__name__)


def not_measured(target: str, bundle: Path | None) -> str:
    """Why a target is not evaluated here, in one line that names it; empty if it is."""
    reason = why_not() if is_tensorrt(target) else ""
    if not reason:
        return ""
    place = bundle.parent if bundle else f"export/{target}"
    return f"{target}: not measured: {reason}; build with 'voiceclone bundle build {place}' on one that has it"


def write_not_measured(target: str, line: str, columns: Sequence[str], output_dir: Path, label: str) -> None:
    """The files of an evaluation without any sentence."""
    write_tsv(output_dir / "metrics.tsv", columns, [])
    write_json(output_dir / "summary.json", {"target": target, "not_measured": line})
    log.warning("%s", line)
    announce(f"{label}: {line}")


def measured(summaries: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """The summaries that have figures."""
    return {target: summary for target, summary in summaries.items() if "not_measured" not in summary}


def lines_of(summaries: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What is said of the others."""
    return [summary["not_measured"] for summary in summaries.values() if "not_measured" in summary]
