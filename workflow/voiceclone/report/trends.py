"""The history of evaluations, one line per voice and target, and how each voice moved from one to the next."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from voiceclone.errors import DataError
from voiceclone.evaluation.comparison import HALF, TRAINED, WITHOUT_TEXT, ZERO_SHOT
from voiceclone.evaluation.evaluate import measured
from voiceclone.evaluation.metrics import METRICS
from voiceclone.evaluation.paired import COLUMNS, DECIDING, compare_tables
from voiceclone.files import canonical_json, digest, read_json, read_jsonl, read_tsv, sha256_file
from voiceclone.report.charts import trend_chart
from voiceclone.report.words import TRAININGS, figure, target_name

SHOWN = ("wer", "cer", "similarity_campplus", "similarity_ge2e", "distillmos", "dnsmos_ovrl", "rtf")
#: Metrics with a curve, and those that are tested by the column that they are shown in.
CURVES = ("cer", "similarity_campplus", "distillmos")
TESTED = {metric.name: metric.name if metric.units else metric.value for metric in DECIDING}
#: With more lines none can be told from another.
MOST_LINES = 2


def main_part(summary: Mapping[str, Any]) -> Mapping[str, Any]:
    """Figures of the sentences that all targets share; of all sentences where nothing was held out."""
    part: Mapping[str, Any] = summary["by_kind"].get("heldout") or summary
    return part


def figures_of(part: Mapping[str, Any], names: Iterable[str] = SHOWN) -> dict[str, Mapping[str, float] | None]:
    """Estimates with their intervals by the name of the metric."""
    rates = {"wer": part.get("wer"), "cer": part.get("cer")}
    return {name: rates[name] if name in rates else part.get("metrics", {}).get(name) for name in names}


def changes_since(folder: Path, before: Mapping[str, Any] | None) -> dict[str, Any]:
    """Paired comparison of ``folder/metrics.tsv`` with the evaluation before, where its table was kept.

    Args:
        folder: ``results/NAME/eval/TARGET``; earlier tables lie in ``earlier/*/metrics.tsv``.
        before: line of the history; None: there is none, and the newest earlier table is taken.

    Returns:
        Column of ``metrics.tsv`` -> what :func:`compare_tables` found; empty where nothing can be compared, as where
        other models measured.
    """
    earlier = sorted((folder / "earlier").glob("*/metrics.tsv"), key=lambda path: (path.stat().st_mtime_ns, path))
    if before is not None:
        earlier = [path for path in earlier if sha256_file(path) == before["metrics_sha256"]]
    if not earlier:
        return {}
    if len({measured_by(place / "summary.json") for place in (earlier[-1].parent, folder)} - {""}) > 1:
        return {}
    try:
        found = compare_tables(read_tsv(earlier[-1], COLUMNS), read_tsv(folder / "metrics.tsv", COLUMNS))
    except DataError:  # no sentence in common
        return {}
    return {TESTED[name]: values for name, values in found["metrics"].items()}


def measured_by(summary: Path) -> str:
    """Digest of the models that measured an evaluation, and of how the recogniser searched; empty if unknown."""
    found = read_json(summary) if summary.is_file() else {}
    return digest([found["assets"], found["settings"].get("beam_size")]) if found.get("assets") else ""


def read_history(path: Path) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """Lines of ``evaluations.jsonl`` by voice and target, in the order in which they were written."""
    lines: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for line in read_jsonl(path) if path.is_file() else ():
        lines[line["voice"], line["target"]].append(line)
    return lines


def record_evaluations(history: Path, results: Path, provenance: Mapping[str, Any]) -> None:
    """Append a line for every target of a voice that was evaluated again since its last line.

    Args:
        history: ``results/evaluations.jsonl``; made if absent.
        results: the voice's folder.
        provenance: its ``provenance.json``.
    """
    lines = read_history(history)
    runs = history.with_name("runs.jsonl")
    started = read_jsonl(runs) if runs.is_file() else []
    models, fresh = provenance["models"], []
    for target, summary in measured(provenance["evaluations"]).items():
        folder = results / "eval" / target
        if not (folder / "metrics.tsv").is_file():
            continue
        known = lines[provenance["speaker"], target]
        content = sha256_file(folder / "metrics.tsv")
        if known and known[-1]["metrics_sha256"] == content:
            continue
        part = main_part(summary)
        fresh.append(
            {
                "voice": provenance["speaker"],
                "target": target,
                "run": started[-1]["time"] if started else provenance["created"],
                "time": provenance["created"],
                **{name: provenance["code"].get(name) for name in ("version", "commit", "dirty")},
                "fingerprints": {name: model.get("fingerprint") for name, model in models.items()},
                "begun": {name: model["started"] for name, model in models.items() if model.get("started")},
                "metrics_sha256": content,
                "source": summary.get("source"),
                "measured_by": measured_by(folder / "summary.json"),
                "sentences": part.get("sentences"),
                "metrics": {name: cell["value"] for name, cell in figures_of(part).items() if cell},
                "changes": changes_since(folder, known[-1] if known else None),
            }
        )
    if fresh:
        history.parent.mkdir(parents=True, exist_ok=True)
        with history.open("a", encoding="utf-8") as handle:
            handle.writelines(canonical_json(line) + "\n" for line in fresh)


