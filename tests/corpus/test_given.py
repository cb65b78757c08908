"""Texts beside recordings: every layout is read, what cannot be used is listed, no path leaves the folder."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tests.support.recordings import RATE

from voiceclone.corpus.datasets import WRITERS, export_corpus
from voiceclone.corpus.given import share_out
from voiceclone.corpus.inventory import read_inventory, take_inventory
from voiceclone.errors import DataError
from voiceclone.files import read_tsv, write_json, write_tsv
from voiceclone.sound.slice import FRAME_MS, Span, check_account, plan_around
from voiceclone.stages.slice import SliceSettings

NAMES = ("one.wav", "two.wav", "wavs/three.wav")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A speaker's folder with three recordings of different content."""
    folder = tmp_path / "anna"
    for seed, name in enumerate(NAMES):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(seed).standard_normal(2 * RATE) * 0.1
        soundfile.write(folder / name, noise.astype(np.float32), RATE)
    return folder


def put(folder: Path, name: str, text: str | bytes) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())


def given(folder: Path) -> dict[str, list[tuple[str, str, str, str]]]:
    """Per recording what the table says: start, end, language, text."""
    take_inventory(folder, folder.parent / "results" / "inventory.tsv")
    table = folder.parent / "results" / "given.tsv"
    found: dict[str, list[tuple[str, str, str, str]]] = {}
    for row in read_tsv(table) if table.is_file() else []:
        found.setdefault(row["file"], []).append((row["start_ms"], row["end_ms"], row["language"], row["text"]))
    return found


def refused(folder: Path) -> list[tuple[str, str, str]]:
    entries = read_inventory(folder.parent / "results" / "inventory.tsv")
    return [(e.file, e.rejection.reason, e.rejection.detail) for e in entries if e.rejection]


TEXTGRID = """File type = "ooTextFile"
Object class = "TextGrid"

xmin = 0
xmax = 2
tiers? <exists>
size = 2
item []:
    item [1]:
        class = "IntervalTier"
        name = "words"
        xmin = 0
        xmax = 2
        intervals: size = 1
        intervals [1]:
            xmin = 0
            xmax = 2
            text = "word"
    item [2]:
        class = "IntervalTier"
        name = "utterances"
        xmin = 0
        xmax = 2
        intervals: size = 3
        intervals [1]:
            xmin = 0
            xmax = 0.25
            text = ""
        intervals [2]:
            xmin = 0.25
            xmax = 1
            text = "He said ""12 = 12"" twice."
        intervals [3]:
            xmin = 1
            xmax = 2
            text = "And more."
"""
SUPERVISION = {"id": "a", "recording_id": "r1", "start": 0.5, "duration": 1.0, "channel": 0, "text": "Hello you.",
               "language": "English", "speaker": "anna"}  # fmt: skip
RECORDING = {"id": "r1", "sources": [{"type": "file", "channels": [0], "source": "/elsewhere/wavs/three.wav"}],
             "sampling_rate": RATE, "num_samples": 2 * RATE, "duration": 2.0}  # fmt: skip
CUT = {"id": "c", "type": "MonoCut", "start": 0.2, "duration": 1.5, "channel": 0, "recording": RECORDING,
       "supervisions": [{**SUPERVISION, "start": 0.1}]}  # fmt: skip
