"""A spread-spectrum watermark of 32 bits in numpy: every sound of this program says which voice spoke.

A chip is a block of 2 slots (24 ms) by 2 bands (142 Hz): its value is the level of the two cells on one diagonal less
that of the other two, in dB, which is blind to phase, loudness and filters. The mark raises one diagonal and lowers the
other until the sign of the value is that of the code, by at most :data:`DEPTH` dB: what the sound itself does there is
known when it is marked (informed embedding: Costa 1983; improved spread spectrum: Malvar & Florencio 2003). Each byte
of the voice's number is one of 256 biorthogonal words of 128 chips, scattered over 2.06 s, and repeated from there on.
All of it lies below 3.6 kHz, so that it survives a telephone.

The finder knows neither the original nor where the period begins nor how fast the sound is played: it tries all starts
and tempi and takes the best one. Key and code are public, as a finder that anyone can run has to be: who reads this
file can also remove the mark.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from voiceclone.files import digest

Floats = npt.NDArray[np.float32]

SLOT, BANDS, LOWEST, BAND = 0.024, 24, 200.0, 3400 / 24  # seconds, number, Hz, Hz
EDGE = 50.0  # Hz, from one band's weight to the next one's
SYMBOLS, WORD = 4, 128  # bytes of the number, chips of each
BLOCKS, ROWS = 43, BANDS // 2  # chips of a period, in time and in frequency
BLOCK = 2 * SLOT
KEY = 2024
DEPTH, TARGET = 2.0, 4.0  # dB: largest change of a cell, value that a chip should have
GAIN = 2.6  # dB of a chip's value for each dB of its cells (4 but for the overlap of windows)
STEP, RATE, FFT = 0.004, 8000, 512  # of the finder: seconds between candidates of a block's start, Hz
FLOOR = 1e-9  # power that no sound is below
LIMIT = 4.0  # dB: values of chips beyond say no more
TEMPI = np.round(np.arange(0.95, 1.0501, 0.005), 3)
WINDOW = 6.0  # seconds, judged together
#: Scores of unmarked clips are Gumbel distributed with this mode and scale; see ``tests/benchmarks/test_watermark.py``.
UNMARKED_MODE, UNMARKED_SCALE = 14.70, 0.256
#: Probability of a false alarm up to which sound counts as marked.
FALSE_ALARM = 5e-4


@cache
def _code() -> tuple[npt.NDArray[np.int64], Floats, Floats]:
    """Places (symbols, word) of the chips in a period, their scramblers of the same shape, words (word, word)."""
    rng = np.random.Generator(np.random.PCG64(KEY))
    places = rng.permutation(BLOCKS * ROWS)[: SYMBOLS * WORD].reshape(SYMBOLS, WORD)
    scramblers = rng.choice(np.asarray([-1, 1], np.float32), size=places.shape)
    words = np.ones((1, 1), np.float32)
    while len(words) < WORD:
        words = np.block([[words, words], [words, -words]])
    return places, scramblers, words


def number_of(*fingerprints: str) -> int:
    """The number of a voice: 32 bits of the digest of what identifies it."""
    return int(digest(list(fingerprints))[:8], 16)


def code_of(voice: int) -> Floats:
    """Signs of the chips of a voice's number (0 to 2^32 - 1): float32 (blocks, rows), 0 where there is no chip."""
    places, scramblers, words = _code()
    signs = np.zeros(BLOCKS * ROWS, np.float32)
    for symbol, byte in enumerate(int(voice).to_bytes(SYMBOLS, "little")):
        signs[places[symbol]] = words[byte % WORD] * scramblers[symbol] * (1 if byte < WORD else -1)
    return signs.reshape(BLOCKS, ROWS)


