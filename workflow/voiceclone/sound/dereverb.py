"""Dereverberation of one channel without a model, by the weighted prediction error.

What a frame has of the frames some 25 to 250 ms before it is predicted and taken out, frequency by frequency: late
echoes go, the sound itself and its first reflections stay (Nakatani et al. 2010, "Speech dereverberation based on
variance-normalized delayed linear prediction"). The prediction is weighted by the power that is left, which is
estimated again and again.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from voiceclone.sound.accompaniment import excerpt_slices
from voiceclone.sound.clips import RATE, STEP, WINDOW, reverberation, spectra
from voiceclone.sound.io import Waveform, resample
from voiceclone.sound.spool import Samples, joined

Spectrum = npt.NDArray[np.complex64]
WINDOW_SECONDS, HOPS = 0.032, 4  # of the transform: 32 ms, every 8 ms
DELAY, TAPS = 3, 28  # frames: what is nearer is the sound itself; how far back echoes are predicted from
ROUNDS, LOADING, FLOOR = 3, 1e-4, 1e-3  # of the mean power: what keeps the prediction solvable, and quiet frames in it
BLOCK_SECONDS, EDGE_SECONDS = 30.0, 1.0  # each block is predicted for itself, with what comes before it
BINS = 16  # frequencies that are worked on at once
EXCERPTS, EXCERPT_SECONDS = 3, 9.5


def reverberation_time(samples: Samples, rate: int) -> float | None:
    """Reverberation time of a take in seconds, by excerpts, see :func:`voiceclone.sound.clips.reverberation`."""
    places = excerpt_slices(len(samples), rate, EXCERPTS, EXCERPT_SECONDS)
    parts = [spectra(resample(np.asarray(samples[place]), rate, RATE), WINDOW, STEP) for place in places]
    return reverberation(np.concatenate(parts)) if parts else None


class WeightedPrediction:
    """A processor of takes with the interface of :class:`voiceclone.sound.denoisers.Denoiser`."""

    digest = ""

    def denoise(self, samples: Samples, rate: int) -> Samples:
        """Float32 (frames,) at ``rate`` Hz without late echoes."""
        return joined(self._blocks(samples, rate), samples) if len(samples) else samples

    def _blocks(self, samples: Samples, rate: int) -> Iterator[Waveform]:
        size, edge = round(BLOCK_SECONDS * rate), round(EDGE_SECONDS * rate)
        for start in range(0, len(samples), size):
            low = max(0, start - edge)
            yield without_echoes(np.asarray(samples[low : start + size]), rate)[start - low :]


def without_echoes(samples: Waveform, rate: int) -> Waveform:
    """Float32 (frames,) of no more than a minute, without its late echoes; what is too short to predict stays."""
    from scipy.signal import istft, stft

    hop = round(WINDOW_SECONDS * rate / HOPS)
    size = HOPS * hop
    if len(samples) < size * (DELAY + TAPS) or not samples.any():
        return samples
    how = {"fs": rate, "window": "hann", "nperseg": size, "noverlap": size - hop}
    frames = stft(samples, **how)[2].astype(np.complex64)
    for low in range(0, len(frames), BINS):
        frames[low : low + BINS] = _predicted_out(frames[low : low + BINS])
    whole = istft(frames, **how)[1]
    return np.asarray(whole[: len(samples)], np.float32)


def _predicted_out(frames: Spectrum) -> Spectrum:
    """Spectra (bins, frames) without what earlier frames predict of them."""
    bins, count = frames.shape
    past = np.zeros((bins, TAPS, count), np.complex64)
    for tap in range(TAPS):
        past[:, tap, DELAY + tap :] = frames[:, : count - DELAY - tap]
    left = frames
    for _ in range(ROUNDS):
        power = np.square(np.abs(left))
        weighted = past / np.maximum(power, FLOOR * power.mean(axis=1, keepdims=True) + 1e-12)[:, None]
        turned = past.conj().swapaxes(1, 2)
        covariance, correlation = weighted @ turned, weighted @ frames.conj()[:, :, None]
        loading = LOADING * np.trace(covariance, axis1=1, axis2=2).real / TAPS + 1e-12
        filters = np.linalg.solve(covariance + loading[:, None, None] * np.eye(TAPS, dtype=np.complex64), correlation)
        left = frames - (filters.conj().swapaxes(1, 2) @ past)[:, 0]
    return left
