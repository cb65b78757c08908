"""Amounts of speech and the presets that are made for them."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from tests.support.corpus_fixture import TAKE, Results, record, summary

from voiceclone.corpus.tiers import FULL_SECONDS, SCRATCH, TIERS, advice, amount, check_clip
from voiceclone.errors import DataError
from voiceclone.files import read_tsv
from voiceclone.stages.corpus import CorpusSettings

REPOSITORY = Path(__file__).resolve().parents[2]
ZERO_SHOT = {"tier": "zero-shot", "min_utterances": 1, "min_seconds": 1, "heldout_share": 0, "min_heldout": 0}


@pytest.mark.parametrize(
    ("tier", "seconds", "expected"),
    [
        ("", 1, ""),
        ("zero-shot", 8, ""),
        ("zero-shot", 45, "45 s of speech is more than preset zero-shot makes use of: few-shot"),
        ("few-shot", 20, "20 s of speech is little for preset few-shot, made for 30 s or more: zero-shot fits"),
        ("few-shot", 60, ""),
        ("few-shot", 7200, ""),
        ("few-shot", 14400, "4 hours of speech is more than preset few-shot makes use of: full learns from all of it"),
        ("full", 60, "60 s of speech is little for preset full, made for 3 hours or more: few-shot fits"),
        ("full", 3000, "50 minutes of speech is little for preset full"),
        ("full", 10800, ""),
        ("full", 1e6, ""),
        ("zero-shot-small", 8, ""),
        ("zero-shot-small", 45, "45 s of speech is more than preset zero-shot-small makes use of: small learns"),
        ("small", 20, "20 s of speech is little for preset small, made for 30 s or more: zero-shot-small fits"),
        ("small", 60, ""),
        ("small", 7200, "2 hours of speech is more than preset small makes use of: few-shot learns from all of it"),
        ("nano", 8, "without a base voice makes nothing intelligible of 8 s of speech: zero-shot-small fits"),
        ("nano", 90, "makes nothing intelligible of 90 s of speech: small fits"),
        ("nano", 14400, "makes nothing intelligible of 4 hours of speech: full fits"),
    ],
)
def test_advice_names_the_preset_that_fits(tier: str, seconds: float, expected: str) -> None:
    assert expected in advice(tier, seconds) and bool(expected) == bool(advice(tier, seconds))


@pytest.mark.parametrize("seconds", [1, 10, 31, 60, 1800, 10799, 10801, 36000])
def test_following_the_advice_ends_at_a_preset_without_any(seconds: float) -> None:
    for start in (*TIERS, *SCRATCH):
        tier, seen = start, set()
        for _ in itertools.count():
            if not (text := advice(tier, seconds)):
                break
            assert tier not in seen, "advice goes round in circles"
            seen.add(tier)
            tier = text.partition(": ")[2].split()[0]
            assert tier in TIERS


@pytest.mark.parametrize("seconds", [[2.9], [10.4], [1.0, 2.0, 12.0], []])
def test_a_voice_without_training_needs_a_clip_of_the_right_length(seconds: list[float]) -> None:
    with pytest.raises(DataError, match=r"speaker anna: zero-shot needs a clip of 3 to 10 s") as caught:
        check_clip("zero-shot", seconds, "anna")
    assert caught.value.hint
    with pytest.raises(DataError, match=r"zero-shot-small needs a clip"):
        check_clip("zero-shot-small", seconds, "anna")
    check_clip("few-shot", seconds, "anna")
    check_clip("zero-shot", [*seconds, 3.0], "anna")


def test_one_clip_is_a_corpus_with_nothing_held_out(tmp_path: Path) -> None:
    results = Results(tmp_path)
    results.records = {0: results.records[0]}
    corpus = results.build(CorpusSettings.model_validate(ZERO_SHOT))
    assert [row["split"] for row in read_tsv(corpus / "corpus.tsv")] == ["train"]
    assert "advice" not in summary(corpus)


def test_a_clip_that_is_too_short_stops_the_corpus_with_what_to_do(tmp_path: Path) -> None:
    results = Results(tmp_path)
    results.records = {0: record(0, "Just a few words.") | {"utterance": f"{TAKE}-0000000-0002500"}}
    with pytest.raises(DataError, match=r"the utterances found are 2\.5 s long") as caught:
        results.build(CorpusSettings.model_validate(ZERO_SHOT))
    assert "record one or two whole sentences" in caught.value.hint
    assert not (results.folder / "corpus" / "corpus.tsv").exists()


def test_a_preset_that_does_not_fit_is_told_and_noted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    corpus = Results(tmp_path).build(CorpusSettings(tier="full"))
    for place in (capsys.readouterr().out, caplog.text, summary(corpus)["advice"]):
        assert "little for preset full" in place and "few-shot fits" in place


def test_readme_and_manual_name_the_amounts_of_the_tiers() -> None:
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    manual = (REPOSITORY / "docs" / "configuration.md").read_text(encoding="utf-8")
    for name, speech in (
        ("few-shot", f"{amount(TIERS['few-shot'].min_seconds)} to {amount(FULL_SECONDS)}"),
        ("full", f"{amount(FULL_SECONDS)} and more"),
    ):
        assert f"| {speech} | `{name}` |" in readme
        line = next(line for line in manual.splitlines() if line.startswith(f"| `{name}` |"))
        assert f"on {speech}" in line
