"""What is heard of a short clip without any network: its noise, band, clipping, room, hum, cuts and gaps.

All measures are of one clip alone; whether they are good or bad is told by the other clips of the speaker
(:mod:`voiceclone.corpus.judge`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from voiceclone.sound.io import Waveform, resample
from voiceclone.sound.measure import measure
from voiceclone.sound.slice import frame_levels

Array = npt.NDArray[np.float64]
RATE = 16_000
WINDOW, STEP = 400, 80  # samples of the short spectra: 25 ms, every 5 ms
OCTAVES = ((250, 500), (500, 1000), (1000, 2000), (2000, 4000))  # Hz, in which decays are looked at
FLOORS = ((80, 300), (300, 1000), (1000, 3000), (3000, 7000))  # Hz, in which pauses are compared with speech
FALL = 10  # short spectra over which a level falls: 50 ms
END_FRAMES = 10  # of 10 ms, in which a clip ends: longer than the closure of a stop
HUM_RATE, HUM_WINDOW, HUM_STEP = 4_000, 1_600, 100  # Hz and samples: a hum stands still for 0.4 s
# Mains lie below voices, twice their frequency below some; among the harmonics of a voice a line stands out less.
LINES_HZ = {"hum_db": (45.0, 75.0), "buzz_db": (80.0, 130.0), "tone_db": (150.0, 1000.0)}
HUM_FLOOR_DB = 45.0  # below loud speech: what is quieter is no hum
EVENT_DB, NOISE_DB = 25.0, 6.0  # what lies less below loud speech, that far above noise and in no word is an event
WORD_MARGIN = 0.15  # seconds by which the times of words are wrong
WORD_SECONDS = 0.1  # by which a word may be longer than its letters take at the clip's median pace
# Two voices: frames of 64 ms every 16 ms at 8 kHz; periods of 70 to 400 Hz, in samples; below 1.5 kHz, where
# harmonics hold still. What is left without the first voice is a second one if it is that large and that periodic,
# within an octave: farther away it is a formant or the first voice's own, as it is near its period and fractions of it.
PITCH_RATE, PITCH_WINDOW, PITCH_STEP, PERIODS, PITCH_HZ = 8_000, 512, 128, (20, 115), (60.0, 1500.0)
OVERLAP_DB, LEAST_REST, LEAST_STRENGTH = 14.0, 0.2, 0.55
OCTAVE, OWN_RATIOS, OWN_WIDTH = (0.55, 1.85), (2 / 3, 1.0, 3 / 2), 0.08
HEAP, LEAST_HEAP = 1.15, 20  # width of a heap of samples as a ratio of levels, and how many make one
POINTS = 96  # of an envelope


def measure_clip(samples: Waveform, rate: int) -> dict[str, float | None]:
    """Measures of a clip, float32 (frames,) at ``rate`` Hz.

    Returns:
        ``snr_db``, ``bandwidth_hz``: see :class:`voiceclone.sound.measure.Measures`;
        ``crest_db``: see :func:`crest`;
        ``flat_db``: see :func:`flat_tops`;
        ``silence_s``: longest stretch of one and the same value, in seconds;
        ``head_db``: level of the first 20 ms, in dB over loud speech;
        ``tail_db``: level of the loudest 10 ms of the last 100, in dB over loud speech;
        ``rt60_s``: reverberation time from the fastest decays, see :func:`reverberation`;
        ``floor_db``: see :func:`pauses`;
        ``treble_db``: see :func:`treble`;
        ``overlap_share``: see :func:`overlap`;
        ``hum_db``, ``buzz_db``, ``tone_db``: see :func:`hum_levels`.
    """
    whole = measure(samples, rate)
    wave = resample(samples, rate, RATE)
    levels = frame_levels(wave, RATE)
    loud = loud_level(levels)
    powers = spectra(wave, WINDOW, STEP)
    return {
        "snr_db": whole.snr_db,
        "bandwidth_hz": whole.bandwidth_hz,
        "crest_db": crest(samples),
        "flat_db": flat_tops(samples),
        "silence_s": _longest_run(np.diff(samples) == 0) / rate,
        "head_db": float(levels[:2].mean() - loud) if len(levels) else None,
        "tail_db": float(levels[-END_FRAMES:].max() - loud) if len(levels) else None,
        "rt60_s": reverberation(powers),
        "floor_db": pauses(powers),
        "treble_db": treble(powers),
        "overlap_share": overlap(wave),
        **hum_levels(wave),
    }


def crest(samples: Waveform) -> float | None:
    """Level that one sample in a thousand exceeds over that which three in 200 exceed, in dB; None for silence.

    Of the half waves, up or down, in which it is less: small where peaks were cut off, even if the sound was filtered,
    resampled or made louder since.
    """
    found = []
    for half in (samples[samples > 0], samples[samples < 0]):
        if len(half):
            high, highest = np.percentile(np.abs(half), [98.5, 99.9])
            found.append(float(20 * np.log10(highest / high)))
    return min(found, default=None)


def flat_tops(samples: Waveform) -> float | None:
    """How many samples lie just above a level over how many lie just below it, in dB; None for silence.

    The largest such ratio of the levels of the highest samples. The louder, the rarer: below 0 for speech; peaks that
    were cut off heap up where they were cut, wherever that lies after later changes of level.
    """
    best = None
    for half in (samples[samples > 0], -samples[samples < 0]):
        ordered = np.sort(half)
        least = max(LEAST_HEAP, len(ordered) // 1000)
        if len(ordered) < 100 * LEAST_HEAP:
            continue
        levels = ordered[-1] / HEAP ** np.arange(0.0, 18.0, 0.5)
        below, at, above = (np.searchsorted(ordered, levels * step) for step in (1 / HEAP, 1.0, HEAP))
        for over, under in zip(above - at, at - below, strict=True):
            if over >= least:
                ratio = float(10 * np.log10(over / max(1, under)))
                best = ratio if best is None else max(best, ratio)
    return best


def loud_level(levels: Array) -> float:
    """Level of loud speech: the 95th percentile."""
    return float(np.percentile(levels, 95)) if len(levels) else -100.0


def reverberation(powers: Array) -> float | None:
    """Reverberation time in seconds from short spectra (frames, bins); None where it is too short.

    Where a speaker stops at once, the sound falls as fast as the room lets it: the fastest decays of speech are those
    of the room (Ratnam et al. 2003, "Blind estimation of reverberation time"). In each octave the fall within 50 ms
    that one loud frame in twenty exceeds is taken, and their mean continued to 60 dB.
    """
    if len(powers) <= 2 * FALL:
        return None
    falls = []
    for band in OCTAVES:
        levels = _band(powers, *band)
        start = levels[:-FALL]
        fall = (start - levels[FALL:])[start > np.percentile(levels, 95) - 20]
        falls.append(float(np.percentile(fall, 95)) if len(fall) else 0.0)
    return 60 * FALL * STEP / RATE / max(float(np.mean(falls)), 1.0)


def pauses(powers: Array) -> float | None:
    """Level of the quietest tenth of short spectra (frames, bins) over the loudest twentieth, in dB.

    The mean of four bands: music and echo fill the pauses of all of them.
    """
    if not len(powers):
        return None
    found = [np.percentile(_band(powers, *band), [10, 95]) for band in FLOORS]
    return float(np.mean([low - high for low, high in found]))


def treble(powers: Array) -> float | None:
    """Level of 4.3 to 7.5 kHz over that of 2 to 3.6 kHz in dB, which one loud short spectrum in twenty exceeds.

    Sibilants have most of their power above 4 kHz, whatever the filter let through: sound that once had a rate of 8 kHz
    has none of it.
    """
    if not len(powers):
        return None
    whole = _band(powers, 100, 8000)
    ratio = (_band(powers, 4300, 7500) - _band(powers, 2000, 3600))[whole > np.percentile(whole, 95) - 35]
    return float(np.percentile(ratio, 95)) if len(ratio) else None


def overlap(wave: Waveform) -> float | None:
    """Share of loud frames in which a second voice speaks, 0 to 1; samples at 16 kHz. None for shorter clips.

    The strongest period T of a frame is cancelled, x(t) - x(t - T), and the rest is searched for another one (de
    Cheveigné 1993, "Separation of concurrent harmonic sounds"); both by autocorrelations of power spectra. Only where
    both people are voiced is anything found.
    """
    slow = resample(wave, RATE, PITCH_RATE)
    if len(slow) < PITCH_WINDOW:
        return None
    window = np.hanning(PITCH_WINDOW + 1)[:-1]
    frames = np.lib.stride_tricks.sliding_window_view(slow, PITCH_WINDOW)[::PITCH_STEP] * window
    powers = np.square(np.abs(np.fft.rfft(frames, 2 * PITCH_WINDOW, axis=1)))
    levels = 10 * np.log10(powers.sum(axis=1) + 1e-9)
    hertz = np.fft.rfftfreq(2 * PITCH_WINDOW, 1 / PITCH_RATE)
    powers = powers[levels > np.percentile(levels, 95) - OVERLAP_DB] * ((hertz > PITCH_HZ[0]) & (hertz < PITCH_HZ[1]))
    shape = np.fft.irfft(np.square(np.abs(np.fft.rfft(window, 2 * PITCH_WINDOW))))[: PERIODS[1] + 1]
    shape /= shape[0]

    def strengths(powers: Array) -> tuple[Array, Array]:
        """Autocorrelations up to the longest period, 1 for what repeats itself; and the powers (frames,)."""
        found = np.fft.irfft(powers, axis=1)[:, : len(shape)]
        whole = np.maximum(found[:, :1], 1e-12)
        return found / whole / shape, whole[:, 0]

    lags = np.arange(*PERIODS)
    first, whole = strengths(powers)
    # As in evaluation/measure.py: the shortest of a period's multiples, between the samples by a parabola.
    best = lags[0] + np.argmax(first[:, lags] - 0.02 * np.log2(lags / lags[0]), axis=1)
    left, peak, right = (first[np.arange(len(best)), best + step] for step in (-1, 0, 1))
    bend = np.minimum(left - 2 * peak + right, -1e-9)
    period = (best + np.clip(0.5 * (left - right) / bend, -0.5, 0.5))[:, None]
    rest, left_over = strengths(powers * (2 - 2 * np.cos(2 * np.pi * hertz * period / PITCH_RATE)))
    ratio = lags / period
    own = np.any([np.abs(ratio / simple - 1) < OWN_WIDTH for simple in OWN_RATIOS], axis=0)
    second = np.where(own | (ratio < OCTAVE[0]) | (ratio > OCTAVE[1]), -1.0, rest[:, lags]).max(axis=1)
    return float(np.mean((second > LEAST_STRENGTH) & (left_over > 2 * LEAST_REST * whole)))


def hum_levels(wave: Waveform) -> dict[str, float | None]:
    """How far lines that stand still for 0.4 s stand out, in dB; samples at 16 kHz. None for shorter clips.

    Power of the narrowest line of each band of :data:`LINES_HZ` over the largest that lies 7 to 13 Hz beside it; both
    with a floor below loud speech. Voices glide and rumble is broad.
    """
    slow = resample(wave, RATE, HUM_RATE)
    if len(slow) < HUM_WINDOW:
        return dict.fromkeys(LINES_HZ)
    hertz = HUM_RATE / HUM_WINDOW
    powers = spectra(slow, HUM_WINDOW, HUM_STEP) + 10 ** ((loud_level(frame_levels(wave, RATE)) - HUM_FLOOR_DB) / 10)
    found: dict[str, float | None] = {}
    for name, (low, high) in LINES_HZ.items():
        first, last = round(low / hertz), round(high / hertz) + 1
        beside = np.max([powers[:, first + far : last + far] for far in (-5, -4, -3, 3, 4, 5)], axis=0)
        found[name] = float(10 * np.log10(np.max(powers[:, first:last] / beside)))
    return found


def spectra(wave: Waveform, size: int, step: int) -> Array:
    """Power spectra (frames, size // 2 + 1) under a Hann window, which add up to the mean power of a frame."""
    if len(wave) < size:
        return np.zeros((0, size // 2 + 1))
    window = np.hanning(size + 1)[:-1].astype(np.float32)
    frames = np.lib.stride_tricks.sliding_window_view(wave, size)[::step] * window
    powers = np.square(np.abs(np.fft.rfft(frames, axis=1)))
    powers[:, 1:-1] *= 2
    return np.asarray(powers / (size * np.square(window).sum()), np.float64)


def _band(powers: Array, low: float, high: float) -> Array:
    """Level of a band in each of spectra at 16 kHz, in dB."""
    hertz = RATE / 2 / (powers.shape[1] - 1)
    return 10 * np.log10(np.maximum(powers[:, round(low / hertz) : round(high / hertz)].sum(axis=1), 1e-12))


def event_seconds(wave: Waveform, words: Sequence[Mapping[str, Any]]) -> float:
    """Most loud sound in samples at 16 kHz that lies between two neighbouring words, in seconds: laughter, coughs.

    A recogniser counts what it does not know with the word that follows, so no word is longer than its letters allow
    at the pace of the others.

    Args:
        wave: float32 (frames,).
        words: ``word``, ``start`` and ``end`` in seconds.
    """
    levels = frame_levels(wave, RATE)
    quiet = float(np.percentile(levels, 10)) if len(levels) else 0.0
    loud = levels > max(loud_level(levels) - EVENT_DB, quiet + NOISE_DB)
    between = np.ones(len(levels), bool)
    letters = [max(1, sum(char.isalnum() for char in word["word"])) for word in words]
    spans = [float(word["end"]) - float(word["start"]) for word in words]
    pace = float(np.median(np.divide(spans, letters))) if words else 0.0
    for word, count, span in zip(words, letters, spans, strict=True):
        start = float(word["end"]) - min(span, WORD_SECONDS + pace * count)
        first, last = (round(100 * at) for at in (start - WORD_MARGIN, float(word["end"]) + WORD_MARGIN))
        between[max(0, first) : max(0, last)] = False
    return max((int(loud[start:end].sum()) for start, end in _runs(between)), default=0) / 100


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
