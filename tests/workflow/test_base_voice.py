"""The base voice's workflow from a teacher to a packed card, shortened by configuration alone: nothing here sounds."""

from __future__ import annotations

from pathlib import Path

import pytest

from voiceclone.files import read_json, read_tsv, sha256_file

pytestmark = pytest.mark.timeout(1800)
CONFIGURATION = Path(__file__).with_name("base_voice.yaml")
PACKED = ("tokenizer", "gpt", "sovits", "discriminator")


@pytest.fixture(scope="module")
def base(new_project, asset):
    """The finished project."""
    for name in ("hibari", "whisper-base", "whisper-tiny.en", "campplus", "distillmos"):
        asset(name)  # skips where the models cannot be reached
    project = new_project("base", "--configfile", str(CONFIGURATION))
    project.run("base_voice")
    return project


def test_teacher_to_packed_card(base) -> None:
    folder = base.results / "base" / "base_voice"
    card = read_json(folder / "card.json")
    assert sorted(card["files"]) == sorted(f"{name}.safetensors" for name in PACKED)
    assert all(sha256_file(folder / name) == entry["sha256"] for name, entry in card["files"].items())
    assert card["sources"][0]["licence"] == "Apache-2.0" and card["corpus"]["hours"]["train"] > 0
    assert (
        card["training"]["gpt"]["step"] > 0 and card["training"]["sovits"]["architecture"]["decoder"] == "source_filter"
    )
    text = (folder / "card.md").read_text(encoding="utf-8")
    assert "hibari (teacher)" in text and "base_voice --config preset=base" in text
    measures = {item["measure"]: item["value"] for item in card["gates"]["wanted"]}
    assert 0 <= measures["pointer within one phone"] <= 1 and measures["resynthesis WER"] > 0.15


def test_pseudo_speakers_reach_the_trainings(base) -> None:
    rows = read_tsv(base.results / "base" / "features" / "manifest.tsv")
    assert len({row["speaker"] for row in rows}) > 1
    assert {row["source"] for row in rows} == {"hibari"} and {row["use"] for row in rows} == {"gpt sovits"}
    assert {row["split"] for row in rows} == {"train", "heldout"}


def test_a_second_run_does_nothing(base) -> None:
    done = base.run("-n", "base_voice")
    assert "Nothing to be done" in done.stdout + done.stderr


def test_the_packed_base_is_measured_again_by_one_command(base, tmp_path) -> None:
    from voiceclone.models.voice import load_voice

    voice = load_voice(base.results / "base" / "base_voice")
    assert not voice.prompt and voice.gpt.config.pointer_layer == 4
    report = read_json(base.results / "base" / "gates" / "gates.json")
    assert [group["name"] for group in report["groups"]] == ["hibari"] and report["speech"]
