"""The card of a packed base: what it is made of, under which licences, what it reaches, how to make it again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from voiceclone.base.gates import as_markdown
from voiceclone.base.pack import FILES
from voiceclone.corpus.gather import check_held_out
from voiceclone.files import Row, read_json, read_tsv, sha256_file, write_json, write_text

COMMAND = "snakemake --cores all base_voice --config preset=base"
NOTICE = (
    "Use it only for voices whose owner has agreed, and mark what it says as AI-generated. People named as held out "
    "are in no training set."
)


def write_card(packed: Path, results: Path, gates: Path) -> None:
    """Write ``card.json`` and ``card.md`` beside the packed files.

    Args:
        packed: folder of the packed files.
        results: ``results/NAME``, for the corpus and the reports of the trainings.
        gates: ``gates.json`` of this very base.

    Raises:
        DataError: people on whom every base is measured are among those it was trained on.
    """
    corpus = read_tsv(results / "corpus" / "corpus.tsv", ("speaker", "split"))
    check_held_out(corpus)
    summary = read_json(results / "corpus" / "summary.json")
    reports = {kind: read_json(results / "models" / f"{kind}.json") for kind in ("gpt", "sovits")}
    card = {
        "files": {
            name: {"size": (packed / name).stat().st_size, "sha256": sha256_file(packed / name)}
            for name in FILES.values()
        },
        "corpus": {key: summary[key] for key in ("utterances", "hours", "speakers", "heldout_people")},
        "sources": read_tsv(results / "corpus" / "licences.tsv"),
        "training": {kind: _training(report) for kind, report in reports.items()},
        "gates": without_items(read_json(gates)),
        "command": COMMAND,
    }
    write_json(packed / "card.json", card)
    write_text(packed / "card.md", card_text(card))


def without_items(gates: Mapping[str, Any]) -> dict[str, Any]:
    """The metrics of the gates without those of every utterance."""
    groups = [{key: value for key, value in group.items() if key != "items"} for group in gates["groups"]]
    speech = [{key: value for key, value in item.items() if key != "items"} for item in gates["speech"]]
    return {**gates, "groups": groups, "speech": speech}


def _training(report: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "step": report["step"],
        "epochs": report["epochs"],
        "seconds": report["seconds"],
        "fingerprint": report["fingerprint"],
        "architecture": report["architecture"],
        "settings": report["components"]["settings"],
        "heldout": {key: value for key, value in report["best"].items() if key != "step"},
        "versions": report["versions"],
    }


def card_text(card: Mapping[str, Any]) -> str:
    """``card.md``."""
    corpus, size = card["corpus"], sum(entry["size"] for entry in card["files"].values())
    lines = [
        "# Base voice",
        "",
        f"Text to speech of many speakers, to be fine-tuned on one: {size / 1e6:.1f} MB in float16. {NOTICE}",
        "",
        f"Trained on {corpus['hours']['train']:.2f} hours of {corpus['speakers']} speakers. "
        f"Held out: {corpus['hours']['heldout']:.2f} hours; people of whom nothing was trained on: "
        f"{', '.join(corpus['heldout_people']) or 'none'}.",
        "",
        *_sources(card["sources"]),
        "",
        "| training | step | passes | hours of work |",
        "| --- | --- | --- | --- |",
        *(
            f"| {kind} | {training['step']} | {training['epochs']:.1f} | {training['seconds'] / 3600:.2f} |"
            for kind, training in card["training"].items()
        ),
        "",
        f"Made by `{card['command']}`; the same command trains it again, or on more: add a source to `corpora` in the "
        "configuration.",
        "",
        as_markdown(card["gates"]).replace("# Gates", "## Gates", 1).rstrip(),
        "",
        "| file | bytes | sha256 |",
        "| --- | --- | --- |",
        *(f"| {name} | {entry['size']} | {entry['sha256']} |" for name, entry in card["files"].items()),
    ]
    return "\n".join(lines) + "\n"


def _sources(rows: Sequence[Row]) -> list[str]:
    lines = ["| source | speakers | hours | held out | used by | licence |", "| --- | --- | --- | --- | --- | --- |"]
    return lines + [
        f"| {row['source']} ({row['kind']}) | {row['speakers']} | {row['hours']} | {row['heldout_hours']} | "
        f"{row['use']} | {row['licence']} |"
        for row in rows
    ]
