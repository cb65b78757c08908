"""The waveform of a voice with a source-filter decoder: pulses and noise through the filter that a network gave.

Numpy only: what torch trains in :mod:`voiceclone.models.vocoder`. The graphs of a bundle end at the parameters of
frames, so that F0 can be moved and an utterance made in parts that join without a seam.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from voiceclone.kernels.binding import KERNEL_HOP, Shaping
from voiceclone.sound.spectra import (
    BAND,
    LEAD,
    LOG_F0_CENTRE,
    LOG_F0_RANGE,
    LOG_MAGNITUDE_LIMIT,
    MARGIN,
    NEAR,
    OVERLAP,
    SPOKEN_RANGE,
    TRAIL,
    UPSAMPLING,
    WINDOW_SUM,
)

Floats = npt.NDArray[np.float32]
#: Frames that are shaped at once: as much as stays in a cache.
BLOCK = 64
#: A period of the pulses' phase, which is an integer of 64 bits.
PERIOD = 2.0**64


class Frames(NamedTuple):
    """Parameters of T frames, 100 a second; float32.

    Attributes:
        log_f0: natural logarithm of F0 in Hz (T,).
        voicing: logits, voiced above 0 (T,).
        harmonic: log magnitude of the filter of the pulses (T, bins).
        noise: log magnitude of the filter of the noise (T, bins).
        phase: of the filter of the pulses, in radians (T, bins).
    """

    log_f0: Floats
    voicing: Floats
    harmonic: Floats
    noise: Floats
    phase: Floats

    @classmethod
    def of_graph(cls, outputs: Mapping[str, Floats]) -> Frames:
        """Of the outputs (1, T, ...) of the graph ``frames``, which leaves the centre out of log F0."""
        frames = cls(*(outputs[name][0] for name in cls._fields))
        return frames._replace(log_f0=frames.log_f0 + np.float32(LOG_F0_CENTRE))


class Source:
    """Pulses and noise of one utterance, which may be made in parts: phase and noise continue.

    Args:
        rng: of the first phase and the noise; None: always the same.
        semitones: by which F0 is raised.
        pitch_range: factor of the deviations of log F0 from its mean, over the utterance or, in parts, over the first
            part with a voice.
    """

    def __init__(
        self, rng: np.random.Generator | None = None, semitones: float = 0.0, pitch_range: float = 1.0
    ) -> None:
        self._rng = rng or np.random.Generator(np.random.Philox(0))
        self._semitones, self._range = semitones, pitch_range
        self._mean: float | None = None
        self._before = np.array([self._rng.random() * PERIOD]).astype(np.uint64)
        self._noise = np.zeros(0, np.float32)
        self._first = self._begin = 0
        self._end: int | None = None

    def part(self, first: int, begin: int, end: int) -> Source:
        """This source, for a part of the utterance; counted in frames of the latent (20 ms).

        Args:
            first: where the frames that come next start, with what lies before the part.
            begin: where the part starts: the end of the part before.
            end: where it ends.
        """
        self._first, self._begin, self._end = first, begin, end
        return self

    def wave(self, frames: Frames, sample_rate: int, kernels: Any | None = None) -> Floats:
        """Waveform (T * hop,) of frames.

        Args:
            frames: the filters.
            sample_rate: in Hz.
            kernels: of :func:`voiceclone.kernels.binding.load_kernels`; None: by numpy.
        """
        hop = (frames.harmonic.shape[1] - 1) * 2 // OVERLAP
        f0 = np.exp(_by_sample(self._contour(frames), hop))
        phase, harmonics = self._phase(f0 / sample_rate, hop), np.floor(BAND * sample_rate / f0).astype(np.float32)
        amplitude = _by_sample((frames.voicing > 0).astype(np.float32), hop).astype(np.float32)
        noise = self._noise_of(len(phase), hop)
        if kernels is not None and hop == KERNEL_HOP:
            return _shaped_by_kernels(kernels, (phase, harmonics, amplitude), noise, frames, hop)
        return _shaped(_pulses(phase, harmonics, amplitude), noise, frames, hop)

    def _contour(self, frames: Frames) -> Floats:
        """Log F0 (T,) that is spoken."""
        contour = np.clip(frames.log_f0, *LOG_F0_RANGE)
        voiced = frames.voicing > 0
        if self._mean is None and voiced.any():
            self._mean = float(contour[voiced].mean(dtype=np.float64))
        if self._mean is not None and self._range != 1.0:
            contour = self._mean + self._range * (contour - self._mean)
        return np.clip(contour + self._semitones * np.log(2) / 12, *SPOKEN_RANGE).astype(np.float32)

    def _phase(self, steps: npt.NDArray[np.float64], hop: int) -> npt.NDArray[np.int64]:
        """Phase after steps in periods, (M,): 2**64 is a period, so that sums go round and are exact in any parts."""
        phase = np.cumsum((steps * PERIOD).astype(np.uint64))
        begin, end = (self._sample(frame, hop) for frame in (self._begin, self._end or self._begin))
        phase += self._before - phase[begin - 1 : begin]
        self._before = phase[end - 1 : end]
        return phase.view(np.int64)

    def _sample(self, frame: int, hop: int) -> int:
        """Place of a frame of the latent among the samples, which begin with the margin of the first."""
        return (UPSAMPLING * (frame - self._first) + MARGIN) * hop

    def _noise_of(self, count: int, hop: int) -> Floats:
        """Normal noise: of each sample the same, whatever the part."""
        start = UPSAMPLING * self._first * hop
        missing = start + count - len(self._noise)
        if missing > 0:
            self._noise = np.concatenate([self._noise, self._rng.standard_normal(missing, np.float32)])
        return self._noise[start : start + count]


def _by_sample(values: Floats, hop: int) -> npt.NDArray[np.float64]:
    """Values of frames (T,), interpolated, the first and the last extended: float64 ((T + 2 * MARGIN) * hop,)."""
    padded = np.pad(values.astype(np.float64), MARGIN + 1, mode="edge")
    pairs = np.stack([padded[:-2], padded[1:-1], padded[2:]], axis=1)
    half = hop // 2
    rise = (np.arange(half) + 0.5) / hop
    before, at, after = (pairs[:, place, None] for place in range(3))
    return np.concatenate([at + (before - at) * rise[::-1], at + (after - at) * rise], axis=1).reshape(-1)


def _pulses(phase: npt.NDArray[np.int64], harmonics: Floats, amplitude: Floats) -> Floats:
    """Band-limited pulses of unit power, times an amplitude (M,): sums of the cosines of the harmonics."""
    half = np.sin(phase * (np.pi / PERIOD))
    near = np.abs(half) < NEAR
    odd = (2 * harmonics.astype(np.int64) + 1) * (phase >> 1)  # goes round as a phase does
    ratio = np.sin(odd * (2 * np.pi / PERIOD)) / np.where(near, 1, half)
    pulses = np.where(near, harmonics, (ratio - 1) / 2) * np.sqrt(2 / harmonics)
    return np.asarray(pulses * amplitude, np.float32)


def _shaped(pulses: Floats, noise: Floats, frames: Frames, hop: int) -> Floats:
    """Pulses and noise through the filters, overlapped and added, without the margins."""
    size, count = OVERLAP * hop, len(frames.log_f0)
    window = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)).astype(np.float32)
    signals = [np.lib.stride_tricks.sliding_window_view(signal, size)[::hop] for signal in (pulses, noise)]
    out = np.zeros((count + 2 * MARGIN, hop), np.float32)
    for start in range(0, count + LEAD + TRAIL, BLOCK):
        stop = min(start + BLOCK, count + LEAD + TRAIL)
        harmonic, hiss = (np.fft.rfft(signal[start:stop] * window) for signal in signals)
        shape = [x[np.clip(np.arange(start, stop) - LEAD, 0, count - 1)] for x in frames[2:]]
        louder, quieter = (np.exp(np.minimum(x, np.float32(LOG_MAGNITUDE_LIMIT))) for x in shape[:2])
        spectra = louder * (np.cos(shape[2]) + np.complex64(1j) * np.sin(shape[2])) * harmonic + quieter * hiss
        parts = (np.fft.irfft(spectra) * (window / np.float32(WINDOW_SUM))).reshape(stop - start, OVERLAP, hop)
        for place in reversed(range(OVERLAP)):  # the earlier window first, in this block as in those before
            out[start + place : stop + place] += parts[:, place]
    return out[MARGIN:-MARGIN].reshape(-1)


def _shaped_by_kernels(
    kernels: Any, pulses: tuple[npt.NDArray[np.int64], Floats, Floats], noise: Floats, frames: Frames, hop: int
) -> Floats:
    """The same as :func:`_pulses` and :func:`_shaped`, for a hop of :data:`KERNEL_HOP`."""
    source, out = np.empty(len(noise), np.float32), np.empty(len(frames.log_f0) * hop, np.float32)
    kernels.pulses(*(part.ctypes.data for part in pulses), len(source), source.ctypes.data)
    signals = [np.ascontiguousarray(part, np.float32) for part in (source, noise, *frames[2:])]
    kernels.shape(ctypes.byref(Shaping(*(part.ctypes.data for part in (*signals, out)), len(frames.log_f0))))
    return out
