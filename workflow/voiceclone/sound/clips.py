"""What is heard of a short clip without any network: its noise, band, clipping, room, tones, cuts and gaps.

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
LOUD = 0.9  # of the peak; where more samples lie above it than in speech, the peaks are cut off
WINDOW, HOP = 2048, 512  # 128 ms, in bins of 8 Hz, every 32 ms: a voice seldom stays in one
TONES = slice(5, 640)  # bins in which tones are looked for: 40 Hz to 5 kHz
PROMINENCE = 12.0  # of a tone, power over the median of its 240 Hz neighbourhood (11 dB)
LEAST_FALL_DB, LEAST_FALL = 15.0, 6  # of a decay: in dB, and in frames of 10 ms
EVENT_DB = 20.0  # below loud speech: what is louder than that and in no word is an event
WORD_MARGIN = 0.15  # seconds by which the times of words are wrong
POINTS = 96  # of an envelope


def measure_clip(samples: Waveform, rate: int) -> dict[str, float | None]:
    """Measures of a clip, float32 (frames,) at ``rate`` Hz.

    Returns:
        ``snr_db``, ``bandwidth_hz``: see :class:`voiceclone.sound.measure.Measures`;
        ``clipping``: share of samples above 0.9 of the peak, which cut tops keep through any later filter;
        ``silence_s``: longest stretch of one and the same value, in seconds;
        ``head_db``, ``tail_db``: level of the first and last 20 ms, in dB over loud speech;
        ``rt60_s``: reverberation time from the fastest decays, see :func:`reverberation`;
        ``tone_s``: longest time that a tone stays where it is, see :func:`held_tone`.
    """
    whole = measure(samples, rate)
    peak = float(np.abs(samples).max(initial=0.0))
    wave = resample(samples, rate, RATE)
    levels = frame_levels(wave, RATE)
    loud = loud_level(levels)
    return {
        "snr_db": whole.snr_db,
        "bandwidth_hz": whole.bandwidth_hz,
        "clipping": float((np.abs(samples) > LOUD * peak).mean()) if peak else 0.0,
        "silence_s": _longest_run(np.diff(samples) == 0) / rate,
        "head_db": float(levels[:2].mean() - loud) if len(levels) else None,
        "tail_db": float(levels[-2:].mean() - loud) if len(levels) else None,
        "rt60_s": reverberation(levels),
        "tone_s": held_tone(wave),
    }


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


def held_tone(wave: Waveform) -> float:
    """Longest time in seconds that a tone keeps its frequency within 8 Hz, in samples at 16 kHz."""
    from scipy.ndimage import maximum_filter, median_filter
    from scipy.signal import stft

    if len(wave) < 2 * WINDOW:
        return 0.0
    power = np.square(np.abs(stft(wave, RATE, nperseg=WINDOW, noverlap=WINDOW - HOP)[2]))[TONES]
    peaks = (power > PROMINENCE * median_filter(power, size=(31, 1))) & (power == maximum_filter(power, size=(3, 1)))
    peaks &= power > 1e-6 * power.max(initial=0.0)
    near = maximum_filter(peaks, size=(3, 1))
    run, longest = np.zeros(len(near)), 0.0
    for column in near.T:
        run = (run + 1) * column
        longest = max(longest, float(run.max()))
    return longest * HOP / RATE


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
