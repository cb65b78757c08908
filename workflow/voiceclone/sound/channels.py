"""Channels of a recording that carry the voice: measured, so that noise, a copy or another person is never mixed in.

Two channels that hold the same sound are averaged, the second one turned over where it is inverted. Else the channel
with the best signal-to-noise ratio is taken, unless another one holds a voice of its own: then the file is of two
people, and nobody can tell from it whose recording it is.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from voiceclone.errors import DataError
from voiceclone.sound.io import Waveform, read_audio, resample
from voiceclone.sound.measure import FlatTops, Spectrum
from voiceclone.sound.snr import snr_of_powers
from voiceclone.sound.spool import Samples

Array = npt.NDArray[np.float64]

FRAME_SECONDS = 0.02
BAND = (200.0, 3400.0)  # Hz, in which voices are compared: rumble, mains and hiss stay outside
ALIVE_DB = 40.0  # a channel this far below the loudest one carries nothing
NOISY_DB = 10.0  # so much worse a signal-to-noise ratio makes a channel one to leave out
EQUAL_DB = 6.0  # signal-to-noise ratios that near say less than the room of which channel is better
EQUALLY_DRY = 0.3  # dB per frame
MIX_LOSS_DB = 1.0  # so much may averaging cost against the best channel alone
SPEECH_SNR_DB = 12.0  # steady noise and hum stay below, speech with pauses above
SAME_SOUND = 0.7  # correlation of two channels of one stereo recording
AGREEING = 0.98  # share of the speaking time in which their correlation has one sign
MUFFLED_DB = 12.0  # by which the treble of a channel that lacks it is weaker
CLIPPED_SHARE = 0.0005  # of samples on flat tops
GAP_DB, GAPS = 15.0, 0.03  # a channel that drops by that much, for that share of another one's speech, has gaps
SYLLABLE_SECONDS = 0.2  # levels are compared over so long, that the echo of a room does not count
SAME_EVENTS = 0.72  # correlation of the levels in dB of one voice before two microphones
SAME_LATER = 0.93  # the same of the changes of levels, for a copy up to LATER_SECONDS after the voice
NEAR_SECONDS, LATER_SECONDS = 0.1, 3.0
DOMINATES_DB = 6.0
TURNS = 0.25  # share of the speaking time in which each of two voices dominates
DEAD = 1e-9  # mean power: digital silence
LOUDEST = 1e4  # samples beyond are numbers of something else
SELDOM = 0.05  # a smaller share says that the other one is no voice
# A voice: frames of 64 ms with a pitch of 70 to 400 Hz, which moves, by octaves from one quarter to three.
PITCH_HZ, PITCH_SECONDS, PERIODIC = (70.0, 400.0), 0.064, 0.6
VOICED, MOVING, JUMPS = 0.15, (0.12, 0.85), 0.2
# Hz. Birds and keys have more treble than speech has, the channel of a subwoofer ends below the presence of a voice.
SPEECH, TREBLE, DEPTH, PRESENCE = (200.0, 4000.0), (5000.0, 8000.0), (200.0, 1000.0), (1000.0, 3400.0)
HISSING_DB, DULL_DB = 0.0, -30.0

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


@dataclass(frozen=True)
class Channel:
    """What was measured of one channel.

    Attributes:
        powers: of the 20 ms frames, in the band of voices.
        snr_db: signal-to-noise ratio in that band.
        treble_db: level of its treble over that of its speech.
        clipped: some of its tops are flat.
        voiced: it sounds like a voice: much of it has a pitch that moves.
        finite: all samples are numbers.
    """

    powers: Array
    snr_db: float
    treble_db: float = 0.0
    clipped: bool = False
    voiced: bool = True
    finite: bool = True


class ChannelMeter:
    """Takes a recording of several channels block by block and says which of them to keep.

    Args:
        rate: sample rate in Hz.
    """

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._length = max(1, round(FRAME_SECONDS * rate))
        self._rest: Waveform | None = None
        self._powers: list[Array] = []
        self._products: list[Array] = []  # of the channels in every frame, in the band
        self._sharp: Array | None = None  # the same over all frames, of the whole sound
        self._pitches: list[Array] = []
        self._tops: list[FlatTops] = []
        self._spectra: list[Spectrum] = []
        self._peaks = np.zeros(0)
        self._finite = np.ones(0, bool)

    def add(self, block: Waveform) -> None:
        """Take the next block: float32 (frames, channels)."""
        if not len(block):
            return
        if not self._tops:
            channels = block.shape[1]
            self._tops = [FlatTops() for _ in range(channels)]
            self._spectra = [Spectrum(self._rate) for _ in range(channels)]
            self._peaks, self._finite = np.zeros(channels), np.ones(channels, bool)
        self._finite &= (np.abs(block) < LOUDEST).all(axis=0)
        block = np.where(self._finite, block, np.float32(0))
        if self._rest is not None:
            block = np.concatenate([self._rest, block])
        count = len(block) // self._length
        self._rest = block[count * self._length :].copy()
        if count:
            self._measure(block[: count * self._length], count)

    def _measure(self, block: Waveform, count: int) -> None:
        peaks = np.abs(block).max(axis=0)
        self._peaks = np.maximum(self._peaks, peaks)
        for channel, (tops, spectrum) in enumerate(zip(self._tops, self._spectra, strict=True)):
            tops.add(block[:, channel : channel + 1], peaks[channel] == 0)
            spectrum.add(block[:, channel], peaks[channel] == 0)
        voice = in_band(block, self._rate)
        frames = voice.reshape(count, self._length, -1)
        products = np.matmul(frames.transpose(0, 2, 1), frames) / self._length
        self._powers.append(np.diagonal(products, axis1=1, axis2=2))
        self._products.append(products.astype(np.float32))
        self._pitches.append(pitches(voice, self._rate))
        whole = block.reshape(count, self._length, -1).astype(np.float64)
        # Differences of neighbours: rumble, which two unrelated channels may share, would hide the voice.
        sharp = np.diff(whole, axis=1).reshape(-1, whole.shape[2])
        self._sharp = sharp.T @ sharp if self._sharp is None else self._sharp + sharp.T @ sharp

    def result(self) -> Mix:
        """The channels to keep.

        Raises:
            TwoVoicesError: two of them hold a voice each.
        """
        if self._sharp is None or not self._finite.any():
            return Mix()
        scale = np.sqrt(np.maximum(np.diag(self._sharp), 1e-30))
        return choose(self.channels(), self._sharp / np.outer(scale, scale), np.concatenate(self._products))

    def channels(self) -> list[Channel]:
        """What was measured of each channel; none where there was no sound at all."""
        if not self._powers:
            return []
        powers, pitched = np.concatenate(self._powers), np.concatenate(self._pitches)
        return [
            Channel(
                powers[:, place],
                snr_of_powers(powers[:, place], FRAME_SECONDS) or 0.0,
                self._spectra[place].ratio_db(TREBLE, SPEECH),
                self._tops[place].share(float(self._peaks[place])) > CLIPPED_SHARE,
                has_voice(pitched[:, place]) and _like_speech(self._spectra[place]),
                bool(self._finite[place]),
            )
            for place in range(powers.shape[1])
        ]


def choose(channels: Sequence[Channel], correlation: Array, products: Array) -> Mix:
    """The channels to keep.

    Args:
        channels: what was measured of each.
        correlation: of the whole sound of the channels, (channels, channels).
        products: mean products of the channels in every frame, in the band of voices, (frames, channels, channels).

    Raises:
        TwoVoicesError: two of them hold a voice each.
    """
    levels = [float(channel.powers.mean()) for channel in channels]
    alive = [place for place, level in enumerate(levels) if level > max(levels) * 10 ** (-ALIVE_DB / 10)] or [0]
    voices = [place for place in alive if channels[place].voiced] or alive
    best = _best(channels, voices)
    kept, notes = {best: 1}, []
    for place, channel in enumerate(channels):
        if place == best:
            continue
        if not channel.finite:
            found = "broken"
        elif place not in alive:
            found = "silent"
        elif place not in voices:
            found = "noise"
        else:
            pair = products[:, [[best, best], [place, place]], [[best, place], [best, place]]]
            try:
                found = _compare(channels[best], channel, float(correlation[best, place]), pair)
            except TwoVoicesError as error:
                raise TwoVoicesError(f"channels {best + 1} and {place + 1} {error}") from None
        if found in ("same", "inverted"):
            kept[place] = 1 if found == "same" else -1
        if found != "same":
            notes.append(f"channel {place + 1} {_WORDS[found]}")
    order = sorted(kept, key=lambda place: (kept[place] < 0, place))
    return Mix(tuple(kept[place] * (place + 1) for place in order), "; ".join(notes))


_WORDS = {
    "broken": "left out: samples that are no numbers",
    "silent": "left out: silent",
    "noise": "left out: noise",
    "copy": "left out: the same voice, less clear",
    "noisier": "left out: the same voice, noisier",
    "clipped": "left out: the same voice, clipped",
    "muffled": "left out: the same voice, muffled",
    "gaps": "left out: the same voice, with gaps",
    "inverted": "turned over: inverted",
}


def _best(channels: Sequence[Channel], places: Sequence[int]) -> int:
    """The channel nearest to the voice: without gaps, noise, flat tops, with its whole band; then the driest, or of
    equally dry ones the loudest."""
    levels = [10 * np.log10(channel.powers.mean() + 1e-12) for channel in channels]
    left = [place for place in places if not any(lacks(channels[place], channels[other]) for other in places)]
    left = _cleanest(channels, left or places, NOISY_DB)
    left = [place for place in left if not channels[place].clipped] or left
    brightest = max(channels[place].treble_db for place in left)
    left = [place for place in left if channels[place].treble_db >= brightest - MUFFLED_DB]
    left = _cleanest(channels, left, EQUAL_DB)
    dry = {place: dryness(channels[place].powers) for place in left}
    left = [place for place in left if dry[place] >= max(dry.values()) - EQUALLY_DRY]
    return max(left, key=lambda place: (round(levels[place]), -place))


def _cleanest(channels: Sequence[Channel], places: Sequence[int], within_db: float) -> list[int]:
    limit = max(channels[place].snr_db for place in places) - within_db
    return [place for place in places if channels[place].snr_db >= limit]


def _compare(best: Channel, other: Channel, correlation: float, products: Array) -> str:
    """Relation of another channel to the best one; ``products`` of the two, (frames, 2, 2)."""
    sign = agreement(products)
    if abs(correlation) >= SAME_SOUND and sign * correlation > 0:
        return _worse(best, other, sign, products) or ("same" if sign > 0 else "inverted")
    if other.snr_db < SPEECH_SNR_DB:
        return "noise"
    one, two = smooth(best.powers), smooth(other.powers)
    if comes_later(one, two):
        return "copy"
    taken = turns(one, two)
    if taken >= TURNS:
        raise TwoVoicesError("hold a voice each")
    if common_events(one, two) >= SAME_EVENTS:
        return "gaps" if lacks(other, best) else "copy"
    if other.snr_db < best.snr_db - NOISY_DB and taken < SELDOM:
        return "noise"
    raise TwoVoicesError("hold sounds that have nothing in common")


def _worse(best: Channel, other: Channel, sign: int, products: Array) -> str:
    """Why a channel of the same sound would do harm to the best one; empty if it would not."""
    if other.clipped and not best.clipped:
        return "clipped"
    if other.treble_db < best.treble_db - MUFFLED_DB:
        return "muffled"
    if lacks(other, best):
        return "gaps"
    mixed = (products[:, 0, 0] + products[:, 1, 1] + 2 * sign * products[:, 0, 1]) / 4
    ratio = snr_of_powers(np.maximum(mixed.astype(np.float64), 0.0), FRAME_SECONDS)
    return "noisier" if (ratio or 0.0) < best.snr_db - MIX_LOSS_DB else ""


def agreement(products: Array) -> int:
    """1 or -1 for two channels whose voices have that sign against each other all the time, else 0.

    Args:
        products: of the two channels in every frame, (frames, 2, 2).
    """
    one, two = smooth(products[:, 0, 0]), smooth(products[:, 1, 1])
    speaking = _active(one) | _active(two)
    if not speaking.any():  # somebody who never pauses
        speaking = one >= np.percentile(one, 50)
    found = smooth(products[:, 0, 1]) / np.sqrt(np.maximum(one * two, 1e-30))
    sign = 1 if found[speaking].sum() >= 0 else -1
    whole = products.sum(axis=0)
    strength = sign * whole[0, 1] / np.sqrt(max(float(whole[0, 0] * whole[1, 1]), 1e-30))
    agrees = float((sign * found[speaking] > 0).mean()) >= AGREEING
    return sign if agrees and strength >= SAME_SOUND else 0


def in_band(block: Waveform, rate: int) -> Array:
    """A block (samples, channels) in the band of voices, with the response of a Butterworth filter of second order.

    By Fourier transform: neither scipy, which a light install lacks, nor a state from block to block is needed.
    """
    low, high = min(BAND[0], 0.2 * rate), min(BAND[1], 0.45 * rate)
    frequencies = np.maximum(np.fft.rfftfreq(len(block), 1 / rate), 1e-3)
    gains = 1 / np.sqrt(1 + ((frequencies**2 - low * high) / (frequencies * (high - low))) ** 4)
    return np.asarray(np.fft.irfft(np.fft.rfft(block, axis=0) * gains[:, None], len(block), axis=0))


def pitches(voice: Array, rate: int) -> Array:
    """Power, strength of the periodicity and period in samples of frames of 64 ms, (frames, channels, 3).

    Args:
        voice: in the band of voices, (samples, channels).
        rate: of it, in Hz; the band leaves room to keep about 8000 samples a second.
    """
    step = max(1, rate // 8000)
    rate = rate // step
    length = max(2, round(PITCH_SECONDS * rate))
    shortest = max(1, int(rate / PITCH_HZ[1]))
    longest = max(shortest + 1, int(rate / PITCH_HZ[0]))
    count = len(voice[::step]) // length
    frames = voice[::step][: count * length].reshape(count, length, voice.shape[1])
    frames = frames - frames.mean(axis=1, keepdims=True)
    spectrum = np.abs(np.fft.rfft(frames, 2 * length, axis=1)) ** 2
    correlation = np.fft.irfft(spectrum, axis=1)
    overlap = 1 - np.arange(shortest, longest) / length
    likeness = correlation[:, shortest:longest] / overlap[:, None] / np.maximum(correlation[:, :1], 1e-20)
    strength = likeness.max(axis=1, initial=0.0)
    # The shortest of about equal ones: the others are its multiples.
    period = shortest + (likeness >= 0.95 * strength[:, None]).argmax(axis=1)
    return np.stack([np.square(frames).mean(axis=1), strength, period], axis=-1)


def _like_speech(spectrum: Spectrum) -> bool:
    return spectrum.ratio_db(TREBLE, SPEECH) <= HISSING_DB and spectrum.ratio_db(PRESENCE, DEPTH) >= DULL_DB


def has_voice(pitched: Array) -> bool:
    """True if a channel sounds like a voice, by :func:`pitches` of it, (frames, 3).

    Hum, tones and a metronome have a pitch that stands still, clicks and noise have none, that of music leaps.
    """
    powers, strength, period = pitched.T
    sounding = (powers > np.percentile(powers, 95) * 10**-2.5) & (powers > 1e-10) if len(powers) else powers > 0
    voiced = sounding & (strength > PERIODIC)
    if voiced.sum() < max(5, VOICED * sounding.sum()):
        return False
    octaves = np.log2(period[voiced])
    low, high = np.percentile(octaves, [25, 75])
    return bool(MOVING[0] <= high - low <= MOVING[1] and np.median(np.abs(np.diff(octaves))) <= JUMPS)


def lacks(channel: Channel, other: Channel) -> bool:
    """True if a channel is away for a part of the other one's speech, and the other one never for a part of this."""
    if not _gaps(channel, other) > GAPS >= _gaps(other, channel):
        return False
    return common_events(smooth(channel.powers), smooth(other.powers)) >= SAME_EVENTS


