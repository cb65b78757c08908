"""Pitch by autocorrelation: median, spread and voiced share of an utterance.

The autocorrelation of each windowed frame is divided by that of the window, as in Boersma (1993), "Accurate short-term
analysis of the fundamental frequency"; the path search of that paper is left out, since medians need no smooth track.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from voiceclone.sound.io import Waveform, resample

RATE = 16_000
FRAME, HOP = 640, 160  # 40 ms hold two periods down to 60 Hz; a step of 10 ms
LOWEST_HZ, HIGHEST_HZ = 60.0, 500.0
VOICED_STRENGTH = 0.6
SILENCE_DB = -35.0  # frames that far below the loudest are not speech


@dataclass(frozen=True)
class Pitch:
    """Pitch of one utterance; all None if no frame is voiced."""

    median_hz: float | None
    spread_semitones: float | None
    voiced_share: float | None


def pitch_track(samples: Waveform, rate: int) -> npt.NDArray[np.float64]:
    """Fundamental frequency in Hz per 10 ms, NaN where the frame is unvoiced or silent."""
    mono = resample(np.asarray(samples, dtype=np.float32), rate, RATE).astype(np.float64)
    if len(mono) < FRAME:
        return np.empty(0)
    frames = np.lib.stride_tricks.sliding_window_view(mono, FRAME)[::HOP]
    frames = frames - frames.mean(axis=1, keepdims=True)
    window = np.hanning(FRAME)
    size = 2 * FRAME
    power = np.abs(np.fft.rfft(frames * window, size)) ** 2
    correlation = np.fft.irfft(power, size)[:, :FRAME]
    shape = np.fft.irfft(np.abs(np.fft.rfft(window, size)) ** 2, size)[:FRAME]
    energy = correlation[:, :1]
    first, last = int(RATE / HIGHEST_HZ), int(RATE / LOWEST_HZ)
    strength = correlation[:, : last + 2] / np.maximum(energy, 1e-12) / (shape[: last + 2] / shape[0])
    inner = strength[:, first : last + 1]
    # A period's multiples are as strong as the period itself; a small price per octave prefers the shortest.
    lags = np.arange(first, last + 1)
    best = first + np.argmax(inner - 0.02 * np.log2(lags / first), axis=1)
    rows = np.arange(len(frames))
    left, peak, right = strength[rows, best - 1], strength[rows, best], strength[rows, best + 1]
    curvature = left - 2 * peak + right
    shift = np.where(curvature < -1e-9, 0.5 * (left - right) / np.minimum(curvature, -1e-9), 0.0)
    level = 10 * np.log10(np.maximum(energy[:, 0], 1e-12) / max(float(energy.max()), 1e-12))
    voiced = (peak > VOICED_STRENGTH) & (level > SILENCE_DB) & (energy[:, 0] > 1e-6)
    return np.where(voiced, RATE / (best + np.clip(shift, -0.5, 0.5)), np.nan)


def pitch(samples: Waveform, rate: int) -> Pitch:
    """Median in Hz, distance of the 10 % and 90 % quantiles in semitones, and share of voiced frames."""
    track = pitch_track(samples, rate)
    voiced = track[np.isfinite(track)]
    if not len(voiced):
        return Pitch(None, None, None if not len(track) else 0.0)
    median = float(np.median(voiced))
    low, high = np.quantile(voiced, [0.1, 0.9])  # quantiles, since single frames err by an octave
    spread = float(12 * np.log2(high / low))
    return Pitch(median, spread, len(voiced) / len(track))
