"""What is heard of a short clip without any network: its noise, band, clipping, room, hum, cuts and gaps.

All measures are of one clip alone; whether they are good or bad is told by the other clips of the speaker
(:mod:`voiceclone.corpus.judge`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from voiceclone.sound.io import Waveform, resample
from voiceclone.sound.measure import measure
from voiceclone.sound.slice import frame_levels

Array = npt.NDArray[np.float64]
RATE = 16_000
HUM_FRAMES = 30  # of 10 ms, over which a hum lasts
LEAST_FALL_DB, LEAST_FALL = 15.0, 6  # of a decay: in dB, and in frames of 10 ms
EVENT_DB = 20.0  # below loud speech: what is louder than that and in no word is an event
WORD_MARGIN = 0.15  # seconds by which the times of words are wrong
POINTS = 96  # of an envelope


def measure_clip(samples: Waveform, rate: int) -> dict[str, float | None]:
    """Measures of a clip, float32 (frames,) at ``rate`` Hz.

    Returns:
        ``snr_db``, ``bandwidth_hz``: see :class:`voiceclone.sound.measure.Measures`;
        ``crest_db``: level that one sample in a thousand exceeds over that which one in a hundred exceeds, in dB: small
        where peaks were cut off, even if the sound was filtered or resampled since;
        ``silence_s``: longest stretch of one and the same value, in seconds;
        ``head_db``, ``tail_db``: level of the first and last 20 ms, in dB over loud speech;
        ``rt60_s``: reverberation time from the fastest decays, see :func:`reverberation`;
        ``hum_db``: see :func:`hum_level`.
    """
    whole = measure(samples, rate)
    wave = resample(samples, rate, RATE)
    levels = frame_levels(wave, RATE)
    loud = loud_level(levels)
    return {
        "snr_db": whole.snr_db,
        "bandwidth_hz": whole.bandwidth_hz,
        "crest_db": crest(samples),
        "silence_s": _longest_run(np.diff(samples) == 0) / rate,
        "head_db": float(levels[:2].mean() - loud) if len(levels) else None,
        "tail_db": float(levels[-2:].mean() - loud) if len(levels) else None,
        "rt60_s": reverberation(levels),
        "hum_db": hum_level(wave),
    }


def crest(samples: Waveform) -> float | None:
    """How far the highest of samples stand out, in dB; None for silence."""
    high, highest = np.percentile(np.abs(samples), [99, 99.9]) if len(samples) else (0.0, 0.0)
    return float(20 * np.log10(highest / high)) if high > 0 else None


def loud_level(levels: Array) -> float:
    """Level of loud speech: the 95th percentile."""
    return float(np.percentile(levels, 95)) if len(levels) else -100.0


def reverberation(levels: Array) -> float | None:
    """Reverberation time in seconds from levels of 10 ms frames; None where nothing decays.

    Where a speaker stops at once, the sound falls as fast as the room lets it: the fastest decays of speech are those
    of the room (Lebart et al. 2001, "A new method based on spectral subtraction for speech dereverberation"). The lower
    quartile of the slopes of all falls by 15 dB is taken.
    """
    falling = np.diff(levels) < 0
    times = []
    for start, end in _runs(falling):
        if end - start >= LEAST_FALL and levels[start] - levels[end] >= LEAST_FALL_DB:
            slope = np.polyfit(np.arange(end - start + 1) / 100, levels[start : end + 1], 1)[0]
            times.append(-60.0 / slope)
    return float(np.percentile(times, 25)) if times else None


def hum_level(wave: Waveform) -> float:
    """Level below 70 Hz, where no voice is, in the loudest 0.3 s of samples at 16 kHz: dB over loud speech."""
    from scipy.signal import butter, sosfilt

    low = np.asarray(sosfilt(butter(6, 70.0, fs=RATE, output="sos"), wave), dtype=np.float32)
    powers = 10 ** (frame_levels(low, RATE) / 10)
    size = min(HUM_FRAMES, len(powers))
    longest = np.convolve(powers, np.full(size, 1 / size), mode="valid").max() if size else 1e-10
    return float(10 * np.log10(longest)) - loud_level(frame_levels(wave, RATE))


def event_seconds(wave: Waveform, words: Sequence[tuple[float, float]]) -> float:
    """Longest stretch of loud sound in samples at 16 kHz that belongs to no word: laughter, coughs, other noise.

    Args:
        wave: float32 (frames,).
        words: start and end of each word in seconds.
    """
    levels = frame_levels(wave, RATE)
    loud = levels > loud_level(levels) - EVENT_DB
    for start, end in words:
        loud[max(0, round(100 * (start - WORD_MARGIN))) : max(0, round(100 * (end + WORD_MARGIN)))] = False
    return _longest_run(loud) / 100


def envelope(wave: Waveform) -> str:
    """Outline of a clip for a drawing: 96 letters from ``a``, silence, to ``z``, the peak."""
    parts = np.array_split(np.abs(wave), POINTS)
    peaks = np.array([part.max(initial=0.0) for part in parts])
    return "".join(chr(97 + round(25 * value)) for value in peaks / max(float(peaks.max()), 1e-9))


def _runs(mask: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Start and end (exclusive) of every run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))
    return [(int(start), int(end)) for start, end in edges.reshape(-1, 2)]


def _longest_run(mask: npt.NDArray[np.bool_]) -> int:
    return max((end - start for start, end in _runs(mask)), default=0)
