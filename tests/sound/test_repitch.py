"""Another pitch for finished speech."""

from __future__ import annotations

import sys

import numpy as np
import numpy.typing as npt
import pytest
from scipy.signal import lfilter

from voiceclone.errors import ConfigError
from voiceclone.features.spectrogram import track_pitch
from voiceclone.sound.repitch import repitched

RATE = 32_000


def vowel(hertz: float, bend: float = 0.0) -> npt.NDArray[np.float32]:
    """1.3 s of pulses through one formant at 700 Hz; their frequency swings by ``bend`` around its mean."""
    times = np.arange(int(1.3 * RATE)) / RATE
    phase = np.cumsum(hertz * np.exp(bend * np.sin(2 * np.pi * 2 * times))) / RATE
    pulses = np.diff(np.floor(phase), prepend=0.0)
    radius = np.exp(-np.pi * 80 / RATE)
    sound = lfilter([1.0], [1.0, -2 * radius * np.cos(2 * np.pi * 700 / RATE), radius**2], pulses)
    return np.asarray(0.5 * sound / np.abs(sound).max(), np.float32)


def log_pitch(samples: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Semitones over 1 Hz of the voiced frames of the middle."""
    hertz = track_pitch(samples, RATE)[20:-20]
    return 12 * np.log2(hertz[hertz > 0])


def test_semitones_raise_the_pitch_and_leave_length_and_formant() -> None:
    sound = vowel(140, bend=0.1)
    for semitones in (-3.0, 4.0):
        moved = repitched(sound, RATE, semitones)
        assert moved.shape == sound.shape and moved.dtype == np.float32
        assert log_pitch(moved).mean() - log_pitch(sound).mean() == pytest.approx(semitones, abs=0.2)
        spectrum = np.abs(np.fft.rfft(moved)) ** 2
        bins = np.fft.rfftfreq(len(moved), 1 / RATE)
        assert 600 < (spectrum * bins)[bins < 2000].sum() / spectrum[bins < 2000].sum() < 800


def test_the_range_scales_deviations_from_the_mean() -> None:
    sound = vowel(140, bend=0.15)
    spread = log_pitch(sound).std()
    assert log_pitch(repitched(sound, RATE, pitch_range=0.0)).std() < 0.1 * spread
    wider = log_pitch(repitched(sound, RATE, pitch_range=1.5))
    assert wider.std() == pytest.approx(1.5 * spread, rel=0.1)
    assert wider.mean() == pytest.approx(log_pitch(sound).mean(), abs=0.3)


@pytest.mark.parametrize("seconds", [0.0, 0.01, 0.5])
def test_what_is_not_voiced_stays(seconds: float) -> None:
    silence = np.zeros(int(seconds * RATE), np.float32)
    np.testing.assert_array_equal(repitched(silence, RATE, 5.0), silence)


def test_its_absence_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "parselmouth", None)
    with pytest.raises(ConfigError, match="praat-parselmouth"):
        repitched(vowel(140), RATE, 2.0)
