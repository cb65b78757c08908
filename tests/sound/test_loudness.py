"""Loudness, true peak, the limiter and the noise estimate against signals whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voiceclone.errors import DataError
from voiceclone.sound.io import Waveform
from voiceclone.sound.loudness import SILENCE_LUFS, limit_peaks, loudness, set_loudness, true_peak_dbtp

RATE = 32_000


def tone(frequency: float, seconds: float, level_dbfs: float, rate: int = RATE, phase: float = 0.0) -> Waveform:
    time = np.arange(int(seconds * rate)) / rate
    return (10 ** (level_dbfs / 20) * np.sin(2 * np.pi * frequency * time + phase)).astype(np.float32)


def speech_like(seconds: float, level: float = 0.1, seed: int = 0) -> Waveform:
    """Noise bursts of half a second with pauses of a quarter, as loud as ``level``."""
    noise = np.random.default_rng(seed).standard_normal(int(seconds * RATE))
    time = np.arange(len(noise)) / RATE
    return (level * noise * (time % 0.75 < 0.5)).astype(np.float32)


def test_loudness_of_the_calibration_tone() -> None:
    # BS.1770: a 997 Hz sine at full scale in one channel reads -3.01 LUFS.
    assert loudness(tone(997, 5, 0.0, 48_000), 48_000) == pytest.approx(-3.01, abs=0.05)
    assert loudness(tone(997, 5, -20.0, 48_000), 48_000) == pytest.approx(-23.01, abs=0.05)


def test_loudness_of_silence_and_of_short_sounds() -> None:
    assert loudness(np.zeros(RATE, np.float32), RATE) == SILENCE_LUFS
    assert loudness(np.zeros(0, np.float32), RATE) == SILENCE_LUFS
    assert loudness(tone(997, 0.1, -20.0), RATE) == pytest.approx(-23.0, abs=0.6)


def test_true_peak_lies_between_the_samples() -> None:
    # A sine of a quarter of the rate, sampled 45 degrees off its crests: samples read -3 dB, the wave peaks at 0 dB.
    wave = tone(RATE / 4, 1.0, 0.0, phase=np.pi / 4)
    assert 20 * np.log10(np.abs(wave).max()) == pytest.approx(-3.01, abs=0.01)
    assert true_peak_dbtp(wave, RATE) == pytest.approx(0.0, abs=0.3)
    assert true_peak_dbtp(np.zeros(100, np.float32), RATE) == -120.0


def test_true_peak_does_not_depend_on_the_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    wave = speech_like(3.0)
    whole = true_peak_dbtp(wave, RATE)
    monkeypatch.setattr("voiceclone.sound.loudness._BLOCK_SECONDS", 0.31)
    assert true_peak_dbtp(wave, RATE) == pytest.approx(whole, abs=1e-6)


def test_limiter_leaves_a_quiet_signal_alone() -> None:
    wave = speech_like(1.0, 0.05)
    limited, reduction = limit_peaks(wave, RATE, -1.0)
    assert reduction == 0.0
    assert np.array_equal(limited, wave)


def test_limiter_holds_the_ceiling_and_touches_only_the_surroundings_of_a_peak() -> None:
    wave = speech_like(2.0, 0.05)
    wave[RATE] = 1.5
    limited, reduction = limit_peaks(wave, RATE, -6.0)
    assert true_peak_dbtp(limited, RATE) <= -6.0 + 1e-3
    assert reduction > 9.0
    far = np.abs(np.arange(len(wave)) - RATE) > 0.02 * RATE
    gain = limited[far & (wave != 0)] / wave[far & (wave != 0)]
    assert gain.min() > 0.97  # at most the constant gain for what lies between the samples
    assert np.ptp(gain) < 1e-4


@settings(max_examples=15, deadline=None)
@given(level=st.floats(0.002, 0.9), target=st.floats(-30, -16), seed=st.integers(0, 99))
def test_any_level_reaches_the_target_under_the_ceiling(level: float, target: float, seed: int) -> None:
    result, _ = set_loudness(speech_like(3.0, level, seed), RATE, target, -1.0)
    assert loudness(result, RATE) == pytest.approx(target, abs=0.3)
    assert true_peak_dbtp(result, RATE) <= -1.0 + 1e-3


def test_a_clap_does_not_hold_the_speech_down() -> None:
    wave = speech_like(6.0, 0.01)
    wave[RATE : RATE + 200] += tone(2000, 200 / RATE, 0.0)[:200]
    result, note = set_loudness(wave, RATE, -23.0, -1.0)
    assert loudness(result, RATE) == pytest.approx(-23.0, abs=0.5)
    assert "limited" in note


@pytest.mark.parametrize("bad", [np.zeros(RATE, np.float32), np.full(RATE, np.nan, np.float32)])
def test_nothing_to_set(bad: Waveform) -> None:
    with pytest.raises(DataError):
        set_loudness(bad, RATE, -23.0, -1.0)
