"""The features stage: stores, caches, what is made again, what is left out."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from tests.support.feature_fixture import COLUMNS, corpus, random_bert, random_campplus, random_hubert

from voiceclone.errors import AssetError, DataError
from voiceclone.features.extract import extract_features
from voiceclone.features.spectrogram import magnitudes, track_pitch, training_audio
from voiceclone.features.store import ArrayCache, Entry, open_store, write_store
from voiceclone.files import read_tsv, sha256_file, write_tsv
from voiceclone.listeners.bert import BertEncoder
from voiceclone.models.mel import spectrogram
from voiceclone.sound.io import write_flac
from voiceclone.stages.features import FeaturesSettings
from voiceclone.text.frontend import to_phones
from voiceclone.text.lexicon import Lexicon

HUBERT = FeaturesSettings(content="chinese-hubert-base")
TEXTS = {"a": ("en", "Hello, world!"), "b": ("en", "Good morning."), "c": ("zh", "你好，世界。")}


@pytest.fixture(scope="module")
def assets(tmp_path_factory: pytest.TempPathFactory) -> dict:
    folder = tmp_path_factory.mktemp("models")
    return {
        "chinese-hubert-base": random_hubert(folder / "hubert"),
        "campplus": random_campplus(folder / "campplus"),
    }


def run(table: Path, assets: dict, settings: FeaturesSettings = HUBERT, lexicon: Lexicon | None = None) -> Path:
    extract_features(table, table.parent.parent / "features", settings, assets, lexicon, threads=1)
    return table.parent.parent / "features"


def made(caplog: pytest.LogCaptureFixture) -> str:
    return next(record.message for record in reversed(caplog.records) if record.message.startswith("features: "))


def test_stores_hold_what_the_trainings_read(tmp_path: Path, assets: dict) -> None:
    folder = run(corpus(tmp_path, TEXTS), assets)
    rows = {row["utterance"]: row for row in read_tsv(folder / "manifest.tsv")}
    assert sorted(rows) == ["a", "b", "c"] and rows["a"]["split"] == "heldout"
    stores = {kind: open_store(folder / f"{kind}.safetensors") for kind in ("phones", "content", "speaker")}
    stores |= {kind: open_store(folder / f"{kind}.safetensors") for kind in ("spectrogram", "audio")}
    dtypes = {"phones": "int64", "content": "float32", "speaker": "float32", "spectrogram": "float16", "audio": "int16"}
    for utterance, row in rows.items():
        frames = int(row["frames"])
        assert frames % 2 == 0 and float(row["seconds"]) == pytest.approx(frames / 50)
        tensors = {kind: store[utterance] for kind, store in stores.items()}
        assert {kind: values.dtype.name for kind, values in tensors.items()} == dtypes
        shapes = {"content": (768, frames), "speaker": (192,), "spectrogram": (1025, frames), "audio": (640 * frames,)}
        assert all(tensors[kind].shape == shape for kind, shape in shapes.items())
        assert tensors["phones"].tolist() == to_phones(row["text"], row["language"]).ids.tolist()
        assert np.linalg.norm(tensors["speaker"]) == pytest.approx(1, abs=1e-5)
        expected = spectrogram(torch.from_numpy(tensors["audio"].astype(np.float32) / 32768)[None])[0].numpy()
        np.testing.assert_allclose(tensors["spectrogram"], expected, rtol=1e-3, atol=1e-3)
    assert {name: row["polyphones"] for name, row in rows.items()} == {"a": "", "b": "", "c": "pypinyin"}
    assert not (folder / "bert.safetensors").exists()
    assert read_tsv(folder / "rejected.tsv") == []


def test_second_run_makes_nothing_and_writes_the_same(
    tmp_path: Path, assets: dict, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    table = corpus(tmp_path, TEXTS)
    folder = run(table, assets)
    assert "phones 3 made, 0 from cache; content 3 made, 0 from cache; speaker 3 made" in made(caplog)
    before = {path.name: sha256_file(path) for path in folder.glob("*.*")}
    run(table, assets)
    assert "phones 0 made, 3 from cache; content 0 made, 3 from cache; speaker 0 made" in made(caplog)
    assert "text: 3 of 3 sentences from the cache (100.0 %)" in caplog.text
    assert before == {path.name: sha256_file(path) for path in folder.glob("*.*")}


def test_an_edited_text_remakes_only_its_phones(tmp_path: Path, assets: dict, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    folder = run(corpus(tmp_path, TEXTS), assets)
    before = {row["utterance"]: row for row in read_tsv(folder / "manifest.tsv")}
    run(corpus(tmp_path, TEXTS | {"b": ("en", "Good evening.")}), assets)
    assert "phones 1 made, 2 from cache; content 0 made, 3 from cache; speaker 0 made, 3 from cache" in made(caplog)
    after = {row["utterance"]: row for row in read_tsv(folder / "manifest.tsv")}
    assert {u for u in after if after[u]["key_phones"] != before[u]["key_phones"]} == {"b"}
    assert all(after[u]["key_content"] == before[u]["key_content"] for u in after)
    assert len(list((folder / "cache" / "phones").iterdir())) == 3


def test_a_lexicon_entry_remakes_only_the_texts_with_its_word(
    tmp_path: Path, assets: dict, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    table = corpus(tmp_path, TEXTS)
    run(table, assets)
    folder = run(table, assets, lexicon=Lexicon({"en": {"morning": ("M", "AO1", "R", "N")}}))
    assert "phones 1 made, 2 from cache" in made(caplog)
    assert read_tsv(folder / "manifest.tsv")[1]["phones"].endswith("M AO1 R N .")


def test_a_dropped_utterance_leaves_no_cache(tmp_path: Path, assets: dict) -> None:
    run(corpus(tmp_path, TEXTS), assets)
    folder = run(corpus(tmp_path, {name: TEXTS[name] for name in "ab"}), assets)
    assert sorted(open_store(folder / "content.safetensors")) == ["a", "b"]
    for kind in ("phones", "content", "speaker"):
        assert len(list((folder / "cache" / kind).iterdir())) == 2


def test_a_damaged_cache_file_is_made_again(tmp_path: Path, assets: dict, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    table = corpus(tmp_path, TEXTS)
    folder = run(table, assets)
    before = sha256_file(folder / "content.safetensors")
    victim, *_, other = sorted((folder / "cache" / "content").iterdir())
    content = bytearray(victim.read_bytes())
    content[-3] ^= 1
    victim.write_bytes(content)
    other.write_bytes(b"short")
    next(iter((folder / "cache" / "phones").iterdir())).write_text("{")
    run(table, assets)
    assert "phones 1 made, 2 from cache; content 2 made, 1 from cache" in made(caplog)
    assert sha256_file(folder / "content.safetensors") == before


def test_what_cannot_be_used_is_listed_and_the_rest_goes_on(tmp_path: Path, assets: dict) -> None:
    texts = TEXTS | {
        "d": ("en", "!?"),
        "e": ("en", "Too short."),
        "f": ("en", "Silent."),
        "g": ("en", "Gone."),
        "h": ("de", "Ja"),
    }
    table = corpus(tmp_path, texts)
    write_flac(tmp_path / "slices" / "e.flac", np.full(2000, 0.1, np.float32), 32000)
    write_flac(tmp_path / "slices" / "f.flac", np.zeros(40000, np.float32), 32000)
    (tmp_path / "slices" / "g.flac").unlink()
    folder = run(table, assets)
    assert [row["utterance"] for row in read_tsv(folder / "manifest.tsv")] == ["a", "b", "c"]
    details = {row["utterance"]: row["detail"] for row in read_tsv(folder / "rejected.tsv")}
    assert sorted(details) == ["d", "e", "f", "g", "h"]
    for utterance, words in {"d": "pronounced", "e": "0.04 s", "f": "silent", "g": "g.flac", "h": "'de'"}.items():
        assert words in details[utterance]


def test_nothing_usable_is_an_error(tmp_path: Path, assets: dict) -> None:
    with pytest.raises(DataError, match=r"none of 1 utterances.*pronounced"):
        run(corpus(tmp_path, {"a": ("en", "...")}), assets)
    assert not (tmp_path / "features" / "manifest.tsv").exists()


def test_a_path_out_of_the_results_is_refused(tmp_path: Path, assets: dict) -> None:
    table = corpus(tmp_path / "voice", TEXTS)
    rows = read_tsv(table)
    rows[0]["path"] = "../../secret.flac"
    write_tsv(table, COLUMNS, rows)
    folder = run(table, assets)
    assert "leads out of" in read_tsv(folder / "rejected.tsv")[0]["detail"]


def test_missing_model_is_named(tmp_path: Path, assets: dict) -> None:
    with pytest.raises(AssetError, match=r"features\.content.*whisper-base"):
        run(corpus(tmp_path, TEXTS), assets, FeaturesSettings())


def test_bert_vectors_of_chinese_text(tmp_path: Path, assets: dict, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    bert = random_bert(tmp_path / "bert", "你好,世界.")
    phones = to_phones("你好AI世界。", "zh")
    vectors = BertEncoder(bert).encode(phones)
    assert vectors.shape == (1024, len(phones.symbols)) and vectors.dtype == np.float16
    np.testing.assert_array_equal(vectors[:, 0], vectors[:, 1])  # the two phones of one character
    assert np.abs(vectors[:, 1] - vectors[:, 2]).max() > 0
    assert not vectors[:, 4:6].any()  # the English letters
    table = corpus(tmp_path, TEXTS)
    settings = FeaturesSettings(content="chinese-hubert-base", bert="chinese-roberta-wwm-ext-large")
    folder = run(table, assets | {"chinese-roberta-wwm-ext-large": bert}, settings)
    store = open_store(folder / "bert.safetensors")
    assert list(store) == ["c"] and store["c"].shape == (1024, 10)
    run(table, assets)
    assert not (folder / "bert.safetensors").exists()


def test_pitch_is_stored_and_spectrograms_are_not_where_asked(
    tmp_path: Path, assets: dict, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    table = corpus(tmp_path, TEXTS)
    settings = HUBERT.model_copy(update={"pitch": "praat", "spectrogram": False})
    folder = run(table, assets, settings)
    rows = read_tsv(folder / "manifest.tsv")
    pitch = open_store(folder / "pitch.safetensors")
    assert {row["utterance"]: (2 * int(row["frames"]),) for row in rows} == {name: pitch.shape(name) for name in pitch}
    assert all(row["key_pitch"] for row in rows) and not list(open_store(folder / "spectrogram.safetensors"))
    run(table, assets, settings)
    assert "pitch 0 made, 3 from cache" in made(caplog)
    run(table, assets)
    assert not (folder / "pitch.safetensors").exists() and "key_pitch" not in read_tsv(folder / "manifest.tsv")[0]


def test_speech_for_the_gpt_alone_is_stored_without_sound(tmp_path: Path, assets: dict) -> None:
    path = corpus(tmp_path, {"a": ("en", "Hello there."), "b": ("en", "Good night.")})
    many = ("speaker", "source", "bandwidth", "weight", "use")
    rows = [row | dict(zip(many, ("anna", "set", 8000, 2.0, use), strict=True))
            for row, use in zip(read_tsv(path), ("gpt", "gpt sovits"), strict=True)]  # fmt: skip
    write_tsv(path, (*COLUMNS, *many), rows)
    folder = run(path, assets, HUBERT.model_copy(update={"pitch": "praat"}))
    for kind, expected in (("content", ["a", "b"]), ("audio", ["b"]), ("spectrogram", ["b"]), ("pitch", ["b"])):
        assert sorted(open_store(folder / f"{kind}.safetensors")) == expected, kind
    written = read_tsv(folder / "manifest.tsv")
    assert [[row[column] for column in many] for row in written] == [
        ["anna", "set", "8000", "2.0", "gpt"], ["anna", "set", "8000", "2.0", "gpt sovits"],
    ]  # fmt: skip


def test_pitch_of_a_gliding_tone() -> None:
    seconds = np.arange(32000) / 32000
    phase = 2 * np.pi * np.cumsum(120 + 60 * seconds) / 32000
    voice = 0.1 * sum(np.cos(k * phase) / k for k in range(1, 10))
    voice[20000:] = 0
    hertz = track_pitch(voice.astype(np.float32), 32000)
    assert hertz.shape == (100,) and hertz.dtype == np.float32
    middles = (np.arange(100) + 0.5) / 100
    np.testing.assert_allclose(hertz[5:55], (120 + 60 * middles)[5:55], rtol=0.01)
    assert not hertz[70:].any()


def test_spectrogram_equals_the_recorded_one(shared_golden: Path) -> None:
    recorded = np.load(shared_golden / "audio_features.npz")
    audio = np.round(np.clip(recorded["wav"], -1, 32767 / 32768) * 32768).astype(np.int16)
    spectrum = magnitudes(audio).astype(np.float32)
    assert spectrum.shape == recorded["spec"].shape
    assert np.abs(spectrum - recorded["spec"]).max() < 2e-3 * recorded["spec"].max()


def test_training_audio_has_an_even_number_of_frames(tmp_path: Path) -> None:
    tone = (0.5 * np.sin(np.arange(50_001) / 20)).astype(np.float32)
    write_flac(tmp_path / "a.flac", tone, 32000)
    audio = training_audio(tmp_path / "a.flac")
    assert audio.dtype == np.int16 and len(audio) == 50_001 // 1280 * 1280
    np.testing.assert_allclose(audio[:100] / 32768, tone[:100], atol=1e-4)


def test_store_is_plain_safetensors_streamed(tmp_path: Path) -> None:
    order: list[str] = []

    def entry(name: str, values: np.ndarray) -> Entry:
        return Entry(values.shape, lambda: order.append(name) or values)

    first, second = np.arange(6, dtype=np.int64).reshape(2, 3), np.zeros((0, 2), np.int64)
    write_store(tmp_path / "s.safetensors", "int64", {"b": entry("b", second), "a": entry("a", first)}, {"kind": "x"})
    assert order == ["a", "b"]
    with safe_open(tmp_path / "s.safetensors", "pt") as file:
        assert file.get_tensor("a").tolist() == first.tolist() and file.metadata() == {"kind": "x"}
    store = open_store(tmp_path / "s.safetensors")
    assert len(store) == 2 and "a" in store and store.shape("b") == (0, 2)
    with pytest.raises(KeyError, match="zz"):
        store["zz"]
    with pytest.raises(DataError, match="announced"):
        write_store(tmp_path / "t.safetensors", "int64", {"a": Entry((1,), lambda: first)}, {})
    assert not (tmp_path / "t.safetensors").exists()
    with pytest.raises(DataError, match="cannot be read"):
        open_store(tmp_path / "t.safetensors")


def test_cache_returns_what_was_written(tmp_path: Path) -> None:
    cache = ArrayCache(tmp_path)
    values = np.asfortranarray(np.random.default_rng(0).random((3, 4), dtype=np.float32))
    assert cache.read("k") is None
    cache.write("k", values)
    np.testing.assert_array_equal(cache.read("k"), values)
    ArrayCache(tmp_path).prune()
    assert not list(tmp_path.iterdir())
