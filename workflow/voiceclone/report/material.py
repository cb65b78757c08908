"""Content of a report, read from the files of a voice: recordings, corpus, trainings, metrics, samples."""

from __future__ import annotations

import io
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from markupsafe import Markup

from voiceclone.evaluation.comparison import (
    BESIDE_TEACHER,
    PREVIOUS,
    WITHOUT_TEXT,
    compared_targets,
    comparison,
    unseen,
)
from voiceclone.evaluation.metrics import BY_NAME, METRICS
from voiceclone.evaluation.metrics import PARTS as COSTS
from voiceclone.files import Row, read_json, read_jsonl, read_tsv
from voiceclone.lineage.rights import NONE_GIVEN, in_words
from voiceclone.report.charts import Bubble, data_uri, histogram, line_chart, spectrogram_png, timeline, trade_off
from voiceclone.report.words import (
    LABELS,
    MODELS,
    STATES,
    UNREAD,
    figure,
    main_rate,
    megabytes,
    percent,
    spoken_by,
    target_name,
)
from voiceclone.stages.report import ReportSettings
from voiceclone.text.stopwatch import PARTS


def optional_table(path: Path) -> list[Row]:
    """Rows of a table, none if the file is absent."""
    return read_tsv(path) if path.is_file() else []


# ---------------------------------------------------------------- recordings


def seconds_of(row: Row) -> float:
    """Length of a row: its ``seconds``, or from ``start_ms`` and ``end_ms``."""
    if row.get("seconds"):
        return float(row["seconds"])
    return (float(row["end_ms"]) - float(row["start_ms"])) / 1000 if row.get("end_ms") else 0.0


def kept_and_dropped(results: Path) -> tuple[list[Row], list[Row]]:
    """Utterances that are trained on or held out, and those left out by the filters, for want of features, or by all
    trainings. Of the first, the cell ``unread`` names the trainings that left it out."""
    corpus = optional_table(results / "corpus" / "corpus.tsv")
    without = {row["utterance"]: row for row in optional_table(results / "features" / "rejected.tsv")}
    read = utterances_read(results)
    for row in corpus:
        unread = [name for name in read if row["utterance"] not in read[name]]
        row["unread"] = " and ".join(MODELS[name] for name in unread)
        if read and len(unread) == len(read):
            without.setdefault(row["utterance"], {"reason": "training", "detail": f"{UNREAD} {row['unread']}"})
    dropped = optional_table(results / "corpus" / "rejected.tsv")
    dropped += [row | without[row["utterance"]] for row in corpus if row["utterance"] in without]
    return [row for row in corpus if row["utterance"] not in without], dropped


def utterances_read(results: Path) -> dict[str, set[str]]:
    """Training -> utterances that it read, trained on or held out, by its report; without those that took a base as it
    is, which read none."""
    found = {}
    for name in MODELS:
        report = results / "models" / f"{name}.json"
        components = read_json(report).get("components", {}) if report.is_file() else {}
        if components.get("utterances"):
            found[name] = set(components["utterances"])
    return found


def timelines(results: Path, corpus: Sequence[Row], dropped: Sequence[Row]) -> dict[str, Markup]:
    """Per take, the strip of what became of every second."""
    fate = {row["utterance"]: (row["split"], row["text"]) for row in corpus}
    fate |= {row["utterance"]: ("dropped", row["reason"]) for row in dropped}
    spans: dict[str, list[tuple[float, float, str, str]]] = defaultdict(list)
    for row in optional_table(results / "slices" / "timeline.tsv"):
        start, end = float(row["start_ms"]) / 1000, float(row["end_ms"]) / 1000
        state, words = row["state"], row.get("reason", "")
        if state == "slice":
            state, words = fate.get(row["utterance"], ("slice", ""))
        spans[row["take"]].append((start, end, state, f"{start:.1f} to {end:.1f} s: {state}. {words}".strip()))
    return {take: timeline(parts, max(end for _, end, _, _ in parts)) for take, parts in spans.items()}


def take_rows(results: Path, strips: Mapping[str, Markup]) -> list[dict[str, Any]]:
    """One entry per take: what was recorded and what separation and cleaning did, with measures before and after."""
    separated = {row["take"]: row for row in optional_table(results / "separated" / "manifest.tsv")}
    clean = {row["take"]: row for row in optional_table(results / "clean" / "manifest.tsv")}
    return [
        {
            **row,
            "separated": separated.get(row["take"], {}),
            "clean": clean.get(row["take"], {}),
            "strip": strips.get(row["take"], Markup("")),
        }
        for row in read_tsv(results / "takes.tsv")
    ]


