"""A bundle takes a new clip without torch, as the models do with it; what it lacks is named."""

from __future__ import annotations

import gc
import shutil
import subprocess
import sys
import weakref
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.support.encoder_fixture import export, make_exported_voice, sound
from typer.testing import CliRunner

from voiceclone.backends.bundle import read_bundle
from voiceclone.cli import app
from voiceclone.errors import AssetError, DataError, VoiceCloneError
from voiceclone.export.encoder_graphs import check_voice_graphs, export_encoder
from voiceclone.export.lint import lint_stored
from voiceclone.files import read_json, read_tsv, write_json
from voiceclone.listeners.bert import BertEncoder
from voiceclone.speaking.encoders import BundleEncoders
from voiceclone.speaking.voices import Clip, asset_finder, encoder_files, open_bundle, open_models
from voiceclone.stages.export import ExportSettings
from voiceclone.targets import TARGETS
from voiceclone.text.frontend import to_phones

WORDS = "These are the words of the clip"
FULL = ("chinese-hubert-base.onnx", "campplus.onnx", "chinese-roberta-wwm-ext-large.onnx")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_exported_voice(tmp_path_factory.mktemp("root"))


@pytest.fixture(scope="module")
def bundle(root: Path) -> Path:
    return root / "export" / "onnx-fp32"


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sound(tmp_path_factory.mktemp("clip") / "clip.ogg", 4.0)


def test_the_bundle_names_what_it_needs(bundle: Path) -> None:
    description = read_bundle(bundle)[0]
    assert {purpose: entry["file"] for purpose, entry in description["encoders"].items()} == {
        "content": "chinese-hubert-base.onnx",
        "speaker": "campplus.onnx",
        "text": "chinese-roberta-wwm-ext-large.onnx",
    }
    assert {"quantiser.onnx", "style.onnx"} <= set(description["files"])
    sums = (bundle / "SHA256SUMS").read_text(encoding="utf-8")
    assert "quantiser.onnx" in sums and "style.onnx" in sums
    parity = read_json(bundle / "parity.json")
    assert parity["with_bert"] == len(parity["utterances"])
    errors = parity["clip_error"]
    assert errors["style"] < 1e-4 and errors["quantiser"] < 1e-4


@pytest.mark.parametrize("words", ["", WORDS, "你好 my friend，今天天气很好"])
def test_graphs_and_models_make_the_same_of_clips(root: Path, bundle: Path, clip: Path, words: str) -> None:
    loud = sound(clip.with_name("loud.flac"), 1.0, level=3.0, seed=1)
    heard = Clip(clip, words, "auto" if words else "", (loud,))
    exported = open_bundle(bundle, root, clip=heard).synthesizer
    trained = open_models(root / "models", root, clip=heard).synthesizer
    left, right = exported.reference, trained.reference
    np.testing.assert_allclose(left.style, right.style, rtol=0, atol=1e-4 * np.abs(right.style).max())
    np.testing.assert_array_equal(left.tokens, right.tokens)
    np.testing.assert_array_equal(left.phones, right.phones)
    assert left.text == right.text and (len(left.tokens) > 0) == bool(words)
    assert (left.bert is None) == (right.bert is None) == ("你" not in words)
    if left.bert is not None:
        np.testing.assert_allclose(left.bert, right.bert, rtol=0, atol=1e-3 * np.abs(right.bert).max())  # halves
    assert exported.fingerprint != open_bundle(bundle, root).synthesizer.fingerprint
    assert len(exported.say("Hello.", "en", max_tokens_per_phone=0.2, attempts=1).samples) > 0


@pytest.mark.parametrize("target", ["onnx-fp16", "onnx-int8"])
def test_smaller_targets_hear_nearly_the_same(root: Path, clip: Path, tmp_path: Path, target: str) -> None:
    export(root, tmp_path / "bundle", target)
    small, whole = (
        open_bundle(at, root, clip=Clip(clip, WORDS, "en")).synthesizer.reference
        for at in (tmp_path / "bundle", root / "export" / "onnx-fp32")
    )
    np.testing.assert_array_equal(small.tokens, whole.tokens)
    np.testing.assert_allclose(small.style, whole.style, rtol=0, atol=2e-2 * np.abs(whole.style).max())
    sizes = [(at / "style.onnx").stat().st_size for at in (tmp_path / "bundle", root / "export" / "onnx-fp32")]
    assert sizes[0] < (0.55 if target == "onnx-fp16" else 0.32) * sizes[1]


def test_the_memory_of_the_encoders_is_given_back(root: Path, bundle: Path) -> None:
    description, folder = read_bundle(bundle)
    encoders = BundleEncoders(encoder_files(folder, description, root), description)
    rng = np.random.default_rng(0)
    encoders.tokens(0.1 * rng.standard_normal(16000).astype(np.float32))
    encoders.style(rng.random((1025, 50)).astype(np.float32), 0.1 * rng.standard_normal(16000).astype(np.float32))
    graphs = [weakref.ref(graph) for graph in encoders._graphs.values()]
    gc.disable()
    try:
        encoders.release()
        assert len(graphs) == 4 and all(graph() is None for graph in graphs)  # at once, by no collection of cycles
    finally:
        gc.enable()


