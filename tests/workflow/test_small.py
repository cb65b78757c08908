"""The demo as it is, from our own base voice, with hardly any training: what it says is understood."""

from __future__ import annotations

import pytest

from voiceclone.files import read_json

pytestmark = pytest.mark.timeout(1800)
SHORT = (
    "sovits={steps: 2, validate_every: 2}", "evaluate={heldout: 1, fixed: 2, bootstrap: 100}",
    "export={targets: [onnx-int8]}",
)  # fmt: skip


@pytest.fixture(scope="module")
def voice(new_project, asset):
    asset("piper-joe")  # skips where the models cannot be reached
    project = new_project("small", "--config", "preset=demo", *SHORT)
    project.run("demo_speaker")
    project.run()
    return project.results / "demo"


def test_a_recogniser_understands_the_bundle(voice) -> None:
    summary = read_json(voice / "eval" / "onnx-int8" / "summary.json")
    assert summary["sentences"] == 3 and summary["wer"]["value"] < 0.5
    assert 'id="unintelligible"' not in (voice / "report.html").read_text(encoding="utf-8")


def test_the_gpt_is_the_base_and_speaks_without_prompt(voice) -> None:
    bundle = read_json(voice / "export" / "onnx-int8" / "bundle.json")
    assert bundle["prompt"] is False and bundle["pointer"]["guidance"] > 0
    assert read_json(voice / "models" / "gpt.json")["selected"] == "base"
    assert sum(path.stat().st_size for path in (voice / "export" / "onnx-int8").iterdir()) < 25e6
