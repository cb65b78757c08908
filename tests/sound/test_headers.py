"""Headers of sound files that tell a wrong length, none, or more than there is: read to the end, or said."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile

from voiceclone.corpus.takes import ingest
from voiceclone.files import read_tsv
from voiceclone.sound.io import probe, read_audio
from voiceclone.stages.takes import TakesSettings

pytestmark = pytest.mark.skipif(not shutil.which("ffmpeg"), reason="ffmpeg is not installed")
RATE, SECONDS = 8000, 3


def samples(seed: int = 0) -> bytes:
    """Noise of 16 bit."""
    return np.random.default_rng(seed).integers(-3000, 3000, RATE * SECONDS, dtype="<i2").tobytes()


def chunk(name: bytes, data: bytes, size: int | None = None) -> bytes:
    return name + struct.pack("<I", len(data) if size is None else size) + data


FORMAT = chunk(b"fmt ", struct.pack("<HHIIHH", 1, 1, RATE, 2 * RATE, 2, 16))


def wav(*chunks: bytes, name: bytes = b"RIFF", size: int | None = None) -> bytes:
    return name + struct.pack("<I", 4 + sum(map(len, chunks)) if size is None else size) + b"WAVE" + b"".join(chunks)


def rf64(size: int) -> bytes:
    lengths = chunk(b"ds64", struct.pack("<QQQI", size + 72, size, size // 2, 0))
    return wav(lengths, FORMAT, chunk(b"data", samples(), 0xFFFFFFFF), name=b"RF64", size=0xFFFFFFFF)


def encoded(name: str, *options: str, seed: int = 0) -> bytes:
    """The noise through ffmpeg into a pipe, where no header can be mended afterwards."""
    command = [
        "ffmpeg",
        "-v",
        "error",
        "-f",
        "s16le",
        "-ar",
        str(RATE),
        "-ac",
        "1",
        "-i",
        "-",
        *options,
        "-f",
        name,
        "-",
    ]
    return subprocess.run(command, input=samples(seed), capture_output=True, check=True).stdout


AU = b".snd" + struct.pack(">IIIII", 24, 0, 3, RATE, 1)
WHOLE = {
    "data 0": wav(FORMAT, chunk(b"data", samples(), 0)),
    "data 0xFFFFFFFF": wav(FORMAT, chunk(b"data", samples(), 0xFFFFFFFF)),
    "data odd and too short": wav(FORMAT, chunk(b"data", samples(), 4001)),
    "both sizes 0": wav(FORMAT, chunk(b"data", samples(), 0), size=0),
    "LIST before fmt": wav(chunk(b"LIST", b"INFOISFT\4\0\0\0abcd"), FORMAT, chunk(b"data", samples())),
    "an empty data chunk first": wav(FORMAT, chunk(b"data", b""), chunk(b"data", samples())),
    "rf64": rf64(len(samples())),
    "rf64, 0": rf64(0),
    "rf64, too short": rf64(5000),
    "au, 0": AU + np.frombuffer(samples(), "<i2").astype(">i2").tobytes(),
}


@pytest.mark.parametrize("kind", WHOLE)
def test_read_to_the_end(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "sound.wav"
    path.write_bytes(WHOLE[kind])
    found, rate = read_audio(path)
    assert rate == RATE and len(found) == pytest.approx(RATE * SECONDS, abs=4)
    expected = np.frombuffer(samples(), "<i2") / 32768
    assert np.abs(found[-1000:, 0] - expected[-1000:]).max() < 1e-4 or kind == "an empty data chunk first"


@pytest.mark.parametrize(("name", "options"), [("flac", ()), ("caf", ("-c:a", "pcm_s16be")), ("w64", ()), ("au", ())])
def test_what_came_through_a_pipe(tmp_path: Path, name: str, options: tuple[str, ...]) -> None:
    path = tmp_path / "sound"
    path.write_bytes(encoded(name, *options))
    assert len(read_audio(path)[0]) == RATE * SECONDS


def test_a_shortened_file_says_so(tmp_path: Path) -> None:
    folder = tmp_path / "anna"
    folder.mkdir()
    whole = {
        "twice.wav": wav(FORMAT, chunk(b"data", samples(1)), chunk(b"data", samples(2))),
        "long.wav": wav(FORMAT, chunk(b"data", samples(3), 4 * RATE * SECONDS)),
    }
    cut: dict[str, bytes] = {}
    kinds = {"aiff": "AIFF", "au": "AU", "w64": "W64", "mp3": "MP3", "ogg": "OGG"}
    for seed, (ending, kind) in enumerate(kinds.items(), start=4):
        for place, kept in ((cut, 0.6), (whole, 1.0)):
            path = folder / f"{kept}.{ending}"
            soundfile.write(path, np.frombuffer(samples(seed + 10 * int(kept)), "<i2"), RATE, format=kind)
            place[path.name] = path.read_bytes()[: int(kept * path.stat().st_size)]
    for name, data in (cut | whole).items():
        (folder / name).write_bytes(data)
    matroska = folder / "0.6.mka"
    source = ["-i", str(folder / "1.0.au"), "-t", "2.9", "-c:a", "flac"]
    subprocess.run(["ffmpeg", "-v", "error", *source, str(matroska)], check=True)
    matroska.write_bytes(matroska.read_bytes()[: int(0.6 * matroska.stat().st_size)])
    ingest(folder, tmp_path / "takes.tsv", tmp_path / "rejected.tsv", TakesSettings())
    notes = {row["file"]: row["note"] for row in read_tsv(tmp_path / "takes.tsv")}
    assert not read_tsv(tmp_path / "rejected.tsv")
    assert notes.pop("twice.wav").endswith("promises 6.0 s, 3.0 s are there")
    assert notes.pop("long.wav").endswith("promises 6.0 s, 3.0 s are there")
    assert notes.pop("0.6.ogg").endswith("its last page is missing")
    for name, note in notes.items():
        assert note.startswith("shortened: its header promises") == name.startswith("0.6"), (name, note)


def test_of_tracks_the_voice_and_not_what_is_louder_over_its_pauses(shared_data: Path, tmp_path: Path) -> None:
    path = sorted((shared_data / "speakers" / "ljspeech").glob("*.flac"))[1]
    sound, rate = soundfile.read(path, dtype="float32")
    voice, time = sound[: 8 * rate], np.arange(8 * rate) / rate
    beeps = np.sin(2 * np.pi * 1000 * time) * (time % 1 < 0.3) * 0.3
    clicks = (np.arange(8 * rate) % (rate // 2) == 0) * 0.8
    inputs: list[str] = []
    for number, track in enumerate((beeps, voice[:rate], voice, clicks)):
        soundfile.write(tmp_path / f"{number}.wav", track, rate)
        inputs += ["-i", str(tmp_path / f"{number}.wav")]
    maps = [part for number in range(4) for part in ("-map", str(number))]
    target = tmp_path / "tracks.mka"
    subprocess.run(["ffmpeg", "-v", "error", *inputs, *maps, "-c:a", "flac", str(target)], check=True)
    assert (probe(target).track, probe(target).tracks) == (2, 4)