def test_chinese_is_read_with_bert(root: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch, caplog) -> None:
    exported = open_bundle(bundle, root).synthesizer
    heard: list[np.ndarray] = []
    start = exported.backend.start
    monkeypatch.setattr(exported.backend, "start", lambda *a: heard.append(a[1]) or start(*a))
    exported.say("你好！", "zh", max_tokens_per_phone=0.1, attempts=1)
    bert = BertEncoder(asset_finder(root)("chinese-roberta-wwm-ext-large")).encode(to_phones("你好！", "zh"))
    mine = heard[0][:, len(exported.reference.phones) :]
    np.testing.assert_allclose(mine, bert.astype(np.float32), rtol=0, atol=1e-3 * np.abs(bert).max())
    assert np.abs(mine).max() > 0 and "BERT" not in caplog.text


def run_without_torch(*arguments: object) -> subprocess.CompletedProcess[str]:
    """The program, which must not have imported torch when it ends."""
    program = (
        "import sys\nfrom voiceclone.cli import app\ntry:\n    app(sys.argv[1:])\n"
        "finally:\n    assert 'torch' not in sys.modules and 'transformers' not in sys.modules\n"
    )
    return subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)], capture_output=True, text=True, check=False
    )


def test_no_torch_is_imported_for_a_clip(root: Path, bundle: Path, clip: Path, tmp_path: Path) -> None:
    voice = ("--bundle", bundle, "--root", root, "--reference", clip, "--reference-text", "你好",
             "--reference-language", "zh", "--attempts", "1")  # fmt: skip
    done = run_without_torch("say", *voice, "--text", "你好。", "--language", "zh", "-o", tmp_path / "out.wav")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out.wav").stat().st_size > 1000 and "BERT" not in done.stderr


def test_a_batch_tells_its_hit_rates(root: Path, bundle: Path, clip: Path, tmp_path: Path) -> None:
    shutil.copy(clip, tmp_path / "same.ogg")
    sound(tmp_path / "other.wav", 3.5, seed=3)
    rows = [f"{name}\tHello.\t{file}" for name, file in (("a", "same.ogg"), ("b", "other.wav"), ("c", "same.ogg"))]
    table = tmp_path / "lines.tsv"
    table.write_text("\n".join(["name\ttext\treference", *rows]) + "\n", encoding="utf-8")
    done = run_without_torch("batch", "--bundle", bundle, "--root", root, "--table", table, "-o", tmp_path / "out",
                             "--reference", clip, "--attempts", "1", "--language", "en")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "text: 2 of 3 sentences from the cache" in done.stdout
    assert "references: 2 of 4 from the cache (50.0 %), 0 of them from disk" in done.stdout  # --reference, a, b, c
    audio = [(tmp_path / "out" / row["audio"]).read_bytes() for row in read_tsv(tmp_path / "out" / "results.tsv")]
    assert len(audio) == 3 and audio[0] != audio[1]


def test_a_stream_speaks_like_a_clip(root: Path, bundle: Path, clip: Path) -> None:
    common = ("stream", "--bundle", bundle, "--root", root, "--text", "Hello there.", "--language", "en")
    plain, like = (CliRunner().invoke(app, list(map(str, (*common, *more)))) for more in ((), ("--reference", clip)))
    assert plain.exit_code == like.exit_code == 0, like.output
    assert plain.stdout_bytes != like.stdout_bytes