def _bands(frequencies: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Weights (frequencies, bands) of trapezoids that add up to one between the lowest and the highest band."""
    low = LOWEST + BAND * np.arange(BANDS)
    rise = (frequencies[:, None] - low) / EDGE + 0.5
    fall = (low + BAND - frequencies[:, None]) / EDGE + 0.5
    return np.clip(rise, 0, 1) * np.clip(fall, 0, 1)


def _values(levels: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Values in dB of chips from the levels (..., 2, bands) of their slots: (..., rows)."""
    change = levels[..., 0, :] - levels[..., 1, :]
    return np.asarray(change[..., 0::2] - change[..., 1::2])


def _levels(power: npt.NDArray[np.float64], bands: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.asarray(10 * np.log10(power @ bands + FLOOR))


class Marker:
    """Marks sound as it comes; 72 ms wait for what follows. However it is cut, the result is the same bit for bit.

    Args:
        voice: number of 32 bits that the mark carries.
        rate: of the sound in Hz, at least 8000.
    """

    def __init__(self, voice: int, rate: int) -> None:
        self._signs, self._block = code_of(voice), 0
        self._hop = hop = round(SLOT * rate)
        self._lead = hop // 2  # the first frame's first half lies before the sound
        self._waiting = np.zeros(self._lead, np.float32)
        self._tail = np.zeros(hop)
        place = np.arange(2 * hop) + 0.5
        self._window = np.sin(np.pi * place / (2 * hop))
        inner = (place - hop / 4) / (1.5 * hop)
        self._analysis = np.where((inner > 0) & (inner < 1), np.sin(np.pi * inner) ** 2, 0.0)
        self._bands = _bands(np.arange(hop + 1) * rate / (2 * hop))

    def push(self, samples: Floats) -> Floats:
        """Sound float32 (n,) within ±1 in, what is final of the marked sound out."""
        self._waiting = np.concatenate([self._waiting, np.asarray(samples, np.float32)])
        parts, step = [], 2 * self._hop
        start = 0
        while start + 3 * self._hop <= len(self._waiting):
            parts.append(self._marked(self._waiting[start : start + 3 * self._hop]))
            start += step
        self._waiting = self._waiting[start:]
        return self._without_lead(parts)

    def flush(self) -> Floats:
        """The rest of the sound, when no more comes."""
        rest, self._waiting = self._waiting.astype(np.float64), np.zeros(0, np.float32)
        rest[: self._hop] += self._tail[: len(rest)]
        return self._without_lead([_limited(rest)])

    def _without_lead(self, parts: list[Floats]) -> Floats:
        done = np.concatenate([np.zeros(0, np.float32), *parts])
        lead, self._lead = self._lead, max(0, self._lead - len(done))
        return done[lead:]

    def _marked(self, samples: Floats) -> Floats:
        """The first two of the three hops that the frames of a block span."""
        hop = self._hop
        frames = np.stack([samples[: 2 * hop], samples[hop:]]).astype(np.float64)
        power = np.abs(np.fft.rfft(frames * self._analysis, axis=1)) ** 2
        signs = self._signs[self._block % BLOCKS]
        value = _values(_levels(power, self._bands))
        push = signs * np.clip((TARGET - signs * value) / GAIN, 0, DEPTH)
        cells = np.repeat(push, 2) * np.tile([1.0, -1.0], ROWS)
        gain = 10 ** (np.stack([cells, -cells]) @ self._bands.T / 20) - 1
        change = np.fft.irfft(np.fft.rfft(frames * self._window, axis=1) * gain, 2 * hop, axis=1) * self._window
        done = samples[: 2 * hop].astype(np.float64)
        done[:hop] += self._tail + change[0, :hop]
        done[hop:] += change[0, hop:] + change[1, :hop]
        self._tail, self._block = change[1, hop:], self._block + 1
        return _limited(done)


def _limited(samples: npt.NDArray[np.float64]) -> Floats:
    return np.clip(samples, -1, 1).astype(np.float32)


def marked(samples: Floats, rate: int, voice: int) -> Floats:
    """Sound float32 (n,) within ±1 with the mark of a voice's number; the same length."""
    marker = Marker(voice, rate)
    return np.concatenate([marker.push(samples), marker.flush()])


@dataclass(frozen=True)
class Mark:
    """What the finder found in a stretch of sound.

    Attributes:
        voice: number of the likeliest voice.
        score: sum of the best words' correlations, in standard deviations of the others.
        errors: share of chips that disagree with that voice.
        tempo: how fast the sound is played.
        start, end: of the stretch, in seconds.
    """

    voice: int
    score: float
    errors: float
    tempo: float
    start: float
    end: float

    @property
    def found(self) -> bool:
        """The stretch is marked."""
        return self.false_alarm <= FALSE_ALARM

    @property
    def false_alarm(self) -> float:
        """Probability that unmarked sound has such a score."""
        return float(-np.expm1(-np.exp(-(self.score - UNMARKED_MODE) / UNMARKED_SCALE)))


#: Seconds below which nothing can be found.
SHORTEST = 0.5


def find_marks(samples: Floats, rate: int) -> Iterator[Mark]:
    """The likeliest mark of each stretch of 6 s (the last one is longer), whether it counts as found or not.

    Args:
        samples: float32 (n,).
        rate: in Hz.
    """
    if len(samples) < SHORTEST * rate:
        yield Mark(0, 0.0, 0.5, 1.0, 0.0, len(samples) / rate)
        return
    chips = _chips(samples, rate)
    size, steps = round(WINDOW / STEP), chips.shape[1]
    count = max(1, steps // size)
    for number in range(count):
        start, end = number * size, (number + 1) * size if number + 1 < count else steps
        voice, score, errors, tempo = max((_search(kind[start:end]) for kind in chips), key=lambda best: best[1])
        yield Mark(voice, score, errors, tempo, start * STEP, end * STEP)


def _chips(samples: Floats, rate: int) -> Floats:
    """Values of chips at every step and row, limited, plain and weighted against noise: float32 (2, steps, rows)."""
    from voiceclone.sound.io import resample

    size, step, half = round(1.5 * SLOT * RATE), round(STEP * RATE), round(SLOT / STEP / 2)
    sound = np.concatenate([np.zeros(size // 2), resample(samples, rate, RATE), np.zeros(size)])
    frames = np.lib.stride_tricks.sliding_window_view(sound, size)[::step][: int(len(samples) / rate / STEP)]
    window = np.sin(np.pi * (np.arange(size) + 0.5) / size) ** 2
    bands = _bands(np.fft.rfftfreq(FFT, 1 / RATE))
    parts = np.array_split(frames, len(frames) // 4096 + 1)  # so that an hour takes little memory
    power = np.concatenate([np.abs(np.fft.rfft(part * window, FFT, axis=1)) ** 2 @ bands for part in parts]) + FLOOR
    levels = 10 * np.log10(power)
    pairs = np.stack([levels[: -2 * half], levels[2 * half :]], axis=1)
    values = LIMIT * np.tanh(_values(pairs) / LIMIT)
    trust = power / (power + 3 * np.percentile(power, 5, axis=0))  # cells near the noise tell little
    cells = np.minimum(trust[: -2 * half], trust[2 * half :])
    both = np.stack([values, values * np.minimum(cells[:, 0::2], cells[:, 1::2])])
    return np.pad(both, ((0, 0), (half, half), (0, 0))).astype(np.float32)


def _search(chips: Floats) -> tuple[int, float, float, float]:
    """Voice, score, share of wrong chips and tempo of the best start and tempo of chips (steps, rows)."""
    places, scramblers, words = _code()
    turned = (places[None] - ROWS * np.arange(BLOCKS)[:, None, None]) % (BLOCKS * ROWS)  # by block of the start
    best = (0, 0.0, 0.5, 1.0)
    for tempo in TEMPI:
        folded = _folded(chips, float(tempo)).reshape(-1, BLOCKS * ROWS)
        heard = (folded[:, turned] * scramblers).reshape(-1, SYMBOLS, WORD)  # of each start
        found = heard @ words
        deviation = np.sqrt(np.square(heard).sum((1, 2)) / SYMBOLS + 1e-9)
        scores = np.maximum(found.max(2), -found.min(2)).sum(1) / deviation
        start = int(scores.argmax())
        if scores[start] > best[1]:
            rows = np.abs(found[start]).argmax(1)
            signs = np.sign(found[start, np.arange(SYMBOLS), rows])
            right = heard[start] * words[rows] * signs[:, None]
            voice = int.from_bytes(bytes((rows + WORD * (signs < 0)).tolist()), "little")
            best = (voice, float(scores[start]), float((right < 0).sum() / max(1, (right != 0).sum())), float(tempo))
    return best


def _folded(chips: Floats, tempo: float) -> Floats:
    """Chips of a sound played at a tempo, periods added up: float32 (starts within a block, blocks, rows)."""
    steps = round(BLOCK / STEP)
    count = int(len(chips) * tempo / steps)
    middles = (np.arange(steps)[:, None] + (np.arange(count) + 0.5) * steps) / tempo
    taken = chips[np.minimum(np.round(middles).astype(int), len(chips) - 1)]
    padded = np.pad(taken, ((0, 0), (0, -count % BLOCKS), (0, 0)))
    return np.asarray(padded.reshape(steps, -1, BLOCKS, ROWS).sum(1), np.float32)
