"""Voices of every origin speak like a given clip; what is missing is named with the way to get it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from tests.support.encoder_fixture import sound
from tests.support.feature_fixture import random_bert, random_campplus, random_hubert, register
from tests.support.voice_fixture import make_voice
from typer.testing import CliRunner

from voiceclone.cli import app
from voiceclone.errors import AssetError, ConfigError, DataError
from voiceclone.export.bundle import export_voice
from voiceclone.export.upstream import import_voice
from voiceclone.files import read_json, read_tsv, write_json
from voiceclone.listeners.content import HubertContent
from voiceclone.listeners.eres2netv2 import WEIGHTS, ERes2NetV2, VerificationEncoder
from voiceclone.models.gpt import GPTConfig, TextToSemantic
from voiceclone.models.mel import spectrogram
from voiceclone.models.public_files import POSTERIOR, write_gpt, write_sovits
from voiceclone.models.sovits import SoVITS, SoVITSConfig
from voiceclone.models.voice import load_voice
from voiceclone.sound.channels import read_voice
from voiceclone.sound.io import read_mono, resample
from voiceclone.speaking.reference import SILENCE_AFTER, with_end_mark
from voiceclone.speaking.voices import Clip, asset_finder, open_models, with_trained_polyphones
from voiceclone.stages.export import ExportSettings
from voiceclone.text.lexicon import Lexicon

runner = CliRunner()
GPT = GPTConfig(dim=32, layers=2, heads=2, feed_forward=48)
SMALL = {"inter_channels": 32, "hidden_channels": 32, "filter_channels": 32, "layers": 2, "decoder_channels": 32}
VERSIONS = {
    "v2": SoVITSConfig(**SMALL),
    "v2Pro": SoVITSConfig(**SMALL, dropout=0.0, gin_channels=1024, speaker_vector_size=20480),
}
WORDS = "These are the words of the clip"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder: encoders with random weights, small public models of both versions, a nano voice."""
    root = tmp_path_factory.mktemp("root")
    models = root / "resources" / "models"
    torch.manual_seed(0)
    random_hubert(models / "chinese-hubert-base")
    random_campplus(models / "campplus")
    (models / "eres2netv2").mkdir()
    torch.save(ERes2NetV2().state_dict(), models / "eres2netv2" / WEIGHTS)
    register(models / "eres2netv2", "eres2netv2")
    gpt = TextToSemantic(GPT).state_dict()
    for version, config in VERSIONS.items():
        folder = root / "public" / version
        folder.mkdir(parents=True)
        write_gpt(folder / "x-e15.ckpt", GPT, gpt, "GPT-e15")
        write_sovits(folder / "x_e8.pth", config, SoVITS(config).state_dict(), "8epoch")
    import_voice(root / "public/v2/x-e15.ckpt", root / "public/v2/x_e8.pth", root / "imported" / "v2")
    make_voice(root)
    return root


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four seconds in another rate and in stereo."""
    return sound(tmp_path_factory.mktemp("clip") / "clip.ogg", 4.0)


@pytest.mark.parametrize("place", ["imported", "public"])
def test_public_voices_speak_on_from_a_clip(root: Path, clip: Path, place: str) -> None:
    synthesizer = open_models(root / place / "v2", root, clip=Clip(clip, WORDS, "en")).synthesizer
    reference = synthesizer.reference
    assert reference.text == WORDS + "." and len(reference.phones) > 15
    wave = np.pad(read_mono(clip, 16000)[0], (0, SILENCE_AFTER))
    assert len(reference.tokens) == len(wave) // 320 // 2
    assert reference.tokens.dtype == np.int64 and len(np.unique(reference.tokens)) > 1
    speech = synthesizer.say("Good day to you.", "en", seed=1, max_tokens_per_phone=0.5, attempts=1)
    assert len(speech.samples) == 1280 * speech.tokens > 0
    assert synthesizer.language == "auto" and synthesizer.rates["en"] > 0


def test_what_a_clip_becomes_is_what_the_networks_make_of_it(root: Path, clip: Path) -> None:
    from voiceclone.speaking.voices import asset_finder

    other = sound(clip.with_name("other.flac"), 1.0, level=3.0, seed=1)
    voice = open_models(root / "public" / "v2Pro", root, clip=Clip(clip, WORDS, "en", (other,)))
    models, find = load_voice(root / "public" / "v2Pro"), asset_finder(root)
    styles = []
    for path in (clip, other):
        wave = read_voice(path, 32000)
        peak = np.abs(wave).max()
        wave = (wave / min(2.0, peak) if peak > 1 else wave).astype(np.float32)
        vector = VerificationEncoder(find("eres2netv2")).embed(resample(wave, 32000, 16000), 16000)
        with torch.inference_mode():
            styles.append(
                models.sovits.style(spectrogram(torch.from_numpy(wave)[None]), torch.from_numpy(vector)[None])
            )
    np.testing.assert_allclose(voice.synthesizer.reference.style, torch.stack(styles).mean(0).numpy(), atol=1e-5)
    sixteen = np.pad(resample(read_mono(clip, 32000)[0], 32000, 16000), (0, SILENCE_AFTER))
    content = HubertContent(find("chinese-hubert-base")).encode(sixteen)
    with torch.inference_mode():
        codes = models.sovits.extract_codes(torch.from_numpy(content)[None])[0, 0].numpy()
    np.testing.assert_array_equal(voice.synthesizer.reference.tokens, codes)
    assert len(voice.synthesizer.say("Good day.", "en", max_tokens_per_phone=0.2, attempts=1).samples) > 0


def test_without_words_only_the_sound_is_taken_on(root: Path, clip: Path) -> None:
    reference = open_models(root / "imported" / "v2", root, clip=Clip(clip)).synthesizer.reference
    assert len(reference.tokens) == len(reference.phones) == 0 and reference.style.shape == (1, 512, 1)


def test_a_voice_from_scratch_does_not_speak_on(root: Path, clip: Path, caplog: pytest.LogCaptureFixture) -> None:
    scratch = make_voice_from_scratch(root)
    voice = open_models(scratch, root, clip=Clip(clip, WORDS, "en"))
    assert len(voice.synthesizer.reference.tokens) == 0 and "trained from scratch" in caplog.text
    own = open_models(scratch, root)
    assert own.synthesizer.language == "en" and own.synthesizer.rates == {"en": pytest.approx(2.5)}
    assert not np.allclose(own.synthesizer.reference.style, voice.synthesizer.reference.style)


def make_voice_from_scratch(root: Path) -> Path:
    """The nano voice beside its features, said to come from no base."""
    report = read_json(root / "models" / "gpt.json")
    write_json(root / "models" / "gpt.json", {**report, "components": {"base": {}}})
    return root / "models"


def test_a_base_voice_is_found_by_its_name(root: Path, clip: Path) -> None:
    with pytest.raises(AssetError, match=r"gpt-sovits-v2pro-gpt.*no such model.*\n.*voiceclone assets fetch gpt-so"):
        open_models(Path("gpt-sovits-v2pro"), root, clip=Clip(clip))
    for part, ending in (("-gpt", "x-e15.ckpt"), ("-sovits-g", "x_e8.pth")):
        folder = root / "resources" / "models" / f"gpt-sovits-v2{part}"
        folder.mkdir()
        (folder / ending).write_bytes((root / "public" / "v2" / ending).read_bytes())
        register(folder, folder.name)
    voice = open_models(Path("gpt-sovits-v2"), root, clip=Clip(clip))
    same = open_models(root / "public" / "v2", root, clip=Clip(clip))
    first, second = (
        each.synthesizer.say("Hello.", "en", max_tokens_per_phone=0.2, attempts=1) for each in (voice, same)
    )
    assert np.array_equal(first.samples, second.samples)
    assert voice.synthesizer.fingerprint == same.synthesizer.fingerprint


def test_chinese_words_of_a_clip_are_read_with_bert(
    root: Path, clip: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    without = open_models(root / "imported" / "v2", root, clip=Clip(clip, "你好", "zh")).synthesizer
    assert without.reference.bert is None and without.reference.text == "你好。"
    without.say("你好。", "zh", max_tokens_per_phone=0.1, attempts=1)
    assert "BERT" in caplog.text
    models = tmp_path / "resources" / "models"
    models.mkdir(parents=True)
    for name in ("chinese-hubert-base", "campplus"):
        (models / name).symlink_to(root / "resources" / "models" / name)
    random_bert(models / "chinese-roberta-wwm-ext-large", "你好,.")
    voice = open_models(root / "imported" / "v2", tmp_path, clip=Clip(clip, "你好", "zh"))
    reference = voice.synthesizer.reference
    assert reference.bert is not None and reference.bert.shape == (1024, len(reference.phones))
    assert np.abs(reference.bert).max() > 0


class TestRefusedClips:
    def opens(self, root: Path, path: Path, **more) -> None:
        open_models(root / "imported" / "v2", root, clip=Clip(path, **more))

    @pytest.mark.parametrize("seconds", [2.9, 10.2])
    def test_length(self, root: Path, tmp_path: Path, seconds: float) -> None:
        path = sound(tmp_path / "clip.wav", seconds)
        with pytest.raises(DataError, match=rf"clip.wav: {seconds} s, expected 3 to 10 s.*\n.*--any-length"):
            self.opens(root, path)
        self.opens(root, path, any_length=True)

    def test_content(self, root: Path, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="no such file"):
            self.opens(root, tmp_path / "none.wav")
        with pytest.raises(DataError, match="silent"):
            self.opens(root, sound(tmp_path / "silent.wav", 4.0, level=0.0))
        with pytest.raises(DataError, match=r"0\.20 s, expected at least 0\.5 s"):
            self.opens(root, sound(tmp_path / "blip.wav", 0.2), any_length=True)
        (tmp_path / "text.wav").write_text("no sound")
        with pytest.raises(DataError, match="cannot be decoded"):
            self.opens(root, tmp_path / "text.wav")

    def test_missing_encoder(self, root: Path, clip: Path, tmp_path: Path) -> None:
        with pytest.raises(AssetError, match=r"chinese-hubert-base.*\n.*voiceclone assets fetch chinese-hubert-base"):
            open_models(root / "imported" / "v2", tmp_path, clip=Clip(clip, WORDS, "en"))
        open_models(root / "imported" / "v2", tmp_path, clip=Clip(clip))  # v2 needs no encoder for the sound alone
        with pytest.raises(AssetError, match="voiceclone assets fetch eres2netv2"):
            open_models(root / "public" / "v2Pro", tmp_path, clip=Clip(clip))


def test_models_without_a_clip_ask_for_one(root: Path) -> None:
    with pytest.raises(ConfigError, match=r"no clip to speak like.*\n.*--reference"):
        open_models(root / "imported" / "v2", root)
    with pytest.raises(ConfigError, match=r"--features .*: no manifest\.tsv there"):
        open_models(root / "models", root, features=root)
    with pytest.raises(ConfigError, match="no such folder"):
        open_models(root / "nowhere", root)
    with pytest.raises(ConfigError, match=r"0 files end in \.ckpt"):
        open_models(root / "features", root)


def test_end_marks() -> None:
    assert with_end_mark(" Hello ", "en") == "Hello." and with_end_mark("Hello?", "en") == "Hello?"
    assert with_end_mark("你好", "zh") == "你好。" and with_end_mark("你好！", "zh") == "你好！"


def call(*arguments: object, input: str | None = None) -> tuple[int, str]:
    done = runner.invoke(app, [str(each) for each in arguments], input=input)
    return done.exit_code, done.output


def test_say_with_models_follows_its_options(root: Path, clip: Path, tmp_path: Path) -> None:
    common = ("say", "--models", root / "imported" / "v2", "--root", root, "--device", "cpu", "--language", "en",
              "--reference", clip, "--reference-text", WORDS, "--reference-language", "en",
              "--attempts", "2")  # fmt: skip
    outputs = [tmp_path / f"{number}.wav" for number in range(4)]
    for output, more in zip(outputs, ((), (), ("--seed", 5), ("--speed", 2.0)), strict=True):
        code, told = call(*common, "--text", "Hello.", "-o", output, *more)
        assert code == 0, told
        assert f"{output}: " in told
    first, again, other, fast = (soundfile.read(path)[0] for path in outputs)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert len(fast) // 640 == len(first) // 640 // 2 + 1


def test_say_reads_files_and_standard_input(root: Path, clip: Path, tmp_path: Path) -> None:
    common = ("say", "--models", root / "imported" / "v2", "--root", root, "--device", "cpu", "--language", "en",
              "--reference", clip, "--attempts", "1", "--top-k", "1", "-o")  # fmt: skip
    (tmp_path / "text.txt").write_text("Hello there.", encoding="utf-8")
    assert call(*common, tmp_path / "a.wav", "--text-file", tmp_path / "text.txt")[0] == 0
    assert call(*common, tmp_path / "b.wav", "--text-file", "-", input="Hello there.")[0] == 0
    assert (tmp_path / "a.wav").read_bytes() == (tmp_path / "b.wav").read_bytes()
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    assert call(*common, tmp_path / "c.wav", "--text-file", tmp_path / "latin.txt")[0] == 0
    (tmp_path / "broken.txt").write_bytes(b"\x81\x8d\x8f")
    code, told = call(*common, tmp_path / "d.wav", "--text-file", tmp_path / "broken.txt")
    assert code == 1 and "broken.txt: line 1 is not UTF-8" in told


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--text", "Hi."), "expected one of --bundle and --models"),
        (("--text", "Hi.", "--bundle", "a", "--models", "b"), "expected one of --bundle and --models"),
        (("--models", "b"), "expected one of --text and --text-file"),
        (("--text", "Hi.", "--text-file", "x", "--models", "b"), "expected one of --text and --text-file"),
        (("--text", "Hi.", "--models", "b", "--reference-text", "w"), "need --reference"),
        (("--text", "Hi.", "--models", "b", "--split", "cut8"), "split 'cut8': no such method"),
        (("--text", "Hi.", "--models", "b", "--detector", "loops=1"), "--detector loops: "),
        (("--text", "Hi.", "--models", "b", "--detector", "loop_share=2"), "--detector loop_share 2: "),
    ],
)
def test_say_names_wrong_options(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    code, told = call("say", "-o", tmp_path / "out.wav", *arguments)
    assert (code, message in told) == (2, True), told
    code, told = call("say", "-o", tmp_path / "out.aac", "--text", "Hi.", "--models", "b")
    assert code == 2 and "unknown format '.aac'" in told


@pytest.fixture(scope="module")
def bundle(root: Path) -> Path:
    export_voice(root / "models", root / "features", "onnx-fp32", root / "bundle", ExportSettings(), "anna")
    return root / "bundle"


def test_a_bundle_refuses_what_it_cannot_do(bundle: Path, tmp_path: Path) -> None:
    common = ("say", "--bundle", bundle, "--text", "Hello.", "-o", tmp_path / "out.wav")
    for option in (("--precision", "bf16"), ("--compile",)):
        code, told = call(*common, *option)
        assert code == 2 and "--precision and --compile: for --models only" in told
    table = tmp_path / "lines.tsv"
    table.write_text("name\ttext\na\tHello.\n", encoding="utf-8")
    code, told = call("batch", "--bundle", bundle, "--table", table, "-o", tmp_path / "out", "--batch-size", 4)
    assert code == 2 and "speaks one sentence at a time" in told


def test_a_batch_of_a_bundle_needs_no_torch(bundle: Path, tmp_path: Path) -> None:
    table = tmp_path / "lines.tsv"
    table.write_text("name\ttext\tspeed\none\tHello.\t\ntwo\tGood day.\t\nmute\t...\t\n", encoding="utf-8")
    program = "import sys; sys.modules['torch'] = None\nfrom voiceclone.cli import app\napp(sys.argv[1:])\n"
    command = ["batch", "--bundle", bundle, "--table", table, "-o", tmp_path / "out", "--top-k", "1"]
    for line in ("2 spoken, 0 unchanged, 1 failed", "0 spoken, 2 unchanged, 1 failed"):
        done = subprocess.run(
            [sys.executable, "-c", program, *map(str, command)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 1 and line in done.stdout, done.stdout + done.stderr
    rows = read_tsv(tmp_path / "out" / "results.tsv")
    assert [row["status"] for row in rows] == ["kept", "kept", "failed"]
    assert "nothing in it can be spoken" in rows[2]["error"]


def test_a_batch_takes_clips_of_its_rows(root: Path, clip: Path, tmp_path: Path) -> None:
    sound(tmp_path / "mine.wav", 3.5, seed=3)
    table = tmp_path / "lines.tsv"
    table.write_text(
        "name\ttext\treference\treference_text\treference_language\n"
        f"a\tHello.\t\t\t\nb\tHello.\tmine.wav\t\t\nc\tHello.\tmine.wav\t{WORDS}\ten\n",
        encoding="utf-8",
    )
    command = ("batch", "--models", root / "imported" / "v2", "--root", root, "--device", "cpu", "--language", "en",
               "--table", table, "-o", tmp_path / "out", "--reference", clip, "--format", "wav",
               "--attempts", 1)  # fmt: skip
    code, told = call(*command)
    assert code == 0 and "3 spoken" in told, told
    one, two, three = (soundfile.read(tmp_path / "out" / f"{name}.wav")[0] for name in "abc")
    assert not np.array_equal(one, two) and not np.array_equal(two, three)
    sound(tmp_path / "mine.wav", 3.5, seed=4)  # another clip of the same name
    code, told = call(*command)
    assert code == 0 and "2 spoken, 1 unchanged" in told, told
    code, told = call(*command[:-2], "--attempts", 2, "--batch-size", 2)
    assert code == 0 and "3 spoken" in told, told
    code, told = call(*command, "--precision", "fp16")
    assert code == 2 and "precision fp16: needs a CUDA device" in told, told


def test_posterior_of_public_files_is_left_out(root: Path) -> None:
    models = load_voice(root / "public" / "v2")
    assert not any(key.startswith(POSTERIOR) for key in models.sovits.state_dict())
    assert models.prompt and models.public and not models.sovits.training


def test_a_missing_model_of_polyphones_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    lexicon = Lexicon()
    (tmp_path / "manifest.tsv").write_text("utterance\tpolyphones\na\tpypinyin\n", encoding="utf-8")
    assert with_trained_polyphones(lexicon, tmp_path, None) is lexicon
    assert not caplog.records
    (tmp_path / "manifest.tsv").write_text("utterance\tpolyphones\na\tg2pw\n", encoding="utf-8")
    assert with_trained_polyphones(lexicon, tmp_path, asset_finder(tmp_path)) is lexicon
    assert "g2pw" in caplog.text
