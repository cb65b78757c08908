"""A corpus of many speakers: four layouts, the split, people who are never trained on, and going on after a stop."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from voiceclone.corpus.gather import HELD_OUT_PEOPLE, check_held_out, gather_corpus, person, read_source, split_of, trim
from voiceclone.corpus.split import sentence_key
from voiceclone.errors import DataError
from voiceclone.files import read_json, read_tsv, write_tsv
from voiceclone.sound.loudness import loudness
from voiceclone.stages.gather import CorporaSettings

RATE = 16_000


def sound(path: Path, seconds: float = 2.0, seed: int = 0, rate: int = RATE, silence: float = 0.0) -> Path:
    """Noise in syllables, with silence at both ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng([seed, int(seconds * 1000)])
    count = int(seconds * rate)
    voice = random.standard_normal(count) * 0.1 * (0.6 + 0.4 * np.sin(np.arange(count) * 20 / rate))
    pause = np.zeros(int(silence * rate))
    soundfile.write(path, np.concatenate([pause, voice, pause]).astype(np.float32), rate)
    return path


def source(name: str, kind: str, path: Path, **more: Any) -> dict[str, Any]:
    return {"name": name, "kind": kind, "path": str(path), "licence": "CC0 1.0", **more}


@pytest.fixture
def sets(tmp_path: Path) -> dict[str, dict[str, Any]]:
    """One small data set of each layout."""
    data = tmp_path / "data"
    for reader in (19, 84):
        chapter = data / "libri" / str(reader) / "1"
        lines = [f"{reader}-1-{n:04d} SHE SAID NUMBER {n}" for n in range(4)]
        for n in range(4):
            sound(chapter / f"{reader}-1-{n:04d}.flac", 1.5 + n / 10, reader)
        (chapter / f"{reader}-1.trans.txt").write_text("\n".join(lines) + "\n")
    for n in range(2):
        sound(data / "lj" / "wavs" / f"LJ001-{n:04d}.wav", 1.7, n, 22_050)
    (data / "lj" / "metadata.csv").write_text("LJ001-0000|In 1450|In fourteen fifty\nLJ001-0001|Plain|Plain\n")
    for n, folder in enumerate(("a", "b")):
        sound(data / "list" / folder / "one.wav", 1.6, 50 + n)
    (data / "list" / "voices.list").write_text("a/one.wav|anna|EN|Hello there.\nb/one.wav|bert|EN|Good night.\n")
    columns = ("utterance", "path", "speaker", "language", "text")
    rows = [
        dict(zip(columns, (f"{n:05d}", f"{n:05d}.flac", f"p{n % 3}", "en", f"Line {n}."), strict=True))
        for n in range(6)
    ]
    for row in rows:
        sound(data / "teacher" / row["path"], 1.4, 100 + int(row["utterance"]))
    write_tsv(data / "teacher" / "manifest.tsv", columns, rows)
    return {
        "libri": source("libri", "librispeech", data / "libri", bandwidth=8000, weight=2.0),
        "lj": source("lj", "ljspeech", data / "lj"),
        "list": source("list", "list", data / "list" / "voices.list", hold_out=["bert"]),
        "teacher": source("teacher", "teacher", data / "teacher" / "manifest.tsv", use="gpt"),
    }


def gathered(sources: list[dict[str, Any]], results: Path, **more: Any) -> list[dict[str, str]]:
    settings = CorporaSettings.model_validate({"sources": sources, **more})
    gather_corpus(settings, results, threads=2)
    return read_tsv(results / "corpus" / "corpus.tsv")


def test_every_layout_gives_speakers_texts_and_one_kind_of_sound(sets, tmp_path) -> None:
    results = tmp_path / "results" / "base"
    rows = {row["utterance"]: row for row in gathered(list(sets.values()), results, heldout_share=0)}
    assert len(rows) == 18
    assert rows["libri-19-1-0002"]["text"] == "She said number 2"
    assert rows["libri-19-1-0002"]["speaker"] == "ls19" and rows["libri-19-1-0002"]["weight"] == "2.0"
    assert rows["lj-LJ001-0000"]["text"] == "In fourteen fifty" and rows["lj-LJ001-0000"]["speaker"] == "lj"
    assert rows["list-a-one"]["speaker"] == "anna" and rows["list-b-one"]["speaker"] == "bert"
    assert {rows[f"teacher-{n:05d}"]["speaker"] for n in range(6)} == {"p0", "p1", "p2"}
    for row in rows.values():
        samples, rate = soundfile.read(results / row["path"], dtype="float32")
        assert rate == 32_000 and samples.ndim == 1
        assert abs(loudness(samples, rate) + 23) < 0.3
        assert len(samples) / rate == pytest.approx(float(row["seconds"]), abs=1e-4)
    licences = {row["source"]: row for row in read_tsv(results / "corpus" / "licences.tsv")}
    assert licences["libri"]["speakers"] == "2" and licences["libri"]["licence"] == "CC0 1.0"


