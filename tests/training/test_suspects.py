"""Utterances whose text is not what was said stand out by their loss."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.support.synthetic_features import make_features

from voiceclone.files import read_json, read_tsv
from voiceclone.models.gpt import GPTConfig
from voiceclone.stages.settings import RuntimeSettings
from voiceclone.stages.train_gpt import GPTSettings
from voiceclone.training.data import Utterance
from voiceclone.training.gpt import train_gpt
from voiceclone.training.run import COLUMNS, OutputFiles, judged, named, rank


def utterances(count: int) -> list[Utterance]:
    return [Utterance(f"u{n}", "train", 2.0, "en", f"text {n}", 100, {}) for n in range(count)]


def test_an_outlier_is_named_and_the_order_is_by_loss() -> None:
    losses = {f"u{n}": 1.0 + 0.02 * n for n in range(10)} | {"u3": 2.5}
    rows = rank(losses, utterances(12))
    assert [row["utterance"] for row in rows[:2]] == ["u3", "u9"] and len(rows) == 10
    assert [row["utterance"] for row in named(rows)] == ["u3"]
    assert set(rows[0]) == set(COLUMNS) and rows[0]["rank"] == "01"


@pytest.mark.parametrize("losses", [{}, {"u0": 1.0, "u1": 9.0}, {f"u{n}": 2.0 + 1e-6 * n for n in range(20)}])
def test_nobody_is_named_where_there_are_few_or_all_are_alike(losses: dict[str, float]) -> None:
    assert named(rank(losses, utterances(20))) == []


def speak(features: Path, wrong: str) -> None:
    """Make the tokens follow the phones by one rule for all utterances but one, whose text is another."""
    phones, tokens = (load_file(features / f"{kind}.safetensors") for kind in ("phones", "semantic"))
    for utterance, text in phones.items():
        phones[utterance] = 1 + text % 6
        tokens[utterance] = phones[utterance] * 4
    phones[wrong] = 1 + (phones[wrong] + 2) % 6
    save_file(phones, features / "phones.safetensors")
    save_file(tokens, features / "semantic.safetensors", {"codes": "32"})


def test_a_swapped_transcript_ranks_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All utterances say what is written, but one: after the training it is the one that is named."""
    torch.set_num_threads(1)
    monkeypatch.setattr(
        GPTConfig,
        "nano",
        staticmethod(lambda codes: GPTConfig(dim=32, layers=2, heads=2, feed_forward=64, codes=codes)),
    )
    features = tmp_path / "features"
    make_features(features, tmp_path / "tokenizer.safetensors", utterances=90, heldout=6, frames=(20, 30))
    speak(features, wrong="take-17")
    report, suspects = tmp_path / "gpt.json", tmp_path / "gpt.suspects.tsv"
    settings = GPTSettings(
        architecture="nano", steps=200, batch_size=16, learning_rate=5e-3, warmup_steps=10, validate_every=50
    )
    outputs = OutputFiles(tmp_path / "gpt.safetensors", report, tmp_path / "gpt.history.jsonl", suspects)
    train_gpt(features, tmp_path / "state", outputs, settings, RuntimeSettings(device="cpu"))
    rows = read_tsv(suspects)
    assert len(rows) == 84 and rows[0]["utterance"] == "take-17" and rows[0]["suspect"] == "true"
    found = read_json(report)["suspects"]
    assert found["metric"] == "cross_entropy" and found["judged"] == 84
    assert found["utterances"][0]["utterance"] == "take-17" and found["utterances"][0]["text"] == "text 17"


def test_of_a_large_corpus_the_same_sample_is_judged_every_time() -> None:
    rows = utterances(500)
    chosen = judged(rows, 20)
    assert len(chosen) == 20 and chosen == [row for row in rows if row in judged(rows[::-1], 20)]
    assert judged(rows, 500) == rows and judged(rows, 0) == []
    # a larger sample holds the smaller one
    assert {row.name for row in chosen} <= {row.name for row in judged(rows, 21)}, (
        "a larger sample holds the smaller one"
    )
