"""Spectrograms as the public GPT-SoVITS computes them: one analysis for features, style and the mel loss.

Magnitudes come from an uncentred STFT of the reflect-padded waveform, so that a clip of n samples has n // hop frames.
Mel bands follow Slaney's Auditory Toolbox (area-normalised triangles), as in HiFi-GAN.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from voiceclone.models.base import Architecture

LOG_FLOOR = 1e-5
POWER_FLOOR = 1e-8


@dataclass(frozen=True)
class MelConfig(Architecture):
    """Analysis settings; frequencies in Hz, sizes in samples."""

    sample_rate: int = 32000
    n_fft: int = 2048
    hop: int = 640
    bands: int = 128
    low: float = 0.0
    high: float = 16000.0

    @property
    def bins(self) -> int:
        """Frequency bins of a spectrogram frame."""
        return self.n_fft // 2 + 1


DEFAULT_MEL = MelConfig()


def spectrogram(audio: Tensor, config: MelConfig = DEFAULT_MEL) -> Tensor:
    """Linear magnitudes of a waveform.

    Args:
        audio: float (B, N) or (B, 1, N) in [-1, 1], N longer than (n_fft - hop) / 2.
        config: analysis settings.

    Returns:
        float (B, n_fft // 2 + 1, N // hop): sqrt(re² + im² + 1e-8).
    """
    if audio.dim() == 3:
        audio = audio.squeeze(1)
    padding = (config.n_fft - config.hop) // 2
    padded = F.pad(audio.unsqueeze(1), (padding, padding), mode="reflect").squeeze(1)
    window = torch.hann_window(config.n_fft, dtype=audio.dtype, device=audio.device)
    spectrum = torch.stft(padded, config.n_fft, config.hop, window=window, center=False, return_complex=True)
    return torch.sqrt(spectrum.real.square() + spectrum.imag.square() + POWER_FLOOR)


def mel_from_spectrogram(magnitudes: Tensor, config: MelConfig = DEFAULT_MEL) -> Tensor:
    """Natural logarithm of mel bands (B, bands, F) of magnitudes (B, n_fft // 2 + 1, F), floored at 1e-5."""
    weights = torch.from_numpy(mel_filters(config)).to(magnitudes)
    return torch.log(torch.clamp(weights @ magnitudes, min=LOG_FLOOR))


def mel_spectrogram(audio: Tensor, config: MelConfig = DEFAULT_MEL) -> Tensor:
    """Log-mel bands (B, bands, N // hop) of a waveform (B, N) or (B, 1, N)."""
    return mel_from_spectrogram(spectrogram(audio, config), config)


@lru_cache(maxsize=4)
def mel_filters(config: MelConfig = DEFAULT_MEL) -> npt.NDArray[np.float32]:
    """Slaney mel filters, float32 (bands, n_fft // 2 + 1), each triangle of area 1 over Hz / 2."""
    centres = _mel_to_hz(np.linspace(_hz_to_mel(config.low), _hz_to_mel(config.high), config.bands + 2))
    frequencies = np.linspace(0.0, config.sample_rate / 2, config.bins)
    widths = np.diff(centres)
    ramps = centres[:, None] - frequencies[None, :]
    rising = -ramps[:-2] / widths[:-1, None]
    falling = ramps[2:] / widths[1:, None]
    triangles = np.maximum(0.0, np.minimum(rising, falling))
    filters: npt.NDArray[np.float32] = (triangles * (2.0 / (centres[2:] - centres[:-2]))[:, None]).astype(np.float32)
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
