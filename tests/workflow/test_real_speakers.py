"""Real recordings from the folder to the corpus: words, seconds, music, Mandarin."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from voiceclone.files import read_tsv
from voiceclone.sound.io import read_audio, resample
from voiceclone.text.wer import word_errors

pytestmark = pytest.mark.timeout(2400)


def truth(folder: Path) -> dict[str, list[dict[str, str]]]:
    """Rows of transcripts.csv by file, in order of time."""
    rows: dict[str, list[dict[str, str]]] = {}
    with (folder / "transcripts.csv").open(encoding="utf-8") as handle:
        for row in csv.DictReader(handle):
            rows.setdefault(row["file"], []).append(row)
    return {name: sorted(group, key=lambda row: float(row["start_s"])) for name, group in rows.items()}


def heard(voice: Path) -> list[dict[str, str]]:
    """Utterances of the corpus and those that were left out, with their texts."""
    kept = read_tsv(voice / "corpus" / "corpus.tsv")
    dropped = [{**row, "dropped": row["reason"]} for row in read_tsv(voice / "corpus" / "rejected.tsv")]
    return sorted([*kept, *dropped], key=lambda row: row["utterance"])


def error_rate(voice: Path, folder: Path, language: str) -> float:
    """Errors over words (characters for Mandarin) of everything that was heard against everything that was said."""
    files = {row["file"]: row["take"] for row in read_tsv(voice / "takes.tsv")}
    errors = words = 0
    for name, rows in truth(folder).items():
        reference = " ".join(row["text_spoken"] or row["text"] for row in rows)
        stem = name if name in files else next(file for file in files if Path(file).stem == Path(name).stem)
        hypothesis = " ".join(row["text"] for row in heard(voice) if row["take"] == files[stem])
        counts = word_errors(reference, hypothesis, language)
        errors, words = errors + counts.errors, words + counts.words
    return errors / words


def covered_speech(voice: Path, folder: Path) -> float:
    """Share of the true utterances' seconds that lies in slices or in rejected stretches with a reason."""
    files = {row["file"]: row["take"] for row in read_tsv(voice / "takes.tsv")}
    timeline = read_tsv(voice / "slices" / "timeline.tsv")
    inside = total = 0.0
    for name, rows in truth(folder).items():
        spans = [
            (int(row["start_ms"]) / 1000, int(row["end_ms"]) / 1000)
            for row in timeline
            if row["take"] == files[name] and (row["state"] == "slice" or row["reason"])
        ]
        for row in rows:
            start, end = float(row["start_s"]), float(row["end_s"])
            total += end - start
            inside += sum(max(0.0, min(end, stop) - max(start, begin)) for begin, stop in spans)
    return inside / total


def mix_with_music(source: Path, music: Path, target: Path, ratio_db: float) -> None:
    """Every take of a speaker with music under it, the voice ``ratio_db`` louder."""
    target.mkdir(parents=True)
    tune, tune_rate = read_audio(music)
    for take in sorted(source.glob("*.flac")):
        voice, rate = read_audio(take)
        mono = voice.mean(axis=1, keepdims=True)
        bed = resample(tune, tune_rate, rate)
        bed = np.resize(bed, (len(mono), bed.shape[1]))
        gain = np.sqrt(np.mean(mono**2) / np.mean(bed**2)) * 10 ** (-ratio_db / 20)
        mixed = mono + gain * bed
        soundfile.write(target / take.name, mixed / max(1.0, np.abs(mixed).max()), rate)


@pytest.fixture(scope="module")
def real(new_project: Callable, shared_data: Path):
    """Three real speakers, and one of them with music under every take, as far as the corpus."""
    project = new_project("real", "--config", "preset=nano")
    speakers = project.root / "resources" / "speakers"
    for name in ("ljspeech", "kathleen", "aishell_s0150"):
        (speakers / name).symlink_to(shared_data / "speakers" / name)
    mix_with_music(
        shared_data / "speakers/ljspeech", shared_data / "noise/music/vibe_ace.flac", speakers / "ljspeech-music", 5.0
    )
    project.run(
        *(f"results/{name}/corpus/corpus.tsv" for name in ("ljspeech", "ljspeech-music", "kathleen", "aishell_s0150"))
    )
    return project


@pytest.mark.parametrize("speaker", ["ljspeech", "kathleen"])
def test_english_words_are_heard(real, shared_data, speaker) -> None:
    rate = error_rate(real.results / speaker, shared_data / "speakers" / speaker, "en")
    print(f"{speaker}: corpus WER {rate:.1%}")
    assert rate <= 0.10


def test_mandarin_characters_are_heard(real, shared_data) -> None:
    voice = real.results / "aishell_s0150"
    rate = error_rate(voice, shared_data / "speakers" / "aishell_s0150", "zh")
    print(f"aishell_s0150: corpus CER {rate:.1%}")
    assert rate <= 0.15
    assert all("narrowband" in row["flags"] for row in read_tsv(voice / "takes.tsv"))


@pytest.mark.parametrize("speaker", ["ljspeech", "kathleen", "aishell_s0150"])
def test_speech_is_in_the_corpus_or_accounted_for(real, shared_data, speaker) -> None:
    voice = real.results / speaker
    share = covered_speech(voice, shared_data / "speakers" / speaker)
    print(f"{speaker}: {share:.1%} of the true speech seconds are in slices or have a reason")
    assert share >= 0.95
    listed = {row["utterance"] for row in heard(voice)}
    assert listed == {row["utterance"] for row in read_tsv(voice / "slices" / "manifest.tsv")}
    assert max(float(row["seconds"]) for row in read_tsv(voice / "corpus" / "corpus.tsv")) <= 12.0


def test_music_is_found_and_taken_out(real, shared_data) -> None:
    clean = {row["separated"] for row in read_tsv(real.results / "ljspeech" / "separated" / "manifest.tsv")}
    mixed = {row["separated"] for row in read_tsv(real.results / "ljspeech-music" / "separated" / "manifest.tsv")}
    assert (clean, mixed) == ({"false"}, {"true"})
    folder = shared_data / "speakers" / "ljspeech"
    without, with_music = (error_rate(real.results / name, folder, "en") for name in ("ljspeech", "ljspeech-music"))
    print(f"ljspeech: WER {without:.1%} clean, {with_music:.1%} with music at 5 dB after separation")
    assert with_music <= without + 0.05


@pytest.mark.slow
def test_without_separation_the_music_shows(new_project, shared_data, real) -> None:
    project = new_project("unseparated", "--config", "preset=nano", "separate={mode: never}")
    speakers = project.root / "resources" / "speakers"
    music = shared_data / "noise/music/vibe_ace.flac"
    mix_with_music(shared_data / "speakers/ljspeech", music, speakers / "ljspeech-music", 5.0)
    project.run("results/ljspeech-music/corpus/corpus.tsv")

    def background(root: Path) -> float:
        rows = read_tsv(root / "ljspeech-music" / "clean" / "manifest.tsv")
        return float(np.median([float(row["dnsmos_after"]) for row in rows]))

    print(f"DNSMOS with music: {background(project.results):.2f} unseparated, {background(real.results):.2f} separated")
    assert background(real.results) > background(project.results)
