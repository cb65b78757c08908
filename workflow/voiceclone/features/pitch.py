"""F0 of a recording by Praat's autocorrelation (Boersma 1993), through the library parselmouth (GPL-3.0)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from voiceclone.features.spectrogram import HOP
from voiceclone.sound.io import Waveform

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
    import parselmouth  # its own 7 MB are for this alone

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
