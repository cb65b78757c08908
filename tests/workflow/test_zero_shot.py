"""The zero-shot preset from one clip to a bundle and a report, on files of the public layouts with random weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from public_models import project_with_public_models
from voiceclone.files import read_json, read_tsv
from voiceclone.models.public_files import read_gpt, read_sovits

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

CONFIGURATION = Path(__file__).with_name("zero_shot.yaml")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Folder of the public models."""
    return tmp_path_factory.mktemp("own-models")


@pytest.fixture(scope="module")
def voice(new_project, asset, models):
    """The finished results folder and its project."""
    project = project_with_public_models(new_project, asset, models, "zero-shot", CONFIGURATION, [2])
    project.run()
    return project


def test_the_models_are_the_base_and_nothing_was_trained(voice, models) -> None:
    results = voice.results / "joe"
    _, gpt = read_gpt(models / "gpt-sovits-v2pro-gpt" / "s1v3.ckpt")
    _, sovits = read_sovits(models / "gpt-sovits-v2pro-sovits-g" / "s2Gv2Pro.pth")
    for kind, base in (("gpt", gpt), ("sovits", sovits)):
        written = load_file(results / "models" / f"{kind}.safetensors")
        assert written.keys() == base.keys()
        assert all(torch.equal(written[name], tensor.float()) for name, tensor in base.items())
        assert read_json(results / "models" / f"{kind}.json")["selected"] == "base"
    assert not (results / "state").exists()


def test_the_clip_is_the_reference(voice) -> None:
    results = voice.results / "joe"
    (row,) = read_tsv(results / "corpus" / "corpus.tsv")
    assert 3 <= float(row["seconds"]) <= 10
    bundle = read_json(results / "export" / "onnx-fp32" / "bundle.json")
    assert bundle["prompt"] is True and bundle["reference_utterance"] == row["utterance"]


def test_it_was_evaluated_and_reported(voice) -> None:
    results = voice.results / "joe"
    for target in ("torch-fp32", "onnx-fp32"):
        summary = read_json(results / "eval" / target / "summary.json")
        assert (summary["sentences"], summary["failures"]) == (1, []), target
    page = (results / "report.html").read_text(encoding="utf-8")
    assert page.count("The base model as it is, without training.") == 2
    assert (voice.results / "report" / "index.html").is_file()


def test_a_clip_that_is_too_short_is_refused_with_what_to_do(voice) -> None:
    import soundfile

    folder = voice.root / "resources" / "speakers"
    samples, rate = soundfile.read(folder / "joe" / "take-0.flac")
    (folder / "ann").mkdir()
    soundfile.write(folder / "ann" / "clip.flac", samples[: round(2.5 * rate)], rate)
    done = voice.run("results/ann/corpus/corpus.tsv", check=False)
    assert done.returncode != 0
    assert "speaker ann: zero-shot needs a clip of 3 to 10 s of speech" in voice.log("ann", "corpus")
