"""Speaker vectors: filter bank against recorded values, network against its published weights, real voices."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations, product
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from voiceclone.assets import Asset, open_asset
from voiceclone.errors import AssetError, DataError
from voiceclone.listeners import campplus
from voiceclone.listeners.campplus import DIMENSION, CAMPlusPlus, SpeakerEncoder, kaldi_fbank


@pytest.fixture(scope="module")
def encoder(asset: Callable[[str], Path]) -> SpeakerEncoder:
    return SpeakerEncoder(open_asset(asset("campplus")))


def test_filter_bank_is_kaldis(shared_golden: Path) -> None:
    recorded = np.load(shared_golden / "speaker_embedding.npz")
    fbank = kaldi_fbank(torch.from_numpy(recorded["wav16k"])).numpy()
    assert fbank.shape == recorded["fbank"].shape
    # In the quietest bins the energy is a difference of nearly equal numbers.
    assert np.abs(fbank - recorded["fbank"]).max() < 1e-2
    assert np.abs(fbank - recorded["fbank"]).mean() < 1e-4


def test_network_has_the_published_size() -> None:
    network = CAMPlusPlus().eval()
    numbers = sum(p.numel() for p in network.state_dict().values() if p.is_floating_point())
    assert round(numbers / 1e6, 2) == 6.93
    with torch.inference_mode():
        assert network(torch.randn(2, 120, 80)).shape == (2, DIMENSION)


def test_voices_are_told_apart(encoder: SpeakerEncoder, shared_data: Path) -> None:
    voices: dict[str, list[np.ndarray]] = {}
    for path in sorted((shared_data / "verification").rglob("*.flac")):
        if path.parent.name in ("1688", "1998", "2033"):
            samples, rate = soundfile.read(path, dtype="float32")
            voices.setdefault(path.parent.name, []).append(encoder.embed(samples[: 3 * rate], rate))
    same = [a @ b for vectors in voices.values() for a, b in combinations(vectors, 2)]
    other = [a @ b for one, two in combinations(voices.values(), 2) for a, b in product(one, two)]
    assert np.mean(same) > 0.7 and np.mean(other) < 0.25
    assert np.median(same) > max(other)


def test_vector_has_unit_length_at_any_rate_level_and_length(
    encoder: SpeakerEncoder, shared_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = next(iter(sorted((shared_data / "speakers" / "kathleen").glob("take_02.flac"))))
    samples, rate = soundfile.read(path, dtype="float32", frames=3 * 48000)
    vector = encoder.embed(samples, rate)
    assert vector.shape == (DIMENSION,) and vector.dtype == np.float32
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)
    assert vector @ encoder.embed(samples * 0.5, rate) > 0.95
    assert vector @ encoder.embed(samples[::2].copy(), rate // 2) > 0.95
    monkeypatch.setattr(campplus, "WINDOW_SECONDS", 1.5)
    long = encoder.embed(samples, rate)
    assert np.linalg.norm(long) == pytest.approx(1, abs=1e-5) and long @ vector > 0.8


@pytest.mark.parametrize(
    "samples",
    [np.zeros(100, np.float32), np.zeros((16000, 2), np.float32), np.full(16000, np.nan, np.float32)],
    ids=["short", "stereo", "nan"],
)
def test_unusable_sound_is_refused(encoder: SpeakerEncoder, samples: np.ndarray) -> None:
    with pytest.raises(DataError, match="speaker vector"):
        encoder.embed(samples, 16000)


def test_other_weights_are_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1)}, tmp_path / "campplus_cn_en_common.pt")
    files = {"campplus_cn_en_common.pt": {"sha256": "", "size": 0}}
    with pytest.raises(AssetError, match=r"campplus_cn_en_common\.pt"):
        SpeakerEncoder(Asset("campplus", "speaker-encoder", "Apache-2.0", tmp_path, "0", files))
