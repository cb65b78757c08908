"""Content encoders: the same interface, shapes and windows for Whisper and HuBERT."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tests.support.feature_fixture import random_hubert

from voiceclone.assets import Asset, open_asset
from voiceclone.errors import AssetError, DataError
from voiceclone.listeners.content import check_finite, fit_length, in_windows, load_encoder


def test_windows_join_without_a_seam() -> None:
    """A position-wise encoder gives the same in windows as at once, and each frame comes once."""
    lengths = []

    def encode(samples: np.ndarray) -> np.ndarray:
        lengths.append(len(samples))
        return samples[: len(samples) // 320 * 320].reshape(-1, 320).mean(1)[None]

    samples = np.random.default_rng(0).standard_normal(16000 * 75 + 123).astype(np.float32)
    joined = in_windows(encode, samples)
    assert max(lengths) <= 30 * 16000 and len(lengths) == 3
    np.testing.assert_allclose(joined, encode(samples), atol=1e-6)


def test_length_and_finiteness() -> None:
    vectors = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert fit_length(vectors, 5).tolist() == [[0, 1, 2, 2, 2], [3, 4, 5, 5, 5]]
    assert fit_length(vectors, 2).shape == (2, 2)
    with pytest.raises(DataError, match=r"x: .*not finite"):
        check_finite(np.full((1, 1), np.nan, np.float32), "x")


def test_hubert(tmp_path: Path) -> None:
    encoder = load_encoder(random_hubert(tmp_path / "hubert"))
    assert (encoder.name, encoder.dimension) == ("chinese-hubert-base", 768)
    samples = np.random.default_rng(0).standard_normal(6400).astype(np.float32)
    vectors = encoder.encode(samples)
    assert vectors.shape == (768, 20) and vectors.dtype == np.float32
    np.testing.assert_array_equal(vectors, encoder.encode(samples))
    # The first convolution is group-normalised: the level of a recording hardly matters.
    louder = encoder.encode(samples * 20)
    assert np.abs(louder - vectors).max() < 1e-2 * np.abs(vectors).max()
    assert encoder.encode(samples[:100]).shape == (768, 1)


def test_hubert_that_overflows_in_half_precision_is_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    encoder = load_encoder(random_hubert(tmp_path / "hubert"))
    samples = np.random.default_rng(0).standard_normal(8000).astype(np.float32)
    expected = encoder.encode(samples)
    encoder._half = True
    encoder.model.half()
    with torch.no_grad():
        encoder.model.feature_projection.projection.bias += 6e4  # float16 ends at 65504
        encoder.model.feature_projection.projection.weight *= 1e4
    vectors = encoder.encode(samples)
    assert np.isfinite(vectors).all() and vectors.shape == expected.shape
    assert encoder.model.dtype == torch.float16


def test_whisper(asset: Callable[[str], Path], shared_data: Path) -> None:
    encoder = load_encoder(open_asset(asset("whisper-base")), threads=1)
    assert encoder.dimension == 512
    path = sorted((shared_data / "verification").rglob("*.flac"))[3]
    samples, _ = soundfile.read(path, dtype="float32", frames=3 * 16000)
    vectors = encoder.encode(samples)
    assert vectors.shape == (512, 150) and vectors.dtype == np.float32
    np.testing.assert_array_equal(vectors, encoder.encode(samples))
    assert np.isfinite(vectors).all() and vectors.std() > 0.1


def test_another_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AssetError, match="neither"):
        load_encoder(Asset("x", "content", "", tmp_path, "0", {}))
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(AssetError, match="HuBERT"):
        load_encoder(Asset("x", "content", "", tmp_path, "0", {}))


def test_the_graph_of_whisper_hears_what_the_model_hears(asset: Callable[[str], Path], tmp_path: Path) -> None:
    from voiceclone.export.encoder_graphs import export_encoder
    from voiceclone.speaking.encoders import Graph, GraphContent

    whisper = open_asset(asset("whisper-base"))
    described = export_encoder(whisper, tmp_path)
    assert described["max_error"] < 1e-4 and described["size"] < 45e6  # stored in half precision, as it was published
    mine, theirs = GraphContent(Graph(tmp_path / "whisper-base.onnx")), load_encoder(whisper, threads=1)
    rng = np.random.default_rng(0)
    for samples in (700, 16000, 31 * 16000):
        sound = (0.1 * rng.standard_normal(samples)).astype(np.float32)
        left, right = mine.encode(sound), theirs.encode(sound)
        assert left.shape == right.shape
        assert np.abs(left - right).max() < 1e-4 * np.abs(right).max()