def test_held_out_people_are_in_no_training_split(sets, tmp_path) -> None:
    rows = gathered(list(sets.values()), tmp_path / "base", heldout_share=0)
    split = {row["speaker"]: row["split"] for row in rows}
    assert {name for name, value in split.items() if value == "heldout"} == {"ls84", "lj", "bert"}
    assert read_json(tmp_path / "base" / "corpus" / "summary.json")["heldout_people"] == ["bert", "lj", "ls84"]


def test_a_reader_of_librispeech_is_known_in_every_layout() -> None:
    assert person("84-121123-0000", "anybody") == "ls84" and person("LJ001-0001", "anna") == "lj"
    assert person("take_01", "anna") == "anna"
    assert {"lj", "ls84", "ls1988", "ls777", "ls652", "ls1688", "ls8461"} <= HELD_OUT_PEOPLE
    assert len(HELD_OUT_PEOPLE) == 5 + 33


def test_a_corpus_that_trains_on_held_out_people_is_refused() -> None:
    check_held_out([{"speaker": "ls84", "split": "heldout"}, {"speaker": "ls19", "split": "train"}])
    with pytest.raises(DataError, match="lj, ls84: held-out people in the training split"):
        check_held_out([{"speaker": name, "split": "train"} for name in ("ls84", "lj", "ls19")])


def test_test_other_speakers_of_the_recordings_at_hand_are_held_out(shared_data) -> None:
    folder = shared_data / "verification" / "librispeech_test-other"
    found = {f"ls{path.name}" for path in folder.iterdir() if path.is_dir()}
    assert found and found <= HELD_OUT_PEOPLE


def test_about_the_share_is_held_out_by_hash_and_stays_so(sets) -> None:
    settings = CorporaSettings.model_validate({"sources": [sets["teacher"]]})
    texts = [f"Sentence number {n}." for n in range(5000)]
    held = {text for text in texts if split_of(text, "p", settings.sources[0], 0.01) == "heldout"}
    assert 25 < len(held) < 80
    assert held == {
        text for text in texts if split_of(f"\u201c{text.upper()}", "q", settings.sources[0], 0.01) == "heldout"
    }


def test_a_sentence_is_on_one_side_in_whatever_voice(sets, tmp_path) -> None:
    folder = Path(sets["teacher"]["path"]).parent
    for number in range(20):
        sound(folder / f"anna{number}.wav", 1.6 + number / 100, 500 + number)
    lines = [f"anna{n}.wav|anna|EN|{'line' if n % 2 else 'LINE'}, {n // 2}!" for n in range(20)]
    (folder / "anna.list").write_text("\n".join(lines) + "\n")
    sources = [sets["teacher"], source("anna", "list", folder / "anna.list")]
    sides: dict[str, set[str]] = {}
    for row in gathered(sources, tmp_path / "base", heldout_share=0.5):
        sides.setdefault(sentence_key(row["text"]), set()).add(row["split"])
    assert len(sides) == 10 and all(len(side) == 1 for side in sides.values())
    assert {side.pop() for side in sides.values()} == {"train", "heldout"}


def test_people_of_any_folder_are_only_measured(sets, tmp_path) -> None:
    folders = [Path(sets[name]["path"]) for name in ("libri", "lj", "list")]
    folders = [folder.parent if folder.is_file() else folder for folder in folders]
    rows = gathered([sets["teacher"]], tmp_path / "base", heldout_share=0, people=[str(path) for path in folders])
    measured = {row["speaker"]: row["split"] for row in rows if row["source"].startswith("people")}
    assert measured == dict.fromkeys(("ls19", "ls84", "lj", "anna", "bert"), "heldout")
    assert {row["split"] for row in rows if row["source"] == "teacher"} == {"train"}


