"""The watermark's table of bars: how often it is found after what happens to sound, and where there is none.

Clips of 3 s, cut where it falls: recordings of people beside the repository and, for sound without a mark, speech of
the packaged teacher too. Attacks that nobody survives are in the table as they are: no bar is asserted for them.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from voiceclone.assets import open_asset
from voiceclone.marks.watermark import FALSE_ALARM, UNMARKED_MODE, UNMARKED_SCALE, find_marks, marked, number_of
from voiceclone.sound.io import read_mono, resample

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(4 * 3600)]

Floats = npt.NDArray[np.float32]
RATE, SECONDS = 32_000, 3
MARKED, UNMARKED, SYNTHETIC = 200, 3500, 500
Attack = Callable[[Floats], Floats]


def coded(samples: Floats, *options: str, container: str = "wav") -> Floats:
    raw = ["-f", "f32le", "-ar", str(RATE), "-ac", "1"]
    command = ["ffmpeg", "-v", "error"]
    encoded = subprocess.run(
        [*command, *raw, "-i", "-", *options, "-f", container, "-"],
        input=samples.astype("<f4").tobytes(), capture_output=True, check=True,
    ).stdout  # fmt: skip
    done = subprocess.run([*command, "-i", "-", *raw, "-"], input=encoded, capture_output=True, check=True).stdout
    return np.frombuffer(done, "<f4").astype(np.float32)


def noisy(samples: Floats, colour: float, ratio: float = 20) -> Floats:
    """Noise ``ratio`` dB below the sound; its power falls with frequency to the power of ``colour``."""
    spectrum = np.fft.rfft(np.random.default_rng(len(samples)).standard_normal(len(samples)))
    noise = np.fft.irfft(spectrum / np.maximum(np.arange(len(spectrum)), 1) ** (colour / 2), len(samples))
    return (samples + noise * np.sqrt(np.mean(samples**2) / np.mean(noise**2)) * 10 ** (-ratio / 20)).astype(np.float32)


#: Attack, and the share of clips in which the mark has to be found; 0: no bar.
ATTACKS: dict[str, tuple[Attack, float]] = {
    "none": (lambda sound: sound, 0.99),
    "mp3 64k": (lambda sound: coded(sound, "-b:a", "64k", container="mp3"), 0.99),
    "opus 24k": (lambda sound: coded(sound, "-c:a", "libopus", "-b:a", "24k", container="ogg"), 0.8),
    "16 kHz": (lambda sound: resample(resample(sound, RATE, 16_000), 16_000, RATE), 0.99),
    "8 kHz": (lambda sound: resample(resample(sound, RATE, 8000), 8000, RATE), 0.99),
    "pink noise 20 dB": (lambda sound: noisy(sound, 1.0), 0.6),
    "white noise 20 dB": (lambda sound: noisy(sound, 0.0), 0.5),
    "tempo 0.95": (lambda sound: coded(sound, "-af", "atempo=0.95"), 0.95),
    "tempo 1.05": (lambda sound: coded(sound, "-af", "atempo=1.05"), 0.95),
    "tempo 1.2": (lambda sound: coded(sound, "-af", "atempo=1.2"), 0.0),
    "pitch and tempo 1.03": (lambda sound: resample(sound, RATE, round(RATE / 1.03)), 0.0),
    "white noise 10 dB": (lambda sound: noisy(sound, 0.0, 10), 0.0),
    "opus 12k": (lambda sound: coded(sound, "-c:a", "libopus", "-b:a", "12k", container="ogg"), 0.0),
    "marked again": (lambda sound: marked(sound, RATE, 1), 0.0),
    "inverse mark": (lambda sound: sound, 0.0),  # by who has found the voice and the start
}


def cut(samples: Floats, rng: np.random.Generator) -> Floats:
    start = rng.integers(max(1, len(samples) - SECONDS * RATE))
    return samples[start : start + SECONDS * RATE]


def stretches(folder: Path, seconds: float) -> Iterator[Floats]:
    """Recordings below a folder in pieces of a length, at 32 kHz."""
    for path in sorted(path for path in folder.rglob("*.*") if path.suffix in (".flac", ".opus", ".wav", ".mp3")):
        samples, _ = read_mono(path, RATE)
        size = round(seconds * RATE)
        yield from (samples[start : start + size] for start in range(0, len(samples) - size, size))


def synthesis(count: int) -> Iterator[Floats]:
    """Speech of the packaged teacher, if it is there."""
    from voiceclone.stages.teacher_speech import TeacherSettings
    from voiceclone.teachers.hibari import Hibari
    from voiceclone.teachers.speakers import pseudo_speaker

    root = Path(__file__).parents[2] / "resources"
    place = root / "models" / "hibari" / "asset.json"
    if not place.is_file():
        return
    teacher = Hibari(open_asset(place).folder)
    settings = TeacherSettings(name="unmarked", teacher="hibari", texts=("sentences",))
    lines = [line for path in sorted((root / "sentences").glob("en*.txt")) for line in path.read_text().splitlines()]
    for number in range(count):
        rng = np.random.default_rng(number)
        (spoken,) = teacher.speak(lines[number % len(lines)], [pseudo_speaker(number, settings)], rng)
        yield resample(spoken.samples, teacher.rate, RATE)[: SECONDS * RATE]


def test_sound_without_a_mark(shared_base: Path) -> None:
    people = [*stretches(shared_base / "real", SECONDS)]
    chosen = np.random.default_rng(0).permutation(len(people))[: UNMARKED - SYNTHETIC]
    sounds = chain(synthesis(SYNTHETIC), (people[number] for number in chosen))
    scores = np.array([next(find_marks(sound, RATE)).score for sound in sounds])
    limit = UNMARKED_MODE - UNMARKED_SCALE * np.log(FALSE_ALARM)
    print(
        f"\nunmarked clips: {len(scores)}; {np.mean(scores >= limit):.4%} count as marked, {FALSE_ALARM:.2%} expected"
    )
    print(f"score: median {np.median(scores):.2f}, 99.9 % {np.quantile(scores, 0.999):.2f}, largest {scores.max():.2f}")
    assert np.mean(scores >= limit) <= 0.001


def test_perth_beside_it(shared_data: Path) -> None:
    """The neural mark that another program of this field uses, for reference: it carries no number."""
    perth = pytest.importorskip("perth", reason="resemble-perth is not installed: no reference to compare with")
    network = perth.PerthImplicitWatermarker()
    sounds = [*stretches(shared_data / "speakers", 4.5)][: MARKED // 4]
    began = time.process_time()
    with_mark = [np.asarray(network.apply_watermark(sound, None, RATE), np.float32) for sound in sounds]
    print(f"\nPerth: {(time.process_time() - began) / (4.5 * len(sounds)):.4f} s of CPU for a second of sound")
    false = np.mean([float(np.mean(network.get_watermark(sound, RATE))) > 0.5 for sound in sounds])
    print(f"Perth, no mark: {false:.1%} count as marked")
    for name, (attack, _) in ATTACKS.items():
        if name not in ("marked again", "inverse mark"):  # they need the number
            rng = np.random.default_rng(1)
            found = [float(np.mean(network.get_watermark(cut(attack(each), rng), RATE))) > 0.5 for each in with_mark]
            print(f"Perth, {name:22} found {np.mean(found):6.1%}")


def test_sound_with_a_mark(shared_data: Path) -> None:
    sounds = [*stretches(shared_data / "speakers", 4.5), *stretches(shared_data / "verification", 4.5)][:MARKED]
    voices = [number_of(str(number)) for number in range(len(sounds))]
    began = time.process_time()
    with_mark = [marked(sound, RATE, voice) for sound, voice in zip(sounds, voices, strict=True)]
    cost = (time.process_time() - began) / (4.5 * len(sounds))
    print(f"\nmarked clips: {len(sounds)}; {cost:.4f} s of CPU for a second of sound", file=sys.stderr)
    assert cost <= 0.02
    for name, (attack, bar) in ATTACKS.items():
        rng, found, wrong, bits = np.random.default_rng(1), 0, 0, 0
        for sound, voice in zip(with_mark, voices, strict=True):
            left = marked(sound, RATE, voice ^ 0x80808080) if name == "inverse mark" else attack(sound)
            mark = next(find_marks(cut(left, rng), RATE))
            found += mark.found
            wrong += mark.found and mark.voice != voice
            bits += (mark.voice ^ voice).bit_count() if mark.found else 0
        print(f"{name:22} found {found / len(sounds):6.1%}   wrong voice {wrong / max(1, found):5.1%}   "
              f"wrong bits {bits / max(1, 32 * found):.2%}")  # fmt: skip
        if bar:
            assert found / len(sounds) >= bar and bits <= 0.01 * 32 * found, name
