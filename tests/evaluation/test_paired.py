"""Comparing two evaluations: pairing, verdicts, exit status, the page."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from voiceclone.cli import app
from voiceclone.errors import DataError
from voiceclone.evaluation.paired import compare_tables, find_metrics
from voiceclone.evaluation.statistics import holm, paired_test
from voiceclone.files import Row, write_tsv

COLUMNS = (
    "item", "language", "text", "hypothesis", "character_errors", "characters", "similarity_campplus", "distillmos",
    "dnsmos_ovrl",
)  # fmt: skip


def table(errors: list[int], similarity: float = 0.6, seeds: int = 1) -> list[Row]:
    generator = np.random.default_rng(0)
    return [
        dict(zip(COLUMNS, (f"s{number:02}", "en", f"Sentence {number}.", f"heard {seed}", str(count), "50",
             str(similarity + 0.01 * generator.normal()), "3.0", ""), strict=True))
        for number, count in enumerate(errors)
        for seed in range(seeds)
    ]  # fmt: skip


def test_more_errors_in_most_sentences_are_worse_and_the_rest_shows_nothing() -> None:
    found = compare_tables(table([1, 0] * 15), table([2, 1] * 15, seeds=2))
    assert found["sentences"] == 30 and found["seeds"] == [1, 2]
    cer = found["metrics"]["cer"]
    assert cer["verdict"] == "worse" and cer["p"] < 0.01
    assert (cer["first"], cer["second"]) == pytest.approx((1.0, 3.0)) and cer["difference"]["value"] == pytest.approx(2)
    assert found["metrics"]["distillmos"]["verdict"] == "no evidence"
    assert "dnsmos" not in found["metrics"]  # no value in either


def test_the_other_way_round_it_is_better_by_as_much() -> None:
    one, two = table([1, 0] * 15), table([2, 1] * 15)
    there, back = (compare_tables(*pair)["metrics"]["cer"] for pair in ((one, two), (two, one)))
    assert back["verdict"] == "better" and back["p"] == there["p"]
    assert back["difference"]["value"] == pytest.approx(-there["difference"]["value"])


def test_few_sentences_give_no_evidence_and_say_what_they_could_have_seen() -> None:
    cer = compare_tables(table([0, 1, 0]), table([2, 3, 4]))["metrics"]["cer"]
    assert cer["verdict"] == "no evidence" and cer["detectable"] > 5


def test_only_sentences_with_the_same_text_are_paired() -> None:
    one, two = table([0, 1, 2, 3]), table([0, 1, 2, 3])
    two[3]["text"] = "Another sentence."
    found = compare_tables(one, two[1:])
    assert (found["sentences"], found["only_first"], found["only_second"]) == (2, 2, 1)
    with pytest.raises(DataError, match="no sentence"):
        compare_tables(one[:1], two[1:])


def test_holm_adjusts_as_in_the_paper() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0] and holm([]) == []


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=30), st.integers(0, 5))
def test_equal_voices_are_never_told_apart(errors: list[int], seed: int) -> None:
    found = paired_test(errors, errors, [50.0] * len(errors), resamples=200, seed=seed)
    assert found is not None and found.p == 1.0 and found.difference.value == 0


def test_false_alarms_stay_at_the_level() -> None:
    generator = np.random.default_rng(5)
    alarms = 0
    for trial in range(200):
        hard = generator.gamma(0.5, 2.0, size=30)
        one, two = (generator.poisson(hard) for _ in range(2))
        found = paired_test(one, two, [40.0] * 30, resamples=300, seed=trial)
        alarms += found is not None and found.p <= 0.05
    assert alarms <= 19  # of a true 5 %, exceeded in 1 of 100 cases


def test_the_command_ends_with_1_where_the_second_is_worse(tmp_path: Path) -> None:
    for name, rows in {"a": table([1, 0] * 15), "b": table([2, 1] * 15)}.items():
        write_tsv(tmp_path / "results" / name / "eval" / "torch-fp32" / "metrics.tsv", COLUMNS, rows)
    one, two = (str(tmp_path / "results" / name) for name in "ab")
    files = {kind: tmp_path / f"found.{kind}" for kind in ("json", "html")}
    result = CliRunner().invoke(app, ["compare", one, two, "--json", str(files["json"]), "--html", str(files["html"])])
    assert result.exit_code == 1 and "Character error rate: 1 -> 3, +2" in result.output and "worse" in result.output
    assert json.loads(files["json"].read_text())["metrics"]["cer"]["verdict"] == "worse"
    page = files["html"].read_text()
    assert "Sentences that became worse" in page and "Sentence 4." in page
    assert CliRunner().invoke(app, ["compare", two, one]).exit_code == 0
    assert CliRunner().invoke(app, ["compare", one, one]).exit_code == 0


def test_what_has_no_evaluation_is_named(tmp_path: Path) -> None:
    bundle = tmp_path / "anna" / "export" / "onnx-int8"
    metrics = tmp_path / "anna" / "eval" / "onnx-int8" / "metrics.tsv"
    bundle.mkdir(parents=True)
    with pytest.raises(DataError, match="onnx-int8: no evaluation"):
        find_metrics(bundle)
    write_tsv(metrics, COLUMNS, table([0]))
    assert find_metrics(bundle) == find_metrics(metrics.parent) == find_metrics(tmp_path / "anna", "onnx-int8")
