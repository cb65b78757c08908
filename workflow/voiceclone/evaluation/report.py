"""The report of one voice: a single HTML file with sound, pictures, figures and provenance, and the same as JSON."""

from __future__ import annotations

import io
import logging
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from voiceclone.config.report import ReportSettings
from voiceclone.evaluation.charts import data_uri, histogram, line_chart, spectrogram_png, timeline
from voiceclone.evaluation.wer import CHARACTER_LANGUAGES
from voiceclone.evaluation.words import (
    LABELS,
    METRICS,
    STATES,
    TRAININGS,
    duration,
    figure,
    language_name,
    main_rate,
    plain_words,
    span,
    spoken_by,
    target_name,
)
from voiceclone.files import Row, canonical_json, read_json, read_jsonl, read_tsv, write_json, write_text
from voiceclone.lineage.provenance import collect_provenance

log = logging.getLogger(__name__)

#: Trained without pretrained weights at these presets, a voice does not speak intelligibly.
SMALL_PRESETS = frozenset({"nano", "demo"})
MOST_ROWS = 400  # of a table inside the page; the full one is the file on disk


def page(template: str, **values: Any) -> str:
    """Render a template of this package; everything that is not :class:`Markup` is escaped."""
    environment = Environment(
        loader=PackageLoader("voiceclone.evaluation"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"duration": duration, "language": language_name, "target": target_name, **FILTERS}
    source = environment.loader
    assert isinstance(source, PackageLoader)
    style = Markup(source.get_source(environment, "style.css")[0])
    script = Markup(source.get_source(environment, "page.js")[0])
    return environment.get_template(template).render(style=style, script=script, **values)


def number(value: Any, digits: int = 2) -> str:
    """A number or a table cell with fixed decimals; an en dash where there is none."""
    try:
        return f"{float(value):.{digits}f}".replace("-", "−")
    except (TypeError, ValueError):
        return "–"


def percent(value: Any, digits: int = 1) -> str:
    """A fraction as per cent."""
    return "–" if value in (None, "") else f"{100 * float(value):.{digits}f} %"


def megabytes(value: Any) -> str:
    """Bytes in MB of 10^6."""
    return "–" if value in (None, "") else f"{float(value) / 1e6:.1f} MB"


def whole(value: Any) -> str:
    """An integer with thin spaces between thousands."""
    return "–" if value in (None, "") else f"{int(float(value)):,}".replace(",", " ")


FILTERS = {"number": number, "percent": percent, "megabytes": megabytes, "figure": figure, "span": span, "whole": whole}


def optional_table(path: Path) -> list[Row]:
    """Rows of a table, none if the file is absent."""
    return read_tsv(path) if path.is_file() else []


# ---------------------------------------------------------------- recordings


def seconds_of(row: Row) -> float:
    """Length of a row: its ``seconds``, or from ``start_ms`` and ``end_ms``."""
    if row.get("seconds"):
        return float(row["seconds"])
    return (float(row["end_ms"]) - float(row["start_ms"])) / 1000 if row.get("end_ms") else 0.0


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
    """One entry per take: what was recorded and what separation and cleaning did, with figures before and after."""
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
    """Where every recorded second went: training, held out, silence, rejected by reason. Largest first in its class."""
    totals: Counter[tuple[str, str]] = Counter()
    for row in corpus:
        totals[("train" if row["split"] == "train" else "heldout", "")] += seconds_of(row)
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
            found = part.get(metric.name) if metric.name in ("wer", "cer") else part.get("metrics", {}).get(metric.name)
            if isinstance(found, Mapping):
                cells.append(found)
            else:
                cells.append(None)
        if any(cells):
            rows.append({"metric": metric, "cells": cells})
    return rows


def chosen_items(tables: Mapping[str, Sequence[Row]], most: int) -> list[str]:
    """Items to be heard: held-out and fixed in turn, first those that most targets have."""
    spread: Counter[str] = Counter()
    kinds: dict[str, str] = {}
    for rows in tables.values():
        for row in rows:
            spread[row["item"]] += bool(row["audio"])
            kinds[row["item"]] = row["kind"]
    queues = [sorted((i for i in kinds if kinds[i] == kind and spread[i]), key=lambda i: (-spread[i], i)) for kind in ("heldout", "fixed")]
    mixed = [item for pair in _interleave(queues) for item in pair]
    return mixed[:most]


def _interleave(queues: Sequence[Sequence[str]]) -> Iterable[list[str]]:
    for index in range(max(map(len, queues), default=0)):
        yield [queue[index] for queue in queues if index < len(queue)]


@dataclass
class Budget:
    """Bytes of embedded sound and pictures that are still allowed."""

    left: float

    def take(self, size: int) -> bool:
        """Whether ``size`` more bytes fit; if so they are used up."""
        if size > self.left:
            return False
        self.left -= size
        return True


def embedded_sample(path: Path, settings: ReportSettings) -> dict[str, str]:
    """MP3 and spectrogram of a sample as ``data:`` addresses."""
    samples, rate = soundfile.read(str(path), dtype="float32")
    sound = io.BytesIO()
    soundfile.write(
        sound, samples, rate, format="MP3", subtype="MPEG_LAYER_III", compression_level=1 - settings.audio_quality,
        bitrate_mode="VARIABLE",
    )  # fmt: skip
    picture = data_uri("image/png", spectrogram_png(samples, rate)) if settings.spectrograms else ""
    return {"audio": data_uri("audio/mpeg", sound.getvalue()), "picture": picture}


def listening_cards(
    results: Path, tables: Mapping[str, Sequence[Row]], settings: ReportSettings
) -> tuple[list[dict[str, Any]], int]:
    """Cards to listen to, one per sentence with all targets; and the number of samples that did not fit."""
    by_item = {target: {row["item"]: row for row in rows} for target, rows in tables.items()}
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
            cards.append({"item": item, "kind": first["kind"], "language": first["language"], "text": first["text"], "samples": samples})
    return cards, left_out


# ---------------------------------------------------------------- the page


def trained_from_scratch(config: Mapping[str, Any]) -> bool:
    """Whether the configuration trains small models without pretrained weights."""
    if config.get("preset") in SMALL_PRESETS:
        return True
    trainings = [config.get(name) for name in ("gpt", "sovits")]
    return any(isinstance(block, Mapping) and block.get("base") == "" for block in trainings)


def tiles(summaries: Mapping[str, Mapping[str, Any]]) -> list[dict[str, str]]:
    """The figures at the top of the page, of the target a user would speak with."""
    target = spoken_by(summaries)
    if target is None:
        return []
    summary = summaries[target]
    voice = summary["by_kind"].get("heldout") or summary
    found = []
    rate = main_rate(voice)
    if rate:
        found.append({"value": percent(rate[1]["value"], 0), "title": f"of the {rate[0]} wrong, by a recogniser"})
    for metric in METRICS:
        title = {"similarity_campplus": "likeness to the speaker, of 1", "distillmos": "naturalness, of 5", "rtf": "seconds of computing per second"}.get(metric.name)
        value = voice.get("metrics", {}).get(metric.name)
        if title and value:
            found.append({"value": figure(value["value"], metric.style), "title": title})
    if summary.get("size_bytes"):
        found.append({"value": megabytes(summary["size_bytes"]), "title": f"size of {target_name(target)}"})
    return found


def bundle_rows(exports: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One entry per exported bundle: size, digest, and what the comparison with the trained model found."""
    rows = []
    for name, export in exports.items():
        parity = export["parity"] or {}
        files = export["bundle"].get("files", {})
        errors = parity.get("max_error", {})
        findings = [f"largest error of {part} {value:.1e}" for part, value in errors.items()]
        if "greedy_equal" in parity:
            findings.append("greedy tokens equal" if parity["greedy_equal"] else "greedy tokens differ")
        rows.append(
            {
                "name": name,
                "bytes": sum(entry.get("size", 0) for entry in files.values()) or None,
                "sha256": export["sha256"],
                "findings": findings,
            }
        )
    return rows


def report_values(results: Path, provenance: Mapping[str, Any], settings: ReportSettings) -> dict[str, Any]:
    """Everything the template shows."""
    corpus = optional_table(results / "corpus" / "corpus.tsv")
    dropped = optional_table(results / "corpus" / "rejected.tsv")
    takes = take_rows(results, timelines(results, corpus, dropped))
    summaries = provenance["evaluations"]
    tables = {target: optional_table(results / "eval" / target / "metrics.tsv") for target in summaries}
    cards, left_out = listening_cards(results, tables, settings)
    scratch = trained_from_scratch(provenance["config"])
    figures = corpus_figures(corpus)
    models = {
        name: {**model, "charts": loss_charts(results / "models" / f"{name}.history.jsonl")}
        for name, model in provenance["models"].items()
        if model.get("step") is not None
    }
    return {
        "speaker": provenance["speaker"],
        "provenance": provenance,
        "takes": takes,
        "rejected": optional_table(results / "rejected.tsv"),
        "recorded": sum(float(row["seconds"]) for row in takes),
        "fates": seconds_by_fate(results, takes, corpus, dropped),
        "corpus": figures,
        "dropped": dropped[:MOST_ROWS],
        "dropped_count": len(dropped),
        "models": models,
        "summaries": summaries,
        "heldout": metric_rows(summaries, "heldout"),
        "fixed": metric_rows({t: s for t, s in summaries.items() if "fixed" in s["by_kind"]}, "fixed"),
        "fixed_targets": [t for t, s in summaries.items() if "fixed" in s["by_kind"]],
        "tables": tables,
        "cards": cards,
        "spoken": spoken_by(summaries),
        "tiles": tiles(summaries),
        "bundles": bundle_rows(provenance["exports"]),
        "metrics": METRICS,
        "states": STATES,
        "model_names": TRAININGS,
        "by_character": CHARACTER_LANGUAGES,
        "left_out": left_out,
        "scratch": scratch,
        "words": plain_words(summaries, scratch),
        "config_text": _config_lines(provenance["config"]),
    }


def _config_lines(config: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The configuration as dotted keys and values."""
    lines: list[tuple[str, str]] = []

    def walk(prefix: str, value: Any) -> None:
        if isinstance(value, Mapping) and value:
            for key in sorted(value):
                walk(f"{prefix}.{key}" if prefix else str(key), value[key])
        else:
            lines.append((prefix, value if isinstance(value, str) else canonical_json(value)))

    walk("", config)
    return lines


def build_report(
    results: Path,
    output: Path,
    provenance_file: Path,
    config_file: Path,
    targets: Sequence[str],
    asset_files: Sequence[Path],
    settings: ReportSettings,
    repository: Path,
) -> None:
    """Write the report of the voice in ``results`` and its ``provenance.json``.

    Args:
        results: the speaker's results folder.
        output: the HTML file.
        provenance_file: the JSON file.
        config_file: the resolved configuration of the run.
        targets: evaluated targets, in the order of the columns.
        asset_files: ``asset.json`` of the pretrained models at hand.
        settings: contents and size.
        repository: checkout of the code.
    """
    config = read_json(config_file)
    provenance = collect_provenance(results, targets, config, asset_files, repository)
    provenance["corpus"] = {
        key: value
        for key, value in corpus_figures(optional_table(results / "corpus" / "corpus.tsv")).items()
        if key != "histogram"
    }
    provenance["from_scratch"] = trained_from_scratch(config)
    html = page("report.html", **report_values(results, provenance, settings))
    write_json(provenance_file, provenance)
    write_text(output, html)
    log.info("%s: %.1f MB", output, len(html) / 1e6)
