"""Denoisers with one face: mono samples in, mono samples of the same length out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

from voiceclone.audio.io import Waveform
from voiceclone.config.clean import CleanSettings
from voiceclone.errors import AssetError, DataError

if TYPE_CHECKING:
    from voiceclone.assets import Asset


class Denoiser(Protocol):
    """What the cleaning stage calls."""

    digest: str

    def denoise(self, samples: Waveform, rate: int) -> Waveform:
        """Denoise float32 (frames,) at ``rate`` Hz."""


class SpectralGate:
    """noisereduce (T. Sainburg): masks time-frequency cells near the noise floor.

    Args:
        stationary: one floor per frequency from the whole take; else the floor follows the signal over 2 s.
        strength: share of the noise to remove, 0 to 1.
    """

    digest = ""

    def __init__(self, stationary: bool, strength: float) -> None:
        self.stationary, self.strength = stationary, strength

    def denoise(self, samples: Waveform, rate: int) -> Waveform:
        """Denoise float32 (frames,); silence and what is shorter than two windows is returned as it is."""
        import noisereduce

        size = 1024 if rate <= 24_000 else 2048
        if len(samples) < 2 * size or not samples.any():
            return samples
        reduced = noisereduce.reduce_noise(
            y=samples, sr=rate, stationary=self.stationary, prop_decrease=self.strength, n_fft=size, n_jobs=1
        )
        return np.asarray(reduced, dtype=np.float32)[: len(samples)]


def make_denoiser(settings: CleanSettings, deepfilter: Asset | None) -> Denoiser:
    """The denoiser that the settings name.

    Raises:
        AssetError: DeepFilterNet3 is asked for without its asset.
    """
    if settings.method == "noisereduce":
        return SpectralGate(settings.stationary, settings.strength)
    if deepfilter is None:
        raise AssetError("clean.method is deepfilternet3, but its asset was not given", "pass --deepfilter")
    from voiceclone.audio.deepfilter import DeepFilter

    return DeepFilter(deepfilter, settings.attenuation_db)


def checked(denoiser: Denoiser, samples: Waveform, rate: int) -> Waveform:
    """Denoise and verify the result.

    Raises:
        DataError: the result has another length, holds values that are not numbers, or nothing is left of the signal.
    """
    result = denoiser.denoise(samples, rate)
    if result.shape != samples.shape:
        raise DataError(f"denoising changed the length from {len(samples)} to {len(result)} samples")
    if not np.isfinite(result).all():
        raise DataError("denoising gave values that are not numbers")
    if float(np.square(result).mean()) < 1e-4 * float(np.square(samples).mean()):
        raise DataError("denoising left less than a hundredth of the signal's level")
    return result
