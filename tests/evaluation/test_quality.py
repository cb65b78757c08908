"""Measures of sound: predictors agree with their public implementations, pitch and similarity with what is known."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from voiceclone.assets import open_asset
from voiceclone.evaluation.measure import (
    Ge2eEncoder,
    centroid,
    clicks,
    cosine,
    own_similarity,
    pause_share,
    peak_dbfs,
    pitch,
)
from voiceclone.listeners.mos import RATE, DistillMos, Dnsmos, listening_signal
from voiceclone.sound.io import read_mono, resample


@pytest.mark.parametrize("hertz", [75.0, 137.3, 210.0, 420.0])
def test_pitch_of_a_buzz(hertz: float) -> None:
    time = np.arange(32_000) / 32_000
    buzz = sum(np.sin(2 * np.pi * n * hertz * time) / n for n in range(1, 8)) * 0.1
    found = pitch(np.asarray(buzz, dtype=np.float32), 32_000)
    assert found.median_hz == pytest.approx(hertz, rel=0.005)
    assert found.voiced_share == 1.0 and found.spread_semitones == pytest.approx(0, abs=0.05)


def test_nothing_voiced_in_noise_and_silence() -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, 32_000).astype(np.float32)
    assert (pitch(noise, 32_000).voiced_share or 0) < 0.02
    assert pitch(np.zeros(32_000, np.float32), 32_000).median_hz is None
    assert pitch(np.zeros(0, np.float32), 32_000).median_hz is None


def test_pitch_of_speech(shared_data: Path) -> None:
    samples, rate = read_mono(shared_data / "speakers" / "ljspeech" / "take_02.flac")
    found = pitch(samples, rate)
    assert found.median_hz is not None and 190 < found.median_hz < 240  # this reader speaks at about 215 Hz
    assert found.voiced_share is not None and 0.35 < found.voiced_share < 0.75


def test_listening_signal_stays_within_full_scale() -> None:
    assert np.abs(listening_signal(np.array([0.0, 3.0, -1.0], np.float32), RATE)).max() == 1.0


def test_cosine_and_centroid() -> None:
    first, second = np.array([3.0, 0.0], np.float32), np.array([0.0, 1.0], np.float32)
    assert cosine(first, first) == pytest.approx(1) and cosine(first, second) == pytest.approx(0)
    assert centroid([first, second]) == pytest.approx([2**-0.5, 2**-0.5])
    assert cosine(np.zeros(2, np.float32), first) == 0.0


def test_dnsmos_equals_its_public_implementation(asset: Callable[[str], Path], shared_data: Path) -> None:
    samples, rate = read_mono(shared_data / "speakers" / "ljspeech" / "take_01.flac")
    meter = Dnsmos(open_asset(asset("dnsmos")))
    public = {2: (2.546763, 2.998948, 3.612735), 11: (3.296885, 3.604197, 3.994872)}  # speechmos 0.0.1.1, overall first
    for seconds, expected in public.items():
        ours = meter.score(resample(samples[: seconds * rate], rate, RATE), RATE)
        assert [ours["ovrl"], ours["sig"], ours["bak"]] == pytest.approx(expected, abs=1e-4)
    noisy = samples[: 5 * rate] + np.random.default_rng(0).normal(0, 0.05, 5 * rate).astype(np.float32)
    assert meter.score(noisy, rate)["ovrl"] < meter.score(samples[: 5 * rate], rate)["ovrl"] - 0.5
    with pytest.raises(ValueError, match="empty"):
        meter.score(samples[:0], rate)


def test_distillmos_hears_noise(asset: Callable[[str], Path], shared_data: Path) -> None:
    samples, rate = read_mono(shared_data / "speakers" / "ljspeech" / "take_01.flac")
    excerpt = samples[: 4 * rate]
    noisy = excerpt + np.random.default_rng(0).normal(0, 0.03, len(excerpt)).astype(np.float32)
    meter = DistillMos(open_asset(asset("distillmos")))
    clean_score, noisy_score = meter.score(excerpt, rate), meter.score(noisy, rate)
    assert 3.5 < clean_score <= 5.1 and noisy_score < clean_score - 0.7


def test_ge2e_knows_its_speaker(asset: Callable[[str], Path], shared_data: Path) -> None:
    encoder = Ge2eEncoder(open_asset(asset("ge2e")))
    lj, lj_rate = read_mono(shared_data / "speakers" / "ljspeech" / "take_01.flac")
    other, other_rate = read_mono(shared_data / "speakers" / "aishell_s0150" / "take_01.flac")
    first, second = encoder.embed(lj[: 5 * lj_rate], lj_rate), encoder.embed(lj[5 * lj_rate : 10 * lj_rate], lj_rate)
    stranger = encoder.embed(other[: 5 * other_rate], other_rate)
    assert first.shape == (256,) and np.linalg.norm(first) == pytest.approx(1, abs=1e-4)
    assert cosine(first, second) > 0.8 > cosine(first, stranger)
    assert np.all(np.isfinite(encoder.embed(np.zeros(8000, np.float32), 16_000)))


def voiced(seconds: float, rate: int = 32_000) -> np.ndarray:
    """Pulses of 120 Hz through a resonance, with a little noise: bends as speech has them."""
    rng = np.random.default_rng(0)
    time = np.arange(int(seconds * rate)) / rate
    pulses = sum(np.sin(2 * np.pi * 120 * k * time) / k for k in range(1, 40))
    return (0.1 * pulses + 0.002 * rng.standard_normal(len(time))).astype(np.float32)


def test_a_jump_is_a_click_and_speech_has_none(shared_data: Path) -> None:
    sound = voiced(1.0)
    assert clicks(sound, 32_000) == 0
    jumps = sound.copy()
    jumps[10_000:] += 0.3
    jumps[20_000] += 0.4
    assert clicks(jumps, 32_000) == 2
    noise = 0.3 * np.random.default_rng(1).standard_normal(32_000).astype(np.float32)
    assert clicks(noise, 32_000) == 0 and clicks(sound[:50], 32_000) == 0
    takes = sorted((shared_data / "speakers" / "ljspeech").rglob("*.flac"))[:4]
    real = [read_mono(path) for path in takes]
    assert real and sum(clicks(samples, rate) for samples, rate in real) <= 1
    samples, rate = real[0]
    cut = np.concatenate([samples[: 3 * rate // 2], samples[3 * rate // 2 + 777 :]])
    assert clicks(np.concatenate([cut, cut[::-1] + 0.5]), rate) >= 1


def test_pauses_are_inside_and_long() -> None:
    rate = 32_000
    sound, pause, gap = voiced(1.0), np.zeros(rate // 2, np.float32), np.zeros(rate // 10, np.float32)
    assert pause_share(np.concatenate([pause, sound, pause, sound, pause]), rate) == pytest.approx(0.5 / 2.5, abs=0.01)
    assert pause_share(np.concatenate([sound, gap, sound]), rate) == 0
    assert pause_share(np.zeros(0, np.float32), rate) is None


def test_peak() -> None:
    assert peak_dbfs(np.array([0.1, -0.5], np.float32)) == pytest.approx(-6.02, abs=0.01)
    assert peak_dbfs(np.zeros(10, np.float32)) == -120


def test_own_similarity_leaves_each_recording_out() -> None:
    rng = np.random.default_rng(0)
    alone = rng.standard_normal((4, 192)).astype(np.float32)
    assert own_similarity(alone) == pytest.approx(0, abs=0.15)  # strangers, though each is part of the mean
    assert own_similarity(np.tile(alone[:1], (3, 1))) == pytest.approx(1)
    assert own_similarity(alone[:1]) is None
