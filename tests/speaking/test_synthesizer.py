"""A small voice with random weights: exported, compared with torch, spoken without torch."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from safetensors.numpy import load_file, save_file
from tests.support.feature_fixture import random_bert
from tests.support.voice_fixture import make_voice
from typer.testing import CliRunner

from voiceclone.backends.bundle import read_bundle, verify_bundle
from voiceclone.cli import app
from voiceclone.errors import DataError, VoiceCloneError
from voiceclone.export.bundle import export_voice
from voiceclone.export.parity import check, compare, held_out_sentences, text_features
from voiceclone.features.store import open_store
from voiceclone.files import read_json, read_tsv, write_json
from voiceclone.lineage.rights import Rights
from voiceclone.listeners.bert import BertEncoder
from voiceclone.models.voice import load_gpt, load_sovits
from voiceclone.speaking.reference import make_reference
from voiceclone.speaking.synthesizer import Synthesizer
from voiceclone.speaking.torch_backend import TorchBackend
from voiceclone.stages.export import ExportSettings
from voiceclone.targets import TARGETS
from voiceclone.text.frontend import to_phones


@pytest.fixture(scope="module")
def voice(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models and features of a voice as the stages leave them, and its bundle."""
    root = make_voice(tmp_path_factory.mktemp("voice"))
    export_voice(root / "models", root / "features", "onnx-fp32", root / "bundle", ExportSettings(), "anna")
    return root


def test_export_follows_the_trained_models(voice: Path) -> None:
    parity = read_json(voice / "bundle" / "parity.json")
    assert parity["greedy_equal"]
    assert max(parity["max_error"].values()) < 1e-4
    assert read_bundle(voice / "bundle")[0]["reference_utterance"].startswith(("take-0000001", "take-0000002"))


class Deaf(TorchBackend):
    """Reads no BERT features."""

    def start(self, phones, bert, prompt):
        return super().start(phones, None, prompt)


def test_parity_reads_chinese_with_bert(tmp_path: Path) -> None:
    """A graph that lost that input would not get through."""
    root = make_voice(tmp_path)
    features, gpt, sovits = root / "features", load_gpt(root / "models"), load_sovits(root / "models")
    phones = load_file(features / "phones.safetensors")
    chinese = min(phones)  # of the training split
    bert = np.random.default_rng(0).standard_normal((1024, len(phones[chinese]))).astype(np.float16)
    save_file({chinese: bert}, features / "bert.safetensors")
    reference = make_reference(sovits, features, read_tsv(features / "manifest.tsv")[1], prompt=True)
    sentences = held_out_sentences(features, sovits.config.inter_channels, reference.style, 4)
    assert list(sentences) == [chinese]
    trained, texts = TorchBackend(gpt, sovits), text_features(features)
    assert compare(trained, trained, sentences, reference, texts)["max_error"]["logits"] == 0
    parity = compare(Deaf(gpt, sovits), trained, sentences, reference, texts)
    assert parity["with_bert"] == 1
    with pytest.raises(VoiceCloneError, match="largest error"):
        check(parity, TARGETS["onnx-fp32"], ExportSettings())


def test_bundle_knows_the_usual_length_of_its_speech(voice: Path) -> None:
    assert read_bundle(voice / "bundle")[0]["tokens_per_phone"] == {"en": 2.5}
    trained = Synthesizer.from_models(voice / "models", voice / "features")
    assert Synthesizer.from_bundle(voice / "bundle").rates == trained.rates == {"en": 2.5}


