"""Loudness (ITU-R BS.1770 through pyloudnorm), true peak, a peak limiter."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from voiceclone.errors import DataError
from voiceclone.sound.spool import Samples, blocks, joined, mapped, spans

OVERSAMPLING = 4
GATE_SECONDS, GATE_OVERLAP = 0.4, 0.75  # of a gating block
SILENCE_LUFS = -70.0  # the absolute gate of BS.1770: nothing below counts as sound
PASSES = 5  # of gain and limiter; one where nothing is limited
_BLOCK_SECONDS = 30.0
_MARGIN = 512  # frames around a block, so that the oversampling filter sees its neighbours


def loudness(samples: Samples, rate: int) -> float:
    """Integrated loudness in LUFS of mono float32 (frames,); :data:`SILENCE_LUFS` for silence.

    A signal shorter than the standard's 0.4 s block is repeated to that length.
    """
    if not len(samples):
        return SILENCE_LUFS
    needed = math.ceil(GATE_SECONDS * rate) + 1
    padded = np.tile(samples[:], math.ceil(needed / len(samples))) if len(samples) < needed else samples
    power = _gated(_gate_powers(joined(_weighted(padded, rate), padded, np.float64), rate))
    return max(float(-0.691 + 10 * np.log10(power)), SILENCE_LUFS) if power > 0 else SILENCE_LUFS


def _weighted(samples: Samples, rate: int) -> Iterator[npt.NDArray[np.float64]]:
    """K-weighted blocks, by the filters of pyloudnorm, which takes whole signals alone."""
    from pyloudnorm import Meter
    from scipy.signal import lfilter

    filters = [(one.b, one.a, one.passband_gain) for one in Meter(rate)._filters.values()]
    states = [np.zeros(max(len(a), len(b)) - 1) for b, a, _ in filters]
    for block in blocks(samples):
        weighted = block.astype(np.float64)
        for number, (b, a, gain) in enumerate(filters):
            filtered, states[number] = lfilter(b, a, weighted, zi=states[number])
            weighted = gain * filtered
        yield weighted


def _gate_powers(weighted: Samples, rate: int) -> npt.NDArray[np.float64]:
    """Mean power of each gating block: 0.4 s, every 0.1 s."""
    step = 1 - GATE_OVERLAP
    count = int(np.round((len(weighted) / rate - GATE_SECONDS) / (GATE_SECONDS * step)) + 1)
    places = [[int(GATE_SECONDS * (number * step + end) * rate) for end in (0, 1)] for number in range(count)]
    return np.asarray([(1 / (GATE_SECONDS * rate)) * np.sum(np.square(weighted[a:b])) for a, b in places])


def _gated(powers: npt.NDArray[np.float64]) -> float:
    """Mean power of the blocks above the absolute gate, and no more than 10 dB below their mean; 0: none is."""
    with np.errstate(divide="ignore"):
        levels = -0.691 + 10 * np.log10(powers)
    loud = levels >= SILENCE_LUFS
    if not loud.any():
        return 0.0
    relative = -0.691 + 10 * np.log10(np.mean(powers[loud])) - 10
    kept = (levels > relative) & (levels > SILENCE_LUFS)
    return float(np.mean(powers[kept])) if kept.any() else 0.0


def _oversampled(samples: Samples, rate: int) -> Iterator[tuple[slice, npt.NDArray[np.float64]]]:
    """Per block: its slice and the largest magnitude near each sample after fourfold oversampling."""
    from scipy.signal import resample_poly

    size = int(_BLOCK_SECONDS * rate)
    for start in range(0, len(samples), size):
        stop = min(start + size, len(samples))
        low, high = max(0, start - _MARGIN), min(len(samples), stop + _MARGIN)
        fine = np.abs(resample_poly(samples[low:high].astype(np.float64), OVERSAMPLING, 1))
        near = fine.reshape(-1, OVERSAMPLING).max(axis=1)
        yield slice(start, stop), near[start - low : stop - low]


def true_peak_dbtp(samples: Samples, rate: int) -> float:
    """Largest magnitude of the fourfold oversampled signal (BS.1770 annex 2) in dBTP; -120 for silence."""
    largest = max((float(block.max()) for _, block in _oversampled(samples, rate) if len(block)), default=0.0)
    return 20 * math.log10(max(largest, 1e-6))


def limit_peaks(samples: Samples, rate: int, ceiling_dbtp: float, look_ahead: float = 0.004) -> tuple[Samples, float]:
    """Hold the true peak under a ceiling with a look-ahead limiter.

    The needed gain at every sample is spread ``look_ahead`` seconds to both sides (running minimum) and smoothed by a
    window of the same length, so the gain is never above the needed one and never jumps. What intersample peaks remain
    after that is taken out by one constant gain of a few hundredths of a decibel.

    Returns:
        the limited signal and the largest reduction in dB (0: the signal was under the ceiling and is unchanged).
    """
    ceiling = 10 ** (ceiling_dbtp / 20)
    gains = (np.minimum(1.0, ceiling / np.maximum(peak, ceiling)) for _, peak in _oversampled(samples, rate))
    needed = joined(gains, samples, np.float64)
    lowest = min((float(block.min()) for block in blocks(needed)), default=1.0)
    if lowest >= 1.0:
        return samples, 0.0
    limited = joined(_limited(samples, needed, max(1, int(look_ahead * rate))), samples, np.float64)
    rest = 10 ** (true_peak_dbtp(limited, rate) / 20)
    scale = min(1.0, ceiling / rest)
    return mapped(limited, lambda block: (block * scale).astype(np.float32)), -20 * math.log10(lowest)


def _limited(samples: Samples, needed: Samples, reach: int) -> Iterator[npt.NDArray[np.float64]]:
    """Blocks of samples times the gains that they need, spread ``reach`` samples to both sides and smoothed."""
    from scipy.ndimage import convolve1d, minimum_filter1d

    window = np.hanning(2 * reach + 1)
    for start, stop in spans(samples):
        low = max(0, start - 2 * reach)
        held = minimum_filter1d(needed[low : stop + 2 * reach], 2 * reach + 1)
        gain = convolve1d(held, window / window.sum(), mode="nearest")
        yield samples[start:stop] * gain[start - low : stop - low]


def set_loudness(samples: Samples, rate: int, target_lufs: float, ceiling_dbtp: float) -> tuple[Samples, str]:
    """Bring mono speech to a loudness with its true peak under a ceiling.

    One constant gain sets the loudness; where peaks then pass the ceiling, the limiter takes them down. The gain is
    corrected up to four times: for what the limiter took and for the absolute gate of BS.1770, which is not
    invariant to level.

    Returns:
        float32 (frames,), and a note on a limiter that worked by more than 1 dB, else "".

    Raises:
        DataError: the signal is silent or holds values that are not numbers.
    """
    if not all(np.isfinite(block).all() for block in blocks(samples)):
        raise DataError("samples that are not numbers, expected finite values within ±1")
    level = loudness(samples, rate)
    if level <= SILENCE_LUFS:
        raise DataError(f"no sound above {SILENCE_LUFS:g} LUFS, expected speech")
    gain_db, reduction, result = 0.0, 0.0, samples
    for _ in range(PASSES):
        gain_db += min(target_lufs - level, 12.0) if gain_db else target_lufs - level
        gain = np.float32(10 ** (gain_db / 20))
        louder = mapped(samples, lambda block: block * gain)  # noqa: B023
        result, reduction = limit_peaks(louder, rate, ceiling_dbtp)
        level = loudness(result, rate)
        if abs(target_lufs - level) < 0.1:
            break
    note = f"peaks limited by up to {reduction:.1f} dB" if reduction > 1.0 else ""
    return mapped(result, lambda block: block.astype(np.float32)), note
