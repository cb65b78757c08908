"""Channels of a recording that carry the voice: measured, so that noise, a copy or another person is never mixed in.

Two channels that hold the same sound are averaged, the second one turned over where it is inverted. Else the channel
with the best signal-to-noise ratio is taken, unless another one holds a voice of its own: then the file is of two
people, and nobody can tell from it whose recording it is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from voiceclone.errors import DataError
from voiceclone.sound.io import Waveform, read_audio, resample
from voiceclone.sound.snr import snr_of_powers
from voiceclone.sound.spool import Samples

Array = npt.NDArray[np.float64]

FRAME_SECONDS = 0.02
ALIVE_DB = 40.0  # a channel this far below the loudest one carries nothing
NOISY_DB = 10.0  # so much worse a signal-to-noise ratio makes a channel one to leave out
EQUAL_DB = 3.0  # signal-to-noise ratios that near say nothing of which channel is better
SPEECH_SNR_DB = 12.0  # steady noise and hum stay below, speech with pauses above
SAME_SOUND = 0.7  # correlation of two channels of one stereo recording
SYLLABLE_SECONDS = 0.2  # levels are compared over so long, that the echo of a room does not count
SAME_EVENTS = 0.72  # correlation of the levels in dB of one voice before two microphones
DOMINATES_DB = 6.0
TURNS = 0.25  # share of the speaking time in which each of two voices dominates
SELDOM = 0.05  # a smaller share says that the other one is no voice

_MIX = re.compile(r"(\d+)((?:[+-]\d+)*)")


class TwoVoicesError(Exception):
    """The channels hold different voices."""


@dataclass(frozen=True)
class Mix:
    """Channels to average.

    Attributes:
        channels: numbers from 1, negative for one to turn over.
        why: what was left out or turned over, in words; empty where nothing was.
    """

    channels: tuple[int, ...] = (1,)
    why: str = ""

    def __str__(self) -> str:
        """Table cell: ``1``, ``1+2``, ``1-2``."""
        return "".join(f"{channel:+d}" for channel in self.channels).lstrip("+")

    @classmethod
    def parse(cls, cell: str) -> Mix:
        """Undo ``str``.

        Raises:
            ValueError: it is no such cell.
        """
        found = _MIX.fullmatch(cell)
        if not found:
            raise ValueError(f"{cell!r} is no mix of channels such as 1, 1+2 or 1-2")
        return cls((int(found[1]), *(int(part) for part in re.findall(r"[+-]\d+", found[2]))))

    def take(self, block: Waveform) -> Waveform:
        """The channels of float32 (frames, channels) to keep, turned over where the mix says so."""
        if self.channels == tuple(range(1, block.shape[1] + 1)):
            return block
        places = [abs(channel) - 1 for channel in self.channels]
        return block[:, places] * np.sign(self.channels).astype(np.float32)

    @property
    def plain(self) -> bool:
        """True if every kept channel is as it was recorded."""
        return all(channel > 0 for channel in self.channels)


class ChannelMeter:
    """Takes a recording of several channels block by block and says which of them to keep.

    Args:
        rate: sample rate in Hz.
    """

    def __init__(self, rate: int) -> None:
        self._length = max(1, round(FRAME_SECONDS * rate))
        self._rest: Waveform | None = None
        self._powers: list[Array] = []
        self._products: Array | None = None

    def add(self, block: Waveform) -> None:
        """Take the next block: float32 (frames, channels)."""
        if not np.isfinite(block).all():
            return
        if self._rest is not None:
            block = np.concatenate([self._rest, block])
        count = len(block) // self._length
        self._rest = block[count * self._length :].copy()
        if not count:
            return
        frames = block[: count * self._length].reshape(count, self._length, -1).astype(np.float64)
        frames = frames - frames.mean(axis=1, keepdims=True)
        self._powers.append(np.square(frames).mean(axis=1))
        # Differences of neighbours: rumble, which two unrelated channels may share, would hide the voice.
        sharp = np.diff(frames, axis=1).reshape(-1, frames.shape[2])
        products = sharp.T @ sharp
        self._products = products if self._products is None else self._products + products

    def result(self) -> Mix:
        """The channels to keep.

        Raises:
            TwoVoicesError: two of them hold a voice each.
        """
        if self._products is None:
            return Mix()
        powers = np.concatenate(self._powers)
        scale = np.sqrt(np.maximum(np.diag(self._products), 1e-30))
        return choose(powers, self._products / np.outer(scale, scale))


def choose(powers: Array, correlation: Array) -> Mix:
    """The channels to keep.

    Args:
        powers: of the 20 ms frames, (frames, channels).
        correlation: of the channels, (channels, channels).

    Raises:
        TwoVoicesError: two of them hold a voice each.
    """
    levels = powers.mean(axis=0)
    alive = [channel for channel in range(len(levels)) if levels[channel] > levels.max() * 10 ** (-ALIVE_DB / 10)]
    ratios = [snr_of_powers(powers[:, channel], FRAME_SECONDS) or 0.0 for channel in range(len(levels))]
    # Of channels that are about as clean the driest: it is nearer to the voice.
    cleanest = max((ratios[channel] for channel in alive), default=0.0)
    clean = [channel for channel in alive if ratios[channel] >= cleanest - EQUAL_DB]
    best = max(clean, key=lambda channel: (round(dryness(powers[:, channel]), 1), -channel), default=0)
    kept, notes = {best: 1}, []
    for channel in range(len(levels)):
        if channel == best:
            continue
        found = _compare(powers, ratios, best, channel, float(correlation[best, channel]), channel in alive)
        if found in ("same", "inverted"):
            kept[channel] = 1 if found == "same" else -1
        if found != "same":
            notes.append(f"channel {channel + 1} {_WORDS[found]}")
    order = sorted(kept, key=lambda channel: (kept[channel] < 0, channel))
    return Mix(tuple(kept[channel] * (channel + 1) for channel in order), "; ".join(notes))


_WORDS = {
    "silent": "left out: silent",
    "noise": "left out: noise",
    "copy": "left out: the same voice, less clear",
    "inverted": "turned over: inverted",
}


def _compare(powers: Array, ratios: list[float], best: int, other: int, correlation: float, alive: bool) -> str:
    """Relation of another channel to the best one."""
    if not alive:
        return "silent"
    if abs(correlation) >= SAME_SOUND:
        return "same" if correlation > 0 else "inverted"
    if ratios[other] < SPEECH_SNR_DB:
        return "noise"
    one, two = smooth(powers[:, best]), smooth(powers[:, other])
    taken = turns(one, two)
    if taken >= TURNS:
        raise TwoVoicesError(f"channels {best + 1} and {other + 1} hold a voice each")
    if common_events(one, two) >= SAME_EVENTS:
        return "copy"
    if ratios[other] < ratios[best] - NOISY_DB and taken < SELDOM:
        return "noise"
    raise TwoVoicesError(f"channels {best + 1} and {other + 1} hold sounds that have nothing in common")


def _active(powers: Array) -> npt.NDArray[np.bool_]:
    """Frames 15 dB above the channel's floor and within 25 dB of its loudest."""
    floor = np.percentile(powers, 10) + 1e-12
    return (powers > floor * 10**1.5) & (powers > np.percentile(powers, 95) * 10**-2.5)