def seconds_by_fate(
    results: Path, takes: Sequence[Row], corpus: Sequence[Row], dropped: Sequence[Row]
) -> list[dict[str, Any]]:
    """Uses of every recorded second: training, held out, silence, rejected by reason. Largest first in its class."""
    totals: dict[tuple[str, str], float] = defaultdict(float)
    for row in corpus:
        reason = f"{UNREAD} {row['unread']}" if row.get("unread") else ""
        totals[("train" if row["split"] == "train" else "heldout", reason)] += seconds_of(row)
    for row in dropped:
        totals[("dropped", row["reason"])] += seconds_of(row)
    for row in optional_table(results / "slices" / "timeline.tsv"):
        if row["state"] != "slice":
            totals[(row["state"], row.get("reason", "") if row["state"] == "rejected" else "")] += seconds_of(row)
    order = list(STATES)
    recorded = sum(float(row["seconds"]) for row in takes) or 1.0
    return [
        {"state": state, "reason": reason, "seconds": seconds, "share": seconds / recorded}
        for (state, reason), seconds in sorted(totals.items(), key=lambda entry: (order.index(entry[0][0]), -entry[1]))
    ]


def corpus_figures(corpus: Sequence[Row]) -> dict[str, Any]:
    """Sums over the corpus: seconds and utterances per split and language, lengths, corrections."""
    splits = {
        name: {
            "utterances": sum(row["split"] == name for row in corpus),
            "seconds": sum(seconds_of(row) for row in corpus if row["split"] == name),
        }
        for name in ("train", "heldout")
    }
    languages = Counter(row["language"] for row in corpus)
    lengths = [seconds_of(row) for row in corpus]
    confidence = [float(row["confidence"]) for row in corpus if row.get("confidence")]
    return {
        "utterances": len(corpus),
        "seconds": sum(lengths),
        "splits": splits,
        "languages": languages.most_common(),
        "shortest": min(lengths, default=0.0),
        "longest": max(lengths, default=0.0),
        "median": float(np.median(lengths)) if lengths else 0.0,
        "histogram": histogram("Utterances by length in seconds", lengths),
        "corrected": sum(row.get("corrected") == "true" for row in corpus),
        "confidence": float(np.median(confidence)) if confidence else None,
    }


# ---------------------------------------------------------------- training


