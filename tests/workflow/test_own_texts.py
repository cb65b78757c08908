"""Recordings with texts that people already have: through the workflow to the corpus, words and bounds as given."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from voiceclone.files import read_jsonl, read_tsv
from voiceclone.sound.io import read_audio
from voiceclone.text.wer import corpus_errors

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
CONFIG = ("--config", "preset=nano", "corpus={min_utterances: 2, min_seconds: 5}")


def truth(folder: Path, take: str) -> list[dict[str, str]]:
    with (folder / "transcripts.csv").open(encoding="utf-8") as handle:
        return [row for row in csv.DictReader(handle) if row["file"] == take]


def stamp(seconds: float) -> str:
    return f"00:00:{seconds:06.3f}".replace(".", ",")


def make_clips(source: Path, folder: Path) -> None:
    """A data set of LJ Speech's layout, and one line of a sound that is missing."""
    (folder / "wavs").mkdir(parents=True)
    samples, rate = read_audio(source / "take_02.flac")
    lines = []
    for row in truth(source, "take_02.flac"):
        cut = samples[round(float(row["start_s"]) * rate) : round(float(row["end_s"]) * rate)]
        soundfile.write(folder / "wavs" / f"{row['utt_id']}.wav", cut, rate)
        lines.append(f"{row['utt_id']}|{row['text']}")
    (folder / "metadata.csv").write_text("\n".join([*lines, "lost_0001|Nobody hears this."]) + "\n", encoding="utf-8")


def make_subtitled(source: Path, folder: Path) -> None:
    """Subtitles of all sentences but the last, with one word wrong, and one behind the end."""
    folder.mkdir()
    shutil.copyfile(source / "take_01.flac", folder / "talk.flac")
    rows = truth(source, "take_01.flac")[:-1]
    cues = [(float(row["start_s"]) - 0.1, float(row["end_s"]) + 0.1, row["text"]) for row in rows]
    cues[0] = (*cues[0][:2], "Completely other words stand here instead.")
    cues.append((55.0, 57.0, "Behind the end."))
    blocks = [f"{n}\n{stamp(start)} --> {stamp(end)}\n{text}\n" for n, (start, end, text) in enumerate(cues, 1)]
    (folder / "talk.en.srt").write_text("\n".join(blocks), encoding="utf-8")


def make_long(source: Path, folder: Path) -> None:
    """Half a minute in one piece, with all that is said in it as one text."""
    folder.mkdir()
    pieces = []
    for take in ("take_01.flac", "take_02.flac"):
        samples, rate = read_audio(source / take)
        pieces.append(samples)
    soundfile.write(folder / "chapter.wav", np.concatenate(pieces), rate)
    text = " ".join(row["text"] for take in ("take_01.flac", "take_02.flac") for row in truth(source, take))
    (folder / "chapter.txt").write_text(text, encoding="utf-8")


@pytest.fixture(scope="module")
def project(new_project: Callable, shared_data: Path, asset: Callable[[str], Path]):
    asset("whisper-base")
    project = new_project("own-texts", *CONFIG)
    speakers = project.root / "resources" / "speakers"
    make_clips(shared_data / "speakers" / "kathleen", speakers / "clips")
    make_subtitled(shared_data / "speakers" / "kathleen", speakers / "subtitled")
    make_long(shared_data / "speakers" / "ljspeech", speakers / "long")
    project.run(*(f"results/{name}/corpus/corpus.tsv" for name in ("clips", "subtitled", "long")))
    return project


def records(voice: Path) -> dict[str, dict]:
    return {
        record["utterance"]: record for path in (voice / "transcripts").glob("*.jsonl") for record in read_jsonl(path)
    }


def test_known_clips_keep_words_and_bounds_and_are_not_recognised(project, shared_data) -> None:
    voice = project.results / "clips"
    expected = {row["utt_id"]: row for row in truth(shared_data / "speakers" / "kathleen", "take_02.flac")}
    files = {row["take"]: Path(row["file"]).stem for row in read_tsv(voice / "takes.tsv")}
    corpus = read_tsv(voice / "corpus" / "corpus.tsv")
    assert {files[row["take"]] for row in corpus} == set(expected)
    for row in corpus:
        known = expected[files[row["take"]]]
        assert row["text"] == known["text"] and row["language"] == "en" and row["flags"].split(",")[-1] == "given"
        assert float(row["seconds"]) == pytest.approx(float(known["end_s"]) - float(known["start_s"]), abs=0.05)
        assert row["text_asr"] == ""
    lost = [row for row in read_tsv(voice / "rejected.tsv") if row["reason"] == "transcript"]
    assert [row["file"] for row in lost] == ["metadata.csv"] and "'lost_0001'" in lost[0]["detail"]


def test_subtitles_are_clips_and_what_they_leave_out_is_recognised(project, shared_data) -> None:
    voice = project.results / "subtitled"
    rows = truth(shared_data / "speakers" / "kathleen", "take_01.flac")
    corpus = read_tsv(voice / "corpus" / "corpus.tsv")
    given = [row for row in corpus if "given" in row["flags"].split(",")]
    assert [row["text"] for row in given[1:]] == [row["text"] for row in rows[1:-1]]
    for row, known in zip(given[1:], rows[1:-1], strict=True):
        assert int(row["start_ms"]) == round(1000 * (float(known["start_s"]) - 0.1))
    others = [row for row in corpus if row not in given]
    assert corpus_errors([(rows[-1]["text"], " ".join(row["text"] for row in others))], "en").rate < 0.3
    lost = [row for row in read_tsv(voice / "corpus" / "rejected.tsv") if row["reason"] == "no_sound"]
    assert [row["text"] for row in lost] == ["Behind the end."]


def test_a_long_text_is_shared_out_among_the_parts(project, shared_data) -> None:
    voice = project.results / "long"
    whole = (project.root / "resources/speakers/long/chapter.txt").read_text(encoding="utf-8")
    found = records(voice)
    parts = [found[name]["given"] for name in sorted(found)]
    assert len(parts) > 5 and all(part["cut"] for part in parts)
    assert " ".join(part["text"] for part in parts) == whole
    assert min(part["agreement"] for part in parts) > 0.6
    # Where the parts begin and end is told by the true times of the sentences.
    agreements = [part["agreement"] for part in parts]
    print(
        f"{len(parts)} parts, agreement with what is heard: mean {np.mean(agreements):.3f}, least {min(agreements):.3f}"
    )
    assert np.mean(agreements) > 0.9
    assert len(read_tsv(voice / "corpus" / "corpus.tsv")) == len(parts)


def test_a_changed_text_changes_its_row_alone_and_a_second_opinion_finds_the_wrong_one(project) -> None:
    table = project.root / "resources/speakers/clips/metadata.csv"
    before = {row["utterance"]: row for row in read_tsv(project.results / "clips/corpus/corpus.tsv")}
    text = table.read_text(encoding="utf-8")
    first = text.split("\n")[0]
    table.write_text(text.replace(first, first.split("|")[0] + "|Nothing like what is said."), encoding="utf-8")
    project.options.append("transcribe={second_opinion: true}")
    done = project.run("results/clips/corpus/corpus.tsv")
    after = {row["utterance"]: row for row in read_tsv(project.results / "clips/corpus/corpus.tsv")}
    changed = [name for name in before if before[name]["text"] != after[name]["text"]]
    assert len(changed) == 1 and after[changed[0]]["text"] == "Nothing like what is said."
    assert [name for name, row in after.items() if "disagrees" in row["flags"]] == changed
    assert "rule separate" not in done.stdout + done.stderr and "rule takes" not in done.stdout + done.stderr
