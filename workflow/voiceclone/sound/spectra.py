"""Spectra as the encoders read them, in numpy: what a voice without torch hears of a clip.

The same values as :mod:`voiceclone.models.mel` and :mod:`voiceclone.listeners.campplus` compute with torch. The
constants of the source-filter synthesis stand here too, for :mod:`voiceclone.models.vocoder` (torch, training) and
:mod:`voiceclone.backends.waveform` (numpy, speaking).
"""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

from voiceclone.sound.io import Waveform

#: Name of the decoder in architectures and bundles.
SOURCE_FILTER = "source_filter"
#: Frames of the filter per frame of the latent.
UPSAMPLING = 2
#: Hops in a window of the filter.
OVERLAP = 4
#: Sum of the overlapping squares of the periodic Hann window.
WINDOW_SUM = 1.5
#: Frames by which the filter is continued before and after the utterance, so that each sample lies under all windows.
LEAD, TRAIL = 1, 2
#: Frames by which the source is continued on either side: those, and half a window.
MARGIN = LEAD + OVERLAP // 2
#: Natural logarithms of the F0 in Hz that is predicted (60 to 545), and of the one that is spoken (30 to 1,100).
LOG_F0_RANGE, SPOKEN_RANGE = (4.1, 6.3), (3.4, 7.0)
#: Subtracted from log F0 in graphs (164 Hz): the rest is exact to half a cent in half precision, the whole to four.
LOG_F0_CENTRE = 5.1
#: Largest logarithm of a magnitude of the filter.
LOG_MAGNITUDE_LIMIT = 5.0
#: Pulses have harmonics up to this share of the sample rate.
BAND = 0.47
#: Sines of half the phase below which the closed form of the pulses is replaced by its limit.
NEAR = 1e-4
Floats = npt.NDArray[np.float32]
#: Analysis of the public GPT-SoVITS at 32 kHz.
N_FFT, HOP, POWER_FLOOR = 2048, 640, 1e-8
#: Kaldi's filter bank at 16 kHz: window of 25 ms, step of 10 ms.
BANDS, WINDOW, STEP, LOWEST_HZ, RATE = 80, 400, 160, 20.0, 16000
PREEMPHASIS, POVEY = 0.97, 0.85


def magnitudes(samples: Waveform) -> Floats:
    """Linear magnitudes of a waveform, reflected at its ends and not centred.

    Args:
        samples: float32 (n,) at 32 kHz, full scale ±1, n above 704.

    Returns:
        float32 (1025, n // 640): sqrt(re² + im² + 1e-8).
    """
    padding = (N_FFT - HOP) // 2
    padded = np.pad(np.asarray(samples, np.float32), padding, mode="reflect")
    spectrum = np.fft.rfft(_frames(padded, N_FFT, HOP) * _hann(N_FFT), axis=1)
    power = np.square(spectrum.real) + np.square(spectrum.imag)
    return np.ascontiguousarray(np.sqrt(power + np.float32(POWER_FLOOR)).T, np.float32)


def filter_bank(samples: Waveform) -> Floats:
    """Log mel filter bank as Kaldi computes it: Povey window, no dither, whole frames only.

    Args:
        samples: float32 (n,) at 16 kHz, full scale ±1, n of at least 400.

    Returns:
        float32 (frames, 80), natural logarithm, not mean-normalised.
    """
    frames = _frames(np.asarray(samples, np.float32), WINDOW, STEP)
    frames = frames - frames.mean(axis=1, keepdims=True)
    before = np.concatenate([frames[:, :1], frames[:, :-1]], axis=1)
    window = (np.hanning(WINDOW) ** POVEY).astype(np.float32)
    spectrum = np.fft.rfft((frames - np.float32(PREEMPHASIS) * before) * window, n=512, axis=1)
    energies = (np.square(spectrum.real) + np.square(spectrum.imag)) @ _kaldi_filters().T
    return np.asarray(np.log(np.maximum(energies, np.finfo(np.float32).eps)), np.float32)