class TestEncoders:
    """The places that are searched, and the message for missing ones."""

    @pytest.fixture
    def moved(self, bundle: Path, tmp_path: Path) -> Path:
        shutil.copytree(bundle, tmp_path / "copied" / "bundle")
        return tmp_path / "copied" / "bundle"

    def test_missing_ones_are_named(self, moved: Path, clip: Path, tmp_path: Path) -> None:
        message = (
            r"campplus\.onnx \(who speaks in a clip\) is missing; searched in .*bundle/encoders.*\n.*--encoders DIR"
        )
        with pytest.raises(AssetError, match=message):
            open_bundle(moved, tmp_path, clip=Clip(clip))
        open_bundle(moved, tmp_path)  # its own clip needs none

    @pytest.mark.parametrize("place", ["in", "beside", "named"])
    def test_they_may_lie_in_the_bundle_beside_it_or_elsewhere(
        self, root: Path, moved: Path, clip: Path, tmp_path: Path, place: str
    ) -> None:
        where = {"in": moved / "encoders", "beside": moved.parent / "encoders", "named": tmp_path / "elsewhere"}[place]
        shutil.copytree(root / "resources" / "encoders", where)
        named = where if place == "named" else None
        reference = open_bundle(moved, tmp_path, clip=Clip(clip, WORDS, "en"), encoders=named).synthesizer.reference
        assert len(reference.tokens) > 0

    def test_another_file_is_refused(self, root: Path, moved: Path, clip: Path, tmp_path: Path) -> None:
        (moved / "encoders").mkdir()
        for name in FULL:
            data = bytearray((root / "resources" / "encoders" / name).read_bytes())
            data[len(data) // 2] ^= 1
            (moved / "encoders" / name).write_bytes(data)
        with pytest.raises(DataError, match=r"campplus\.onnx: not the file that the voice was exported with"):
            open_bundle(moved, tmp_path, clip=Clip(clip))
        done = CliRunner().invoke(app, ["bundle", "verify", str(moved), "--root", str(tmp_path)])
        assert done.exit_code == 1 and "sha256 differs" in done.output

    def test_verify_tells_which_are_there(self, root: Path, moved: Path, tmp_path: Path) -> None:
        (moved / "encoders").mkdir()
        shutil.copy(root / "resources" / "encoders" / "campplus.onnx", moved / "encoders")
        done = CliRunner().invoke(app, ["bundle", "verify", str(moved), "--root", str(tmp_path)])
        assert done.exit_code == 0, done.output
        assert "encoder campplus: " in done.output and "campplus.onnx, as recorded" in done.output
        assert "encoder chinese-hubert-base: not here" in done.output and "7 files as recorded" in done.output

    def test_names_that_lead_out_are_refused(self, moved: Path, clip: Path, tmp_path: Path) -> None:
        description = read_json(moved / "bundle.json")
        description["encoders"]["speaker"]["file"] = "../../outside.onnx"
        write_json(moved / "bundle.json", description)
        with pytest.raises(DataError, match="leads out of"):
            open_bundle(moved, tmp_path, clip=Clip(clip))

    def test_a_bundle_may_be_exported_without(self, root: Path, clip: Path, tmp_path: Path) -> None:
        export(root, tmp_path / "bundle", with_encoders=False)
        with pytest.raises(AssetError, match=r"exported without the encoder campplus.*\n.*export\.encoders: true"):
            open_bundle(tmp_path / "bundle", root, clip=Clip(clip))


def test_a_voice_from_scratch_takes_on_the_sound_alone(
    tmp_path_factory: pytest.TempPathFactory, root: Path, clip: Path, caplog: pytest.LogCaptureFixture
) -> None:
    scratch = tmp_path_factory.mktemp("scratch")
    for name in ("models", "features"):
        shutil.copytree(root / name, scratch / name)
    (scratch / "resources").symlink_to(root / "resources")
    export(scratch, scratch / "bundle", scratch=True)
    assert "content" not in read_bundle(scratch / "bundle")[0]["encoders"]
    reference = open_bundle(scratch / "bundle", scratch, clip=Clip(clip, WORDS, "en")).synthesizer.reference
    assert len(reference.tokens) == 0 and "trained from scratch" in caplog.text


def test_lint_of_graphs_in_float32(root: Path) -> None:
    import onnx
    from onnx import TensorProto, numpy_helper

    model = onnx.load(root / "resources" / "encoders" / "campplus.onnx")
    assert lint_stored({"campplus": model}) == []
    twin = max((numpy_helper.to_array(tensor) for tensor in model.graph.initializer), key=lambda array: array.nbytes)
    model.graph.initializer.append(numpy_helper.from_array(twin, "twin"))
    model.graph.initializer.append(numpy_helper.from_array(np.ones(3), "double"))
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT16
    faults = list(map(str, lint_stored({"campplus": model})))
    assert len(faults) == 3 and any("twin is stored twice" in fault for fault in faults)


@pytest.mark.parametrize("name", ["campplus", "chinese-roberta-wwm-ext-large"])
def test_encoders_of_8_bits_are_smaller_and_hear_the_same(
    root: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asset = asset_finder(root)(name)
    described = export_encoder(asset, tmp_path, int8=True)
    assert described["name"] == name and described["file"] == f"{name}-int8.onnx"
    whole = read_json(root / "resources" / "encoders" / f"{name}.json")
    assert described["size"] < 0.6 * whole["size"]
    assert read_json(tmp_path / f"{name}-int8.json")["similarity"] > 0.99
    monkeypatch.setattr("voiceclone.export.encoder_graphs.LEAST_SIMILARITY", 1.1)
    with pytest.raises(VoiceCloneError, match=rf"{name}-int8: differs .* cosine of the vectors (0\.99|1\.00)"):
        export_encoder(asset, tmp_path / "again", int8=True)


def test_graphs_that_differ_fail_with_their_numbers(root: Path, tmp_path: Path) -> None:
    limits = ExportSettings(max_error=0.1)
    check_voice_graphs({"style": 0.05, "quantiser": 0.0}, TARGETS["onnx-fp32"], limits)
    with pytest.raises(VoiceCloneError, match=r"onnx-fp16: graphs differ .*: style by 5\.0e-02, allowed 2e-02"):
        check_voice_graphs({"style": 0.05, "quantiser": 0.0}, TARGETS["onnx-fp16"], limits)
    bert = asset_finder(root)("chinese-roberta-wwm-ext-large")
    with pytest.raises(VoiceCloneError, match=r"chinese-roberta.*differs from the model by .*, allowed 1e-12"):
        export_encoder(bert, tmp_path, max_error=1e-12)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(AssetError, match="other: cannot be exported"):
        export_encoder(replace(bert, name="other"), tmp_path)
