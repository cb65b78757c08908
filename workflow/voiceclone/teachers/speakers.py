"""Pseudo-speakers: one teacher's voice as many people, who differ in formants, pitch, pitch range, tilt and tempo.

People of small body have high formants and a high pitch, so both follow one number, the size, with some spread.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import soxr

from voiceclone.sound.io import Waveform
from voiceclone.stages.teacher_speech import TeacherSettings

_FORMANT_SPREAD, _PITCH_SPREAD = 0.04, 0.08  # standard deviations of the logarithm around what the size says
_LINE_TEMPO, _LINE_RANGE = 0.07, 0.15  # largest change of one speaker from line to line


@dataclass(frozen=True)
class Manner:
    """A pseudo-speaker's way to speak a line; the defaults are the teacher's own voice.

    Attributes:
        speaker: number of the pseudo-speaker; 0 is the teacher's own voice.
        formants, pitch, pitch_range, tempo: factors.
        tilt: dB per octave, zero at 1 kHz.
    """

    speaker: int = 0
    formants: float = 1.0
    pitch: float = 1.0
    pitch_range: float = 1.0
    tempo: float = 1.0
    tilt: float = 0.0


def pseudo_speaker(number: int, settings: TeacherSettings) -> Manner:
    """The same person for the same number, seed and ranges."""
    if number == 0:
        return Manner()
    rng = np.random.default_rng([settings.seed, 1, number])
    size = rng.uniform()

    def follow(bounds: tuple[float, float], spread: float) -> float:
        low, high = np.log(bounds)
        return float(np.exp(np.clip(low + size * (high - low) + rng.normal(0, spread), low - spread, high + spread)))

    return Manner(
        speaker=number,
        formants=follow(settings.formants, _FORMANT_SPREAD),
        pitch=follow(settings.pitch, _PITCH_SPREAD),
        pitch_range=float(rng.uniform(*settings.pitch_range)),
        tempo=float(rng.uniform(*settings.tempo)),
        tilt=float(rng.uniform(*settings.tilt)),
    )


def vary(manner: Manner, rng: np.random.Generator) -> Manner:
    """The speaker in the mood of one line: a little slower or faster, livelier or flatter."""
    return replace(
        manner,
        tempo=manner.tempo * float(rng.uniform(1 - _LINE_TEMPO, 1 + _LINE_TEMPO)),
        pitch_range=manner.pitch_range * float(rng.uniform(1 - _LINE_RANGE, 1 + _LINE_RANGE)),
    )


def warp(bins: npt.NDArray[np.float32], factor: float) -> npt.NDArray[np.float32]:
    """A spectrum (bins, frames) stretched along frequency: what was at f is at f * factor; float32 (bins, frames)."""
    last = len(bins) - 1
    source = np.minimum(np.arange(len(bins)) / factor, last)
    low = source.astype(int)
    share = (source - low)[:, None].astype(np.float32)
    return np.ascontiguousarray(bins[low] * (1 - share) + bins[np.minimum(low + 1, last)] * share)


def resized(samples: Waveform, rate: int, factor: float) -> Waveform:
    """Sound played ``factor`` times as fast: pitch and formants move together, as with the length of a body."""
    if factor == 1.0:
        return samples
    return np.asarray(soxr.resample(samples, rate, rate / factor, quality="VHQ"), dtype=np.float32)


def tilted(samples: Waveform, rate: int, tilt: float) -> Waveform:
    """Sound with its spectrum tilted by ``tilt`` dB per octave around 1 kHz; below 200 Hz it stays level."""
    if tilt == 0.0:
        return samples
    frequencies = np.fft.rfftfreq(len(samples), 1 / rate)
    gain = 10 ** (tilt / 20 * np.log2(np.maximum(frequencies, 200) / 1000))
    return np.fft.irfft(np.fft.rfft(samples) * gain, len(samples)).astype(np.float32)