def whisper_mel(samples: Waveform) -> Floats:
    """Log mel bands that Whisper reads (Radford et al. 2022): centred, ten millisecond steps, scaled to about ±1.

    Args:
        samples: float32 (n,) at 16 kHz, full scale ±1, n above 200.

    Returns:
        float32 (80, n // 160).
    """
    padded = np.pad(np.asarray(samples, np.float32), WINDOW // 2, mode="reflect")
    spectrum = np.fft.rfft(_frames(padded, WINDOW, STEP)[:-1] * _hann(WINDOW), axis=1)
    power = np.square(spectrum.real) + np.square(spectrum.imag)
    bands = np.log10(np.maximum(slaney_filters(RATE, WINDOW, BANDS, 0.0, RATE / 2) @ power.T, np.float32(1e-10)))
    return np.asarray((np.maximum(bands, bands.max() - 8) + 4) / 4, np.float32)


@cache
def slaney_filters(sample_rate: int, n_fft: int, bands: int, low: float, high: float) -> Floats:
    """Slaney mel filters, float32 (bands, n_fft // 2 + 1), each triangle of area 1 over Hz / 2."""
    centres = _mel_to_hz(np.linspace(_hz_to_mel(low), _hz_to_mel(high), bands + 2))
    frequencies = np.linspace(0.0, sample_rate / 2, n_fft // 2 + 1)
    widths = np.diff(centres)
    ramps = centres[:, None] - frequencies[None, :]
    rising = -ramps[:-2] / widths[:-1, None]
    falling = ramps[2:] / widths[1:, None]
    triangles = np.maximum(0.0, np.minimum(rising, falling))
    filters: Floats = (triangles * (2.0 / (centres[2:] - centres[:-2]))[:, None]).astype(np.float32)
    return filters


# Slaney's scale: linear (3 mels per 200 Hz) below 1 kHz, logarithmic (27 mels per factor 6.4) above.
_LINEAR_STEP = 200.0 / 3
_BREAK_HZ = 1000.0
_BREAK_MEL = _BREAK_HZ / _LINEAR_STEP
_LOG_STEP = np.log(6.4) / 27.0


def _hz_to_mel(hz: float) -> float:
    return hz / _LINEAR_STEP if hz < _BREAK_HZ else float(_BREAK_MEL + np.log(hz / _BREAK_HZ) / _LOG_STEP)


def _mel_to_hz(mel: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    above = _BREAK_HZ * np.exp(_LOG_STEP * (np.maximum(mel, _BREAK_MEL) - _BREAK_MEL))
    return np.where(mel < _BREAK_MEL, mel * _LINEAR_STEP, above)


@cache
def _kaldi_filters() -> Floats:
    """Kaldi's triangles, 20 Hz to Nyquist, float32 (80, 257), straight in mel; the Nyquist bin is left out.

    In single precision throughout, as with torch: the edges of the high triangles are off by as much.
    """

    def mel(hertz: Floats) -> Floats:
        return np.float32(1127.0) * np.log1p(hertz / np.float32(700.0))

    low, high = mel(np.array([LOWEST_HZ, RATE / 2], np.float32))
    edges = np.linspace(low, high, BANDS + 2, dtype=np.float32)
    left, centre, right = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    bins = mel(np.arange(257, dtype=np.float32) * np.float32(RATE / 512))[None]
    filters = np.maximum(np.minimum((bins - left) / (centre - left), (right - bins) / (right - centre)), 0)
    filters[:, -1] = 0
    return filters


@cache
def _hann(size: int) -> Floats:
    """The periodic Hann window."""
    return np.hanning(size + 1)[:-1].astype(np.float32)


def _frames(samples: Waveform, size: int, step: int) -> Floats:
    """Overlapping stretches (frames, size), whole ones only."""
    return np.lib.stride_tricks.sliding_window_view(samples, size)[::step]
