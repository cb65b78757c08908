"""Is there music under the voice? A measurement on a few excerpts, and the decision of ``mode: auto``.

A separator trained on songs puts noise into its accompaniment too, so energy alone would send every noisy take through
it. Music differs from noise by tones that hold for at least two analysis frames and then give way to others: hiss and
rumble have no such tones, hum and buzz have tones that never change. The functions that cut a take, into excerpts or
into overlapping pieces that are joined again, are shared by the other stages of sound.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from voiceclone.sound.io import Waveform, resample
from voiceclone.sound.spool import Samples, joined


def segment_starts(frames: int, size: int, step: int) -> list[int]:
    """First frame of each piece: pieces of ``size`` frames every ``step`` frames that cover all ``frames``."""
    return [0, *range(step, max(frames - (size - step), 1), step)]


def in_segments(
    samples: Samples, rate: int, work: Callable[[Waveform], Waveform], seconds: float, overlap: float
) -> Samples:
    """Apply ``work`` to overlapping pieces and join the results with linear cross-fades.

    What ``work`` needs of memory is bounded by the piece, whatever the length of the take.

    Args:
        samples: float32 (frames, channels).
        rate: in Hz.
        work: maps (n, channels) to (n,) at the same rate.
        seconds: length of a piece.
        overlap: length of the cross-fade between neighbours in seconds, shorter than half a piece.

    Returns:
        float32 (frames,).
    """
    return joined(_faded(samples, rate, work, seconds, overlap), samples)


def _faded(
    samples: Samples, rate: int, work: Callable[[Waveform], Waveform], seconds: float, overlap: float
) -> Iterator[Waveform]:
    """What is final after each piece."""
    size, fade = int(seconds * rate), int(overlap * rate)
    step = size - fade
    ramp = np.linspace(0.0, 1.0, fade, endpoint=False, dtype=np.float32)
    tail = np.zeros(0, np.float32)
    for start in segment_starts(len(samples), size, step):
        piece = np.array(work(samples[start : start + size]), np.float32)
        joint = min(fade, len(piece)) if start else 0
        piece[:joint] = tail[:joint] * (1.0 - ramp[:joint]) + piece[:joint] * ramp[:joint]
        end = step if start + size < len(samples) else len(piece)
        tail = piece[end:]
        yield piece[:end]


def excerpt_slices(frames: int, rate: int, number: int, seconds: float) -> list[slice]:
    """At most ``number`` pieces spread evenly over a take; the whole take when it is not longer than they are."""
    size = int(seconds * rate)
    if frames <= size:
        return [slice(0, frames)]
    number = max(1, min(number, frames // size))
    starts = [round((frames - size) * (index + 0.5) / number) for index in range(number)]
    return [slice(start, start + size) for start in starts]


RATE = 16_000
FRAME, HOP = 2048, 1024  # 128 ms and 64 ms: tones are resolved, syllables are not
LOWEST, HIGHEST = 12, 960  # bins: 94 Hz to 7.5 kHz
PROMINENCE = 8.0  # a tone's power over the median of its 240 Hz neighbourhood (9 dB)
MOVING = 4.0  # a moving tone's power over the same bin's median in time (6 dB)
EXCERPT_SECONDS = 10.0
MUSIC_TONALITY = 0.31  # share of moving tones from which the rest is music and not noise


class Splitter(Protocol):
    """A separator of one piece: what ``spleeter`` and ``separator_backend`` offer."""

    name: str
    digest: str
    seconds: float
    overlap: float

    def split(self, samples: Waveform, rate: int) -> tuple[Waveform, Waveform]:
        """Voice and the rest of float32 (frames, channels), each float32 (frames,)."""


@dataclass(frozen=True)
class Accompaniment:
    """Summary of the excerpts.

    Attributes:
        ratio_db: energy of the voice over that of the rest in dB, from -60 to 60.
        tonality: mean share of the rest's energy, where the voice is weak, in tones that come and go: 0 to 1.
    """

    ratio_db: float
    tonality: float

    def is_music(self, threshold_db: float) -> bool:
        """True when the rest is loud enough and tonal enough."""
        return self.ratio_db < threshold_db and self.tonality >= MUSIC_TONALITY


def measure(splitter: Splitter, samples: Samples, rate: int, number: int) -> Accompaniment:
    """Separate ``number`` excerpts of float32 (frames, channels) and measure the accompaniment in them."""
    voice_energy = rest_energy = 1e-9
    voices, rests = [], []
    for place in excerpt_slices(len(samples), rate, number, EXCERPT_SECONDS):
        voice, rest = splitter.split(samples[place], rate)
        voice_energy += float(np.square(voice, dtype=np.float64).sum())
        rest_energy += float(np.square(rest, dtype=np.float64).sum())
        voices.append(_power(voice, rate))
        rests.append(_power(rest, rate))
    ratio = 10 * math.log10(voice_energy / rest_energy)
    return Accompaniment(
        ratio_db=float(np.clip(ratio, -60.0, 60.0)),
        tonality=moving_tones(np.concatenate(rests, axis=1), np.concatenate(voices, axis=1)),
    )


def _power(samples: Waveform, rate: int) -> npt.NDArray[np.float64]:
    """Power spectrogram (bins, frames) of the band where tones are looked for."""
    from scipy.signal import stft

    wave = resample(samples, rate, RATE).astype(np.float64)
    wave = np.pad(wave, (0, max(0, 2 * FRAME - len(wave))))
    spectrum = stft(wave, RATE, nperseg=FRAME, noverlap=FRAME - HOP)[2]
    return np.square(np.abs(spectrum[LOWEST:HIGHEST])) + 1e-12


def moving_tones(rest: npt.NDArray[np.float64], voice: npt.NDArray[np.float64]) -> float:
    """Share of the rest's energy in tones that come and go: mean over the frames where the voice is weakest.

    Args:
        rest, voice: power spectrograms (bins, frames) of the two stems.
    """
    from scipy.ndimage import median_filter

    tones = rest > PROMINENCE * median_filter(rest, size=(31, 1))
    held = tones[:, 1:] & tones[:, :-1]
    moving = np.clip(rest - MOVING * np.median(rest, axis=1, keepdims=True), 0.0, None)[:, 1:]
    level = voice.sum(axis=0)[1:]
    weak = level <= np.percentile(level, 30)
    shares = (moving * held).sum(axis=0) / rest[:, 1:].sum(axis=0)
    return float(shares[weak].mean())