def reasons(line: Mapping[str, Any], before: Mapping[str, Any] | None) -> list[str]:
    """Differences from the evaluation before: why trainings started again, settings of the evaluation, the code."""
    if before is None:
        return []
    found = [
        f"{TRAININGS.get(name, name).split(':')[0]}: {text}"
        for name, text in line["begun"].items()
        if line["fingerprints"].get(name) != before["fingerprints"].get(name)
    ]
    if len({line.get("measured_by"), before.get("measured_by")} - {None, ""}) > 1:
        found.append("measured by other models, so not compared")
    elif line.get("source") and line["source"] == before.get("source"):
        found.append("the same voice: sentences, pronunciations or settings of the evaluation")
    if line["commit"] != before["commit"] or line["version"] != before["version"]:
        found.append(f"code {(before['commit'] or before['version'])[:8]} → {(line['commit'] or line['version'])[:8]}")
    return found


def significant(history: Mapping[tuple[str, str], Sequence[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """Metrics that changed significantly in the last evaluation of each voice and target, worse ones first."""
    rows = []
    for (voice, target), lines in history.items():
        line, before = lines[-1], lines[-2] if len(lines) > 1 else None
        for name, change in line["changes"].items():
            if change["verdict"] != "no evidence":
                since = {"voice": voice, "target": target, "name": name, "time": line["time"]}
                rows.append({**change, **since, "reasons": reasons(line, before)})
    return sorted(rows, key=lambda row: (row["verdict"] != "worse", row["voice"], row["target"], row["name"]))


def trend(history: Mapping[tuple[str, str], Sequence[Mapping[str, Any]]], voice: str) -> dict[str, Any]:
    """Curves of a voice over its evaluations.

    Returns:
        ``evaluations``: how many; ``targets`` with a curve, the trained model first; ``charts`` with title and SVG;
        ``lines`` of the history of all targets that speak text, the latest first.
    """
    lines = {
        target: entries for (name, target), entries in history.items() if name == voice and target not in WITHOUT_TEXT
    }
    targets = sorted(lines, key=lambda target: (target != TRAINED, target in (HALF, ZERO_SHOT), target))
    shown = targets[:MOST_LINES]
    times = sorted({line["time"] for target in shown for line in lines[target]})
    charts = []
    for metric in (metric for name in CURVES for metric in METRICS if metric.name == name):
        series = {target_name(target): _points(lines[target], metric.name, metric.style, times) for target in shown}
        if any(series.values()):
            charts.append({"title": metric.title, "better": metric.better, "svg": trend_chart(metric.title, series)})
    spoken = sorted(
        (line for entries in lines.values() for line in entries), key=lambda line: line["time"], reverse=True
    )
    return {"voice": voice, "evaluations": len(times), "targets": shown, "charts": charts, "lines": spoken}


def _points(
    lines: Sequence[Mapping[str, Any]], name: str, style: str, times: Sequence[str]
) -> list[tuple[float, float, str, str]]:
    """Number of the evaluation, value (per cent for rates), verdict, and words on hovering."""
    points, before = [], None
    for line in lines:
        value = line["metrics"].get(name)
        if value is not None:
            verdict = line["changes"].get(name, {}).get("verdict", "").replace("no evidence", "")
            words = [line["time"][:16].replace("T", " "), figure(value, style), verdict, *reasons(line, before)]
            shown = 100 * value if style == "percent" else value
            points.append((float(times.index(line["time"])), shown, verdict, " · ".join(filter(None, words))))
        before = line
    return points
