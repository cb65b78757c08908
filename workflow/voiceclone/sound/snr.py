"""Signal-to-noise ratio of speech from the levels of short frames, for whole takes and for takes read in blocks."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from voiceclone.sound.spool import Samples

FRAME_SECONDS = 0.025
FRAMES_AT_ONCE = 2000  # of a take, in memory
FLOOR_SECONDS, FLOOR_LEAST_SECONDS = 4.0, 1.0  # of one measurement of the noise, and what must sound in it
DIGITAL_SILENCE = 1e-10  # frame power: -100 dBFS
RANGE_DB = (-20.0, 80.0)

Powers = npt.NDArray[np.float64]


def estimate_snr(samples: Samples, rate: int) -> float:
    """Signal-to-noise ratio in dB of mono samples (frames,); 0 for a take that is silence as a whole."""
    size, powers = max(1, int(FRAME_SECONDS * rate)), [np.zeros(0)]
    for start in range(0, len(samples), size * FRAMES_AT_ONCE):
        block = samples[start : start + size * FRAMES_AT_ONCE]
        frames = block[: len(block) // size * size].reshape(-1, size).astype(np.float64)
        powers.append(np.square(frames - frames.mean(axis=1, keepdims=True)).mean(axis=1))
    return snr_of_powers(np.concatenate(powers), FRAME_SECONDS) or 0.0


def snr_of_powers(powers: Powers, frame_seconds: float) -> float | None:
    """Signal-to-noise ratio in dB from the powers of frames without their offset; None where too little sounds.

    Noise is the mean power of the quietest tenth of the frames of every 4 s, averaged over the take, so that noise
    which comes and goes counts; speech that of the frames within 20 dB of the loudest twentieth, less the noise. It
    needs pauses: noise without speech gives about 0. Between -20 and 80, which also stands for digital silence between
    the words.
    """
    if (powers > DIGITAL_SILENCE).sum() < 10:
        return None
    length, min_count = round(FLOOR_SECONDS / frame_seconds), round(FLOOR_LEAST_SECONDS / frame_seconds)
    floors = [_quietest_tenth(powers[start : start + length], min_count) for start in range(0, len(powers), length)]
    noise = float(np.mean([floor for floor in floors if floor > 0] or [DIGITAL_SILENCE]))
    speech = float(powers[powers > np.percentile(powers, 95) * 1e-2].mean()) - noise
    return float(np.clip(10 * np.log10(max(speech, 1e-12) / noise), *RANGE_DB))


def _quietest_tenth(powers: Powers, min_count: int) -> float:
    """Mean of the lowest tenth of the frame powers; 0 where too few sound to tell."""
    if (powers > DIGITAL_SILENCE).sum() < min_count:
        return 0.0
    return float(np.sort(np.maximum(powers, DIGITAL_SILENCE))[: len(powers) // 10].mean())
