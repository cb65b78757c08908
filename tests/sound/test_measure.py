"""Figures of recordings, against known signals and pyloudnorm."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyloudnorm
import pytest

from voiceclone.sound.io import read_mono, resample
from voiceclone.sound.measure import Measures, Meter, measure

Samples = npt.NDArray[np.float32]


def sine(frequency: float, seconds: float, rate: int, peak: float = 0.5) -> Samples:
    return (peak * np.sin(2 * np.pi * frequency * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


def noise(seconds: float, rate: int, level: float = 0.1, seed: int = 0) -> Samples:
    return (level * np.random.default_rng(seed).standard_normal(int(seconds * rate))).astype(np.float32)


def in_blocks(samples: Samples, rate: int, size: int) -> Measures:
    meter = Meter(rate)
    for start in range(0, len(samples), size):
        meter.add(samples[start : start + size, None])
    return meter.result()


def test_sine_figures() -> None:
    found = measure(sine(997, 5, 48000), 48000)
    assert found.seconds == 5.0
    assert found.peak_dbfs == pytest.approx(20 * math.log10(0.5), abs=0.01)
    # BS.1770: a full-scale 997 Hz sine in one channel reads -3.01 LUFS.
    assert found.loudness_lufs == pytest.approx(-3.01 - 6.02, abs=0.05)
    assert found.loudest_dbfs == pytest.approx(-9.03, abs=0.1)
    assert found.clipping == 0.0
    assert found.finite


@pytest.mark.parametrize("rate", [16000, 22050, 44100, 48000])
def test_loudness_equals_pyloudnorm(rate: int) -> None:
    quiet_and_loud = np.concatenate([noise(4, rate, 0.2), noise(3, rate, 0.001, 1), noise(4, rate, 0.05, 2)])
    expected = pyloudnorm.Meter(rate).integrated_loudness(quiet_and_loud.astype(np.float64))
    assert measure(quiet_and_loud, rate).loudness_lufs == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize("size", [777, 16000, 10**6])
def test_blocks_do_not_matter(size: int) -> None:
    samples = np.concatenate([noise(3, 16000), np.zeros(20000, np.float32), noise(2, 16000, 0.3, 1)])
    whole, parts = measure(samples, 16000), in_blocks(samples, 16000, size)
    assert parts.samples_digest == whole.samples_digest
    for name in ("seconds", "peak_dbfs", "loudness_lufs", "bandwidth_hz", "clipping", "snr_db", "loudest_dbfs"):
        assert getattr(parts, name) == pytest.approx(getattr(whole, name), rel=1e-4), name


@pytest.mark.parametrize("length", [0, 1, 2, 100, 5000])
def test_too_short_for_most_figures(length: int) -> None:
    found = measure(noise(1, 16000)[:length], 16000)
    assert found.seconds == length / 16000
    assert found.loudness_lufs is None
    assert found.snr_db is None or length > 3200


def test_silence_has_no_levels() -> None:
    found = measure(np.zeros(48000, np.float32), 48000)
    assert (found.peak_dbfs, found.loudness_lufs, found.bandwidth_hz, found.loudest_dbfs) == (None,) * 4
    assert found.finite and found.clipping == 0.0


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_none(bad: float) -> None:
    samples = noise(1, 16000)
    samples[5000] = bad
    assert not measure(samples, 16000).finite


def test_offset_is_found_and_not_taken_for_sound() -> None:
    found = measure(np.full(16000, -0.3, np.float32), 16000)
    assert found.dc_offset == pytest.approx(-0.3, abs=1e-6)
    assert found.loudest_dbfs is None or found.loudest_dbfs < -90
    two = np.stack([noise(1, 16000), noise(1, 16000) + 0.1], axis=1)
    assert measure(two, 16000).dc_offset == pytest.approx(0.1, abs=0.01)


@pytest.mark.parametrize("scale", [1.0, 0.4])
def test_clipping_is_found_at_any_level(scale: float) -> None:
    loud = sine(200, 2, 48000, peak=2.0)
    clipped = np.clip(loud, -1, 1) * np.float32(scale)
    # |sin| exceeds one half for two thirds of the period.
    assert measure(clipped, 48000).clipping == pytest.approx(2 / 3, abs=0.01)
    assert measure(noise(2, 48000), 48000).clipping == 0.0


def test_cancelling_channels() -> None:
    samples = noise(1, 16000)
    found = measure(np.stack([samples, -samples], axis=1), 16000)
    assert found.loudest_dbfs is None or found.loudest_dbfs < -90
    assert found.loudest_channel_dbfs is not None and found.loudest_channel_dbfs > -21


def test_bandwidth_sees_through_the_sample_rate(shared_data: Path) -> None:
    wide, rate = read_mono(shared_data / "speakers" / "kathleen" / "take_02.flac")
    assert (measure(wide, rate).bandwidth_hz or 0) > 15000
    for original in (8000, 16000, 22050):
        narrow = resample(resample(wide, rate, original), original, rate)
        quiet = np.rint(narrow * 0.05 * 32768).astype(np.float32) / 32768  # rounded to 16 bit at -37 dBFS peak
        for samples in (narrow, quiet):
            found = measure(samples, rate).bandwidth_hz
            assert found is not None and 0.80 * original / 2 < found <= 1.02 * original / 2
