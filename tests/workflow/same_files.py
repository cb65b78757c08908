"""What two runs of the same work must leave alike: every byte but what clocks and interruptions put in."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

#: Not compared: curves, logs and tables of run times, which only tell how a run went; files that hold locks; times of
#: files; and pages and records that quote run times (their figures lie in tables that are compared).
VIEWS = re.compile(
    r"(^|/)(tensorboard|logs|benchmarks|\.locks)/|\.lock$|(^|/)lock$"
    r"|(^|/)((runs|evaluations)\.jsonl|contents\.tsv|\.inventory\.json|report\.html|provenance\.json)$"
    r"|(^|/)report/index\.(html|csv)$"
)
#: Times of day, durations and memory, by the names that tables and records have for them.
CLOCKS = re.compile(
    r"time|started|resumes|rtf|timings|first_audio_ms|(peak|gpu)_memory_mb|cost|tokens_per_second|ratio|\w+_ms"
)
#: Files in which ``seconds`` is how long the work took, and no length of sound.
DURATIONS = re.compile(r"(^|/)(models/(gpt|sovits)\.\w+|state/.*)$")


def plain(value: Any, durations: bool = False) -> Any:
    """A value of JSON without clocks, and without the rows that tell of interruptions."""
    if isinstance(value, dict):
        kept = (key for key in value if not CLOCKS.fullmatch(key) and not (durations and key == "seconds"))
        return {key: plain(value[key], durations) for key in kept}
    if isinstance(value, list):
        pair_of_duration = durations and value[:1] == ["seconds"]
        rows = [row for row in value if not (isinstance(row, dict) and "event" in row)]
        return [] if pair_of_duration else [plain(row, durations) for row in rows]
    return value


def content(path: Path, name: str) -> Any:
    """What a file holds: values of JSON and metrics without clocks, all else as bytes."""
    durations = bool(DURATIONS.search(name))
    if path.suffix == ".json":
        found = plain(json.loads(path.read_text(encoding="utf-8")), durations)
        if path.name == "checkpoint.json":  # its digests are of files that hold clocks; their content is compared
            found["files"] = sorted(found["files"])
        return found
    if path.suffix == ".jsonl":
        return plain([json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()], durations)
    if path.name == "metrics.tsv":
        header, *rows = (line.split("\t") for line in path.read_text(encoding="utf-8").splitlines())
        return [plain(dict(zip(header, row, strict=True))) for row in rows]
    return path.read_bytes()


def files_in(root: Path) -> dict[str, Any]:
    """All files below a folder, those of killed processes too, without views."""
    names = {path.relative_to(root).as_posix(): path for path in sorted(root.rglob("*")) if path.is_file()}
    return {name: content(path, name) for name, path in names.items() if not VIEWS.search(name)}


def difference(ours: dict[str, Any], theirs: dict[str, Any]) -> str:
    """In words: files that are missing, left over or other than theirs; empty if all is equal."""
    words = [f"missing {name}" for name in theirs.keys() - ours.keys()]
    words += [f"left over {name}" for name in ours.keys() - theirs.keys()]
    words += [f"differs {name}" for name in ours.keys() & theirs.keys() if ours[name] != theirs[name]]
    return ", ".join(sorted(words))
