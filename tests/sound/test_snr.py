"""The noise estimate against signals whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from voiceclone.sound.io import Waveform
from voiceclone.sound.measure import measure
from voiceclone.sound.snr import estimate_snr, snr_of_powers

RATE = 16_000


def noise(seconds: float, level: float, seed: int = 0) -> Waveform:
    return (level * np.random.default_rng(seed).standard_normal(int(seconds * RATE))).astype(np.float32)


def speech_like(seconds: float, level: float = 0.1) -> Waveform:
    """Noise bursts of half a second with pauses of a quarter, as loud as ``level``."""
    burst = noise(seconds, level)
    return burst * (np.arange(len(burst)) / RATE % 0.75 < 0.5)


@pytest.mark.parametrize("ratio", [10, 20, 30, 40])
def test_it_follows_the_noise(ratio: float) -> None:
    noisy = speech_like(8.0) + noise(8.0, 0.1 * 10 ** (-ratio / 20), 1)
    assert estimate_snr(noisy, RATE) == pytest.approx(ratio, abs=2.5)


def test_a_take_has_the_same_figure_at_intake_and_when_cleaned() -> None:
    noisy = speech_like(8.0) + noise(8.0, 0.003, 1)
    assert measure(noisy, RATE).snr_db == pytest.approx(estimate_snr(noisy, RATE), abs=1.0)


def test_noise_that_comes_and_goes_counts() -> None:
    late = np.concatenate([np.zeros(4 * RATE, np.float32), noise(4.0, 0.01, 1)])
    assert 20 < estimate_snr(speech_like(8.0) + late, RATE) < 30


def test_without_noise_without_speech_and_of_silence() -> None:
    assert estimate_snr(speech_like(4.0), RATE) > 20
    assert estimate_snr(noise(4.0, 0.1), RATE) < 5
    assert estimate_snr(np.zeros(RATE, np.float32), RATE) == 0.0
    assert estimate_snr(np.zeros(0, np.float32), RATE) == 0.0
    assert snr_of_powers(np.zeros(100), 0.02) is None
