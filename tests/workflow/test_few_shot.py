"""The few-shot preset from recordings to a bundle, on files of the public layouts with random weights.

It shows that the path runs (formats, sizes, conditioning, export), not how a voice sounds: that needs the real weights.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from public_models import pin, write_public_models
from voiceclone.config.demo import DemoSettings
from voiceclone.files import read_json, read_tsv

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

CONFIGURATION = Path(__file__).with_name("few_shot.yaml")
MEASURING = ("campplus", "ge2e", "dnsmos", "distillmos", "whisper-tiny.en")


def record(folder: Path, voice: Path) -> None:
    """Two short takes by a packaged voice."""
    from voiceclone.corpus.demo import load_voice, read_texts, speak

    settings = DemoSettings()
    piper = load_voice(voice, settings, threads=1)
    takes = read_texts(Path(__file__).parents[2] / "resources" / "sentences" / "demo_speaker.txt")[:2]
    folder.mkdir()
    for number, sentences in enumerate(takes):
        samples, rate = speak(piper, sentences[:4], np.random.default_rng(number), settings)
        soundfile.write(folder / f"take-{number}.flac", 0.7 * samples / np.abs(samples).max(), rate)


@pytest.fixture(scope="module")
def voice(new_project, asset, tmp_path_factory):
    """The finished results folder and its project."""
    fetched = {name: asset(name).parent for name in (*MEASURING, "piper-joe")}
    own = tmp_path_factory.mktemp("own-models")
    write_public_models(own)
    options = ("--cores", "1", "--configfile", str(CONFIGURATION), "--config", f"models_dir={own}")
    project = new_project("few-shot", *options)
    models = project.root / "resources" / "models"
    models.unlink()  # models with random weights must not come among the fetched ones
    models.mkdir()
    for name in MEASURING:
        (models / name).symlink_to(fetched[name])
    pin(project.root / "config" / "assets.yaml", own)
    record(project.root / "resources" / "speakers" / "joe", fetched["piper-joe"] / "en_US-joe-medium.onnx")
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
    from voiceclone.inference.synthesizer import Synthesizer

    bundle = voice.results / "joe" / "export" / "onnx-fp32"
    description = read_json(bundle / "bundle.json")
    assert description["prompt"] is True and description["bert"] is False
    speech = Synthesizer.from_bundle(bundle, threads=1).say("Hello there.", max_tokens_per_phone=1)
    assert speech.rate == 32000 and len(speech.samples) > 8000
    assert np.abs(speech.samples).max() > 0