def loss_charts(history: Path) -> list[dict[str, Any]]:
    """One chart per logged quantity: training and held-out curves, dashed lines where the training was resumed."""
    if not history.is_file():
        return []
    rows = read_jsonl(history)
    resumed = [float(row["step"]) for row in rows if row.get("event") == "resumed"]
    curves: dict[str, dict[str, list[tuple[float, float]]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        for name, value in row.items():
            shown = name.startswith("loss_") or name in LABELS
            if shown and isinstance(value, int | float) and not isinstance(value, bool) and np.isfinite(value):
                curves[name][row.get("split", "train")].append((float(row["step"]), float(value)))
    order = list(LABELS)
    names = sorted(curves, key=lambda name: (order.index(name) if name in order else len(order), name))
    charts = []
    for name in names:
        series = {split: curves[name][split] for split in ("train", "heldout") if curves[name].get(split)}
        title = LABELS.get(name, name.removeprefix("loss_").replace("_", " "))
        last = {split: points[-1][1] for split, points in series.items()}
        charts.append({"title": title, "svg": line_chart(title, series, resumed), "last": last})
    return charts


# ---------------------------------------------------------------- evaluation


def metric_rows(summaries: Mapping[str, Mapping[str, Any]], kind: str) -> list[dict[str, Any]]:
    """Metrics as rows and targets as columns, over the sentences of one kind."""
    rows = []
    for metric in METRICS:
        cells = []
        for summary in summaries.values():
            part = summary["by_kind"].get(kind, {})
            cells.append(part.get(metric.name) or part.get("metrics", {}).get(metric.name))
        if any(cells):
            rows.append({"metric": metric, "cells": cells})
    return rows


#: What is shown of each member of a group.
OF_MEMBERS = tuple(BY_NAME[name] for name in ("wer", "cer", "similarity_campplus", "similarity_relative", "distillmos"))


def member_rows(summaries: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Held-out sentences of each member of a group in its own voice, none where one person speaks: ``member``,
    ``target``, ``sentences``, ``cells`` of :data:`OF_MEMBERS`."""
    parts = [
        (member, target, part)
        for target, summary in summaries.items()
        for member, part in summary.get("by_member", {}).items()
    ]
    return [
        {
            "member": member,
            "target": target,
            "sentences": part["sentences"],
            "cells": [part.get(metric.name) or part["metrics"].get(metric.name) for metric in OF_MEMBERS],
        }
        for member, target, part in sorted(parts, key=lambda entry: entry[0])  # targets keep their order
    ]


def chosen_items(tables: Mapping[str, Sequence[Row]], max_items: int) -> list[str]:
    """Items to be heard: held-out and fixed in turn, first those that most targets have."""
    spread: Counter[str] = Counter()
    kinds: dict[str, str] = {}
    for rows in tables.values():
        for row in rows:
            spread[row["item"]] += bool(row["audio"])
            kinds[row["item"]] = row["kind"]
    queues = [
        sorted((i for i in kinds if kinds[i] == kind and spread[i]), key=lambda i: (-spread[i], i))
        for kind in ("heldout", "fixed")
    ]
    mixed = [item for pair in _interleave(queues) for item in pair]
    return mixed[:max_items]


def _interleave(queues: Sequence[Sequence[str]]) -> Iterable[list[str]]:
    for index in range(max(map(len, queues), default=0)):
        yield [queue[index] for queue in queues if index < len(queue)]


MP3_QUALITY = 0.5  # of the embedded samples: 1 is best and largest


@dataclass
class Budget:
    """Bytes of embedded sound and pictures that are still allowed."""

    left: float

    def take(self, size: int) -> bool:
        """True if ``size`` more bytes fit; if so they are used up."""
        if size > self.left:
            return False
        self.left -= size
        return True


def embedded_sample(path: Path, settings: ReportSettings) -> dict[str, str]:
    """MP3, with the sample's comment, and spectrogram of a sample as ``data:`` addresses."""
    with soundfile.SoundFile(str(path)) as source:
        samples, rate, comment = source.read(dtype="float32"), source.samplerate, source.comment
    sound = io.BytesIO()
    with soundfile.SoundFile(
        sound, "w", rate, 1, format="MP3", subtype="MPEG_LAYER_III", compression_level=1 - MP3_QUALITY,
        bitrate_mode="VARIABLE",
    ) as target:  # fmt: skip
        if comment:
            target.comment = comment
        target.write(samples)
    picture = data_uri("image/png", spectrogram_png(samples, rate)) if settings.spectrograms else ""
    return {"audio": data_uri("audio/mpeg", sound.getvalue()), "picture": picture}


def listening_cards(
    results: Path, tables: Mapping[str, Sequence[Row]], settings: ReportSettings
) -> tuple[list[dict[str, Any]], int]:
    """Cards to listen to, one per sentence with all targets; and the number of samples that did not fit."""
    by_item = {target: {row["item"]: row for row in reversed(rows)} for target, rows in tables.items()}  # first seed
    budget, left_out, cards = Budget(settings.max_megabytes * 1e6), 0, []
    for item in chosen_items(tables, settings.samples):
        samples, first = [], None
        for target, rows in by_item.items():
            row = rows.get(item)
            if row is None:
                continue
            first = first or row
            entry: dict[str, Any] = {"target": target, "row": row, "audio": "", "picture": ""}
            if row["audio"]:
                media = embedded_sample(results / "eval" / target / row["audio"], settings)
                if budget.take(len(media["audio"]) + len(media["picture"])):
                    entry |= media
                else:
                    left_out += 1
            samples.append(entry)
        if first and any(entry["audio"] for entry in samples):
            shown = {name: first.get(name, "") for name in ("item", "kind", "member", "language", "text")}
            cards.append(shown | {"samples": samples})
    return cards, left_out


def tiles(summaries: Mapping[str, Mapping[str, Any]]) -> list[dict[str, str]]:
    """The values at the top of the page, of the target a user would speak with."""
    target = spoken_by(summaries)
    if target is None:
        return []
    summary = summaries[target]
    voice = summary["by_kind"].get("heldout") or summary
    found = []
    rate = main_rate(voice)
    if rate:
        found.append({"value": percent(rate[1]["value"], 0), "title": f"of the {rate[0]} wrong, by a recogniser"})
    titles = {
        "similarity_campplus": "likeness to the speaker, of 1",
        "distillmos": "naturalness, of 5",
        "rtf": "seconds of computing per second",
    }
    for metric in METRICS:
        title = titles.get(metric.name)
        value = voice.get("metrics", {}).get(metric.name)
        if title and value:
            found.append({"value": figure(value["value"], metric.style), "title": title})
    if summary.get("size_bytes"):
        found.append({"value": megabytes(summary["size_bytes"]), "title": f"size of {target_name(target)}"})
    return found


def text_latency(tables: Mapping[str, Sequence[Row]]) -> list[dict[str, Any]]:
    """Mean milliseconds of text per sentence by step, of the targets whose tables have them: ``target``, ``cells``.

    The last cell is what no step has: segmenting, and looking up what was read before.
    """
    rows = []
    for target, table in tables.items():
        read = [row for row in table if row.get("text_ms") and all(row.get(part) for part in PARTS)]
        if read:
            parts = [float(np.mean([float(row[part]) for row in read])) for part in PARTS]
            whole = float(np.mean([float(row["text_ms"]) for row in read]))
            rows.append({"target": target, "cells": [whole, *parts, max(whole - sum(parts), 0.0)]})
    return rows


def previous_release(folder: Path) -> tuple[dict[str, Any], dict[str, list[Row]]]:
    """Summary and table of the newest evaluation of another training, each under its name; empty without one.

    Args:
        folder: ``results/NAME/eval/TARGET``; evaluations before lie in ``earlier``.
    """
    earlier = sorted((folder / "earlier").glob("*/summary.json"), key=lambda path: -path.parent.stat().st_mtime_ns)
    now = read_json(folder / "summary.json").get("source") if earlier else None
    for path in earlier:
        if (summary := read_json(path)).get("source") != now:
            return {PREVIOUS: summary}, {PREVIOUS: optional_table(path.with_name("metrics.tsv"))}
    return {}, {}


def beside_teacher(results: Path, teacher: Path, targets: Sequence[str]) -> dict[str, dict[str, Any]]:
    """By target that was measured of both, the table of a teacher and its student, sentence by sentence.

    Args:
        results: of the student.
        teacher: results of the teacher.
        targets: that the student was evaluated on.
    """
    found = {}
    for target in targets:
        places = {"teacher": teacher / "eval" / target, "student": results / "eval" / target}
        if target in WITHOUT_TEXT or not all((place / "summary.json").is_file() for place in places.values()):
            continue
        summaries = {name: read_json(place / "summary.json") for name, place in places.items()}
        if not any("not_measured" in summary for summary in summaries.values()):
            tables = {name: read_tsv(place / "metrics.tsv") for name, place in places.items()}
            found[target] = comparison(summaries, tables, "teacher", BESIDE_TEACHER)
    return found


def costs(summaries: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Seconds of each part of the evaluation: ``targets``, and ``rows`` of a title and the targets' cells, with the
    sum last; empty where none were measured."""
    known = {target: summary["cost"] for target, summary in summaries.items() if summary.get("cost")}
    rows = [(title, [cost.get(part, 0.0) for cost in known.values()]) for part, title in COSTS.items()]
    rows = [row for row in rows if any(row[1])] + [("Sum", [sum(cost.values()) for cost in known.values()])]
    return {"targets": list(known), "rows": rows} if known else {}


#: Qualities that the chart of quality, speed and size can show; the first at once.
QUALITIES = ("distillmos", "similarity_campplus", "cer", "wer")


def trade_offs(summaries: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One chart of all targets that speak text for each quality: ``name``, ``title`` and ``svg``."""
    charts = []
    for metric in (metric for name in QUALITIES for metric in METRICS if metric.name == name):
        bubbles = []
        for target in compared_targets(summaries):
            summary = summaries[target]
            rtf, size = summary["metrics"].get("rtf"), summary.get("size_bytes")
            quality = summary.get(metric.name) or summary["metrics"].get(metric.name)
            if rtf and size and quality:
                words = f"{target_name(target)}: {metric.title} {figure(quality['value'], metric.style)}"
                words += f", real-time factor {rtf['value']:.2f}, {megabytes(size)}"
                value = 100 * quality["value"] if metric.style == "percent" else quality["value"]
                bubbles.append(Bubble(target_name(target), rtf["value"], value, size, words))
        if bubbles:
            better = "lower is better" if metric.better == "low" else "higher is better"
            svg = trade_off(f"{metric.title}{', %' if metric.style == 'percent' else ''} ({better})", bubbles)
            charts.append({"name": metric.name, "title": metric.title, "svg": svg})
    return charts


def bundle_rows(exports: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One entry per exported bundle: size, digest, rights, and what the comparison with the trained model found."""
    rows = []
    for name, export in exports.items():
        parity = export["parity"] or {}
        files = export["bundle"].get("files", {})
        errors = parity.get("max_error", {})
        findings = [f"largest error of {part} {value:.1e}" for part, value in errors.items()]
        if "greedy_equal" in parity:
            findings.append("greedy tokens equal" if parity["greedy_equal"] else "greedy tokens differ")
        if "token_agreement" in parity:
            findings.append(f"same next token preferred in {parity['token_agreement']:.1%}")
            findings.append(f"spectra {parity['spectral_distance_db']:.2f} dB apart")
        findings += unseen(parity.get("gates", {}))
        rows.append(
            {
                "name": name,
                "bytes": sum(entry.get("size", 0) for entry in files.values()) or None,
                "sha256": export["sha256"],
                "rights": (
                    export["bundle"].get("licence", NONE_GIVEN),
                    export["bundle"].get("consent_sha256", NONE_GIVEN),
                    in_words(export["bundle"]),
                ),
                "findings": findings,
            }
        )
    return rows