LAYOUTS = {
    "list": ({"esd.list": "Data\\anna\\one.wav|anna|JP|こんにちは。|ph|0\n/old/two.wav|anna|EN|Good night.|ph|0\n"},
             {"one.wav": [("", "", "ja", "こんにちは。")], "two.wav": [("", "", "en", "Good night.")]}),
    "ljspeech": ({"metadata.csv": "one|In 1450|In fourteen fifty\nthree|Plain|Plain\n"},
                 {"one.wav": [("", "", "", "In fourteen fifty")], "wavs/three.wav": [("", "", "", "Plain")]}),
    "piper": ({"metadata.csv": "one|anna|A rather long text.\ntwo|bob|Another rather long text.\n"},
              {"one.wav": [("", "", "", "A rather long text.")]}),
    "f5": ({"metadata.csv": "audio_file|text\nwavs/three.wav|Read me, please.\n"},
           {"wavs/three.wav": [("", "", "", "Read me, please.")]}),
    "table": ({"metadata.csv": 'file,start_s,end_s,language,text\none.wav,0.1,0.9,en,"Yes, you."\n'},
              {"one.wav": [("100", "900", "en", "Yes, you.")]}),
    "librispeech": ({"84.trans.txt": "one SHE SAID\ntwo NOTHING\n"},
                    {"one.wav": [("", "", "", "She said")], "two.wav": [("", "", "", "Nothing")]}),
    "lab": ({"one.lab": "Good\nmorning.\n", "wavs/three.txt": "Three."},
            {"one.wav": [("", "", "", "Good morning.")], "wavs/three.wav": [("", "", "", "Three.")]}),
    "gbk": ({"one.txt": "今天的天气很好，我们去公园吧。".encode("gbk")},
            {"one.wav": [("", "", "", "今天的天气很好，我们去公园吧。")]}),
    "srt": ({"one.en.srt": "1\n00:00:00,100 --> 00:00:00,900\n<i>Hello</i>\nthere.\n\n2\n"
                           "00:00:01,000 --> 00:00:01,900\nBye.\n"},
            {"one.wav": [("100", "900", "en", "Hello there."), ("1000", "1900", "en", "Bye.")]}),
    "vtt": ({"one.vtt": "WEBVTT\n\n00:00.100 --> 00:00.900\n<v anna>Mine.\n\n00:01.000 --> 00:01.900\n<v Bob>His.\n"},
            {"one.wav": [("100", "900", "", "Mine."), ("1000", "1900", "", "")]}),
    "textgrid": ({"one.TextGrid": TEXTGRID},
                 {"one.wav": [("250", "1000", "", 'He said "12 = 12" twice.'), ("1000", "2000", "", "And more.")]}),
    "textgrid-short-utf16": (
        {"two.TextGrid": 'File type = "ooTextFile"\n"TextGrid"\n\n0\n2\n<exists>\n1\n"IntervalTier"\n"text"\n0\n2\n1\n'
                         '0\n2\n"Short."\n'.encode("utf-16")},
        {"two.wav": [("0", "2000", "", "Short.")]}),
    "lhotse": ({"supervisions.jsonl": json.dumps(SUPERVISION), "recordings.jsonl": json.dumps(RECORDING)},
               {"wavs/three.wav": [("500", "1500", "en", "Hello you.")]}),
    "cuts": ({"cuts.jsonl.gz": gzip.compress(json.dumps(CUT).encode())},
             {"wavs/three.wav": [("300", "1300", "en", "Hello you.")]}),
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_is_read(folder: Path, layout: str) -> None:
    files, expected = LAYOUTS[layout]
    for name, text in files.items():
        put(folder, name, text)
    found = given(folder)
    assert found == expected
    others = {"piper": [("two.wav", "other-speaker")]}
    assert [item[:2] for item in refused(folder)] == others.get(layout, [])


def test_nothing_changes_where_no_text_lies(folder: Path) -> None:
    put(folder, "README.txt", "one.wav was recorded at home")
    put(folder, "notes.txt", "Bought a microphone.")
    put(folder, "voice.yaml", "language: en")
    assert given(folder) == {} and refused(folder) == []
    assert not (folder.parent / "results" / "given.tsv").exists()


def test_the_table_goes_when_the_texts_go(folder: Path) -> None:
    put(folder, "one.txt", "Hello.")
    assert given(folder)
    (folder / "one.txt").unlink()
    assert given(folder) == {} and not (folder.parent / "results" / "given.tsv").exists()


BAD = {
    "of another folder": ("anna.list", "../bob/one.wav|anna|EN|Hello.\n", "leads out of the speaker's folder"),
    "no such recording": ("anna.list", "nine.wav|anna|EN|Hello.\n", "line 1: no recording 'nine.wav'"),
    "unknown language": ("anna.list", "one.wav|anna|XX|Hello.\n", "line 1: language 'XX' is unknown"),
    "no text": ("metadata.csv", "one|\n", "line 1: no text"),
    "no stretch": ("one.srt", "00:00:02,000 --> 00:00:01,000\nHello.\n", "line 1: 2 to 1 s is no stretch"),
    "an encoding": ("one.txt", b"\xff\xfe\x00", "utf-16"),
    "labels": ("one.lab", "0 500 a\n500 900 b\n", "labels with times"),
    "a lost lab": ("nine.lab", "Hello.", "no recording of this name"),
    "another table": ("transcripts.csv", "file,text\none.wav,Hello.\n", "a layout that is not read"),
    "no json": ("supervisions.jsonl", json.dumps(SUPERVISION) + "\n{", "line 2: not an object in JSON"),
    "no gzip": ("cuts.jsonl.gz", b"nothing", "cannot be read"),
    "phones": ("one.TextGrid", TEXTGRID.replace("words", "phones").replace("utterances", "segments"), "of words"),
    "no grid": ("one.TextGrid", "nothing", "no tier of intervals"),
}


@pytest.mark.parametrize("fault", BAD)
def test_what_is_not_used_is_listed_with_its_place(folder: Path, fault: str) -> None:
    name, text, expected = BAD[fault]
    put(folder, name, text)
    assert {item for rows in given(folder).values() for item in rows} <= {("500", "1500", "en", "Hello you.")}
    assert [(file, reason) for file, reason, _ in refused(folder)][-1:] == [(name, "transcript")]
    assert any(expected in detail for _, _, detail in refused(folder))


def test_one_bad_line_costs_no_good_one(folder: Path) -> None:
    put(folder, "anna.list", "one.wav|anna|EN|Hello.\nbroken\nnine.wav|anna|EN|No.\ntwo.wav|anna|EN|Bye.\n")
    assert sorted(given(folder)) == ["one.wav", "two.wav"]
    details = [detail for _, _, detail in refused(folder)]
    assert len(details) == 2 and details[0].startswith("line 2") and details[1].startswith("line 3")


def test_a_link_out_of_the_folder_is_not_read(folder: Path, tmp_path: Path) -> None:
    put(tmp_path, "secret.txt", "Hello.")
    (folder / "one.txt").symlink_to(tmp_path / "secret.txt")
    assert given(folder) == {} and refused(folder)[0][:2] == ("one.txt", "link-outside")


def test_equal_names_in_two_folders_are_told_apart(folder: Path) -> None:
    (folder / "a").mkdir()
    (folder / "b").mkdir()
    (folder / "one.wav").rename(folder / "a" / "same.wav")
    (folder / "two.wav").rename(folder / "b" / "same.wav")
    put(folder, "anna.list", "/x/b/same.wav|anna|EN|B.\n/x/a/same.wav|anna|EN|A.\n")
    assert {file: rows[0][3] for file, rows in given(folder).items()} == {"a/same.wav": "A.", "b/same.wav": "B."}
    put(folder, "anna.list", "same.wav|anna|EN|Which?\n")
    assert given(folder) == {} and "may be a/same.wav or b/same.wav" in refused(folder)[0][2]
    (folder / "a" / "same.wav").unlink()
    put(folder, "anna.list", "a/same.wav|anna|EN|A.\nb/same.wav|anna|EN|B.\n")
    assert {file: rows[0][3] for file, rows in given(folder).items()} == {"b/same.wav": "B."}


def test_two_files_that_disagree_are_named(folder: Path) -> None:
    put(folder, "anna.list", "one.wav|anna|EN|Hello.\n")
    put(folder, "one.txt", "Good bye.")
    put(folder, "one.lab", "Hello.")
    assert given(folder)["one.wav"] == [("", "", "en", "Hello.")]
    assert refused(folder) == [("one.txt", "transcript", "one.wav has its text from anna.list line 1; keep one")]


def test_readers_of_librispeech_are_told_apart_across_files(folder: Path) -> None:
    put(folder, "84-1.trans.txt", "84-1-0000 MINE\n")
    put(folder, "19-1.trans.txt", "19-1-0000 HERS\n")
    (folder / "one.wav").rename(folder / "84-1-0000.wav")
    (folder / "two.wav").rename(folder / "19-1-0000.wav")
    assert given(folder) == {}
    assert {reason for _, reason, _ in refused(folder)} == {"transcript", "other-speaker"}
    folder.rename(folder.with_name("84"))
    assert given(folder.with_name("84")) == {"84-1-0000.wav": [("", "", "", "Mine")]}


def test_given_spans_stay_and_the_rest_is_sliced() -> None:
    settings = SliceSettings()
    total = 60_000
    speech = np.zeros(total // FRAME_MS, bool)
    for start in range(0, 60, 5):  # 4 s of speech, 1 s of pause
        speech[start * 100 : start * 100 + 400] = True
    levels = np.where(speech, -20.0, -70.0)
    spans = [Span(1_003, 3_777), Span(10_000, 40_000, ""), Span(45_000, 49_000, "rejected", "other-speaker")]
    plan = plan_around(spans, speech, levels, total, settings)
    check_account("take", plan, total, settings)
    assert [(span.start_ms, span.end_ms, span.state) for span in plan if span.given] == [
        (1_003, 3_777, "slice"), (45_000, 49_000, "rejected"),
    ]  # fmt: skip
    inside = [span for span in plan if span.state == "slice" and 10_000 <= span.start_ms < 40_000]
    assert len(inside) == 6 and all(span.end_ms <= 40_000 for span in inside)
    assert plan_around([Span(70_000, 80_000)], speech, levels, total, settings)[-1].end_ms == total


@pytest.mark.parametrize(
    ("text", "heard", "language", "parts"),
    [
        ("One two three. Four five six.", ["one two free", "for five six"], "en", ["One two three.", "Four five six."]),
        ("One two three. Four five six.", ["one two", "five six"], "en", ["One two three.", "Four five six."]),
        ("Well, one two three, four.", ["one two three four", ""], "en", ["Well, one two three, four.", ""]),
        ("One two three four.", ["", "one two", "noise", "three four"], "en", ["", "One two", "", "three four."]),
        ("今天天气很好，我们去公园。", ["今天天气好", "我们去公园"], "zh", ["今天天气很好，", "我们去公园。"]),
        ("Nothing of it.", ["", ""], "en", ["Nothing of it.", ""]),
    ],
)
def test_a_long_text_is_shared_out(text: str, heard: list[str], language: str, parts: list[str]) -> None:
    assert share_out(text, heard, language) == parts
    assert "".join(share_out(text, heard, language)).replace(" ", "") == text.replace(" ", "")


@pytest.mark.parametrize("layout", [*WRITERS, "list"])
def test_what_is_written_for_other_programs_is_read_again(folder: Path, tmp_path: Path, layout: str) -> None:
    results = tmp_path / "voice"
    texts = ["A first sentence, with a comma.", 'He said "no" twice.', "今天天气很好。"]
    rows = []
    for number, text in enumerate(texts):
        take_inventory(folder, tmp_path / "results" / "inventory.tsv")
        path = results / "slices" / f"u{number}.flac"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, soundfile.read(folder / NAMES[number])[0], RATE)
        name = f"u-0000000-000{number}000"
        path.rename(path.with_stem(name))
        rows.append(
            {"utterance": name, "path": f"slices/{name}.flac", "language": "zh" if number == 2 else "en", "text": text}
        )
    write_tsv(results / "corpus" / "corpus.tsv", ["utterance", "path", "language", "text"], rows)
    write_json(results / "rights.json", {"licence": "CC-BY-4.0", "consent_sha256": "ab" * 32})
    target = tmp_path / "there" / "bert"
    target.parent.mkdir()
    if layout == "list":
        target.mkdir()
        assert export_corpus(results, "bert", layout, target / "bert.list") == 3
        notice = target / "bert.LICENCE.txt"
    else:
        assert export_corpus(results, "bert", layout, target) == 3
        notice = target / "LICENCE.txt"
        with pytest.raises(DataError, match="already exists"):
            export_corpus(results, "bert", layout, target)
    assert notice.read_text().splitlines() == ["CC-BY-4.0", f"consent of the speaker, sha256: {'ab' * 32}"]
    for row in rows if layout in ("list", "lhotse") else []:
        shutil.copyfile(results / row["path"], target / Path(row["path"]).name)
    found = given(target)
    assert sorted(item[3] for lines in found.values() for item in lines) == sorted(texts)
    assert len(found) == 3 and not refused(target)
