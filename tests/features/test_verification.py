"""The vectors that v2Pro is conditioned on: made, cached, recorded, and found by those who need them."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.support.feature_fixture import corpus, random_campplus, random_hubert, register

from voiceclone.assets import Asset
from voiceclone.errors import AssetError, ConfigError, DataError
from voiceclone.features.extract import extract_features
from voiceclone.features.store import open_store
from voiceclone.files import read_tsv
from voiceclone.listeners.eres2netv2 import STYLE_SIZE, WEIGHTS, ERes2NetV2, VerificationEncoder, vector_kind
from voiceclone.models.sovits import SoVITSConfig
from voiceclone.stages.features import FeaturesSettings
from voiceclone.training.sovits import SoVITSData

TEXTS = {"a": ("en", "Hello, world!"), "b": ("en", "Good morning.")}
WITHOUT = FeaturesSettings(content="chinese-hubert-base")
WITH = FeaturesSettings(content="chinese-hubert-base", verification_encoder="eres2netv2")


@pytest.fixture(scope="module")
def assets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Asset]:
    folder = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    (folder / "eres2netv2").mkdir()
    torch.save(ERes2NetV2().state_dict(), folder / "eres2netv2" / WEIGHTS)
    return {
        "chinese-hubert-base": random_hubert(folder / "hubert"),
        "campplus": random_campplus(folder / "campplus"),
        "eres2netv2": register(folder / "eres2netv2", "eres2netv2"),
    }


def test_vectors_are_made_once_and_recorded(
    tmp_path: Path, assets: dict[str, Asset], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    table, folder = corpus(tmp_path, TEXTS), tmp_path / "features"
    extract_features(table, folder, WITH, assets, threads=1)
    assert "verification 2 made, 0 from cache" in caplog.text
    store = open_store(folder / "verification.safetensors")
    vectors = [store[name] for name in TEXTS]
    assert all(vector.shape == (STYLE_SIZE,) and vector.dtype == np.float32 for vector in vectors)
    assert not np.array_equal(*vectors)
    with_keys = {row["utterance"]: row for row in read_tsv(folder / "manifest.tsv")}
    assert len({row["key_verification"] for row in with_keys.values()} - {""}) == 2
    pro = SoVITSData(folder, 32, vector_kind(SoVITSConfig.v2pro().speaker_vector_size))
    assert pro.speaker_size() == STYLE_SIZE
    assert with_keys["b"]["key_verification"] in pro.digests()["b"]
    assert with_keys["b"]["key_speaker"] not in pro.digests()["b"]
    nano = SoVITSData(folder, 32)
    batch = pro.batch(pro.train, torch.device("cpu"))
    np.testing.assert_array_equal(batch["speaker_vector"][0].numpy(), store["b"])

    extract_features(table, folder, WITH, assets, threads=1)
    assert "verification 0 made, 2 from cache" in caplog.text
    extract_features(table, folder, WITHOUT, assets, threads=1)
    assert not (folder / "verification.safetensors").exists()
    assert all(row["key_verification"] == "" for row in read_tsv(folder / "manifest.tsv"))
    assert SoVITSData(folder, 32).digests() == nano.digests()
    with pytest.raises(ConfigError, match=r"verification\.safetensors: missing"):
        SoVITSData(folder, 32, "verification")


def test_a_network_without_speaker_vectors_reads_none(tmp_path: Path, assets: dict[str, Asset]) -> None:
    folder = tmp_path / "features"
    extract_features(corpus(tmp_path, TEXTS), folder, WITHOUT, assets, threads=1)
    data = SoVITSData(folder, 32, vector_kind(SoVITSConfig.v2().speaker_vector_size))
    assert data.speaker_size() == 0
    assert "speaker_vector" not in data.batch(data.train, torch.device("cpu"))


def test_what_is_wrong_is_said(tmp_path: Path, assets: dict[str, Asset]) -> None:
    encoder = VerificationEncoder(assets["eres2netv2"])
    with pytest.raises(DataError, match="expected one channel"):
        encoder.embed(np.zeros(1000, np.float32), 16000)
    with pytest.raises(DataError, match="not finite"):
        encoder.embed(np.full(16000, np.nan, np.float32), 16000)
    (tmp_path / "x").mkdir()
    torch.save({"conv1.weight": torch.zeros(1)}, tmp_path / "x" / WEIGHTS)
    with pytest.raises(AssetError, match="not the weights of ERes2NetV2"):
        VerificationEncoder(register(tmp_path / "x", "eres2netv2"))