def test_bundle_speaks_without_torch(voice: Path, tmp_path: Path) -> None:
    program = (
        "import sys; sys.modules['torch'] = None\n"
        "from voiceclone.cli import app\n"
        "app(sys.argv[1:], standalone_mode=True)\n"
    )
    target = tmp_path / "hello.wav"
    command = ["say", "--bundle", str(voice / "bundle"), "--text", "Hello there, friend.", "-o", str(target)]
    done = subprocess.run([sys.executable, "-c", program, *command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    import soundfile

    with soundfile.SoundFile(str(target)) as sound:
        assert sound.samplerate == 32000
        assert sound.frames > 3200
        assert "AI-generated" in sound.comment


def test_voice_from_scratch_speaks_without_prompt(voice: Path, tmp_path: Path) -> None:
    models = tmp_path / "models"
    shutil.copytree(voice / "models", models)
    write_json(models / "gpt.json", {**read_json(models / "gpt.json"), "components": {"base": {}}})
    export_voice(models, voice / "features", "onnx-fp32", tmp_path / "bundle", ExportSettings(), "anna")
    synthesizer = Synthesizer.from_bundle(tmp_path / "bundle")
    assert len(synthesizer.reference.tokens) == len(synthesizer.reference.phones) == 0
    assert len(synthesizer.say("Hello.", max_tokens_per_phone=0.1, attempts=1).samples) > 0


def test_same_seed_same_speech_and_torch_agrees(voice: Path) -> None:
    exported, trained = (
        Synthesizer.from_bundle(voice / "bundle"),
        Synthesizer.from_models(voice / "models", voice / "features"),
    )
    short = {"max_tokens_per_phone": 1.0, "attempts": 1}
    first, again = (exported.say("One two three.", seed=3, top_k=1, **short) for _ in range(2))
    assert np.array_equal(first.samples, again.samples)
    other = trained.say("One two three.", seed=3, top_k=1, **short)
    assert other.tokens == first.tokens
    assert np.abs(other.samples - first.samples).max() < 1e-3
    assert not np.array_equal(first.samples, exported.say("One two three.", seed=4, **short).samples)


def test_chinese_learnt_with_bert_is_spoken_with_bert_or_a_warning(
    voice: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    features = tmp_path / "features"
    shutil.copytree(voice / "features", features)
    phones = open_store(features / "phones.safetensors")
    rng = np.random.default_rng(1)
    bert = {name: rng.standard_normal((1024, len(phones[name]))).astype(np.float16) for name in phones}
    save_file(bert, features / "bert.safetensors")
    export_voice(voice / "models", features, "onnx-fp32", tmp_path / "bundle", ExportSettings(), "anna")
    assert read_bundle(tmp_path / "bundle")[0]["bert"] is True
    assert read_bundle(voice / "bundle")[0]["bert"] is False

    exported = Synthesizer.from_bundle(tmp_path / "bundle")
    exported.say("Yes.", "en", max_tokens_per_phone=0.1, attempts=1)
    assert "BERT" not in caplog.text
    for _ in range(2):
        exported.say("你好。", "zh", max_tokens_per_phone=0.1, attempts=1)
    assert caplog.text.count("BERT") == 1

    asset = random_bert(tmp_path / "bert", "你好,.")
    trained = Synthesizer.from_models(voice / "models", features, bert=asset)
    heard: list[np.ndarray] = []
    start = trained.backend.start
    monkeypatch.setattr(trained.backend, "start", lambda *a: heard.append(a[1]) or start(*a))
    trained.say("你好。", "zh", max_tokens_per_phone=0.1, attempts=1)
    trained.say("Yes.", "en", max_tokens_per_phone=0.1, attempts=1)
    chinese, english = (features[:, len(trained.reference.phones) :] for features in heard)
    np.testing.assert_array_equal(chinese, BertEncoder(asset).encode(to_phones("你好。", "zh")).astype(np.float32))
    assert not english.any() and heard[1].any()
    assert caplog.text.count("BERT") == 1


def test_length_is_bounded_and_said(voice: Path) -> None:
    speech = Synthesizer.from_bundle(voice / "bundle").say("Yes.", max_tokens_per_phone=0.1, attempts=1)
    assert speech.tokens <= 26
    assert set(speech.timings) == {"text_ms", "gpt_ms", "decoder_ms", "post_ms"}
    assert 0 < speech.text_parts["g2p_ms"] <= sum(speech.text_parts.values()) <= speech.timings["text_ms"]


def test_nothing_to_say_is_an_error(voice: Path) -> None:
    with pytest.raises(DataError, match="nothing in it can be spoken"):
        Synthesizer.from_bundle(voice / "bundle").say("... !")


def test_damaged_bundle_names_the_file(voice: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "bundle"
    shutil.copytree(voice / "bundle", damaged)
    data = bytearray((damaged / "tail.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (damaged / "tail.onnx").write_bytes(data)
    with pytest.raises(DataError, match=r"tail\.onnx"):
        verify_bundle(damaged)
    shutil.copy(voice / "bundle" / "tail.onnx", damaged)
    text = (damaged / "bundle.json").read_text()
    (damaged / "bundle.json").write_text(text.replace("none given", "CC0"))
    with pytest.raises(DataError, match=r"\['bundle\.json'\]"):
        verify_bundle(damaged)
    (damaged / "SHA256SUMS").write_text("")
    with pytest.raises(DataError, match=r"SHA256SUMS: damaged, it does not name bundle\.json"):
        verify_bundle(damaged)
    (damaged / "tail.onnx").unlink()
    with pytest.raises(DataError, match=r"tail\.onnx: missing"):
        read_bundle(damaged)


def test_rights_are_stated_in_bundle_and_graphs_and_by_verify(voice: Path, tmp_path: Path) -> None:
    rights = Rights("CC-BY-4.0", "ab" * 32)
    models, features, bundle = voice / "models", voice / "features", tmp_path / "bundle"
    export_voice(models, features, "onnx-fp32", bundle, ExportSettings(), "anna", rights)
    description = read_json(bundle / "bundle.json")
    for path in bundle.glob("*.onnx"):
        notes = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
        assert (notes["voice"], notes["licence"], notes["consent_sha256"]) == ("anna", "CC-BY-4.0", "ab" * 32)
        assert notes["fingerprint_gpt"] == description["fingerprints"]["gpt"]
    said = CliRunner().invoke(app, ["bundle", "verify", str(bundle)])
    assert said.exit_code == 0 and "CC-BY-4.0" in said.output and "ab" * 32 in said.output
    plain = CliRunner().invoke(app, ["bundle", "verify", str(voice / "bundle")])
    assert plain.exit_code == 0 and plain.output.count("none given") == 3  # licence, consent, terms


def test_later_format_is_refused(voice: Path, tmp_path: Path) -> None:
    description = read_json(voice / "bundle" / "bundle.json")
    (tmp_path / "bundle.json").write_text(json.dumps({**description, "format_version": 99}))
    with pytest.raises(DataError, match="format version 99"):
        read_bundle(tmp_path)


def test_export_that_differs_fails_with_its_numbers(voice: Path, tmp_path: Path) -> None:
    strict = ExportSettings(max_error=1e-12)
    with pytest.raises(VoiceCloneError, match="differs from the trained model: largest error"):
        export_voice(voice / "models", voice / "features", "onnx-fp32", tmp_path / "bundle", strict, "anna")


def test_stream_writes_samples_as_they_are_made(voice: Path) -> None:
    program = "import sys; sys.modules['torch'] = None\nfrom voiceclone.cli import app\napp(sys.argv[1:])\n"
    command = ["stream", "--bundle", str(voice / "bundle"), "--text", "Hello there, friend."]
    done = subprocess.run([sys.executable, "-c", program, *command], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    samples = np.frombuffer(done.stdout, "<i2")
    assert len(samples) > 3200 and np.abs(samples).max() > 0
    assert f"{len(samples) / 32000:.2f} s of speech at 32000 Hz".encode() in done.stderr
