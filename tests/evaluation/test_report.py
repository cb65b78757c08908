"""The report of a made-up voice: everything shown, nothing fetched, everything escaped."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from tests.support.report_fixture import NASTY, TARGETS, build, make_results

from voiceclone.evaluation.paired import averaged
from voiceclone.evaluation.select import Candidate, Choice, grid
from voiceclone.files import read_json, read_tsv, write_json, write_tsv
from voiceclone.report.charts import histogram, line_chart, spectrogram_png, thin, ticks
from voiceclone.report.collect import collect_report
from voiceclone.report.material import beside_teacher, chosen_items, kept_and_dropped, seconds_by_fate, text_latency
from voiceclone.report.page import trained_from_scratch
from voiceclone.report.words import duration, plain_words


@pytest.fixture(scope="module")
def voice(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_results(tmp_path_factory.mktemp("run") / "results" / "anna")


@pytest.fixture(scope="module")
def html(voice: Path) -> str:
    return build(voice)


def test_page_needs_nothing_from_outside(html: str) -> None:
    addresses = re.findall(r'(?:src|href|action|data)="([^"]*)"', html)
    assert addresses
    assert all(address.startswith(("data:", "#")) for address in addresses)
    assert "url(" not in html and "@import" not in html
    assert "<script src" not in html and "<link" not in html


def test_user_text_is_escaped(html: str) -> None:
    assert NASTY not in html
    assert NASTY.replace("<", "&lt;").replace(">", "&gt;").replace('"', "&#34;") in html


def test_page_shows_every_part(html: str, voice: Path) -> None:
    provenance = read_json(voice / "provenance.json")
    for expected in (
        "AI-generated speech",
        "not speak intelligibly",
        "take 2.wav",
        "too_short",
        "low_confidence",
        "Trained model",
        "onnx-fp32",
        "resumed at step 120",
        "CC-BY-4.0",
        "Licence of the recordings: CC-BY-4.0 &lt;",
        "<code>none given</code>",
        "Left out: low_confidence",
        "Quality and speed of every target",
        "take the trained GPT 1180 ms with it and 12030 ms without: <b>×10.2</b>",
    ):
        assert expected in html, expected
    for kind in ("gpt", "sovits"):
        assert provenance["models"][kind]["fingerprint"] in html
    for entry in provenance["inputs"]:
        assert entry["sha256"] in html
    assert html.count("<audio") == html.count("data:audio/mpeg") > 0
    assert html.count("data:image/png") == html.count("<audio")


def test_bound_on_size_is_kept(voice: Path, html: str) -> None:
    small = build(voice, max_megabytes=0.05)
    assert len(small) < len(html) and "left out here to keep the page small" in small
    assert "<audio" not in build(voice, samples=0)
    build(voice)


def test_index_links_the_reports(voice: Path, tmp_path: Path) -> None:
    build(voice)
    output = voice.parent / "report" / "index.html"
    collect_report([voice / "provenance.json"], output)
    html = output.read_text(encoding="utf-8")
    assert 'href="../anna/report.html"' in html and (output.parent / "../anna/report.html").is_file()
    assert "Resynthesis" in html and "AI-generated" in html


def test_a_target_that_could_not_run_is_one_line(tmp_path: Path) -> None:
    line = "trt-fp16: not measured: no TensorRT on this machine"
    results = make_results(tmp_path / "results" / "anna")
    write_json(results / "eval" / "trt-fp16" / "summary.json", {"target": "trt-fp16", "not_measured": line})
    html = build(results, targets=[*TARGETS, "trt-fp16"])
    assert html.count(line) == 1 and html.count("trt-fp16") == 1
    collect_report([results / "provenance.json"], tmp_path / "index.html")
    assert (tmp_path / "index.html").read_text(encoding="utf-8").count("trt-fp16") == 1


def test_the_release_before_stands_in_the_table_and_costs_are_told(tmp_path: Path) -> None:
    results = make_results(tmp_path / "results" / "anna")
    folder = results / "eval" / "torch-fp32"
    assert "previous release" not in build(results) and "What the evaluation cost" not in build(results)
    more = {"source": "new", "cost": {"speaking": 12.25, "recogniser": 3.0, "mos": 0.0}}
    more |= {"texts": {"found": 3, "asked": 9}, "gpu_memory_mb": 432.1}
    summary = read_json(folder / "summary.json")
    write_json(folder / "summary.json", summary | more)
    shutil.copytree(folder, folder / "earlier" / "old", ignore=shutil.ignore_patterns("samples", "earlier"))
    for source, shown in (("new", False), ("old", True)):  # an evaluation of the same voice is no release
        write_json(folder / "earlier" / "old" / "summary.json", summary | {"source": source})
        html = build(results)
        assert ("previous release<small>" in html) == shown
    cells = "".join(f'<td class="n">{value}</td>' for value in ("12.2", "3.0", "15.2"))
    assert cells == "".join(re.findall(r"(?:Speaking|Recogniser|Sum)</th>(<td.*?</td>)</tr>", html))
    assert "3 of 9 sentences were in the cache of texts" in html and ">GPU</th>" in html and "432" in html


def test_a_student_stands_beside_its_teacher_sentence_by_sentence(voice: Path, tmp_path: Path) -> None:
    student = tmp_path / "results" / "anna-student"
    shutil.copytree(voice, student)
    shutil.copy(voice.parent / "config.json", student.parent)
    folder = student / "eval" / "onnx-fp32"
    rows = read_tsv(folder / "metrics.tsv")
    slower = [row | {"rtf": str(2 * float(row["rtf"])) if row["rtf"] else ""} for row in rows]
    write_tsv(folder / "metrics.tsv", list(rows[0]), slower)
    (table,) = beside_teacher(student, voice, ["recordings", "onnx-fp32"]).values()
    assert [row["target"] for row in table["rows"]] == ["teacher", "student"]
    titles = [column.name for column in table["columns"]]
    differences = {
        name: cell and cell["difference"] for name, cell in zip(titles, table["rows"][1]["cells"], strict=True)
    }
    usual = float(np.median([row["rtf"] for row in averaged(rows) if row["rtf"]]))
    assert differences["rtf"]["value"] == pytest.approx(usual, rel=1e-3) and differences["rtf"]["verdict"] == "worse"
    assert differences["distillmos"]["value"] == 0 and "similarity_campplus" not in titles
    page = build(student, teacher=voice)
    assert "Teacher and student: onnx-fp32" in page and "Teacher and student" not in build(student)


def test_report_without_held_out_sentences(tmp_path: Path) -> None:
    results = make_results(tmp_path / "results" / "bob", heldout=0)
    html = build(results)
    assert "No utterance was held out" in html


def test_scratch_is_what_has_no_base() -> None:
    assert trained_from_scratch({"preset": "demo"})
    assert trained_from_scratch({"preset": "mine", "gpt": {"base": ""}, "sovits": {"base": "g"}})
    assert not trained_from_scratch({"preset": "nano", "gpt": {"base": "mine"}, "sovits": {"base": "mine"}})
    assert not trained_from_scratch({"preset": "few-shot", "gpt": {"base": "s1"}, "sovits": {"base": "g"}})


def test_items_to_hear_mix_both_kinds() -> None:
    rows = [
        {"item": name, "kind": kind, "audio": "x"}
        for name, kind in [("a", "heldout"), ("b", "heldout"), ("f", "fixed")]
    ]
    assert chosen_items({"torch-fp32": rows, "recordings": rows[:2]}, 2) == ["a", "f"]


def test_words_do_not_claim_what_intervals_deny() -> None:
    def summary(value: float, low: float, high: float) -> dict[str, object]:
        part = {"sentences": 40, "wer": {"value": value, "low": low, "high": high, "n": 40}, "metrics": {}}
        return {"by_kind": {"heldout": part}, "failures": [], "metrics": {}}

    same = " ".join(
        plain_words({"recordings": summary(0.05, 0.02, 0.08), "onnx-fp32": summary(0.07, 0.04, 0.1)}, False)
    )
    apart = " ".join(plain_words({"recordings": summary(0.05, 0.02, 0.08), "onnx-fp32": summary(0.3, 0.2, 0.4)}, False))
    broken = " ".join(plain_words({"onnx-fp32": summary(0.99, 0.9, 1.1)}, True))
    base = summary(0.25, 0.2, 0.3)
    base["by_kind"]["heldout"]["metrics"] = {"similarity_campplus": {"value": 0.41}}  # type: ignore[index]
    told = " ".join(plain_words({"torch-fp32": summary(0.1, 0.1, 0.1), "zero-shot": base}, False))
    assert "without fine-tuning gets 25 % of the words wrong, and its likeness is 0.41." in told
    assert told.startswith("A speech recogniser gets 10 %")
    assert "no clear difference" in same and "no clear difference" not in apart
    assert "cannot be understood" in broken and "few" not in same


def test_durations_for_people() -> None:
    assert [duration(value) for value in (8.44, 112, 7500, None)] == ["8.4 s", "1 min 52 s", "2 h 5 min", "–"]


def test_chart_draws_marks_and_keeps_the_last_point() -> None:
    points = [(float(step), 5.0 / (1 + step)) for step in range(1000)]
    svg = line_chart("Loss <b>", {"train": points}, [300.0])
    assert svg.count('class="mark"') == 1 and "Loss &lt;b&gt;" in svg
    assert thin(points)[-1][0] == 999.0 and len(thin(points)) == 160
    assert line_chart("flat", {"train": [(1.0, 2.0), (2.0, 2.0)]}).count("polyline") == 2
    assert ticks(0, 10) == [0.0, 2.5, 5.0, 7.5, 10.0]
    assert histogram("lengths", [0.5, 1.5, 1.7]).count("<rect") == 2 and histogram("none", []) == ""


def test_time_of_text_by_step_where_it_was_measured() -> None:
    measured = {"text_ms": "10", "normalise_ms": "1", "g2p_ms": "2", "polyphones_ms": "3", "bert_ms": "3.5"}
    tables = {"torch-fp32": [measured, {"text_ms": "9"}], "onnx-fp32": [{"text_ms": "9"}]}
    assert text_latency(tables) == [{"target": "torch-fp32", "cells": pytest.approx([10, 1, 2, 3, 3.5, 0.5])}]


def test_chart_of_quality_speed_and_size(html: str) -> None:
    figures = re.findall(r'<figure data-trade-off="(\w+)"( hidden)?>(.*?)</figure>', html)
    shown = [("distillmos", ""), *((name, " hidden") for name in ("similarity_campplus", "cer", "wer"))]
    assert [(name, hidden) for name, hidden, _ in figures] == shown
    bubble = r'cx="([\d.]+)" cy="([\d.]+)" r="([\d.]+)"/><text [^>]*>([^<]*)</text><title>[^<]*real-time factor'
    places = {name: (float(x), float(y), float(r)) for x, y, r, name in re.findall(bubble, figures[0][2])}
    assert set(places) == {"Trained model", "onnx-fp32", "onnx-int8"}
    assert places["onnx-int8"][0] < places["onnx-fp32"][0] < places["Trained model"][0]  # faster is to the left
    assert places["onnx-int8"][2] < places["onnx-fp32"][2] == places["Trained model"][2] == 20.0  # 0.31 of the size
    assert places["onnx-int8"][1] > places["Trained model"][1]  # a little less natural


def test_spectrogram_shows_a_tone_at_its_height(tmp_path: Path) -> None:
    from PIL import Image

    tone = np.sin(2 * np.pi * 1000 * np.arange(32000) / 32000).astype(np.float32)
    path = tmp_path / "tone.png"
    path.write_bytes(spectrogram_png(tone, 32000))
    image = np.asarray(Image.open(path).convert("L"), dtype=float)
    assert image.shape == (72, 360)
    mel = 2595 * np.log10(1 + 1000 / 700) / (2595 * np.log10(1 + 10000 / 700))
    assert abs((71 - image[:, 100:260].mean(axis=1).argmax()) - mel * 72) <= 2


def test_provenance_of_another_format_is_refused(tmp_path: Path) -> None:
    from voiceclone.errors import DataError

    write_json(tmp_path / "provenance.json", {"format_version": 99})
    with pytest.raises(DataError, match="not a provenance file"):
        collect_report([tmp_path / "provenance.json"], tmp_path / "index.html")


def test_training_says_why_it_began_and_names_suspects(html: str) -> None:
    assert "changed since 4567: 2 utterances changed text, 1 added" in html
    assert "Resumed at step 120: saved state found" in html
    assert "Suspect utterances (1)" in html and "take-1-0001" in html and "config/corrections/" in html
    assert "models/gpt.suspects.tsv" in html and "models/sovits.suspects.tsv" not in html


def test_utterances_that_trainings_leave_out_stay_in_the_account(tmp_path: Path) -> None:
    results = make_results(tmp_path / "results" / "anna")
    rows = [row for row in read_tsv(results / "corpus" / "corpus.tsv") if row["split"] == "train"]
    by_none, by_one = rows[0], rows[1]
    names = {row["utterance"] for row in read_tsv(results / "corpus" / "corpus.tsv")} - {by_none["utterance"]}
    for kind, read in (("gpt", names), ("sovits", names - {by_one["utterance"]})):
        report = read_json(results / "models" / f"{kind}.json")
        report["components"]["utterances"] = dict.fromkeys(read, "text-features")
        write_json(results / "models" / f"{kind}.json", report)
    takes = read_tsv(results / "takes.tsv")
    corpus, dropped = kept_and_dropped(results)
    fates = {
        (fate["state"], fate["reason"]): fate["seconds"] for fate in seconds_by_fate(results, takes, corpus, dropped)
    }
    assert fates["dropped", "training"] == pytest.approx(float(by_none["seconds"]))
    assert fates["train", "too short or without phones for SoVITS"] == pytest.approx(float(by_one["seconds"]))
    assert fates["train", ""] == pytest.approx(sum(float(row["seconds"]) for row in rows[2:]))
    assert sum(fates.values()) == pytest.approx(sum(float(row["seconds"]) for row in takes), abs=0.1)
    assert "too short or without phones for GPT and SoVITS" in build(results)


def test_the_choice_of_checkpoints_is_shown_with_its_grid_and_the_losses_that_warn(tmp_path: Path) -> None:
    results = make_results(tmp_path / "results" / "anna")
    best, last = Candidate("best", 100), Candidate("last", 200)
    heard = {"character_errors": 1.0, "characters": 50.0, "sim_rel": 0.9, "mos": 4.0}
    worse = {"character_errors": 50.0, "characters": 50.0}  # nothing was spoken
    choice = Choice((last, best), {(last, best): [heard] * 4, (best, best): [worse] * 2}, [(2, 2), (1, 4)])
    losses = {"metric": "mel_l1", "overfit": True, "unsteady": False}
    losses |= {"best": {"step": 100, "value": 1.0}, "last": {"step": 200, "value": 1.2}}
    chosen = {"gpt": vars(last), "sovits": vars(best)}
    write_json(
        results / "selection" / "selection.json",
        {"by": "ear", "chosen": chosen, "losses": {"sovits": losses}, "grid": grid(choice), "sentences": 4},
    )
    html = build(results)
    assert "GPT last (step 200), SoVITS best (step 100): of 2 pairs" in html
    assert "20 % above its best at step 100" in html
    by_loss = {"by": "best", "chosen": {"gpt": vars(best), "sovits": vars(best)}, "losses": {}}
    write_json(results / "selection" / "selection.json", by_loss)
    assert "SoVITS best (step 100): the lowest held-out losses." in build(results)
