import csv
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from voiceclone.assets import Asset, open_asset
from voiceclone.corpus.transcribe import most_probable, transcribe_speaker, weighted_mean
from voiceclone.errors import ConfigError, DataError
from voiceclone.files import read_jsonl, read_tsv, sha256_file, write_tsv
from voiceclone.listeners.recogniser import ATTEMPTS, RATE, Recogniser
from voiceclone.sound.io import read_mono, write_flac
from voiceclone.stages.settings import RuntimeSettings
from voiceclone.stages.transcribe import TranscribeSettings
from voiceclone.text.wer import corpus_errors, normalise_for_scoring, word_errors

REPOSITORY = Path(__file__).resolve().parents[2]
SLICES = ("utterance", "take", "path", "sha256", "start_ms", "end_ms", "seconds")
MARGIN_MS = 150  # around the true limits of an utterance


class Speaker:
    """A results folder whose utterances are cut at the limits that the reference transcripts give."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rows: list[dict[str, object]] = []
        self.truth: dict[str, str] = {}
        self.takes: list[str] = []

    def add(self, take: str, start_ms: int, samples: np.ndarray, text: str) -> str:
        end_ms = start_ms + len(samples) // 32
        name = f"{take}-{start_ms:07d}-{end_ms:07d}"
        path = self.folder / "slices" / take / f"{name}.flac"
        write_flac(path, samples, 32_000)
        values = (name, take, f"{take}/{name}.flac", sha256_file(path), start_ms, end_ms, (end_ms - start_ms) / 1000)
        self.rows.append(dict(zip(SLICES, values, strict=True)))
        self.truth[name] = text
        if take not in self.takes:
            self.takes.append(take)
        return name

    def add_recorded(self, source: Path, wanted: Callable[[dict[str, str]], bool]) -> "Speaker":
        with (source / "transcripts.csv").open(encoding="utf-8") as handle:
            lines = [line for line in csv.DictReader(handle) if wanted(line)]
        takes = {name: read_mono(source / name, 32_000)[0] for name in {line["file"] for line in lines}}
        for line in lines:
            start = max(0, int(float(line["start_s"]) * 1000) - MARGIN_MS)
            end = int(float(line["end_s"]) * 1000) + MARGIN_MS
            samples = takes[line["file"]][start * 32 : end * 32]
            self.add(line["file"].removesuffix(".flac"), start, samples, line["text_spoken"] or line["text"])
        return self

    def write(self) -> None:
        write_tsv(self.folder / "clean" / "manifest.tsv", ["take"], [{"take": take} for take in self.takes])
        write_tsv(self.folder / "slices" / "manifest.tsv", SLICES, self.rows)

    def arguments(self, asset: Path) -> list[str]:
        given = {"clean": "clean/manifest.tsv", "slices": "slices/manifest.tsv", "output": "transcripts/manifest.tsv"}
        paths = [part for name, path in given.items() for part in (f"--{name}", str(self.folder / path))]
        return [
            sys.executable,
            str(REPOSITORY / "scripts/transcribe.py"),
            *paths,
            "--asr",
            str(asset),
            "--threads",
            "1",
        ]

    def transcribe(self, asset: Asset, settings: TranscribeSettings | None = None) -> dict[str, dict[str, Any]]:
        self.write()
        output = self.folder / "transcripts" / "manifest.tsv"
        transcribe_speaker(
            self.folder / "clean" / "manifest.tsv",
            self.folder / "slices" / "manifest.tsv",
            asset,
            output,
            settings or TranscribeSettings(),
            RuntimeSettings(device="cpu"),
            threads=1,
        )
        return self.records()

    def records(self) -> dict[str, dict[str, Any]]:
        paths = (self.folder / "transcripts").glob("*.jsonl")
        return {record["utterance"]: record for path in paths for record in read_jsonl(path)}


@pytest.fixture(scope="module")
def model(asset: Callable[[str], Path]) -> Asset:
    return open_asset(asset("whisper-base"))


def test_words_times_and_cache(shared_data: Path, model: Asset, tmp_path: Path) -> None:
    speaker = Speaker(tmp_path)
    speaker.add_recorded(shared_data / "speakers" / "ljspeech", lambda line: line["utt_id"] == "LJ001-0013")
    silence = speaker.add("take_04", 50_000, np.zeros(48_000, np.float32), "")
    speaker.takes.append("without-speech")
    records = speaker.transcribe(model)

    assert set(records) == set(speaker.truth)
    spoken = [name for name in records if name != silence]
    errors = corpus_errors(((speaker.truth[name], records[name]["text"]) for name in spoken), "en")
    assert errors.errors <= 1
    for name in spoken:
        record, seconds = records[name], float(next(r["seconds"] for r in speaker.rows if r["utterance"] == name))
        assert record["language"] == record["heard"] == "en"
        words = record["words"]
        assert " ".join("".join(word["word"] for word in words).split()) == record["text"]
        assert all(0 <= word["start"] <= word["end"] <= seconds and 0 <= word["probability"] <= 1 for word in words)
        assert [word["start"] for word in words] == sorted(word["start"] for word in words)
    assert records[silence]["no_speech_prob"] > 0.5
    manifest = {row["take"]: row for row in read_tsv(tmp_path / "transcripts" / "manifest.tsv")}
    assert manifest["without-speech"]["utterances"] == "0"
    assert manifest["take_04"]["language"] == "en"
    assert manifest["take_04"]["sha256"] == sha256_file(tmp_path / "transcripts" / "take_04.jsonl")

    # The same again needs no model; what is gone takes its files along; a new sound needs the model.
    absent = replace(model, folder=tmp_path / "no-model-here")
    assert speaker.transcribe(absent) == records
    speaker.takes = ["take_04"]
    speaker.rows = []
    assert speaker.transcribe(absent) == {}
    assert not list((tmp_path / "transcripts" / "cache").rglob(f"{silence}.json"))
    assert not (tmp_path / "transcripts" / "without-speech.jsonl").exists()
    speaker.add("take_04", 60_000, np.full(48_000, 0.01, np.float32), "")
    with pytest.raises((RuntimeError, ValueError, OSError)):
        speaker.transcribe(absent)


def test_unknown_language_and_too_long_utterance_are_refused(model: Asset) -> None:
    with pytest.raises(ConfigError, match=r"transcribe\.languages: .* does not know xx"):
        Recogniser(model.folder, TranscribeSettings(languages=("en", "xx")), "cpu", 1)
    recogniser = Recogniser(model.folder, TranscribeSettings(), "cpu", 1)
    with pytest.raises(DataError, match=r"31\.0 s cannot be recognised"):
        recogniser.hear([np.zeros(31 * RATE, np.float32)])


@pytest.mark.slow
def test_noise_ends_quickly_and_never_as_a_loop(model: Asset) -> None:
    recogniser = Recogniser(model.folder, TranscribeSettings(), "cpu", 1)
    noise = (np.random.default_rng(0).standard_normal(2 * RATE) * 0.05).astype(np.float32)
    (first,) = recogniser.transcribe(recogniser.hear([noise]), "en")
    (second,) = recogniser.transcribe(recogniser.hear([noise]), "en")
    assert first == second
    assert first["attempt"] in range(len(ATTEMPTS))
    assert first["compression_ratio"] <= 2.4


def test_languages_are_weighted_by_length() -> None:
    mean = weighted_mean([(9.0, {"en": 0.9, "cy": 0.1}), (1.0, {"cy": 1.0})])
    assert mean == {"cy": 0.19, "en": 0.81}
    assert most_probable(mean) == "en"
    assert most_probable({"zh": 0.5, "en": 0.5}) == "en"


@pytest.mark.parametrize(
    ("reference", "hypothesis", "language", "errors", "words"),
    [
        ("Twenty-one dogs can't sing.", "21 dogs can not sing", "en", 0, 5),
        ("The wood cutter left.", "the woodcutter left", "en", 2, 4),
        ("因此，直接派发", "因此直接派發。", "zh", 0, 6),
        ("国家重点", "国重店", "zh", 2, 4),
        ("Füssenich lag früher", "füssenich, lag FRÜHER!", "de", 0, 3),
        ("", "two words", "en", 2, 0),
        ("two words", "", "en", 2, 2),
        ("", "", "en", 0, 0),
    ],
)
def test_word_errors(reference: str, hypothesis: str, language: str, errors: int, words: int) -> None:
    counts = word_errors(reference, hypothesis, language)
    assert (counts.errors, counts.words) == (errors, words)


def test_scoring_separates_characters_of_chinese() -> None:
    assert normalise_for_scoring("你好，Bob 们", "zh") == "你 好 b o b 们"


def test_an_utterance_in_another_language_is_written_down_in_its_own(
    shared_data: Path, model: Asset, tmp_path: Path
) -> None:
    speaker = Speaker(tmp_path)
    for name, wanted in (("ljspeech", ("LJ001-0002", "LJ001-0013")), ("aishell_s0150", ("BAC009S0150W0201",))):
        speaker.add_recorded(shared_data / "speakers" / name, lambda line, wanted=wanted: line["utt_id"] in wanted)
    for row in speaker.rows:  # one take, in which most is English
        row["take"] = "both"
    speaker.takes = ["both"]
    records = speaker.transcribe(model, TranscribeSettings(mixed=True))
    assert [records[name]["language"] for name in speaker.truth] == ["en", "en", "zh"]
    *_, (name, text) = speaker.truth.items()
    assert word_errors(text, records[name]["text"], "zh").rate <= 0.3
    assert len({record["language"] for record in speaker.transcribe(model).values()}) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "language", "limit"),
    [("ljspeech", "en", 0.10), ("kathleen", "en", 0.10), ("aishell_s0150", "zh", 0.15)],
)
def test_real_recordings(
    shared_data: Path, model: Asset, tmp_path: Path, name: str, language: str, limit: float
) -> None:
    speaker = Speaker(tmp_path).add_recorded(shared_data / "speakers" / name, lambda line: True)
    records = speaker.transcribe(model)
    errors = corpus_errors(((text, records[key]["text"]) for key, text in speaker.truth.items()), language)
    print(f"{name}: {errors.rate:.4f} of {errors.words}")
    assert {record["language"] for record in records.values()} == {language}
    assert errors.rate <= limit


@pytest.mark.slow
def test_a_killed_run_continues_with_what_it_has(shared_data: Path, model: Asset, tmp_path: Path) -> None:
    speaker = Speaker(tmp_path)
    speaker.add_recorded(shared_data / "speakers" / "kathleen", lambda line: line["file"] == "take_01.flac")
    speaker.write()
    command = speaker.arguments(model.folder / "asset.json")
    run = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    cache = tmp_path / "transcripts" / "cache" / "take_01"
    done = _wait_for(lambda: sorted(cache.glob("take_01-*.json")), run)
    os.kill(run.pid, signal.SIGKILL)
    run.wait()
    done = sorted(cache.glob("take_01-*.json"))
    assert len(done) < len(speaker.rows)
    assert not (tmp_path / "transcripts" / "manifest.tsv").exists()

    again = subprocess.run(command, capture_output=True, text=True, check=True)
    assert f"{len(speaker.rows) - len(done)} made, {len(done)} from cache" in again.stderr
    assert list(speaker.records()) == [row["utterance"] for row in speaker.rows]


def _wait_for(find: Callable[[], Sequence[Path]], run: subprocess.Popen[bytes]) -> Sequence[Path]:
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and run.poll() is None:
        if found := find():
            return found
        time.sleep(0.05)
    raise AssertionError(f"nothing was written before the run ended with {run.poll()}")