def _gaps(channel: Channel, other: Channel) -> float:
    """Share of another channel's speech in which this one drops out: far below what it mostly has of it."""
    one, two = smooth(channel.powers), smooth(other.powers)
    speaking = _active(two)
    if not speaking.any():
        return 0.0
    below = 10 * np.log10((one[speaking] + 1e-12) / (two[speaking] + 1e-12))
    return float(((below < np.percentile(below, 75) - GAP_DB) & ~_active(one)[speaking]).mean())


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
    """Correlation of the levels of two channels, the one up to 0.1 s after the other: at most 1.

    Where one of them alone goes dead now and then, that time does not count.
    """
    dead = [(first < DEAD) & _active(second) for first, second in ((one, other), (other, one))]
    if min(map(np.mean, dead)) < SELDOM / 2:
        one, other = one[~(dead[0] | dead[1])], other[~(dead[0] | dead[1])]
    return _likeness(_decibels(one), _decibels(other), 0.0, NEAR_SECONDS)


def comes_later(one: Array, other: Array) -> bool:
    """True if one channel repeats the other, up to some seconds later."""
    # Of the changes: people who take turns share the time at which nobody speaks.
    changes = np.diff(_decibels(one)), np.diff(_decibels(other))
    return _likeness(*changes, NEAR_SECONDS, LATER_SECONDS) >= SAME_LATER


def _decibels(powers: Array) -> Array:
    return np.asarray(10 * np.log10(powers + 1e-10))


def _likeness(one: Array, other: Array, least: float, most: float) -> float:
    """Greatest correlation of two curves of frames, the one ``least`` to ``most`` seconds after the other."""
    lags = range(round(least / FRAME_SECONDS), round(most / FRAME_SECONDS) + 1)
    return max(_correlation(one, other, sign * lag) for lag in lags for sign in (1, -1))


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