def test_what_cannot_be_used_is_named_with_its_reason(tmp_path) -> None:
    folder = tmp_path / "data"
    sound(folder / "good.wav", 2.0, 1)
    soundfile.write(folder / "copy.wav", *soundfile.read(folder / "good.wav"))
    sound(folder / "short.wav", 0.4)
    sound(folder / "long.wav", 18.0)
    (folder / "broken.wav").write_bytes(b"RIFF nothing")
    soundfile.write(folder / "silent.wav", np.zeros(RATE * 2, np.float32), RATE)
    sound(folder / "mute.wav", 2.5)
    names = ("good", "copy", "short", "long", "broken", "silent", "mute", "gone")
    texts = {name: "[music]" if name == "mute" else "Some words." for name in names}
    lines = [f"{name}.wav|anna|EN|{texts[name]}" for name in names]
    lines += ["empty.wav|anna|EN|", "lost.wav|anna|Some words.", "lost.wav|anna|XX|Some words."]
    (folder / "all.list").write_text("\n".join(lines) + "\n")
    rows = gathered([source("set", "list", folder / "all.list")], tmp_path / "base")
    assert [row["utterance"] for row in rows] == ["set-good"]
    reasons = {row["utterance"]: row["reason"] for row in read_tsv(tmp_path / "base" / "corpus" / "rejected.tsv")}
    assert reasons == {
        "set-copy": "duplicate", "set-short": "short", "set-long": "long", "set-broken": "unreadable",
        "set-silent": "unreadable", "set-mute": "no-text", "set-gone": "missing",
        **{f"set-all.list-line-{number}": "line" for number in (9, 10, 11)},
    }  # fmt: skip


def test_a_table_without_one_usable_line_is_an_error_that_names_the_list_of_reasons(tmp_path) -> None:
    (tmp_path / "bad.list").write_text("just words\n")
    with pytest.raises(DataError, match="no utterance is left") as error:
        gathered([source("set", "list", tmp_path / "bad.list")], tmp_path / "base")
    assert "rejected.tsv" in error.value.hint
    assert read_tsv(tmp_path / "base" / "corpus" / "rejected.tsv")[0]["detail"].startswith(
        f"{tmp_path}/bad.list: line 1"
    )


def test_hours_limit_a_source_to_the_same_clips_every_time(sets, tmp_path) -> None:
    limited = {**sets["teacher"], "hours": 2.5 / 3600}
    rows = gathered([limited], tmp_path / "base", heldout_share=0)
    assert len(rows) == 2
    order = sorted((f"teacher-{n:05d}" for n in range(6)), key=lambda name: hashlib.sha256(name.encode()).digest())
    assert {row["utterance"] for row in rows} == set(order[:2])


def test_a_second_run_makes_nothing_again_and_forgets_what_is_gone(sets, tmp_path, caplog) -> None:
    results = tmp_path / "base"
    gathered(list(sets.values()), results)
    times = {path: path.stat().st_mtime_ns for path in results.glob("clips/*/*.flac")}
    victim = next(path for path in times if path.parent.name == "libri")
    victim.unlink()
    with caplog.at_level("INFO"):
        gathered([sets["libri"], sets["teacher"]], results)
    assert "libri: 8 kept" in caplog.text and "1 made, 7 from cache" in caplog.text
    left = {path: path.stat().st_mtime_ns for path in results.glob("clips/*/*.flac")}
    assert len(left) == 14 and sum(times[path] == time for path, time in left.items()) == 13


def test_silence_at_the_ends_goes_and_a_margin_stays(tmp_path) -> None:
    samples, rate = soundfile.read(sound(tmp_path / "a.wav", 2.0, silence=1.0), dtype="float32")
    assert len(trim(samples, rate)) / rate == pytest.approx(2.24, abs=0.03)
    assert len(trim(np.zeros(100, np.float32), rate)) == 100


@pytest.mark.parametrize(
    ("change", "words"),
    [({"path": "nowhere"}, "nothing is there"), ({"kind": "ljspeech"}, r"0 files metadata\.csv, expected one")],
)
def test_a_source_that_is_not_there_is_an_error(sets, change, words) -> None:
    settings = CorporaSettings.model_validate({"sources": [sets["libri"] | change]})
    with pytest.raises(DataError, match=words):
        read_source(settings.sources[0])


def test_a_source_has_one_place_and_one_name(sets) -> None:
    for sources in ([sets["lj"] | {"asset": "x"}], [sets["lj"] | {"path": ""}], [sets["lj"], sets["lj"]]):
        with pytest.raises(ValueError, match=r"corpora\.sources"):
            CorporaSettings.model_validate({"sources": sources})
