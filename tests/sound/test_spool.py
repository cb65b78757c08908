"""Long takes: the same sound as in memory, in a memory that does not grow with them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from voiceclone.sound import denoisers, spool
from voiceclone.sound.clean import clean_take
from voiceclone.sound.denoisers import SpectralGate
from voiceclone.sound.io import Waveform, read_audio, write_flac
from voiceclone.sound.separate import Toolbox, separate_take
from voiceclone.sound.spool import Spool, read_take, resampled
from voiceclone.sound.verdict import Judge
from voiceclone.stages.clean import CleanSettings
from voiceclone.stages.separate import SeparateSettings

RATE = 44_100


def speech_like(seconds: float, channels: int = 2, level: float = 0.3) -> Waveform:
    """Bursts with pauses, peaks above full scale, an offset, hiss."""
    rng = np.random.default_rng(0)
    time = np.arange(int(seconds * RATE)) / RATE
    bursts = level * rng.standard_normal((len(time), channels)) * (time % 0.75 < 0.5)[:, None]
    return (bursts + 0.01 * rng.standard_normal((len(time), channels)) + 0.02).astype(np.float32)


class Half:
    """A separator whose answer is known."""

    name = digest = "half"
    seconds, overlap = 1.0, 0.2

    def split(self, samples: Waveform, rate: int) -> tuple[Waveform, Waveform]:
        mono = samples.mean(axis=1)
        return mono * np.float32(0.5), mono * np.float32(0.5)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "BLOCK", 10_000)
    monkeypatch.setattr(spool, "LONG", 100_000)
    monkeypatch.setattr(denoisers, "CHUNK", 40_000)
    monkeypatch.setattr(denoisers, "CHUNKS", 2)


def test_it_is_read_like_an_array(tmp_path: Path) -> None:
    samples = speech_like(1.0)
    kept = Spool(np.array_split(samples, 7), tmp_path)
    assert len(kept) == len(samples) and kept.shape == samples.shape
    for place in (slice(None), slice(5, 5), slice(100, 20_000), slice(44_000, 99_999), slice(-5, None)):
        assert np.array_equal(kept[place], samples[place])
    assert not list(tmp_path.iterdir())


def test_short_takes_are_arrays_and_long_ones_are_not(tmp_path: Path) -> None:
    for seconds, kind in ((1.0, np.ndarray), (3.0, Spool)):
        path = tmp_path / f"{seconds}.wav"
        soundfile.write(path, speech_like(seconds), RATE, subtype="FLOAT")
        samples, rate = read_take(path, tmp_path / "not yet")
        assert type(samples) is kind and rate == RATE
        assert np.array_equal(samples[:], read_audio(path)[0])


@pytest.mark.parametrize("rate", [8_000, 44_100, 96_000])
@pytest.mark.parametrize("tools", [Toolbox((), None), Toolbox((Half(), Half()), Half())], ids=["never", "always"])
def test_separation_of_a_long_take_is_that_of_a_short_one(rate: int, tools: Toolbox) -> None:
    samples = speech_like(3.0)
    settings = SeparateSettings(mode="always" if tools.chain else "never")
    first, first_rate, cells = separate_take(samples, rate, settings, tools)
    second, second_rate, others = separate_take(Spool([samples]), rate, settings, tools)
    assert isinstance(second, Spool) and (first_rate, cells) == (second_rate, others)
    assert np.array_equal(first, second[:])


@pytest.mark.parametrize("stationary", [False, True])
@pytest.mark.parametrize("level", [0.3, 0.02])
def test_cleaning_of_a_long_take_is_that_of_a_short_one(tmp_path: Path, stationary: bool, level: float) -> None:
    samples, settings = speech_like(4.0, 1, level)[:, 0], CleanSettings(denoise="always", true_peak_dbtp=-6.0)
    gate = SpectralGate(stationary, 0.7)
    first, cells = clean_take(samples, RATE, settings, gate, Judge())
    second, others = clean_take(Spool([samples]), RATE, settings, gate, Judge())
    assert isinstance(second, Spool) and cells == others and cells["denoised"]
    assert np.array_equal(first, second[:])
    for name, sound in (("first", first), ("second", second)):
        write_flac(tmp_path / name, sound, 32_000)
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()


def test_rates() -> None:
    samples = speech_like(2.0, 1)[:, 0]
    for target in (16_000, 32_000, 48_000):
        assert np.array_equal(resampled(Spool([samples]), RATE, target)[:], resampled(samples, RATE, target))


MEASURED = """
import resource, sys
from pathlib import Path
import numpy as np, soundfile
from voiceclone.files import sha256_file, write_tsv
from voiceclone.sound.separate import separate_speaker
from voiceclone.sound.clean import clean_speaker
from voiceclone.stages.separate import SeparateSettings
from voiceclone.stages.clean import CleanSettings
root, minutes, stage = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
take = root / "anna" / "long.flac"
if stage == "make":
    take.parent.mkdir()
    rng = np.random.default_rng(0)
    with soundfile.SoundFile(take, "w", 48000, 2) as sound:
        for _ in range(6 * minutes):
            sound.write(0.1 * rng.standard_normal((480000, 2)) * (np.arange(480000) % 36000 < 24000)[:, None])
    write_tsv(root / "takes.tsv", ("take", "file", "sha256", "mix", "note"),
              [{"take": "a", "file": "long.flac", "sha256": sha256_file(take), "mix": "1+2", "note": ""}])
elif stage == "separate":
    settings = SeparateSettings(mode="never")
    separate_speaker(take.parent, root / "takes.tsv", root / "separated" / "manifest.tsv", settings)
else:
    settings = CleanSettings(denoise="always", dereverb="always")
    clean_speaker(root / "separated" / "manifest.tsv", root / "clean" / "manifest.tsv", settings)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3)
"""


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("minutes", [10, 60])
def test_peak_memory_does_not_follow_the_length(tmp_path: Path, minutes: int) -> None:
    megabytes = {}
    for stage in ("make", "separate", "clean"):
        command = [sys.executable, "-c", MEASURED, str(tmp_path), str(minutes), stage]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        megabytes[stage] = float(done.stdout.split()[-1])
    print(megabytes)
    # All that an hour has more than ten minutes is its FLAC, which is encoded in memory: at most 0.3 GB.
    more = 0 if minutes == 10 else 300
    assert megabytes["separate"] < 800 + more and megabytes["clean"] < 1000 + more, megabytes
