"""Speaking with the demo's trained voice, and with full-size public models of random weights."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from typer.testing import CliRunner

from public_models import pin, write_public_models
from voiceclone.assets import fetch_asset
from voiceclone.cli import app
from voiceclone.features.store import open_store
from voiceclone.files import read_tsv
from voiceclone.models.gpt import GPTConfig, TextToSemantic
from voiceclone.models.public_files import write_gpt, write_sovits
from voiceclone.models.sovits import SoVITS, SoVITSConfig
from voiceclone.speaking.detector import DetectorSettings, find_faults

REPOSITORY = Path(__file__).resolve().parents[2]


def call(*arguments: object) -> str:
    done = CliRunner().invoke(app, [str(each) for each in arguments])
    assert done.exit_code == 0, done.output
    return done.output


@pytest.mark.timeout(1800)
class TestDemoVoice:
    """The demo's voice: nano, trained from scratch."""

    def test_models_and_bundle_speak_the_same(self, demo, tmp_path: Path) -> None:
        voice, text = demo.results / "demo", "Good morning to you."
        for name, source in (("torch", "models"), ("onnx", "export/onnx-fp32")):
            option = "--models" if name == "torch" else "--bundle"
            call("say", option, voice / source, "--text", text, "-o", tmp_path / f"{name}.wav", "--device", "cpu",
                 "--top-k", 1, "--attempts", 1)  # fmt: skip
        first, second = (soundfile.read(tmp_path / f"{name}.wav")[0] for name in ("torch", "onnx"))
        assert len(first) == len(second) and np.abs(first - second).max() < 1e-2

    def test_its_corpus_is_not_suspected(self, demo) -> None:
        features = demo.results / "demo" / "features"
        tokens, phones = (open_store(features / f"{kind}.safetensors") for kind in ("semantic", "phones"))
        rate = float(np.median([len(tokens[name]) / len(phones[name]) for name in tokens]))
        for name in tokens:
            codes, symbols = tokens[name].astype(np.int64), phones[name].astype(np.int64)
            assert find_faults(codes, symbols, True, DetectorSettings(), rate=rate) == [], name

    def test_a_batch_tells_of_each_row(self, demo, tmp_path: Path) -> None:
        table = tmp_path / "lines.tsv"
        table.write_text("name\ttext\none\tGood morning.\ntwo\tGood evening, dear friend.\n", encoding="utf-8")
        bundle = demo.results / "demo" / "export" / "onnx-fp32"
        assert "2 spoken" in call("batch", "--bundle", bundle, "--table", table, "-o", tmp_path / "out")
        assert "2 unchanged" in call("batch", "--bundle", bundle, "--table", table, "-o", tmp_path / "out")
        rows = read_tsv(tmp_path / "out" / "results.tsv")
        assert all(1 <= int(row["attempts"]) <= 3 for row in rows)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with fetched base voices of both versions and their encoders."""
    root, own = tmp_path_factory.mktemp("root"), tmp_path_factory.mktemp("own")
    write_public_models(own)
    gpt = own / "gpt-sovits-v2-gpt" / "s1bert25hz-5kh-longer-epoch=12-step=369668.ckpt"
    sovits = own / "gpt-sovits-v2-sovits-g" / "s2G2333k.pth"
    for path in (gpt, sovits):
        path.parent.mkdir()
    write_gpt(gpt, GPTConfig(), TextToSemantic(GPTConfig()).state_dict(), "GPT-e12")
    torch.manual_seed(1)
    write_sovits(sovits, SoVITSConfig.v2(), SoVITS(SoVITSConfig.v2()).state_dict(), "base")
    (root / "config").mkdir()
    registry = root / "config" / "assets.yaml"
    shutil.copy(REPOSITORY / "config" / "assets.yaml", registry)
    pin(registry, own)
    for folder in own.iterdir():
        fetch_asset(folder.name, root / "resources" / "models", registry, offline=True, own_models=str(own))
    return root


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("version", ["v2", "v2pro"])
def test_full_size_base_voices_speak_like_a_clip(root: Path, shared_data: Path, tmp_path: Path, version: str) -> None:
    samples, rate = soundfile.read(shared_data / "speakers" / "ljspeech" / "take_01.flac")
    start, end = (int(second * rate) for second in (23.827, 28.965))
    clip = tmp_path / "clip.flac"
    soundfile.write(clip, samples[start:end], rate)
    words = "produced the block books, which were the immediate predecessors of the true printed book,"
    output = tmp_path / "out.wav"
    told = call("say", "--models", f"gpt-sovits-{version}", "--root", root, "--reference", clip, "--reference-text",
                words, "--reference-language", "en", "--text", "你好, hello there.", "--language", "auto", "-o", output,
                "--attempts", 1, "--device", "cpu", "--split", "cut5")  # fmt: skip
    assert f"{output}: " in told
    sound, rate = soundfile.read(output)
    assert rate == 32000 and len(sound) >= 11 * 1280 and np.isfinite(sound).all() and np.abs(sound).max() > 0
