"""The watermark: heard in whatever is left of marked sound, never in sound without it, the same however it is made."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from tests.support.recordings import voice_like

from voiceclone.marks.watermark import Floats, Marker, find_marks, marked, number_of
from voiceclone.sound.io import read_mono, resample

RATE, VOICE = 32_000, 0xC0FFEE42


def speech(seconds: float = 4.0, seed: int = 0, rate: int = RATE) -> Floats:
    return voice_like(seconds, rate, seed).astype(np.float32)


def through_ffmpeg(samples: Floats, *options: str, container: str = "wav") -> Floats:
    """Samples after ffmpeg has filtered or encoded them, at the same rate."""
    raw = ["-f", "f32le", "-ar", str(RATE), "-ac", "1"]
    quiet = ["ffmpeg", "-v", "error"]

    def run(arguments: Sequence[str], data: bytes) -> bytes:
        return subprocess.run([*quiet, *arguments], input=data, capture_output=True, check=True).stdout

    encoded = run([*raw, "-i", "-", *options, "-f", container, "-"], samples.astype("<f4").tobytes())
    return np.frombuffer(run(["-i", "-", *raw, "-"], encoded), "<f4").astype(np.float32)


@pytest.mark.parametrize("rate", [8000, 22_050, 32_000, 48_000])
def test_chunks_make_the_whole_bit_for_bit(rate: int) -> None:
    sound, rng = speech(2.5, 1, rate), np.random.default_rng(rate)
    for cuts in ([], [1], rng.integers(0, len(sound), 40), range(0, len(sound), 997)):
        marker = Marker(VOICE, rate)
        parts = [marker.push(part) for part in np.split(sound, sorted(cuts))]
        assert np.array_equal(np.concatenate([*parts, marker.flush()]), marked(sound, rate, VOICE))


def test_the_wait_is_short() -> None:
    marker, sent = Marker(VOICE, RATE), 0
    for part in np.split(speech(2.0), 200):
        sent += len(marker.push(part))
    assert 2 * RATE - sent <= 0.072 * RATE


@pytest.mark.parametrize("samples", [0, 1, 100, 3 * 768])
def test_sound_of_any_length_keeps_it(samples: int) -> None:
    assert len(marked(speech()[:samples], RATE, VOICE)) == samples


def test_silence_stays_silent_and_nothing_is_clipped_above_full_scale() -> None:
    assert not marked(np.zeros(RATE, np.float32), RATE, VOICE).any()
    loud = speech() / np.abs(speech()).max()
    assert np.abs(marked(loud, RATE, VOICE)).max() <= 1.0


def test_treble_is_not_touched() -> None:
    difference = np.abs(np.fft.rfft(marked(speech(), RATE, VOICE) - speech())) ** 2
    treble = np.fft.rfftfreq(len(speech()), 1 / RATE) > 4000
    assert difference[treble].sum() < 1e-4 * difference.sum()


ATTACKS = {
    "none": lambda sound: sound,
    "quiet": lambda sound: 0.03 * sound,
    "inverted": lambda sound: -sound,
    "telephone": lambda sound: resample(resample(sound, RATE, 8000), 8000, RATE),
    "mp3": lambda sound: through_ffmpeg(sound, "-b:a", "64k", container="mp3"),
    "opus": lambda sound: through_ffmpeg(sound, "-c:a", "libopus", "-b:a", "24k", container="ogg"),
    "slower": lambda sound: through_ffmpeg(sound, "-af", "atempo=0.95"),
    "faster": lambda sound: through_ffmpeg(sound, "-af", "atempo=1.05"),
}


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_three_seconds_of_what_is_left_tell_the_voice(attack) -> None:  # type: ignore[no-untyped-def]
    left = attack(marked(speech(), RATE, VOICE))[RATE // 3 :][: 3 * RATE]
    (mark,) = find_marks(left, RATE)
    assert mark.found and mark.voice == VOICE and mark.false_alarm < 1e-3


def test_the_tempo_is_told() -> None:
    (mark,) = find_marks(ATTACKS["faster"](marked(speech(5.0), RATE, VOICE)), RATE)
    assert mark.tempo == pytest.approx(1.05, abs=0.006)


def test_sound_of_two_voices_has_two_marks() -> None:
    both = np.concatenate([marked(speech(6.0, seed), RATE, VOICE + seed) for seed in (0, 1)])
    assert [mark.voice for mark in find_marks(both, RATE) if mark.found] == [VOICE, VOICE + 1]


def test_unmarked_sound_has_none(shared_data: Path) -> None:
    sounds = [read_mono(path) for path in sorted(shared_data.glob("verification/*/*/*.flac"))]
    found = [mark for samples, rate in sounds for mark in find_marks(samples, rate)]
    assert len(found) > 20 and not any(mark.found for mark in found)


def test_recordings_of_people_can_be_marked(shared_data: Path) -> None:
    for number, path in enumerate(sorted(shared_data.glob("speakers/*/take_02.flac"))):
        samples, rate = read_mono(path)
        voice = number_of(path.parent.name)
        (mark,) = find_marks(marked(samples[: 4 * rate], rate, voice)[rate // 2 :][: 3 * rate], rate)
        assert mark.found and mark.voice == voice, number


def test_nothing_and_very_short_sound_have_no_mark() -> None:
    for samples in (0, 1, 500, 5000):
        assert not any(mark.found for mark in find_marks(speech()[:samples], RATE))


def test_marking_takes_little_time() -> None:
    marked(speech(0.5), RATE, VOICE)
    began = time.process_time()
    marked(speech(10.0), RATE, VOICE)
    assert time.process_time() - began <= 10 * 0.02
