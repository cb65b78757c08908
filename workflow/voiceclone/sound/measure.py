"""Measures of a recording in one pass and constant memory: peak, loudness, bandwidth, clipping, offset, noise.

Loudness follows ITU-R BS.1770-4 with the K-weighting filters of pyloudnorm; a test compares the two.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from voiceclone.sound.io import Waveform
from voiceclone.sound.snr import snr_of_powers

Array = npt.NDArray[np.float64]
FRAME_SECONDS = 0.02  # of the level curve
STEP_SECONDS = 0.1  # of the loudness blocks: 400 ms with 75 % overlap
BANDWIDTH_RANGE_DB = 70.0  # below the loudest part of the speech spectrum nothing counts as signal
CLIP_RUN = 3  # samples of equal value that make a flat top
LEVELS = 1000  # resolution of the histogram of flat tops


@dataclass(frozen=True)
class Measures:
    """Measures of one recording; None where it is too short or too quiet.

    Attributes:
        seconds: length.
        peak_dbfs: largest absolute sample, dB below full scale.
        loudness_lufs: integrated loudness of the channels' average.
        bandwidth_hz: highest frequency that carries signal, whatever the sample rate promises.
        clipping: share of samples that lie on flat tops.
        dc_offset: mean of the channel whose mean is largest, full scale 1.
        snr_db: level of speech over the level of its pauses, see :mod:`voiceclone.sound.measure`.
        loudest_dbfs: RMS of the loudest 20 ms of the average, its offset taken out.
        loudest_channel_dbfs: the same of the loudest single channel; far above means that the channels cancel.
        finite: False if a sample is NaN or infinite; nothing else is meaningful then.
        samples_digest: digest of rate and averaged samples at 16 bit, the same under every lossless container.
    """

    seconds: float
    peak_dbfs: float | None
    loudness_lufs: float | None
    bandwidth_hz: float | None
    clipping: float
    dc_offset: float
    snr_db: float | None
    loudest_dbfs: float | None
    loudest_channel_dbfs: float | None
    finite: bool
    samples_digest: str


def decibels(power: float) -> float | None:
    """Power (1 = full scale) in dB; None for no power at all."""
    return 10 * math.log10(power) if power > 0 else None


def measure(samples: Waveform, rate: int) -> Measures:
    """Measures of samples in memory: float (frames,) or (frames, channels) at ``rate`` Hz."""
    meter = Meter(rate)
    meter.add(np.asarray(samples, dtype=np.float32).reshape(len(samples), samples.shape[1] if samples.ndim > 1 else 1))
    return meter.result()


class Meter:
    """Takes a recording block by block and gives its :class:`Measures`.

    Args:
        rate: sample rate in Hz.
    """

    def __init__(self, rate: int) -> None:
        self.rate = rate
        self.frames = 0
        self.finite = True
        self._peak = 0.0
        self._sums: Array = np.zeros(1)
        self._loudness = _Loudness(rate)
        self._spectrum = Spectrum(rate)
        self._flat = FlatTops()
        self._levels = _Levels(max(1, round(FRAME_SECONDS * rate)))
        self._digest = hashlib.sha256(str(rate).encode())

    def add(self, block: Waveform) -> None:
        """Take the next block: float32 (frames, channels)."""
        self.frames += len(block)
        if not len(block) or not self.finite:
            return
        peak = float(max(block.max(), -block.min()))
        if not math.isfinite(peak):
            self.finite = False
            return
        mono = _average(block)
        self._peak = max(self._peak, peak)
        self._sums = self._sums + block.sum(axis=0, dtype=np.float64)
        self._digest.update(np.clip(np.rint(mono * 32768), -32768, 32767).astype("<i2").tobytes())
        self._flat.add(block, peak == 0)
        self._levels.add(block, mono)
        self._loudness.add(mono, peak == 0)
        self._spectrum.add(mono, peak == 0)

    def result(self) -> Measures:
        """Measures of all samples so far."""
        means = self._sums / max(1, self.frames)
        offset = float(means[np.argmax(np.abs(means))])
        average, loudest_channel = self._levels.powers()
        return Measures(
            seconds=self.frames / self.rate,
            peak_dbfs=decibels(self._peak**2),
            loudness_lufs=self._loudness.result(),
            bandwidth_hz=self._spectrum.result(),
            clipping=self._flat.share(self._peak),
            dc_offset=offset,
            snr_db=snr_of_powers(average, FRAME_SECONDS),
            loudest_dbfs=decibels(float(average.max(initial=0.0))),
            loudest_channel_dbfs=decibels(loudest_channel),
            finite=self.finite,
            samples_digest=self._digest.hexdigest(),
        )


def _average(block: Waveform) -> Waveform:
    """Mean of the channels; equal channels give exactly themselves, so that a doubled mono is found as a duplicate."""
    if block.shape[1] == 1:
        return block[:, 0]
    if block.shape[1] == 2:
        return np.asarray((block[:, 0] + block[:, 1]) * np.float32(0.5))
    return block.mean(axis=1, dtype=np.float32)


def _variances(frames: Waveform) -> Array:
    """Variance of every frame of an array (frames, length)."""
    if not len(frames) or frames.max() == frames.min() == 0:
        return np.zeros(len(frames))
    centred = frames - frames.mean(axis=1, keepdims=True)
    return np.einsum("ij,ij->i", centred, centred).astype(np.float64) / frames.shape[1]


class _Framer:
    """Cuts a stream of blocks into frames of equal length; the tail waits for the next block."""

    def __init__(self, length: int) -> None:
        self.length = length
        self._rest: npt.NDArray[Any] | None = None

    def __call__(self, block: npt.NDArray[Any]) -> npt.NDArray[Any]:
        if self._rest is not None and len(self._rest):
            block = np.concatenate([self._rest, block])
        count = len(block) // self.length
        self._rest = block[count * self.length :].copy()
        return block[: count * self.length].reshape(count, self.length, *block.shape[1:])


class _Levels:
    """Variance (power without offset) of 20 ms frames: of the average, and the largest of any channel."""

    def __init__(self, length: int) -> None:
        self._length = length
        self._mono = _Framer(length)
        self._channels: list[_Framer] = []
        self._powers: list[Array] = []
        self._loudest_channel = 0.0

    def add(self, block: Waveform, mono: Waveform) -> None:
        self._powers.append(_variances(self._mono(mono)))
        if block.shape[1] == 1:
            return
        self._channels = self._channels or [_Framer(self._length) for _ in range(block.shape[1])]
        for index, framer in enumerate(self._channels):
            powers = _variances(framer(block[:, index]))
            self._loudest_channel = max(self._loudest_channel, float(powers.max(initial=0.0)))

    def powers(self) -> tuple[Array, float]:
        powers = np.concatenate(self._powers) if self._powers else np.zeros(0)
        return powers, max(self._loudest_channel, float(powers.max(initial=0.0)))


class _Loudness:
    """Integrated loudness by ITU-R BS.1770-4 of one channel."""

    def __init__(self, rate: int) -> None:
        self._frame = _Framer(max(1, round(STEP_SECONDS * rate)))
        self._energies: list[Array] = []
        self._filters: list[tuple[Array, Array, float]] = []
        if rate >= 4000:  # below, the high shelf of the K-weighting would lie beyond half the rate
            import pyloudnorm

            for weight in pyloudnorm.Meter(rate)._filters.values():
                self._filters.append((weight.b, weight.a, float(weight.passband_gain)))
        self._states = [np.zeros(max(len(a), len(b)) - 1) for b, a, _ in self._filters]

    def add(self, mono: Waveform, silent: bool) -> None:
        if not self._filters:
            return
        from scipy.signal import lfilter

        weighted: Array = mono.astype(np.float64)
        if not silent or any(np.abs(state).max() > 1e-9 for state in self._states):
            for index, (b, a, gain) in enumerate(self._filters):
                weighted, self._states[index] = lfilter(b, a, weighted, zi=self._states[index])
                weighted = weighted * gain
        self._energies.append((self._frame(weighted) ** 2).mean(axis=1))

    def result(self) -> float | None:
        steps = np.concatenate(self._energies) if self._energies else np.zeros(0)
        if len(steps) < 4:
            return None
        blocks = np.convolve(steps, np.full(4, 0.25), mode="valid")
        loud = blocks[blocks > _power_of(-70.0)]
        if not len(loud):
            return None
        gated = loud[loud > loud.mean() * 0.1]
        return float(-0.691 + 10 * math.log10(gated.mean())) if len(gated) else None


def _power_of(lufs: float) -> float:
    return float(10 ** ((lufs + 0.691) / 10))


class Spectrum:
    """Average power spectrum, and the highest frequency at which it holds more than a floor."""

    def __init__(self, rate: int) -> None:
        self.rate = rate
        self.size = 1 << max(6, round(math.log2(rate / 24)))  # about 24 Hz a bin
        self._frame = _Framer(self.size)
        self._window = np.hanning(self.size).astype(np.float32)
        self._sum: Array = np.zeros(self.size // 2 + 1)
        self._count = 0

    def add(self, mono: Waveform, silent: bool) -> None:
        """Take the next block (frames,); ``silent``: all of it is zero."""
        if silent:
            return
        frames = self._frame(mono)
        frames = (frames - frames.mean(axis=1, keepdims=True)) * self._window
        self._sum += (np.abs(np.fft.rfft(frames, axis=1)) ** 2).sum(axis=0)
        self._count += len(frames)

    def ratio_db(self, band: tuple[float, float], other: tuple[float, float]) -> float:
        """Power in a band over that in another one, in Hz, as dB; 0 where nothing lies in one of them."""
        frequencies = np.arange(len(self._sum)) * self.rate / self.size
        one, two = (self._sum[(frequencies >= low) & (frequencies < high)] for low, high in (band, other))
        return float(10 * np.log10(one.sum() / two.sum())) if one.any() and two.any() else 0.0

    def result(self) -> float | None:
        """The highest frequency in Hz; None: nothing sounds."""
        if not self._count:
            return None
        width = max(1, round(200 * self.size / self.rate))
        smooth = np.convolve(self._sum, np.full(width, 1 / width), mode="same")
        frequencies = np.arange(len(smooth)) * self.rate / self.size
        speech = smooth[(frequencies >= 200) & (frequencies <= 4000)]
        if not len(speech) or speech.max() <= 0:
            return None
        # 10 dB over the rounding noise of 16 bit, which fills the whole band of a very quiet recording.
        rounding = 10 / 12 / 32768**2 * float((self._window**2).sum()) * self._count
        holding = np.flatnonzero(smooth > max(speech.max() * 10 ** (-BANDWIDTH_RANGE_DB / 10), rounding))
        return float(frequencies[holding[-1]]) if len(holding) else None


class FlatTops:
    """Histogram of the levels at which three samples or more stand still."""

    def __init__(self) -> None:
        self._counts = np.zeros(LEVELS + 1, dtype=np.int64)
        self._samples = 0

    def add(self, block: Waveform, silent: bool) -> None:
        """Take the next block (frames, channels); ``silent``: all of it is zero."""
        self._samples += block.size
        if silent or len(block) < CLIP_RUN:
            return
        same = block[1:] == block[:-1]
        inside = same[1:] & same[:-1]  # the middle sample of three equal ones
        flat = np.zeros(block.shape, dtype=bool)
        for shift in range(CLIP_RUN):
            flat[shift : shift + len(inside)] |= inside
        levels = np.minimum(np.abs(block[flat]), 1.0) * LEVELS
        self._counts += np.bincount(levels.astype(np.int64), minlength=LEVELS + 1)

    def share(self, peak: float) -> float:
        """Share of all samples that stand still within 2 % of the peak."""
        if peak <= 0 or not self._samples:
            return 0.0
        lowest = math.floor(0.98 * min(peak, 1.0) * LEVELS)
        return float(self._counts[max(1, lowest) :].sum() / self._samples)
