"""The few-shot preset from recordings to a bundle, on files of the public layouts with random weights.

It shows that the path runs (formats, sizes, conditioning, export), not how a voice sounds: that needs the real weights.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from public_models import project_with_public_models
from voiceclone.files import read_json, read_tsv

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

CONFIGURATION = Path(__file__).with_name("few_shot.yaml")


@pytest.fixture(scope="module")
def voice(new_project, asset, tmp_path_factory):
    """The finished results folder and its project."""
    own = tmp_path_factory.mktemp("own-models")
    project = project_with_public_models(new_project, asset, own, "few-shot", CONFIGURATION, [4, 4])
    project.run()
    return project


def test_report_and_models_are_there(voice) -> None:
    results = voice.results / "joe"
    assert (results / "report.html").stat().st_size > 0
    assert read_json(results / "models" / "sovits.json")["architecture"]["speaker_vector_size"] == 20480
    assert read_json(results / "models" / "gpt.json")["architecture"]["layers"] == 24
    assert sorted(read_json(results / "models" / "sovits.json")["components"]["base"]) == [
        "discriminator", "generator", "tokenizer",
    ]  # fmt: skip


def test_the_vectors_of_v2pro_were_made_and_recorded(voice) -> None:
    from voiceclone.features.store import open_store

    features = voice.results / "joe" / "features"
    rows = read_tsv(features / "manifest.tsv")
    store = open_store(features / "verification.safetensors")
    assert sorted(store) == sorted(row["utterance"] for row in rows)
    assert all(row["key_verification"] and not row["key_bert"] for row in rows)
    assert {store.shape(name) for name in store} == {(20480,)}


def test_every_target_was_evaluated(voice) -> None:
    for target in ("recordings", "resynthesis", "torch-fp32", "onnx-fp32"):
        summary = read_json(voice.results / "joe" / "eval" / target / "summary.json")
        assert summary["failures"] == [], target


def test_the_bundle_speaks(voice) -> None:
    from voiceclone.speaking.synthesizer import Synthesizer

    bundle = voice.results / "joe" / "export" / "onnx-fp32"
    description = read_json(bundle / "bundle.json")
    assert description["prompt"] is True and description["bert"] is False
    speech = Synthesizer.from_bundle(bundle, threads=1).say("Hello there.", max_tokens_per_phone=1, attempts=1)
    assert speech.rate == 32000 and len(speech.samples) > 8000
    assert np.abs(speech.samples).max() > 0


def test_adapters_are_trained_merged_and_exported(voice, tmp_path) -> None:
    """Another training of the same data: only the GPT and what is made from it is done again."""
    from voiceclone.models.gpt import GPTConfig, TextToSemantic
    from voiceclone.models.voice import load_gpt

    models = voice.results / "joe" / "models"
    sovits = (models / "sovits.safetensors").read_bytes()
    adapted = tmp_path / "adapted.yaml"
    adapted.write_text("gpt: {lora: {rank: 4}, ema_decay: 0.9, steps: 2}\n", encoding="utf-8")
    place = voice.options.index("--configfile") + 2
    options = [*voice.options[:place], str(adapted), *voice.options[place:]]
    before, voice.options = voice.options, options
    try:
        voice.run("results/joe/export/onnx-fp32/bundle.json")
    finally:
        voice.options = before
    report = read_json(models / "gpt.json")
    assert report["components"]["settings"]["lora"]["rank"] == 4
    assert report["trained_parameters"] == 24 * 4 * (512 + 1536 + 512 + 512 + 512 + 2048 + 2048 + 512)
    assert load_gpt(models).state_dict().keys() == TextToSemantic(GPTConfig()).state_dict().keys()
    assert (models / "sovits.safetensors").read_bytes() == sovits
    assert read_json(voice.results / "joe" / "export" / "onnx-fp32" / "parity.json")["greedy_equal"]
