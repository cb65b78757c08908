"""Loudness (ITU-R BS.1770 through pyloudnorm), true peak, a peak limiter."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from voiceclone.errors import DataError
from voiceclone.sound.io import Waveform

OVERSAMPLING = 4
SILENCE_LUFS = -70.0  # the absolute gate of BS.1770: nothing below counts as sound
PASSES = 5  # of gain and limiter; one where nothing is limited
_BLOCK_SECONDS = 30.0
_MARGIN = 512  # frames around a block, so that the oversampling filter sees its neighbours


def loudness(samples: Waveform, rate: int) -> float:
    """Integrated loudness in LUFS of mono float32 (frames,); :data:`SILENCE_LUFS` for silence.

    A signal shorter than the standard's 0.4 s block is repeated to that length.
    """
    import pyloudnorm

    if not len(samples):
        return SILENCE_LUFS
    needed = math.ceil(0.4 * rate) + 1
    padded = np.tile(samples, math.ceil(needed / len(samples))) if len(samples) < needed else samples
    with np.errstate(divide="ignore"):
        value = float(pyloudnorm.Meter(rate).integrated_loudness(padded.astype(np.float64)))
    return max(value, SILENCE_LUFS) if math.isfinite(value) else SILENCE_LUFS


def _oversampled(samples: Waveform, rate: int) -> Iterator[tuple[slice, npt.NDArray[np.float64]]]:
    """Per block: its slice and the largest magnitude near each sample after fourfold oversampling."""
    from scipy.signal import resample_poly

    size = int(_BLOCK_SECONDS * rate)
    for start in range(0, len(samples), size):
        stop = min(start + size, len(samples))
        low, high = max(0, start - _MARGIN), min(len(samples), stop + _MARGIN)
        fine = np.abs(resample_poly(samples[low:high].astype(np.float64), OVERSAMPLING, 1))
        near = fine.reshape(-1, OVERSAMPLING).max(axis=1)
        yield slice(start, stop), near[start - low : stop - low]


def true_peak_dbtp(samples: Waveform, rate: int) -> float:
    """Largest magnitude of the fourfold oversampled signal (BS.1770 annex 2) in dBTP; -120 for silence."""
    largest = max((float(block.max()) for _, block in _oversampled(samples, rate) if len(block)), default=0.0)
    return 20 * math.log10(max(largest, 1e-6))


def limit_peaks(samples: Waveform, rate: int, ceiling_dbtp: float, look_ahead: float = 0.004) -> tuple[Waveform, float]:
    """Hold the true peak under a ceiling with a look-ahead limiter.

    The needed gain at every sample is spread ``look_ahead`` seconds to both sides (running minimum) and smoothed by a
    window of the same length, so the gain is never above the needed one and never jumps. What intersample peaks remain
    after that is taken out by one constant gain of a few hundredths of a decibel.

    Returns:
        the limited signal and the largest reduction in dB (0: the signal was under the ceiling and is unchanged).
    """
    from scipy.ndimage import convolve1d, minimum_filter1d

    ceiling = 10 ** (ceiling_dbtp / 20)
    needed = np.ones(len(samples))
    for block, peak in _oversampled(samples, rate):
        needed[block] = np.minimum(1.0, ceiling / np.maximum(peak, ceiling))
    if len(samples) == 0 or needed.min() >= 1.0:
        return samples, 0.0
    reach = max(1, int(look_ahead * rate))
    window = np.hanning(2 * reach + 1)
    gain = convolve1d(minimum_filter1d(needed, 2 * reach + 1), window / window.sum(), mode="nearest")
    limited = samples * gain
    rest = 10 ** (true_peak_dbtp(limited, rate) / 20)
    return (limited * min(1.0, ceiling / rest)).astype(np.float32), -20 * math.log10(float(needed.min()))


def set_loudness(samples: Waveform, rate: int, target_lufs: float, ceiling_dbtp: float) -> tuple[Waveform, str]:
    """Bring mono speech to a loudness with its true peak under a ceiling.

    One constant gain sets the loudness; where peaks then pass the ceiling, the limiter takes them down. The gain is
    corrected up to four times: for what the limiter took and for the absolute gate of BS.1770, which is not
    invariant to level.

    Returns:
        float32 (frames,), and a note on a limiter that worked by more than 1 dB, else "".

    Raises:
        DataError: the signal is silent or holds values that are not numbers.
    """
    if not np.isfinite(samples).all():
        raise DataError("samples that are not numbers, expected finite values within ±1")
    level = loudness(samples, rate)
    if level <= SILENCE_LUFS:
        raise DataError(f"no sound above {SILENCE_LUFS:g} LUFS, expected speech")
    gain_db, reduction, result = 0.0, 0.0, samples
    for _ in range(PASSES):
        gain_db += min(target_lufs - level, 12.0) if gain_db else target_lufs - level
        result, reduction = limit_peaks(samples * np.float32(10 ** (gain_db / 20)), rate, ceiling_dbtp)
        level = loudness(result, rate)
        if abs(target_lufs - level) < 0.1:
            break
    return result.astype(np.float32), f"peaks limited by up to {reduction:.1f} dB" if reduction > 1.0 else ""
