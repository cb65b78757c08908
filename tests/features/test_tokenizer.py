"""Semantic tokens: fitting, taking over from a base, encoding."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tests.support.feature_fixture import register

from voiceclone.errors import AssetError, DataError
from voiceclone.features.phone_tokenizer import kmeans, nearest
from voiceclone.features.store import Entry, open_store, write_store
from voiceclone.features.tokenizer import (
    CODEBOOK,
    KEYS,
    Tokenizer,
    averaging_projection,
    fit_tokenizer,
    tokenize,
    usage,
)
from voiceclone.files import read_json, sha256_file, write_tsv
from voiceclone.models.conditioning import Quantizer
from voiceclone.stages.fit_tokenizer import TokenizerSettings


def content(folder: Path, dimension: int = 6, utterances: int = 5, frames: int = 200) -> tuple[Path, Path]:
    """Features that jump between a few points, one of them out of scale; utterance u0 is held out."""
    random = np.random.default_rng(0)
    points = random.standard_normal((8, dimension)) * ([100] + [1] * (dimension - 1)) + 7
    arrays = {}
    for number in range(utterances):
        states = np.repeat(random.integers(8, size=frames // 2), 2)
        arrays[f"u{number}"] = (points[states] + 0.01 * random.standard_normal((frames, dimension))).T.astype(
            np.float32
        )
    entries = {name: Entry(values.shape, lambda values=values: values) for name, values in arrays.items()}
    write_store(folder / "content.safetensors", "float32", entries, {})
    rows = [{"utterance": name, "split": "heldout" if name == "u0" else "train"} for name in arrays]
    write_tsv(folder / "manifest.tsv", ["utterance", "split"], rows)
    return folder / "manifest.tsv", folder / "content.safetensors"


def test_fitted_codes_follow_the_states(tmp_path: Path) -> None:
    features, store = content(tmp_path)
    fit_tokenizer(features, store, tmp_path / "t.safetensors", TokenizerSettings(codes=8))
    report = read_json(tmp_path / "t.json")
    assert report["codes"] == report["used"] == 8 and report["frames"] == 400 and report["source"] == "fitted"
    assert 7 < report["perplexity"] <= 8
    assert report["sha256"] == sha256_file(tmp_path / "t.safetensors")
    tensors = open_store(tmp_path / "t.safetensors")
    shapes = {"ssl_proj.weight": (6, 6, 2), "ssl_proj.bias": (6,), CODEBOOK + "inited": (1,)}
    shapes |= {CODEBOOK + "cluster_size": (8,), CODEBOOK + "embed": (8, 6), CODEBOOK + "embed_avg": (8, 6)}
    assert {key: tensors.shape(key) for key in tensors} == shapes
    assert tensors[CODEBOOK + "cluster_size"].sum() == 400
    projected = np.concatenate(
        [Tokenizer.load(tmp_path / "t.safetensors").project(open_store(store)[f"u{i}"]) for i in range(1, 5)]
    )
    np.testing.assert_allclose(projected.std(axis=0), 1, atol=1e-3)
    np.testing.assert_allclose(projected.mean(axis=0), 0, atol=1e-3)


def test_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    features, store = content(tmp_path)
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        fit_tokenizer(features, store, tmp_path / f"{name}.safetensors", TokenizerSettings(codes=16, seed=seed))
    digests = [sha256_file(tmp_path / f"{name}.safetensors") for name in "abc"]
    assert digests[0] == digests[1] != digests[2]


def test_tokens_equal_the_models_own_quantiser(tmp_path: Path) -> None:
    features, store = content(tmp_path)
    fit_tokenizer(features, store, tmp_path / "t.safetensors", TokenizerSettings(codes=12))
    tokenize(features, store, tmp_path / "t.safetensors", tmp_path / "semantic.safetensors")
    tokens, vectors = open_store(tmp_path / "semantic.safetensors"), open_store(store)
    tensors = open_store(tmp_path / "t.safetensors")
    projection = torch.nn.Conv1d(6, 6, 2, stride=2)
    projection.load_state_dict({name: torch.from_numpy(tensors[f"ssl_proj.{name}"]) for name in ("weight", "bias")})
    quantizer = Quantizer(12, 6)
    quantizer.load_state_dict(
        {key.removeprefix("quantizer."): torch.from_numpy(tensors[key]) for key in KEYS if key.startswith("quantizer.")}
    )
    assert tokens.metadata["tokenizer_sha256"] == sha256_file(tmp_path / "t.safetensors")
    for utterance in vectors:
        assert tokens[utterance].dtype == np.int64 and tokens[utterance].shape == (100,)
        with torch.no_grad():
            expected = quantizer.encode(projection(torch.from_numpy(vectors[utterance])[None]))[0, 0]
        assert tokens[utterance].tolist() == expected.tolist()


def test_little_speech_gives_fewer_codes_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    features, store = content(tmp_path, utterances=2, frames=100)
    fit_tokenizer(features, store, tmp_path / "t.safetensors", TokenizerSettings(codes=256))
    assert read_json(tmp_path / "t.json")["codes"] == 50 // 8
    assert "6 codes instead of 256" in caplog.text and "6 codes instead of 256" in capsys.readouterr().out
    features, store = content(tmp_path / "short", utterances=1, frames=20)
    with pytest.raises(DataError, match="too few"):
        fit_tokenizer(features, store, tmp_path / "t.safetensors", TokenizerSettings())


@pytest.mark.parametrize("form", ["pth", "hidden-header", "safetensors"])
def test_base_is_copied(tmp_path: Path, form: str) -> None:
    random = np.random.default_rng(1)
    shapes = {"ssl_proj.weight": (6, 6, 2), "ssl_proj.bias": (6,), CODEBOOK + "inited": (1,)}
    shapes |= {CODEBOOK + "cluster_size": (10,), CODEBOOK + "embed": (10, 6), CODEBOOK + "embed_avg": (10, 6)}
    tensors = {key: torch.from_numpy(random.standard_normal(shape).astype(np.float32)) for key, shape in shapes.items()}
    folder = tmp_path / "base"
    folder.mkdir()
    if form == "safetensors":
        from safetensors.torch import save_file

        save_file(tensors, folder / "g.safetensors")
    else:
        torch.save(
            {"weight": {**tensors, "dec.x": torch.zeros(2)}, "config": {"model": {}}, "info": "x"}, folder / "g.pth"
        )
        if form == "hidden-header":
            (folder / "g.pth").write_bytes(b"05" + (folder / "g.pth").read_bytes()[2:])
    base = register(folder, "gpt-sovits-v2-sovits-g")
    features, store = content(tmp_path)
    settings = TokenizerSettings(base="gpt-sovits-v2-sovits-g")
    fit_tokenizer(features, store, tmp_path / "t.safetensors", settings, base)
    copied = open_store(tmp_path / "t.safetensors")
    for key, values in tensors.items():
        np.testing.assert_array_equal(copied[key], values.numpy())
    assert read_json(tmp_path / "t.json")["source_digest"] == base.digest


def test_base_that_is_missing_foreign_or_of_another_encoder(tmp_path: Path) -> None:
    features, store = content(tmp_path)
    settings = TokenizerSettings(base="gpt-sovits-v2-sovits-g")
    with pytest.raises(AssetError, match=r"tokenizer\.base"):
        fit_tokenizer(features, store, tmp_path / "t.safetensors", settings)
    folder = tmp_path / "base"
    folder.mkdir()
    torch.save({"weight": {"enc": torch.zeros(1)}}, folder / "g.pth")
    with pytest.raises(AssetError, match="lacks"):
        fit_tokenizer(features, store, tmp_path / "t.safetensors", settings, register(folder, settings.base))
    weight, bias = averaging_projection(np.random.default_rng(0).standard_normal((20, 4)).astype(np.float32))
    tensors = {"ssl_proj.weight": weight, "ssl_proj.bias": bias, CODEBOOK + "inited": np.ones(1)}
    tensors |= {
        CODEBOOK + "cluster_size": np.ones(3),
        CODEBOOK + "embed": np.ones((3, 4)),
        CODEBOOK + "embed_avg": np.ones((3, 4)),
    }
    with pytest.raises(DataError, match="chinese-hubert-base"):
        Tokenizer(tensors).encode(open_store(store)["u0"])


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (print, ("executed",))


def test_a_base_that_would_run_code_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "base"
    folder.mkdir()
    torch.save({"weight": {}, "config": Evil()}, folder / "g.pth")
    features, store = content(tmp_path)
    with pytest.raises(AssetError, match="safely"):
        fit_tokenizer(features, store, tmp_path / "t.safetensors", TokenizerSettings(base="x"), register(folder, "x"))
    assert "executed" not in capsys.readouterr().out


def test_kmeans_fills_every_centre() -> None:
    points = np.repeat(np.eye(4, dtype=np.float32) * 9, 10, axis=0)
    points += 0.01 * np.random.default_rng(0).standard_normal(points.shape).astype(np.float32)
    centres, codes = kmeans(points, 4, 20, seed=0)
    assert sorted(np.bincount(codes)) == [10] * 4
    np.testing.assert_array_equal(codes, nearest(points, centres)[0])
    centres, codes = kmeans(np.zeros((5, 2), np.float32), 3, 5, seed=0)
    assert np.isfinite(centres).all() and set(codes) <= {0, 1, 2}


def test_usage() -> None:
    assert usage(np.array([0, 1, 2, 3]), 8) == {"used": 4, "perplexity": 4.0}
    assert usage(np.array([5, 5]), 8) == {"used": 1, "perplexity": 1.0}
