"""The page over all voices: history of evaluations, significant changes, worst sentences, sorting, filters, CSV."""

from __future__ import annotations

import csv
import html as html_lib
import io
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.support.report_fixture import NASTY, build, make_results
from tests.support.tables import value

from voiceclone.evaluation.evaluate import COLUMNS, keep_earlier, summarise_rows
from voiceclone.files import read_json, read_jsonl, read_tsv, sha256_file, write_json, write_tsv
from voiceclone.report.collect import collect_report, numbers
from voiceclone.report.trends import read_history, reasons
from voiceclone.stages.evaluate import EvaluateSettings

BROWSERS = (shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome"))
CHROMIUM = next((path for path in BROWSERS if path), None)
#: What a user does, and what stands in the table after it.
CLICKS = """
<script>
const table = document.getElementById("side-by-side"), found = {};
const name = (row) => [row.cells[0].textContent, row.cells[1].dataset.v, row.cells[2].dataset.v].join("/");
const shown = () => [...table.tBodies[0].rows].filter((row) => !row.hidden).map(name);
const choose = (name, value) => {
  const select = document.querySelector(`[data-filter=${name}]`);
  select.value = value; select.onchange();
};
found.start = shown();
const heading = [...table.tHead.rows[0].cells].findIndex((cell) => cell.textContent === "Real-time factor");
table.tHead.rows[0].cells[heading].querySelector("button").click();
found.fastest = [...table.tBodies[0].rows].map((row) => row.cells[heading].dataset.v);
table.tHead.rows[0].cells[heading].querySelector("button").click();
found.slowest = [...table.tBodies[0].rows].map((row) => row.cells[heading].dataset.v);
choose("voice", "bob"); choose("target", "onnx-int8");
found.one = shown();
const worst = [...document.getElementById("worst").tBodies[0].rows].filter((row) => !row.hidden);
found.worst = worst.map((row) => `${row.dataset.voice}/${row.dataset.target}`);
found.count = document.querySelector("[data-count]").textContent;
choose("target", ""); choose("language", "ja");
found.japanese = shown();
found.csv = csvOf(table);
document.title = JSON.stringify(found);
</script>
"""


def summarise_again(folder: Path) -> None:
    """The summary of an evaluation whose table was changed."""
    rows, settings = numbers(read_tsv(folder / "metrics.tsv")), EvaluateSettings(bootstrap=200)
    parts = {kind: summarise_rows([r for r in rows if r["kind"] == kind], settings) for kind in ("heldout", "fixed")}
    record = read_json(folder / "summary.json") | summarise_rows(rows, settings) | {"by_kind": parts}
    write_json(folder / "summary.json", record)


def change(folder: Path, more_errors: int = 0, times: int = 1, japanese: bool = False) -> None:
    """Speak each sentence ``times`` times as another, with that many more characters wrong."""
    before = read_tsv(folder / "metrics.tsv")
    rows = [row | {"item": f"{row['item']}-{n}" if n else row["item"]} for n in range(times) for row in before]
    for number, row in enumerate(rows):
        row["character_errors"] = str(float(row["character_errors"]) + more_errors)
        row["cer"] = str(float(row["character_errors"]) / float(row["characters"]))
        row["language"] = "ja" if japanese and number % 2 else row["language"]
    write_tsv(folder / "metrics.tsv", COLUMNS, rows)
    summarise_again(folder)


@pytest.fixture
def voices(tmp_path: Path) -> list[Path]:
    """Two voices; one target of the second speaks two languages."""
    found = [make_results(tmp_path / "results" / name) for name in ("anna", "bob")]
    change(found[0] / "eval" / "torch-fp32", times=4)
    change(found[1] / "eval" / "onnx-int8", times=4, japanese=True)
    for voice in found:
        build(voice)
    return found


def collect(voices: list[Path]) -> str:
    output = voices[0].parent / "report" / "index.html"
    collect_report([voice / "provenance.json" for voice in voices], output)
    return output.read_text(encoding="utf-8")


def test_an_evaluation_is_recorded_once(voices: list[Path]) -> None:
    results = voices[0].parent
    write_json(results / "runs.json", {})
    (results / "runs.jsonl").write_text('{"time":"2026-01-02T03:04:05+0000"}\n')
    collect(voices)
    lines = read_jsonl(results / "evaluations.jsonl")
    assert len(lines) == 10 and {line["run"] for line in lines} == {"2026-01-02T03:04:05+0000"}
    assert lines[0]["fingerprints"]["gpt"] == "gpt-0123456789abcdef" and not any(line["changes"] for line in lines)
    build(voices[0])  # a later report over the same evaluation
    collect(voices)
    assert read_jsonl(results / "evaluations.jsonl") == lines


def test_a_voice_that_became_worse_is_seen_at_once(voices: list[Path]) -> None:
    folder = voices[0] / "eval" / "torch-fp32"
    assert "Worse than before" not in collect(voices)
    kept = folder / "earlier" / "one" / "metrics.tsv"
    kept.parent.mkdir(parents=True)
    shutil.copy(folder / "metrics.tsv", kept)
    change(folder, more_errors=9)
    report = read_json(voices[0] / "models" / "gpt.json")
    write_json(voices[0] / "models" / "gpt.json", report | {"fingerprint": "new", "started": f"2 texts {NASTY}"})
    build(voices[0])
    html = collect(voices)
    assert "<b>Worse than before:</b>" in html and html.index("Worse than before") < html.index("Side by side")
    assert re.search(r'class="dot s1 worse"[^>]*><title>[^<]*GPT: 2 texts &lt;script', html)
    assert NASTY not in html
    first, second = read_history(voices[0].parent / "evaluations.jsonl")["anna", "torch-fp32"]
    assert first["metrics_sha256"] == sha256_file(kept) and second["metrics"]["cer"] > first["metrics"]["cer"]
    assert {name: found["verdict"] for name, found in second["changes"].items()} == {
        "cer": "worse",
        **dict.fromkeys(("similarity_campplus", "distillmos", "dnsmos_ovrl"), "no evidence"),
    }
    table = list(csv.DictReader(io.StringIO((voices[0].parent / "report" / "index.csv").read_text())))
    assert [(row["voice"], row["target"]) for row in table if row["worse"]] == [("anna", "torch-fp32")]


def test_what_other_models_measured_is_not_compared(voices: list[Path]) -> None:
    folder = voices[0] / "eval" / "torch-fp32"

    def evaluate_again(models: str, errors: int) -> list[dict[str, Any]]:
        change(folder, more_errors=errors)
        record = {"source": "the voice", "assets": {"asr": {"digest": models}}}
        write_json(folder / "summary.json", read_json(folder / "summary.json") | record)
        keep_earlier(folder)
        build(voices[0])
        collect(voices)
        return read_history(voices[0].parent / "evaluations.jsonl")["anna", "torch-fp32"]

    evaluate_again("one", 1)
    *_, first, same = evaluate_again("one", 9)
    assert same["changes"]["cer"]["verdict"] == "worse" and "the same voice" in reasons(same, first)[0]
    *_, other = evaluate_again("two", 9)
    assert other["changes"] == {} and reasons(other, same) == ["measured by other models, so not compared"]


def test_without_the_table_before_nothing_is_claimed(voices: list[Path]) -> None:
    folder = voices[0] / "eval" / "torch-fp32"
    collect(voices)
    stale = folder / "earlier" / "older" / "metrics.tsv"
    stale.parent.mkdir(parents=True)
    shutil.copy(voices[1] / "eval" / "torch-fp32" / "metrics.tsv", stale)  # of another evaluation than the last
    change(folder, more_errors=9)
    build(voices[0])
    assert "Worse than before" not in collect(voices)
    assert [line["changes"] for line in read_history(voices[0].parent / "evaluations.jsonl")["anna", "torch-fp32"]] == [
        {},
        {},
    ]


def test_worst_sentences_lead_to_their_sound(voices: list[Path]) -> None:
    html = collect(voices)
    part = html[html.index('id="worst"') :]
    rows = re.findall(r'<tr data-voice="(\w+)" data-target="([\w-]+)".*?</tr>', part, re.DOTALL)
    assert rows[:2] == [("anna", "onnx-fp32"), ("bob", "onnx-fp32")]  # the sentences that could not be spoken
    assert {target for _, target in rows} == {"torch-fp32", "onnx-fp32", "onnx-int8"}
    sounds = re.findall(r'<a href="([^"]+)">listen', part)
    assert sounds and all((voices[0].parent / "report" / sound).is_file() for sound in sounds)
    rates = [float(rate) for rate in re.findall(r'data-v="([\d.]+)">[\d.]+ %</td><td class="say"', part)]
    assert rates[2:] == sorted(rates[2:], reverse=True)


def test_csv_has_the_columns_of_its_schema(voices: list[Path]) -> None:
    import yaml
    from jsonschema import Draft202012Validator

    from voiceclone import files

    collect(voices)
    schema = yaml.safe_load((files.SCHEMAS / "index.schema.yaml").read_text(encoding="utf-8"))
    rows = list(csv.DictReader(io.StringIO((voices[0].parent / "report" / "index.csv").read_text(encoding="utf-8"))))
    for row in rows:
        cells = {name: value(cell, schema["properties"][name]) for name, cell in row.items()}
        Draft202012Validator(schema).validate(cells)
    japanese = [row for row in rows if row["language"] == "ja"]
    assert [(row["voice"], row["target"], row["wer"]) for row in japanese] == [("bob", "onnx-int8", "")]


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_page_sorts_filters_and_gives_csv(voices: list[Path]) -> None:
    page = voices[0].parent / "report" / "index.html"
    page.write_text(collect(voices).replace("</body>", CLICKS + "</body>"), encoding="utf-8")
    command = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=5000", "--dump-dom"]
    done = subprocess.run([*command, page.as_uri()], capture_output=True, text=True, timeout=120, check=True)
    found = json.loads(html_lib.unescape(re.search(r"<title>(.*?)</title>", done.stdout, re.DOTALL)[1]))
    assert len(found["start"]) == 10 and not any(name.endswith("/ja") for name in found["start"])
    known = [float(cell) for cell in found["fastest"] if cell]
    assert known == sorted(known) and found["fastest"][-2:] == ["", ""]  # recordings have no speed
    assert [float(cell) for cell in found["slowest"] if cell] == known[::-1] and found["slowest"][-2:] == ["", ""]
    assert found["one"] == ["bob/onnx-int8/all"]
    assert set(found["worst"]) == {"bob/onnx-int8"} and int(found["count"]) == len(found["worst"])
    assert found["japanese"] == ["bob/onnx-int8/ja"]
    header, *rows = csv.reader(io.StringIO(found["csv"]))
    assert header[0] == "Voice" and len(rows) == 1 and rows[0][:3] == ["bob", "onnx-int8", "ja"]
