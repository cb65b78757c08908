"""The report of one voice: a single HTML file with sound, pictures, metrics and provenance, and the same as JSON."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from voiceclone.evaluation.comparison import TRAINED, comparison
from voiceclone.evaluation.evaluate import lines_of, measured
from voiceclone.evaluation.metrics import METRICS
from voiceclone.files import canonical_json, read_json, write_json, write_text
from voiceclone.languages import BY_CHARACTER
from voiceclone.lineage.provenance import collect_provenance
from voiceclone.report.cards import write_cards
from voiceclone.report.material import (
    OF_MEMBERS,
    beside_teacher,
    bundle_rows,
    corpus_figures,
    costs,
    kept_and_dropped,
    listening_cards,
    loss_charts,
    member_rows,
    metric_rows,
    optional_table,
    previous_release,
    seconds_by_fate,
    take_rows,
    text_latency,
    tiles,
    timelines,
    trade_offs,
)
from voiceclone.report.words import (
    STATES,
    TRAININGS,
    bare,
    duration,
    figure,
    is_intelligible,
    language_name,
    megabytes,
    number,
    percent,
    plain_words,
    range_of,
    span,
    spoken_by,
    target_name,
    whole,
)
from voiceclone.stages.report import ReportSettings

log = logging.getLogger(__name__)

#: Trained without pretrained weights at these presets, a voice does not speak intelligibly.
SMALL_PRESETS = frozenset({"nano", "demo"})
MOST_ROWS = 400  # of a table inside the page; the full one is the file on disk


FILTERS = {
    "number": number, "percent": percent, "megabytes": megabytes, "figure": figure, "span": span, "whole": whole,
    "bare": bare, "range": range_of,
}  # fmt: skip


def page(template: str, **values: Any) -> str:
    """Render a template of this package; everything that is not :class:`Markup` is escaped."""
    environment = Environment(
        loader=PackageLoader("voiceclone.report"),
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


def trained_from_scratch(config: Mapping[str, Any]) -> bool:
    """True if one of the models was trained without pretrained weights: by its ``base``, else by the preset."""
    blocks = [config.get(name) for name in ("gpt", "sovits")]
    bases = [block["base"] for block in blocks if isinstance(block, Mapping) and "base" in block]
    return "" in bases if bases else config.get("preset") in SMALL_PRESETS


def report_values(
    results: Path, provenance: Mapping[str, Any], settings: ReportSettings, teacher: Path | None = None
) -> dict[str, Any]:
    """Everything the template shows."""
    corpus, dropped = kept_and_dropped(results)
    takes = take_rows(results, timelines(results, corpus, dropped))
    summaries = measured(provenance["evaluations"])
    tables = {target: optional_table(results / "eval" / target / "metrics.tsv") for target in summaries}
    before, table_before = previous_release(results / "eval" / TRAINED)
    cards, left_out = listening_cards(results, tables, settings)
    scratch = trained_from_scratch(provenance["config"])
    summary = results / "corpus" / "summary.json"
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
        "advice": read_json(summary).get("advice", "") if summary.is_file() else "",
        "dropped": dropped[:MOST_ROWS],
        "dropped_count": len(dropped),
        "models": models,
        "selection": read_json(chosen) if (chosen := results / "selection" / "selection.json").is_file() else None,
        "summaries": summaries,
        "heldout": metric_rows(summaries, "heldout"),
        "members": member_rows(summaries),
        "member_metrics": OF_MEMBERS,
        "fixed": metric_rows({t: s for t, s in summaries.items() if "fixed" in s["by_kind"]}, "fixed"),
        "fixed_targets": [t for t, s in summaries.items() if "fixed" in s["by_kind"]],
        "comparison": comparison(summaries | before, tables | table_before),
        "teacher": teacher.name if teacher else "",
        "beside_teacher": beside_teacher(results, teacher, list(summaries)) if teacher else {},
        "costs": costs(summaries),
        "trained_target": TRAINED,
        "trade_offs": trade_offs(summaries),
        "text_latency": text_latency(tables),
        "threads": summaries.get(TRAINED, {}).get("threads"),
        "tables": tables,
        "cards": cards,
        "spoken": spoken_by(summaries),
        "tiles": tiles(summaries),
        "bundles": bundle_rows(provenance["exports"]),
        "metrics": METRICS,
        "states": STATES,
        "not_measured": lines_of(provenance["evaluations"]),
        "model_names": TRAININGS,
        "by_character": BY_CHARACTER,
        "left_out": left_out,
        "scratch": scratch,
        "intelligible": is_intelligible(summaries),
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
    teacher: Path | None = None,
) -> None:
    """Write the report of the voice in ``results`` and its ``provenance.json``.

    Args:
        results: the speaker's results folder.
        output: the HTML file.
        provenance_file: the JSON file.
        config_file: the resolved configuration of the run.
        targets: evaluated targets, in the order of the columns.
        asset_files: ``asset.json`` of the pretrained models.
        settings: contents and size.
        repository: checkout of the code.
        teacher: results of the voice that a student learnt from, which it is held against.
    """
    config = read_json(config_file)
    provenance = collect_provenance(results, targets, config, asset_files, repository)
    provenance["corpus"] = {
        key: value for key, value in corpus_figures(kept_and_dropped(results)[0]).items() if key != "histogram"
    }
    provenance["from_scratch"] = trained_from_scratch(config)
    html = page("report.html", **report_values(results, provenance, settings, teacher))
    write_json(provenance_file, provenance)
    write_text(output, html)
    write_cards(results, provenance)
    log.info("%s: %.1f MB", output, len(html) / 1e6)
