"""Intake of recordings: good ones, odd ones, and a folder of everything that can be wrong with a file."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tests.support.recordings import RATE, voice_like, write

from voiceclone.corpus.inventory import find_files
from voiceclone.corpus.takes import ingest, slug, take_id
from voiceclone.errors import DataError
from voiceclone.files import Row, read_tsv, sha256_file
from voiceclone.stages.takes import TakesSettings

needs_ffmpeg = pytest.mark.skipif(not shutil.which("ffmpeg"), reason="ffmpeg is not installed")


def run(folder: Path, **settings: float) -> tuple[dict[str, Row], dict[str, Row]]:
    """Intake of ``folder``; rows of both tables by file."""
    results = folder.parent / "results"
    ingest(folder, results / "takes.tsv", results / "rejected.tsv", TakesSettings(**settings), threads=2)
    tables = [read_tsv(results / name) for name in ("takes.tsv", "rejected.tsv")]
    return {row["file"]: row for row in tables[0]}, {row["file"]: row for row in tables[1]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "anna"
    path.mkdir()
    return path


def test_a_plain_take(folder: Path) -> None:
    path = write(folder / "My Take (1).wav", voice_like())
    accepted, rejected = run(folder)
    row = accepted["My Take (1).wav"]
    assert not rejected
    assert row["take"] == f"my-take-1-{sha256_file(path)[:8]}"
    assert (row["sample_rate"], row["channels"], row["codec"]) == ("16000", "1", "wav pcm_16")
    assert float(row["seconds"]) == 3.0
    assert "narrowband" in row["flags"].split(",")


def test_ids_come_from_name_and_content() -> None:
    assert slug("Ünïted Stätes 01") == "united-states-01"
    assert slug("录音") == "take"
    assert len(slug("x" * 300)) == 40
    assert take_id("sub/A b.wav", "0123456789abcdef") == "a-b-01234567"


def test_twenty_broken_inputs(folder: Path, tmp_path: Path) -> None:
    good = write(folder / "good.wav", voice_like(seed=1))
    voice = voice_like(seed=2)
    (folder / "zero.wav").write_bytes(b"")
    (folder / "text.wav").write_text("This is not sound at all.\n" * 50)
    (folder / "noise-bytes.mp3").write_bytes(np.random.default_rng(0).bytes(5000))
    whole = write(tmp_path / "whole.flac", voice).read_bytes()
    (folder / "truncated.flac").write_bytes(whole[: len(whole) // 2])
    (folder / "header-only.flac").write_bytes(whole[:60])
    nan = voice.copy()
    nan[100] = np.nan
    write(folder / "nan.wav", nan, subtype="FLOAT")
    nan[100] = np.inf
    write(folder / "inf.wav", nan, subtype="FLOAT")
    write(folder / "eight.wav", np.stack([voice_like(seed=3)] * 8, axis=1))
    write(folder / "fast.flac", voice_like(seed=4, rate=192000), rate=192000)
    write(folder / "blink.wav", voice[:160])
    write(folder / "quiet.wav", np.zeros(RATE * 5))
    write(folder / "offset.wav", voice_like(seed=5) * 0.5 + 0.3, subtype="FLOAT")
    write(folder / "only-offset.wav", np.full(RATE * 3, 0.25))
    write(folder / "clipped.wav", np.clip(voice_like(seed=6) * 8, -1, 1))
    write(folder / "sub dir" / "naïve 录音 тест.flac", voice_like(seed=7))
    outside = write(tmp_path / "elsewhere.wav", voice_like(seed=8))
    (folder / "leads-out.wav").symlink_to(outside)
    (folder / "leads-nowhere.wav").symlink_to(tmp_path / "absent.wav")
    shutil.copy(good, folder / "good again.wav")
    samples, rate = soundfile.read(str(good), dtype="int16")
    write(folder / "good lossless.flac", samples, rate)
    opposite = voice_like(seed=9)
    write(folder / "opposite.wav", np.stack([opposite, -opposite], axis=1))
    os.mkfifo(folder / "pipe.wav")
    (folder / "tab\there.wav").write_bytes(good.read_bytes())
    (folder / "README.md").write_text("notes")
    (folder / "transcripts.csv").write_text("a,b\n")
    (folder / ".hidden.wav").write_bytes(b"x")

    accepted, rejected = run(folder)

    assert {file: row["reason"] for file, row in rejected.items()} == {
        "zero.wav": "empty",
        "text.wav": "undecodable",
        "noise-bytes.mp3": "undecodable",
        "truncated.flac": "truncated",
        "header-only.flac": rejected["header-only.flac"]["reason"],
        "nan.wav": "not-finite",
        "inf.wav": "not-finite",
        "blink.wav": "short",
        "quiet.wav": "silent",
        "only-offset.wav": "silent",
        "leads-out.wav": "link-outside",
        "leads-nowhere.wav": "link-broken",
        "good lossless.flac": "duplicate",
        "good.wav": "duplicate",
        "pipe.wav": "not-a-file",
        r"tab\there.wav": "name",
    }
    assert rejected["header-only.flac"]["reason"] in ("truncated", "undecodable")
    assert all(row["stage"] == "takes" and len(row["detail"]) > 10 for row in rejected.values())
    assert "good again.wav" in rejected["good.wav"]["detail"]
    assert {file: set(filter(None, row["flags"].split(","))) - {"narrowband"} for file, row in accepted.items()} == {
        "good again.wav": set(),
        "eight.wav": {"multichannel"},
        "fast.flac": set(),
        "offset.wav": {"dc"},
        "opposite.wav": {"stereo"},
        "clipped.wav": {"clipped"},
        "sub dir/naïve 录音 тест.flac": set(),
    }
    assert accepted["opposite.wav"]["mix"] == "1-2" and "inverted" in accepted["opposite.wav"]["note"]
    assert abs(float(accepted["offset.wav"]["dc_offset"]) - 0.3) < 0.01
    assert str(tmp_path) not in "".join(row["detail"] for row in rejected.values())


def test_nothing_usable_is_an_error_with_the_table(folder: Path) -> None:
    (folder / "zero.wav").write_bytes(b"")
    (folder / "text.wav").write_text("words")
    with pytest.raises(DataError, match=r"(?s)no usable recording.*text\.wav +undecodable.*zero\.wav +empty"):
        run(folder)
    assert len(read_tsv(folder.parent / "results" / "rejected.tsv")) == 2


def test_empty_and_missing_folders(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no file that could be a recording"):
        run(folder)
    with pytest.raises(DataError, match="no such folder"):
        run(tmp_path / "nobody")
    with pytest.raises(DataError, match="speaker folder 'Anna B'"):
        run(tmp_path / "Anna B")


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read every file")
def test_unreadable_file(folder: Path) -> None:
    write(folder / "good.wav", voice_like())
    write(folder / "locked.wav", voice_like(seed=1)).chmod(0)
    assert run(folder)[1]["locked.wav"]["reason"] == "unreadable"


def test_an_hour_of_silence_is_cheap(folder: Path) -> None:
    write(folder / "good.wav", voice_like())
    with soundfile.SoundFile(str(folder / "hour.flac"), "w", 48000, 1, subtype="PCM_16") as sound:
        for _ in range(60):
            sound.write(np.zeros(48000 * 60, dtype=np.int16))
    results = folder.parent / "results"
    script = (
        "import resource, scipy.signal, pyloudnorm; from pathlib import Path; from voiceclone.corpus import takes\n"
        "used = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "before = used()\n"
        f"results = Path({str(results)!r})\n"
        f"takes.ingest(Path({str(folder)!r}), results / 'takes.tsv', results / 'rejected.tsv', takes.TakesSettings())\n"
        "print(used() - before)"
    )
    start = time.monotonic()
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[-1]) < 100_000, "kilobytes; the hour as float32 is 690 MB"
    assert time.monotonic() - start < 120
    (row,) = read_tsv(results / "rejected.tsv")
    assert (row["file"], row["reason"]) == ("hour.flac", "silent")


@needs_ffmpeg
def test_what_only_ffmpeg_reads(folder: Path) -> None:
    source = write(folder.parent / "source.wav", voice_like())
    make = ["ffmpeg", "-v", "error", "-i", str(source)]
    subprocess.run([*make, "-c:a", "aac", str(folder / "phone: take.m4a")], check=True)
    picture = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "color=s=16x16:d=1", "-c:v", "mpeg4"]
    subprocess.run([*picture, str(folder / "film.mp4")], check=True)
    accepted, rejected = run(folder)
    assert accepted["phone: take.m4a"]["codec"] == "aac"
    assert abs(float(accepted["phone: take.m4a"]["seconds"]) - 3) < 0.2
    assert rejected["film.mp4"]["reason"] == "no-audio"


@needs_ffmpeg
def test_a_playlist_cannot_open_other_files(folder: Path, tmp_path: Path) -> None:
    write(folder / "good.wav", voice_like())
    outside = write(tmp_path / "elsewhere.wav", voice_like(seed=8))
    (folder / "list.wav").write_text(f"ffconcat version 1.0\nfile {outside.name}\n")
    (folder / "list2.wav").write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\n{outside}\n#EXT-X-ENDLIST\n")
    rejected = run(folder)[1]
    assert {rejected[name]["reason"] for name in ("list.wav", "list2.wav")} == {"undecodable"}


def test_second_reading_comes_from_the_cache(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(folder / "one.wav", voice_like())
    two = write(folder / "two.wav", voice_like(seed=1))
    caplog.set_level("INFO")
    before = run(folder)
    caplog.clear()
    assert run(folder) == before
    assert sorted(record.getMessage() for record in caplog.records) == [
        "one.wav: cached",
        "takes: 0 made, 2 from cache",
        "two.wav: cached",
    ]
    two.unlink()
    run(folder)
    assert len(list((folder.parent / "results" / "takes").glob("*.json"))) == 1


def test_settings_decide_without_reading_again(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(folder / "long.wav", voice_like(4))
    write(folder / "brief.wav", voice_like(2, seed=1))
    assert not run(folder)[1]
    caplog.set_level("INFO")
    assert run(folder, min_seconds=3)[1]["brief.wav"]["reason"] == "short"
    assert "takes: 0 made, 2 from cache" in caplog.text


def test_files_are_found_in_order(folder: Path) -> None:
    for name in ("b.wav", "a/2.flac", "a/1.flac", "LICENSE", "notes.TXT", ".git/x.wav", "consent.wav"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"")
    assert [path.relative_to(folder).as_posix() for path in find_files(folder)] == ["a/1.flac", "a/2.flac", "b.wav"]


@pytest.mark.parametrize("speaker", ["ljspeech", "kathleen", "aishell_s0150", "kerstin"])
def test_real_recordings(shared_data: Path, tmp_path: Path, speaker: str) -> None:
    takes, rejected = tmp_path / "takes.tsv", tmp_path / "rejected.tsv"
    ingest(shared_data / "speakers" / speaker, takes, rejected, TakesSettings(), threads=2)
    rows = read_tsv(takes)
    assert len(rows) == 4 and not read_tsv(rejected)
    assert all(("narrowband" in row["flags"]) == (speaker == "aishell_s0150") for row in rows)
    assert ("stereo" in rows[0]["flags"]) == (speaker == "kathleen")
