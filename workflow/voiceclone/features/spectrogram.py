"""Training audio, its magnitude spectrogram and its F0.

F0 is Praat's autocorrelation (Boersma 1993) through the library parselmouth (GPL-3.0).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from voiceclone.errors import DataError
from voiceclone.sound.io import Waveform, read_mono

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


PER_FRAME = 2  # values of F0 in a frame of 20 ms
STEP = 0.01
FLOOR_HZ, CEILING_HZ = 65.0, 520.0
# Voiced where a frame is a third as loud as Praat asks for by default, since takes are cut tightly; fewer octave jumps.
VOICING_THRESHOLD, SILENCE_THRESHOLD, OCTAVE_JUMP_COST = 0.45, 0.03, 0.5


def track_pitch(samples: Waveform, rate: int) -> npt.NDArray[np.float32]:
    """F0 in Hz at the middle of every 10 ms, 0 where unvoiced: float32 (N // (rate / 50) * 2,).

    Args:
        samples: mono (N,).
        rate: in Hz.
    """
    import parselmouth  # 7 MB

    count = len(samples) // (HOP * rate // 32000) * PER_FRAME
    sound = parselmouth.Sound(np.asarray(samples, np.float64), rate)
    pitch = sound.to_pitch_ac(
        time_step=STEP, pitch_floor=FLOOR_HZ, pitch_ceiling=CEILING_HZ, very_accurate=False,
        voicing_threshold=VOICING_THRESHOLD, silence_threshold=SILENCE_THRESHOLD, octave_jump_cost=OCTAVE_JUMP_COST,
    )  # fmt: skip
    hertz, times = pitch.selected_array["frequency"], pitch.xs()
    middles = (np.arange(count) + 0.5) * STEP
    nearest = np.clip(np.round((middles - times[0]) / STEP).astype(int), 0, len(hertz) - 1)
    return np.asarray(hertz[nearest], np.float32)
