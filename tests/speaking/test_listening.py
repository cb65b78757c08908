"""What a recogniser hears is compared with the text, and with the prompt."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from voiceclone.assets import open_asset
from voiceclone.backends.bundle import Reference
from voiceclone.sound.io import read_mono
from voiceclone.speaking.listening import RECOGNISERS, best_recogniser, compare, open_listener
from voiceclone.speaking.options import DetectorSettings

SETTINGS = DetectorSettings()
PROMPT = "The prompt was about the weather."


@pytest.mark.parametrize(
    ("heard", "kinds"),
    [
        ("I would like two tickets to London", []),
        ("I'd like 2 tickets to London.", []),
        ("I would like tickets.", ["words"]),
        ("", ["words"]),
        ("The weather. I would like two tickets to London.", ["leak"]),
        ("About the weather about the weather about the weather.", ["words", "leak"]),
    ],
)
def test_english(heard: str, kinds: list[str]) -> None:
    findings = compare("I would like two tickets to London.", heard, "en", PROMPT, SETTINGS)
    assert [finding.kind for finding in findings] == kinds
    assert all(1.0 <= finding.excess <= 10.0 for finding in findings)


def test_characters_count_in_chinese() -> None:
    text, prompt = "我想买两张票。", "今天天气真不错。"
    assert compare(text, "我想買兩張票", "zh", prompt, SETTINGS) == []
    assert [finding.kind for finding in compare(text, "我想买", "zh", prompt, SETTINGS)] == ["words"]
    assert "leak" in [finding.kind for finding in compare(text, "天气真不错我想买两张票", "zh", prompt, SETTINGS)]
    assert compare("今天天气如何？", "今天天气如何", "zh", prompt, SETTINGS) == []  # words that both have


def test_the_best_recogniser_that_is_there(tmp_path: Path) -> None:
    assert best_recogniser(tmp_path) == RECOGNISERS[0]
    folder = tmp_path / "resources" / "models" / "whisper-base"
    folder.mkdir(parents=True)
    (folder / "asset.json").touch()
    assert best_recogniser(tmp_path) == "whisper-base"


def test_a_real_recording_says_its_words_and_no_others(shared_data: Path, asset: Callable[[str], Path]) -> None:
    listener = open_listener(open_asset(asset("whisper-base")), SETTINGS, threads=1)
    speaker = shared_data / "speakers" / "ljspeech"
    with (speaker / "transcripts.csv").open(encoding="utf-8") as table:
        row = list(csv.DictReader(table))[1]
    samples, rate = read_mono(speaker / row["file"])
    piece = samples[int(float(row["start_s"]) * rate) : int(float(row["end_s"]) * rate)]
    nothing = np.zeros(0, np.int64)
    reference = Reference(nothing, nothing, np.zeros((1, 1, 1), np.float32), text=row["text"])
    assert listener(piece, rate, row["text"], "en", reference) == []
    kinds = [finding.kind for finding in listener(piece, rate, "Good morning, everybody.", "en", reference)]
    assert kinds == ["words", "leak"]
