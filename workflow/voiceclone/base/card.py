"""The card of a packed base: what it is made of, under which licences, what it reaches, how to make it again.

Also the report of its gates as text, which is a part of the card.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from voiceclone.base.pack import FILES
from voiceclone.corpus.gather import check_held_out
from voiceclone.files import Row, markdown_table, read_json, read_tsv, sha256_file, write_json, write_text

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
    trainings = [
        (kind, training["step"], f"{training['epochs']:.1f}", f"{training['seconds'] / 3600:.2f}")
        for kind, training in card["training"].items()
    ]
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
        *markdown_table(("training", "step", "passes", "hours of work"), trainings),
        "",
        f"Made by `{card['command']}`; the same command trains it again, or on more: add a source to `corpora` in the "
        "configuration.",
        "",
        gates_text(card["gates"]).replace("# Gates", "## Gates", 1).rstrip(),
        "",
        *markdown_table(
            ("file", "bytes", "sha256"),
            [(name, entry["size"], entry["sha256"]) for name, entry in card["files"].items()],
        ),
    ]
    return "\n".join(lines) + "\n"


def _sources(rows: Sequence[Row]) -> list[str]:
    columns = ("speakers", "hours", "heldout_hours", "use", "licence")
    return markdown_table(
        ("source", "speakers", "hours", "held out", "used by", "licence"),
        [(f"{row['source']} ({row['kind']})", *(row[column] for column in columns)) for row in rows],
    )


def gates_text(report: Mapping[str, Any]) -> str:
    """``gates.md``: required values, trained beside held-out people, speech from text.

    Args:
        report: as :func:`voiceclone.base.gates.run_gates` returns it.
    """
    lines = [
        "# Gates of the base voice",
        "",
        "Wanted on each teacher's held-out sentences, which are trained on in no voice:",
        "",
        *markdown_table(
            ("measure", "lines", "utterances", "wanted", "measured % (95 %)", ""),
            [
                (
                    *(item[key] for key in ("measure", "lines", "utterances", "wanted")),
                    _with_interval(item, "value", "interval"),
                    "passed" if item["passed"] else "**missed**",
                )
                for item in report["wanted"]
            ],
        ),
        "",
        "Resynthesis from own tokens, and reading, on held-out utterances; the figures of the recordings are "
        "what nothing can better. A dash: not measured.",
        "",
        *markdown_table(("who", "utterances", *(heading for _, heading, _ in SHOWN)), _groups(report["groups"])),
    ]
    if report["speech"]:
        columns = ("texts", "language", "decoding", "lines", "WER % (95 %)", "CER %", "DistillMOS", "cut off")
        lines += ["", "Speech from text, in the voice of a teacher:", ""]
        lines += markdown_table(columns, map(_speech, report["speech"]))
    return "\n".join(lines) + "\n"


def _groups(groups: Sequence[Mapping[str, Any]]) -> Iterator[Sequence[object]]:
    """Rows of groups, under a title for each kind of them."""
    titles = {
        "teachers": [group for group in groups if group["teacher"]],
        "trained people": [group for group in groups if not group["teacher"] and not group["held_out_person"]],
        "held-out people": [group for group in groups if group["held_out_person"]],
    }
    for title, chosen in titles.items():
        if chosen:
            yield (f"**{title}**", *[""] * (len(SHOWN) + 1))
        for group in chosen:
            yield (group["name"], group["utterances"], *(show(group, key) for key, _, show in SHOWN))


def _speech(item: Mapping[str, Any]) -> Sequence[object]:
    named = (item[key] for key in ("set", "language", "decoding", "lines"))
    return *named, _with_interval(item, "wer"), percent(item["cer"]), _plain(item, "mos"), item["truncated"]


def percent(value: float | None) -> str:
    """A share in per cent; a dash where it is not known."""
    return "–" if value is None else f"{100 * value:.1f}"


def _percent(values: Mapping[str, Any], key: str) -> str:
    return percent(values[key])


def _plain(values: Mapping[str, Any], key: str) -> str:
    return "–" if values[key] is None else f"{values[key]:.2f}"


def _with_interval(values: Mapping[str, Any], key: str, interval: str = "") -> str:
    """A share in per cent with its interval, where that is known."""
    bounds = values.get(interval or f"{key}_interval")
    return percent(values[key]) + (f" ({percent(bounds[0])} to {percent(bounds[1])})" if bounds else "")


#: Metrics of a group: key, heading, how it is written.
SHOWN: tuple[tuple[str, str, Callable[[Mapping[str, Any], str], str]], ...] = (
    ("wer", "WER % (95 %)", _with_interval), ("wer_recording", "recording", _percent),
    ("mos", "DistillMOS", _plain), ("mos_recording", "recording", _plain),
    ("similarity", "CAM++", _plain), ("similarity_recording", "recording", _plain),
    ("pointer", "pointer ±1 % (95 %)", _with_interval), ("phone_errors", "phone errors %", _percent),
)  # fmt: skip
