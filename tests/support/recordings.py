"""Small recordings that the intake accepts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile

RATE = 16000


def voice_like(seconds: float = 3.0, rate: int = RATE, seed: int = 0) -> npt.NDArray[np.float64]:
    """Harmonics with a syllable rhythm and breath noise: loud enough, wide enough, different for every seed."""
    generator = np.random.default_rng(seed)
    time_ = np.arange(int(seconds * rate)) / rate
    tone = sum(np.sin(2 * np.pi * (110 + 7 * seed) * k * time_) / k for k in range(1, 20))
    noise = generator.standard_normal(len(time_)) * 0.05
    return 0.15 * (tone + noise) * (0.55 + 0.45 * np.sin(2 * np.pi * 3 * time_))


def write(path: Path, samples: npt.NDArray[np.float64], rate: int = RATE, **kind: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(str(path), samples, rate, **kind)
    return path


def write_noise(path: Path, seed: int) -> None:
    """Two seconds that pass the intake, different for every seed."""
    generator = np.random.default_rng(seed)
    with path.open("wb") as handle:  # the library would take some of the names for something else
        soundfile.write(handle, 0.1 * generator.standard_normal(16000), 8000, format="WAV")
