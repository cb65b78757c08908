"""What a teacher speaks for its student: which sentences, what is let through, what becomes of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.support.voice_fixture import make_voice

from voiceclone.assets import open_asset
from voiceclone.errors import ConfigError, DataError
from voiceclone.evaluation.spoken import choose_texts, left_out, speak_for_student
from voiceclone.files import read_json, read_tsv, sha256_file, table_columns, write_tsv
from voiceclone.models.gpt import GPTConfig
from voiceclone.models.sovits import SoVITSConfig
from voiceclone.sound.io import write_flac
from voiceclone.speaking.reference import choose_reference
from voiceclone.stages.distill import SPOKEN, SpokenSettings


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    path = tmp_path / "talk.en.txt"
    path.write_text(
        "One is here.\nTwo are there.\nThis one is held out entirely.\nThree came late.\n", encoding="utf-8"
    )
    return path


def test_sentences_are_chosen_by_hash_in_the_voices_languages_and_never_held_out(texts: Path, tmp_path: Path) -> None:
    held_out = tmp_path / "held.txt"
    held_out.write_text("x-01\tThis one is held out entirely.\n", encoding="utf-8")
    japanese = tmp_path / "talk.ja.txt"
    japanese.write_text("はい。\n", encoding="utf-8")
    chosen = choose_texts([texts, japanese], [held_out], {"en"}, SpokenSettings())
    assert sorted(text for _, text in chosen) == ["One is here.", "Three came late.", "Two are there."]
    assert choose_texts([texts], [held_out], {"en"}, SpokenSettings(utterances=2)) == chosen[:2]  # more adds to fewer
    with pytest.raises(ConfigError, match="says no language"):
        choose_texts([tmp_path / "talk.txt"], [], {"en"}, SpokenSettings())


def test_what_is_misspoken_or_misheard_is_left_out() -> None:
    heard = {"faults": "", "character_errors": 3, "characters": 20}
    assert left_out(heard, SpokenSettings(max_error_rate=0.15)) == ""
    assert left_out(heard | {"character_errors": 4}, SpokenSettings(max_error_rate=0.15)) == "words: 4 of 20 characters"
    assert left_out(heard | {"faults": "loop"}, SpokenSettings()) == "detector: loop"


def test_the_corpus_has_recordings_and_what_was_let_through_and_a_second_run_speaks_nothing(
    texts: Path, tmp_path: Path, asset, capsys: pytest.CaptureFixture[str]
) -> None:
    recogniser = open_asset(asset("whisper-tiny.en"))
    teacher = make_voice(tmp_path / "anna", SoVITSConfig.nano(16, 256), GPTConfig.nano(256))
    rows = []
    for row in read_tsv(teacher / "features" / "manifest.tsv"):
        sound = teacher / "slices" / f"{row['utterance']}.flac"
        sound.parent.mkdir(exist_ok=True)
        write_flac(sound, np.zeros(3200, np.float32), 32000)
        rows.append(row | {"path": f"slices/{sound.name}", "sha256": sha256_file(sound), "text": "words"})
    (teacher / "corpus").mkdir()
    write_tsv(teacher / "corpus" / "corpus.tsv", list(rows[0]), rows)
    write_tsv(teacher / "takes.tsv", ["take"], [{"take": "a"}])
    student, settings = tmp_path / "anna-student", SpokenSettings(max_error_rate=1, utterances=2, attempts=1)

    def run(settings: SpokenSettings) -> None:
        speak_for_student(teacher, [texts], [], [], [recogniser], student, settings)

    # Random weights ramble: the detector sees it, and nothing is let through.
    with pytest.raises(DataError, match="none of 2 sentences was let through; the first: detector"):
        run(settings)
    for path in (student / "spoken").glob("spoken-*.json"):  # as if it had seen nothing
        path.write_text(path.read_text(encoding="utf-8").replace(read_json(path)["record"]["faults"], ""))
    before = {path.name: path.stat().st_mtime_ns for path in (student / "spoken").glob("*.flac")}
    run(settings)
    assert {path.name: path.stat().st_mtime_ns for path in (student / "spoken").glob("*.flac")} == before
    assert "2 of 2 sentences, 0 made, 2 from cache" in capsys.readouterr().out
    corpus = read_tsv(student / "corpus" / "corpus.tsv", table_columns("gathered"))
    assert sorted(row["source"] for row in corpus) == ["recordings"] * 4 + [SPOKEN] * 2
    assert [row["split"] for row in corpus].count("heldout") == 1
    for row in corpus:
        assert sha256_file(student / row["path"]) == row["sha256"] and row["speaker"] == "anna"
    assert (student / "takes.tsv").read_bytes() == (teacher / "takes.tsv").read_bytes()
    table = read_tsv(student / "spoken" / "manifest.tsv", table_columns("student_speech"))
    assert {row["language"] for row in table} == {"en"} and not any(row["reason"] for row in table)


def test_a_student_speaks_like_a_recording_never_like_what_was_spoken(tmp_path: Path) -> None:
    voice = make_voice(tmp_path / "anna")
    path = voice / "features" / "manifest.tsv"
    chosen = choose_reference(voice / "features")["utterance"]
    rows = [row | {"source": SPOKEN if row["utterance"] == chosen else "recordings"} for row in read_tsv(path)]
    write_tsv(path, list(rows[0]), rows)
    assert choose_reference(voice / "features")["utterance"] != chosen
