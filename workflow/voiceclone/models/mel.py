"""Spectrograms as the public GPT-SoVITS computes them: one analysis for features, style and the mel loss.

Magnitudes come from an uncentred STFT of the reflect-padded waveform, so that a clip of n samples has n // hop frames.
Mel bands follow Slaney's Auditory Toolbox (area-normalised triangles), as in HiFi-GAN.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from voiceclone.models.architecture import Architecture
from voiceclone.sound.spectra import slaney_filters

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


class PowerSpectrum(torch.autograd.Function):
    """Squared magnitudes (..., N // 2 + 1) of real frames (..., N), N even.

    Quicker backwards than autograd of rfft, which runs a complex transform of the whole circle.
    """

    @staticmethod
    def forward(ctx: Any, frames: Tensor) -> Tensor:
        """Transform real frames."""
        spectrum = torch.fft.rfft(frames)
        ctx.save_for_backward(spectrum)
        return spectrum.real.square() + spectrum.imag.square()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        """Gradient of the frames: the inverse transform counts inner bins twice, like the derivative of a square."""
        (spectrum,) = ctx.saved_tensors
        scaled = spectrum * gradients[0]
        scaled[..., [0, -1]] *= 2
        return torch.fft.irfft(scaled, 2 * spectrum.shape[-1] - 2, norm="forward")


def power_spectra(audio: Tensor, size: int, hop: int) -> Tensor:
    """Squared magnitudes (B, F, size // 2 + 1) of Hann-windowed frames of a waveform (B, N), which is not padded."""
    window = torch.hann_window(size, dtype=audio.dtype, device=audio.device)
    out: Tensor = PowerSpectrum.apply(audio.unfold(-1, size, hop) * window)  # type: ignore[no-untyped-call]
    return out


def training_mel(audio: Tensor, config: MelConfig = DEFAULT_MEL) -> Tensor:
    """:func:`mel_spectrogram` of a waveform (B, 1, N) up to rounding, with a faster backward pass."""
    padding = (config.n_fft - config.hop) // 2
    padded = F.pad(audio, (padding, padding), mode="reflect")[:, 0]
    magnitudes = (power_spectra(padded, config.n_fft, config.hop) + POWER_FLOOR).sqrt()
    return mel_from_spectrogram(magnitudes.transpose(1, 2), config)


def mel_filters(config: MelConfig = DEFAULT_MEL) -> npt.NDArray[np.float32]:
    """Slaney mel filters, float32 (bands, n_fft // 2 + 1), each triangle of area 1 over Hz / 2."""
    return slaney_filters(config.sample_rate, config.n_fft, config.bands, config.low, config.high)


def mel_centres(config: MelConfig = DEFAULT_MEL) -> npt.NDArray[np.float32]:
    """Centre of gravity of each mel filter in Hz, float32 (bands,)."""
    filters = mel_filters(config)
    frequencies = np.linspace(0, config.sample_rate / 2, config.bins, dtype=np.float32)
    centres: npt.NDArray[np.float32] = filters @ frequencies / filters.sum(1)
    return centres