def dryness(powers: Array) -> float:
    """Decay of sound in dB per frame: a room far from the microphone fills the gaps between syllables."""
    decibels = 10 * np.log10(powers + 1e-12)
    sounding = _active(powers)[:-1]
    return -float(np.percentile(np.diff(decibels)[sounding], 10)) if sounding.any() else 0.0


def smooth(powers: Array) -> Array:
    """Means over the length of a syllable."""
    length = min(len(powers), round(SYLLABLE_SECONDS / FRAME_SECONDS))
    return np.convolve(powers, np.full(length, 1 / length), "valid")


def turns(one: Array, other: Array) -> float:
    """Share of the time in which two channels sound where the one that is seldom the louder one, by far, is it."""
    ratio = 10 ** (DOMINATES_DB / 10)
    # By their own levels: a microphone that is set lower dominates too while its speaker speaks.
    one, other = one / np.percentile(one, 95), other / np.percentile(other, 95)
    sounding = _active(one) | _active(other)
    total = max(1, int(sounding.sum()))
    first = int((_active(one) & (one > ratio * other)).sum()) / total
    second = int((_active(other) & (other > ratio * one)).sum()) / total
    return min(first, second)


def common_events(one: Array, other: Array) -> float:
    """Correlation of the levels of two channels, the one up to 0.1 s after the other: at most 1."""
    first, second = (10 * np.log10(powers + 1e-10) for powers in (one, other))
    lags = range(-round(0.1 / FRAME_SECONDS), round(0.1 / FRAME_SECONDS) + 1)
    return max(_correlation(first, second, lag) for lag in lags)


def _correlation(one: Array, other: Array, lag: int) -> float:
    one, other = (one[lag:], other[: len(other) - lag]) if lag >= 0 else (one[:lag], other[-lag:])
    if len(one) < 2 or one.std() == 0 or other.std() == 0:
        return 0.0
    return float(np.corrcoef(one, other)[0, 1])


def mix_of(samples: Samples, rate: int) -> Mix:
    """The channels of samples in memory, float32 (frames, channels), to keep; see :class:`ChannelMeter`."""
    if samples.shape[1] == 1:
        return Mix()
    meter = ChannelMeter(rate)
    for start in range(0, len(samples), 10 * rate):
        meter.add(samples[start : start + 10 * rate])
    return meter.result()


def read_voice(path: Path, rate: int) -> Waveform:
    """The voice of a sound file, of the channels that carry it: float32 (frames,) at ``rate`` Hz.

    Raises:
        DataError: it cannot be read, or its channels hold different voices.
    """
    samples, source_rate = read_audio(path)
    try:
        kept = mix_of(samples, source_rate).take(samples)
    except TwoVoicesError as error:
        raise DataError(f"{path}: its {error}", "export the channel of one person") from error
    return resample(kept.mean(axis=1, dtype=np.float32), source_rate, rate)
