"""Which channels of a recording carry the voice, on real voices beside everything the other channel may hold."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
from scipy.signal import butter, fftconvolve, sosfilt

from voiceclone.corpus.takes import ingest
from voiceclone.errors import DataError
from voiceclone.files import read_tsv
from voiceclone.sound.channels import (
    SAME_EVENTS,
    TURNS,
    Array,
    ChannelMeter,
    Mix,
    TwoVoicesError,
    common_events,
    mix_of,
    read_voice,
    smooth,
    turns,
)
from voiceclone.sound.io import Waveform, probe, read_audio, resample
from voiceclone.stages.takes import TakesSettings

SECONDS = 15
needs_ffmpeg = pytest.mark.skipif(not shutil.which("ffmpeg"), reason="ffmpeg is not installed")


NAMES = ["kathleen", "kerstin", "ljspeech", "aishell_s0150"]


@pytest.fixture(params=NAMES)
def voice(request: pytest.FixtureRequest, shared_data: Path) -> tuple[Waveform, int]:
    samples, rate = soundfile.read(
        sorted((shared_data / "speakers" / request.param).glob("*.flac"))[0], dtype="float32", always_2d=True
    )
    return samples[: SECONDS * rate, 0], rate


def pair(left: Waveform, right: Waveform) -> Waveform:
    return np.stack([left, right], axis=1).astype(np.float32)


def noise(voice: Waveform, decibels: float) -> Waveform:
    generator = np.random.default_rng(0)
    return np.asarray(generator.standard_normal(len(voice)) * voice.std() * 10 ** (decibels / 20), np.float32)


def far_away(voice: Waveform, rate: int) -> Waveform:
    """Before a microphone at 4 m in a room: late, reverberant, noisier."""
    response = np.zeros(int(0.4 * rate))
    first = int(0.012 * rate)
    tail = len(response) - first
    decay = np.exp(-np.arange(tail) / (0.1 * rate)) * 0.05
    response[first:] = np.random.default_rng(1).standard_normal(tail) * decay
    response[first] += 0.5
    return np.asarray(fftconvolve(voice, response)[: len(voice)] + noise(voice, -40), np.float32)


def test_one_sound_in_both_channels(voice) -> None:
    samples, rate = voice
    assert str(mix_of(pair(samples, samples), rate)) == "1+2"
    assert str(mix_of(pair(samples, 0.8 * samples), rate)) == "1+2"
    assert str(mix_of(pair(samples, -samples), rate)) == "1-2"
    turned = mix_of(pair(samples, -0.9 * samples), rate)
    assert np.corrcoef(turned.take(pair(samples, -0.9 * samples)).mean(axis=1), samples)[0, 1] > 0.999


@pytest.mark.parametrize("decibels", [-10, -20, -35])
def test_noise_in_the_other_channel(voice, decibels) -> None:
    samples, rate = voice
    assert str(mix_of(pair(samples, noise(samples, decibels)), rate)) == "1"
    assert str(mix_of(pair(noise(samples, decibels), samples), rate)) == "2"


def test_hum_silence_and_a_far_microphone_in_the_other_channel(voice) -> None:
    samples, rate = voice
    time = np.arange(len(samples)) / rate
    hum = sum(np.sin(2 * np.pi * 50 * k * time) / k for k in (1, 2, 3)) * samples.std()
    assert mix_of(pair(samples, hum), rate) == Mix((1,), "channel 2 left out: noise")
    assert mix_of(pair(np.zeros_like(samples), samples), rate) == Mix((2,), "channel 1 left out: silent")
    far = far_away(samples, rate)
    assert mix_of(pair(samples, far), rate) == Mix((1,), "channel 2 left out: the same voice, less clear")
    assert mix_of(pair(far, samples), rate).channels == (2,)


def test_a_second_person_is_another_speaker_and_not_a_mix(shared_data: Path) -> None:
    voices = []
    for name in ("kathleen", "kerstin"):
        samples, rate = soundfile.read(
            sorted((shared_data / "speakers" / name).glob("*.flac"))[0], dtype="float32", always_2d=True
        )
        voices.append(samples[: SECONDS * rate, 0])
    one, other = voices
    half = len(one) // 2
    room = np.stack([noise(one, -50), noise(one, -50)[::-1]], axis=1)
    first, second = one.copy(), other.copy()
    first[half:] *= 0.003
    second[:half] *= 0.003
    for stereo in (
        pair(one, other),
        pair(first, second) + room,
        pair(first + 0.1 * second, second + 0.1 * first) + room,
    ):
        with pytest.raises(TwoVoicesError, match="hold"):
            mix_of(stereo, rate)


def microphones(shared_data: Path) -> Iterator[tuple[str, Waveform]]:
    """Fifteen seconds at 16 kHz of real people, of one level each."""
    files = [sorted((shared_data / "speakers" / name).glob("*.flac"))[1] for name in NAMES]
    files += sorted((shared_data / "verification").rglob("*-0000.flac"))[:4]
    for path in files:
        samples, rate = read_audio(path)
        voice = resample(samples[: SECONDS * rate, 0], rate, 16000)
        yield path.parent.name, voice / voice.std() * 0.05


@pytest.mark.parametrize("decibels", [40, 15])
def test_margins_between_a_far_microphone_and_another_person(shared_data: Path, decibels: int) -> None:
    """Real voices in real rooms: what tells one voice before two microphones from two people, and how far apart."""
    voices = dict(microphones(shared_data))
    rooms = [resample(read_audio(path)[0][:, 0], 16000, 16000) for path in sorted(shared_data.glob("noise/rir/*.flac"))]
    near = {name: voice + noise(voice, -45) for name, voice in voices.items()}
    copies, people, talk, refused = [], [], [], []
    for name, voice in voices.items():
        for room in rooms:
            far = fftconvolve(voice, room)[: len(voice)]
            far = (far / far.std() * 0.02).astype(np.float32)
            stereo = pair(near[name], far + noise(far, -decibels)[::-1])
            copies.append(common_events(*levels(stereo)))
            assert len(mix_of(stereo, 16000).channels) == 1, name
    for name, other in pairwise([*voices, next(iter(voices))]):
        length = min(len(voices[name]), len(voices[other]))
        one, two = voices[name][:length], voices[other][:length]
        hiss = pair(noise(one, -decibels), noise(one, -decibels)[::-1])
        first = np.arange(length) // 32000 % 2 == 0
        for kept, stereo in (
            (people, pair(one + 0.1 * two, two + 0.1 * one) + hiss),
            (talk, pair(one * first + 0.1 * two * ~first, two * ~first + 0.1 * one * first) + hiss),
        ):
            kept.append((common_events if kept is people else turns)(*levels(stereo)))
            with suppress(TwoVoicesError):
                mix_of(stereo, 16000)
                continue
            refused.append(kept)
    told = {name: sum(item is kept for item in refused) for name, kept in (("at once", people), ("in turn", talk))}
    print(f"\n{decibels} dB: of {len(voices)} pairs of people refused: {told}")
    print(
        f"\n{decibels} dB: levels in common, one voice {min(copies):.2f} to {max(copies):.2f}, two people at once"
        f" {min(people):.2f} to {max(people):.2f} (threshold {SAME_EVENTS}); turns of two people {min(talk):.2f}"
        f" to {max(talk):.2f} (threshold {TURNS})"
    )
    assert min(copies) > max(people) and told["at once"] >= 0.85 * len(voices)
    if decibels == 40:  # in noise most people in turn who are heard in both channels are not noticed
        assert told["in turn"] >= 0.85 * len(voices)


def levels(stereo: Waveform) -> tuple[Array, Array]:
    frames = stereo[: len(stereo) // 320 * 320].reshape(-1, 320, 2)
    powers = np.square(frames - frames.mean(axis=1, keepdims=True)).mean(axis=1).astype(np.float64)
    return smooth(powers[:, 0]), smooth(powers[:, 1])


def filtered(sound: Waveform, rate: int, kind: str, hertz: float) -> Waveform:
    return np.asarray(sosfilt(butter(4, hertz, kind, fs=rate, output="sos"), sound), np.float32)


def others(voice: Waveform, rate: int, shared_data: Path) -> dict[str, tuple[Waveform, str]]:
    """What a second channel may be beside a voice, and what must come of it."""
    time, generator = np.arange(len(voice)) / rate, np.random.default_rng(3)
    tone, later = np.sin(2 * np.pi * 1000 * time), len(voice) // 5
    half, halting = np.sign(np.arange(len(voice)) - later).astype(np.float32), voice.copy()
    for start in range(0, len(voice), rate):
        halting[start : start + rate // 5] = 0
    low, high = filtered(voice, rate, "low", 1500), filtered(voice, rate, "high", 1500)
    bird = np.resize(resample(read_audio(shared_data / "noise/env/robin.flac")[0][:, 0], 44100, rate), len(voice))
    keys = generator.standard_normal(len(voice)) * np.exp(-((time + 0.1 * np.sin(7 * time)) % 0.23) * 150)
    clicks = (np.arange(len(voice)) % int(0.37 * rate) == 0) * 0.5
    loud = np.abs(voice).max()
    level = voice.std()

    def delayed(frames: int) -> Waveform:
        return np.concatenate([np.zeros(frames, np.float32), voice])[: len(voice)]

    return {
        "beeps": ((time % 1 < 0.3) * tone * level + noise(voice, -60), "noise"),
        "metronome": (np.exp(-(time % 0.5) * 60) * tone * level, "noise"),
        "clicks": (clicks, "noise"),
        "keys": (keys / keys.std() * level * 0.3 + noise(voice, -55), "noise"),
        "bird": (bird / bird.std() * level * 0.5, "noise"),
        "offset": (np.full(len(voice), 0.3), "silent"),
        "no numbers": (np.full(len(voice), np.nan), "samples that are no numbers"),
        "hum and a trace of the voice": (np.sin(2 * np.pi * 50 * time) * 3 * level + 0.02 * voice, "noise"),
        "the voice in noise": (voice + noise(voice, -20), "noisier"),
        "inverted in noise": (-voice + noise(voice, -20), "noisier"),
        "inverted at the start": (half * voice, "less clear"),
        "inverted below 1.5 kHz": (high - low, "less clear"),
        "a telephone": (filtered(filtered(voice, rate, "low", 3400), rate, "high", 300), "less clear"),
        "half a second later": (delayed(rate // 2), "less clear"),
        "two seconds later": (delayed(2 * rate), "less clear"),
        "overdriven": (np.clip(20 * voice, -1, 1), "clipped"),
        "clipped": (np.clip(voice, -0.3 * loud, 0.3 * loud), "clipped"),
        "gone now and then": (halting, "with gaps"),
        "gone for a fifth": (voice * (np.arange(len(voice)) > later), "with gaps"),
    }


def test_what_the_other_channel_may_be(shared_data: Path) -> None:
    samples, rate = read_audio(sorted((shared_data / "speakers" / "ljspeech").glob("*.flac"))[1])
    voice = samples[: 12 * rate, 0]
    for kind, (other, word) in others(voice, rate, shared_data).items():
        for stereo, channel in ((pair(voice, other), 1), (pair(other, voice), 2)):
            found = mix_of(stereo, rate)
            if word == "less clear" and kind != "a telephone":  # as good as the other one
                channel = found.channels[0]
            assert found.channels == (channel,), kind
            assert found.why.startswith(f"channel {3 - channel} left out: "), kind
            assert found.why.endswith(word), (kind, found.why)


def test_rumble_in_both_channels_hides_no_voice(voice) -> None:
    samples, rate = voice
    rumble = filtered(noise(samples, 0)[::-1], rate, "low", 40)
    rumble *= 1.5 * samples.std() / rumble.std()
    assert mix_of(pair(noise(samples, -25) + rumble, samples + rumble), rate).channels == (2,)


def test_six_channels_of_a_film(shared_data: Path) -> None:
    samples, rate = read_audio(sorted((shared_data / "speakers" / "ljspeech").glob("*.flac"))[1])
    samples = samples[: 12 * rate, 0]
    path = shared_data / "noise/music/vibe_ace.flac"
    music = np.resize(resample(read_audio(path)[0][:, 0], 44100, rate), len(samples))
    music *= 0.3 * samples.std() / music.std()
    deep, none = filtered(samples, rate, "low", 120), np.zeros_like(samples)
    assert str(mix_of(np.stack([music, music, samples, deep, none, none], axis=1), rate)) == "3"
    assert str(mix_of(np.stack([samples, samples, none, deep, none, none], axis=1), rate)) == "1+2"
    assert str(mix_of(np.stack([none, none, samples, deep, none, none], axis=1), rate)) == "3"


def test_blocks_of_any_length_give_the_same_mix(voice) -> None:
    samples, rate = voice
    stereo = pair(samples, far_away(samples, rate))
    meter = ChannelMeter(rate)
    for block in np.array_split(stereo, 37):
        meter.add(block)
    assert meter.result() == mix_of(stereo, rate)


def test_many_channels_without_the_silent_ones(voice) -> None:
    samples, rate = voice
    found = mix_of(np.stack([samples, np.zeros_like(samples), samples, -samples], axis=1), rate)
    assert str(found) == "1+3-4" and "channel 2 left out: silent" in found.why


@pytest.mark.parametrize("cell", ["1", "2", "1+2", "1-2", "1+3-4", "12-3"])
def test_a_mix_is_one_cell(cell: str) -> None:
    assert str(Mix.parse(cell)) == cell


@pytest.mark.parametrize("cell", ["", "1,2", "+1", "-1", "a"])
def test_what_is_no_mix(cell: str) -> None:
    with pytest.raises(ValueError, match="is no mix"):
        Mix.parse(cell)


def test_cases_of_the_field(shared_cases: Path, tmp_path: Path) -> None:
    folder = tmp_path / "anna"
    folder.mkdir()
    for name in ("B16_left_voice_right_noise_m35.flac", "B16_reference_inverted.flac"):
        shutil.copy(shared_cases / name, folder)
    ingest(folder, tmp_path / "takes.tsv", tmp_path / "rejected.tsv", TakesSettings())
    rows = {row["file"]: row for row in read_tsv(tmp_path / "takes.tsv")}
    assert rows["B16_left_voice_right_noise_m35.flac"]["mix"] == "1"
    assert float(rows["B16_left_voice_right_noise_m35.flac"]["snr_db"]) > 45
    assert rows["B16_reference_inverted.flac"]["mix"] == "1-2"
    inverted = shared_cases / "B16_reference_inverted.flac"
    stereo, rate = soundfile.read(inverted, dtype="float32")
    assert read_voice(inverted, rate) == pytest.approx(stereo[:, 0], abs=1e-6)


@needs_ffmpeg
def test_wav_headers_with_wrong_sizes_are_read_to_the_end(shared_cases: Path, tmp_path: Path) -> None:
    zero, known = shared_cases / "B17_data_size_0.wav", shared_cases / "B17_size_ffffffff.wav"
    assert probe(zero).to_end and not probe(known).to_end
    (samples, rate), (expected, _) = read_audio(zero), read_audio(known)
    assert rate == 16000 and np.array_equal(samples, expected)
    path = tmp_path / "short.wav"  # a length that ends in the middle of the samples
    data = bytearray(known.read_bytes())
    data[40:44] = (30_001 * 2).to_bytes(4, "little")
    path.write_bytes(data)
    assert np.array_equal(read_audio(path)[0], expected)
    soundfile.write(tmp_path / "whole.wav", expected, rate)
    assert not probe(tmp_path / "whole.wav").to_end
    with (tmp_path / "whole.wav").open("ab") as handle:
        handle.write(b"LIST\x04\x00\x00\x00INFO")
    assert len(read_audio(tmp_path / "whole.wav")[0]) == len(expected)


@needs_ffmpeg
@pytest.mark.parametrize("place", [0, 1, 2])
def test_of_several_tracks_the_one_that_speaks(voice, tmp_path: Path, place: int) -> None:
    samples, rate = voice
    time = np.arange(len(samples)) / rate
    music = sum(np.sin(2 * np.pi * tone * time) for tone in (220, 277, 330)) * samples.std()
    tracks = [noise(samples, -20), np.asarray(music, np.float32)]
    tracks.insert(place, samples)
    inputs: list[str] = []
    for number, track in enumerate(tracks):
        soundfile.write(tmp_path / f"{number}.wav", track, rate)
        inputs += ["-i", str(tmp_path / f"{number}.wav")]
    target = tmp_path / "tracks.m4a"
    maps = [part for number in range(3) for part in ("-map", str(number))]
    subprocess.run(["ffmpeg", "-v", "error", *inputs, *maps, "-c:a", "aac", str(target)], check=True)
    found = probe(target)
    assert (found.track, found.tracks) == (place, 3)
    heard = read_audio(target)[0][:, 0]
    assert abs(10 * np.log10(np.square(heard).mean() / np.square(samples).mean())) < 1


def test_references_of_two_voices_are_refused(shared_data: Path, tmp_path: Path) -> None:
    voices = [
        soundfile.read(sorted((shared_data / "speakers" / name).glob("*.flac"))[0], dtype="float32", always_2d=True)
        for name in ("kathleen", "kerstin")
    ]
    rate = voices[0][1]
    path = tmp_path / "clip.wav"
    soundfile.write(path, pair(*(samples[: 8 * rate, 0] for samples, _ in voices)), rate)
    with pytest.raises(DataError, match=r"clip\.wav: its channels"):
        read_voice(path, 32000)
