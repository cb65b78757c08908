"""Another pitch for finished speech: Praat's PSOLA (Moulines and Charpentier 1990) by parselmouth (GPL-3.0)."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from voiceclone.errors import ConfigError

STEP = 0.01  # seconds between two pitch values
FLOOR_HZ, CEILING_HZ = 60.0, 600.0


def repitched(
    samples: npt.NDArray[np.float32], rate: int, semitones: float = 0.0, pitch_range: float = 1.0
) -> npt.NDArray[np.float32]:
    """Speech at another pitch, of the same length and with its formants where they were.

    Args:
        samples: mono float32 (N,).
        rate: in Hz.
        semitones: by which F0 is raised.
        pitch_range: factor of the deviations of log F0 from its mean over the voiced frames.

    Returns:
        float32 (N,); the same array where nothing is voiced, or too short for two periods.

    Raises:
        ConfigError: parselmouth is not installed.
    """
    try:
        import parselmouth
        from parselmouth.praat import call
    except ImportError:
        raise ConfigError(
            "pitch, pitch_range: this voice has a HiFi-GAN decoder, whose finished sound needs Praat's library",
            "pip install praat-parselmouth, or omit them",
        ) from None
    if len(samples) < 3 / FLOOR_HZ * rate:
        return samples
    sound = parselmouth.Sound(np.asarray(samples, np.float64), rate)
    manipulation = call(sound, "To Manipulation", STEP, FLOOR_HZ, CEILING_HZ)
    tier = call(manipulation, "Extract pitch tier")
    hertz = [call(tier, "Get value at index", index + 1) for index in range(call(tier, "Get number of points"))]
    if not hertz:
        return samples
    mean = float(np.mean(np.log(hertz)))
    raised = mean + semitones * math.log(2) / 12
    call(tier, "Formula", f"exp({raised!r} + {pitch_range!r} * (ln(self) - {mean!r}))")
    call([tier, manipulation], "Replace pitch tier")
    moved = call(manipulation, "Get resynthesis (overlap-add)").values[0]
    return np.asarray(np.pad(moved, (0, max(0, len(samples) - len(moved))))[: len(samples)], np.float32)
