"""The table of quality and speed: what is held against the trained model, and how significantly."""

from __future__ import annotations

from typing import Any

import pytest

from voiceclone.evaluation.comparison import comparison
from voiceclone.evaluation.evaluate import COLUMNS
from voiceclone.evaluation.summary import summarise_rows
from voiceclone.report.words import bare, range_of
from voiceclone.stages.evaluate import EvaluateSettings

Rows = list[dict[str, Any]]


def sentences(gpt: float, wrong: int, similarity: float, language: str = "en", count: int = 12) -> Rows:
    """Sentences of growing length, of which ``wrong`` of ten words are wrong."""
    rows: Rows = []
    for index in range(count):
        row = dict.fromkeys(COLUMNS) | {"item": f"s{index:02d}", "language": language, "text_ms": 10.0, "post_ms": 0.0}
        row |= {"gpt_ms": gpt * (index + 1), "decoder_ms": 40.0, "similarity_campplus": similarity + 0.01 * index}
        row |= {"word_errors": wrong, "words": 10, "character_errors": wrong, "characters": 20}
        rows.append(row)
    return rows


def compare(tables: dict[str, Rows]) -> dict[str, Any]:
    summaries = {
        target: summarise_rows(rows, EvaluateSettings(bootstrap=200))
        | {"settings": {"bootstrap": 200, "seed": 0}, "size_bytes": 1000 if target == "torch-fp32" else 310}
        for target, rows in tables.items()
    }
    texts = {
        target: [{name: "" if value is None else str(value) for name, value in row.items()} for row in rows]
        for target, rows in tables.items()
    }
    return comparison(summaries, texts)


def cell(table: dict[str, Any], target: str, column: str) -> Any:
    row = next(row for row in table["rows"] if row["target"] == target)
    return row["cells"][[column.name for column in table["columns"]].index(column)]


def test_differences_are_of_the_same_sentences() -> None:
    table = compare(
        {
            "onnx-int8": sentences(50.0, 2, 0.7)[2:],
            "torch-fp32": sentences(100.0, 1, 0.7),
            "recordings": sentences(0.0, 0, 0.9),
        }
    )
    assert [row["target"] for row in table["rows"]] == ["torch-fp32", "onnx-int8"]
    assert cell(table, "torch-fp32", "gpt_ms")["difference"] is None
    faster = cell(table, "onnx-int8", "gpt_ms")["difference"]
    assert faster["n"] == 10 and faster["value"] == -50.0 * 7.5 and faster["verdict"] == "better"
    assert cell(table, "onnx-int8", "wer")["difference"] == {
        "value": 0.1, "low": 0.1, "high": 0.1, "n": 10, "verdict": "worse"
    }  # fmt: skip
    same = cell(table, "onnx-int8", "similarity_campplus")["difference"]
    assert same["value"] == 0 and same["verdict"] == ""


def test_shares_of_the_latency_and_of_the_size() -> None:
    table = compare({"torch-fp32": sentences(100.0, 1, 0.7, count=1), "onnx-int8": sentences(50.0, 1, 0.7, count=1)})
    shares = [cell(table, "torch-fp32", name)["aside"] for name in ("text_ms", "gpt_ms", "decoder_ms", "post_ms")]
    assert shares == ["7 %", "67 %", "27 %", "0 %"]
    assert table["memory"] == ["Disk"]  # nothing else is known
    assert [row["memory"] for row in table["rows"]] == [
        [{"mb": 0.001, "share": None}],
        [{"mb": 0.00031, "share": 0.31}],
    ]
    assert cell(table, "torch-fp32", "wer")["aside"] == "(5.0)"
    assert table["missing"] == ["First audio", "RTF", "Tokens/s", "DNSMOS", "DistillMOS"]


def test_a_voice_counted_in_characters_has_their_column() -> None:
    table = compare({"torch-fp32": sentences(100.0, 1, 0.7, "zh"), "onnx-int8": sentences(50.0, 3, 0.7, "zh")})
    assert "wer" not in [column.name for column in table["columns"]]
    assert cell(table, "onnx-int8", "cer")["difference"]["value"] == pytest.approx(0.1)


def test_nothing_that_speaks_gives_no_table() -> None:
    assert compare({"recordings": sentences(0.0, 0, 0.9)})["rows"] == []


def test_figures_in_little_room() -> None:
    assert [bare(value, "bare_ms") for value in (0.42, 99.6, None)] == ["0.4", "100", "–"]
    assert [bare(value, "score", signed=True) for value in (0.123, -0.5, -0.001)] == ["+0.12", "−0.50", "0.00"]
    assert range_of({"low": -0.012, "high": 0.3}, "bare_percent", signed=True) == "−1.2…+30.0"
