"""Training audio and its magnitude spectrogram."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from voiceclone.errors import DataError
from voiceclone.sound.io import read_mono

RATE = 32000
HOP = 640
BINS = 1025


def training_audio(path: Path) -> npt.NDArray[np.int16]:
    """Samples of an utterance for training.

    Returns:
        int16 (N,) at 32 kHz; N is an even number of 640-sample frames, so that every 25 Hz token has its two frames.
        At most 40 ms of the end are cut.

    Raises:
        DataError: unreadable, not finite, silent, or shorter than 0.2 s.
    """
    samples, _ = read_mono(path, RATE)
    if not np.isfinite(samples).all():
        raise DataError(f"{path.name}: samples that are not finite numbers")
    samples = samples[: len(samples) // (2 * HOP) * (2 * HOP)]
    if len(samples) < 10 * HOP:
        raise DataError(f"{path.name}: {len(samples) / RATE:.2f} s, expected at least {10 * HOP / RATE:.2f} s")
    if not samples.any():
        raise DataError(f"{path.name}: silent, every sample is zero")
    return np.round(np.clip(samples, -1.0, 32767 / 32768) * 32768).astype(np.int16)


def to_float(audio: npt.NDArray[np.int16]) -> npt.NDArray[np.float32]:
    """int16 samples as float32 in [-1, 1)."""
    return audio.astype(np.float32) / np.float32(32768.0)


def magnitudes(audio: npt.NDArray[np.int16]) -> npt.NDArray[np.float16]:
    """Spectrogram float16 (1025, N // 640) of training audio, as the models compute it."""
    import torch

    from voiceclone.models.mel import spectrogram

    with torch.inference_mode():
        spectrum = spectrogram(torch.from_numpy(to_float(audio)).unsqueeze(0))[0]
    return np.asarray(spectrum.half().numpy())
