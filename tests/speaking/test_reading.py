"""Books are read a sentence at a time, and only once; subtitles are spoken at their times."""

from __future__ import annotations

import json
import shutil
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tests.support.toy_voice import ToyEncoders, toy_voice

from voiceclone.errors import DataError
from voiceclone.files import read_tsv, sha256_file
from voiceclone.languages import LANGUAGES
from voiceclone.marks.labels import tone
from voiceclone.sound.io import read_mono
from voiceclone.sound.loudness import loudness
from voiceclone.speaking.batch import Defaults
from voiceclone.speaking.options import SpeechOptions
from voiceclone.speaking.reading import Reader, ReadingSettings
from voiceclone.speaking.reference import ClipReader
from voiceclone.speaking.result import Finish
from voiceclone.speaking.voices import Voice
from voiceclone.text import books
from voiceclone.text.books import Chapter, TimedText, read_book, read_subtitles
from voiceclone.text.lexicon import Lexicon

OPTIONS = SpeechOptions(top_k=0, attempts=1, pause_seconds=0.3)
BOOK = [
    Chapter("One", ("The first day. It rained.", "Anna slept.")),
    Chapter("Two", ("It rained.", "Nobody came.")),
]


def reader(output: Path, settings: ReadingSettings | None = None, lexicon: Lexicon | None = None) -> Reader:
    synthesizer = toy_voice(end=0.5)
    synthesizer.lexicon = lexicon
    voice = Voice(synthesizer, ClipReader(ToyEncoders()))
    return Reader(voice, output, Defaults("en", 1, OPTIONS), settings or ReadingSettings())


def epub(path: Path, pages: dict[str, str], opf: str = "", spine: tuple[str, ...] = ()) -> Path:
    items = "".join(f'<item id="i{n}" href="{name}"/>' for n, name in enumerate(pages))
    order = "".join(f'<itemref idref="{name}"/>' for name in spine or [f"i{n}" for n in range(len(pages))])
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("META-INF/container.xml", '<container><rootfiles><rootfile full-path="OEBPS/a.opf"/>')
        archive.writestr("OEBPS/a.opf", opf or f"<package><manifest>{items}</manifest><spine>{order}</spine></package>")
        for name, page in pages.items():
            archive.writestr(f"OEBPS/{name}", page)
    return path


def test_chapters_of_texts(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(
        "Foreword.\n\nChapter 1\n\nIt was\nlate.\n\nYes.\n\n第二章 雨\n\n下雨了。\n", "utf-8"
    )
    (tmp_path / "b.md").write_text(
        "# Rain *and*\n\nIt **rained** [here](http://a.b/c).\n\n```\ncode\n```\n\n## Sun\n\n- Dry.\n"
    )
    assert read_book(tmp_path / "a.txt") == [
        Chapter("a", ("Foreword.",)), Chapter("Chapter 1", ("Chapter 1", "It was\nlate.", "Yes.\n".strip())),
        Chapter("第二章 雨", ("第二章 雨", "下雨了。\n")),
    ]  # fmt: skip
    rain, sun = read_book(tmp_path / "b.md")
    assert rain.title == "Rain *and*" and "It rained here." in rain.paragraphs and "code" not in str(rain)
    assert sun.paragraphs == ("Sun", "Dry.\n")
    (tmp_path / "c.txt").write_text(" \n")
    with pytest.raises(DataError, match="no text in it"):
        read_book(tmp_path / "c.txt")


def test_chapters_of_an_epub(tmp_path: Path) -> None:
    pages = {
        "one.xhtml": "<html><head><title>x</title><style>p {}</style></head><body><h1>One</h1><p>A &amp; B.<br/>C.</p>",
        "two.xhtml": "<html><body><script>bad()</script><p>Later.</p></body></html>",
    }
    first, second = read_book(epub(tmp_path / "a.epub", pages))
    assert first == Chapter("One", ("One", "A & B.", "C."))
    assert second == Chapter("a 2", ("Later.",))


def test_a_hostile_epub_is_refused_or_read_as_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = (
        '<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;"><!ENTITY c SYSTEM "file:///etc/passwd">]><p>So &b; &c;.</p>'
    )
    (chapter,) = read_book(epub(tmp_path / "a.epub", {"one.xhtml": bomb}))
    assert "root:" not in str(chapter) and "hahaha" not in str(chapter) and len(str(chapter)) < 300
    for name in ("../../../etc/passwd", "/etc/passwd", "gone.xhtml"):
        opf = f'<manifest><item id="a" href="{name}"/></manifest><spine><itemref idref="a"/></spine>'
        with pytest.raises(DataError, match="it has no part"):
            read_book(epub(tmp_path / "b.epub", {}, opf, ("a",)))
    monkeypatch.setattr(books, "LARGEST_PART", 10_000)
    with pytest.raises(DataError, match="more than"):
        read_book(epub(tmp_path / "c.epub", {"one.xhtml": "<p>" + "a " * 50_000}))
    monkeypatch.setattr(books, "LARGEST_BOOK", 12_000)
    with pytest.raises(DataError, match="more than"):
        read_book(epub(tmp_path / "d.epub", {f"{n}.xhtml": "<p>" + "a " * 3000 for n in range(3)}))
    (tmp_path / "e.epub").write_bytes(b"PK\x03\x04 no zip")
    with pytest.raises(DataError, match="no EPUB"):
        read_book(tmp_path / "e.epub")


def test_only_what_changed_is_spoken_again(tmp_path: Path) -> None:
    assert reader(tmp_path / "out").read(BOOK) == {"ok": 4, "kept": 0, "failed": 0, "chapters": 2}
    rows = read_tsv(tmp_path / "out/sentences.tsv")
    assert [row["text"] for row in rows] == [
        "The first day.",
        "It rained.",
        "Anna slept.",
        "It rained.",
        "Nobody came.",
    ]
    assert rows[1]["sentence"] == rows[3]["sentence"] and [row["chapter"] for row in rows] == list("11122")
    ends = [float(row["start"]) + float(row["seconds"]) for row in rows]
    assert float(rows[1]["start"]) - ends[0] == pytest.approx(0.3, abs=2e-3)
    assert float(rows[2]["start"]) - ends[1] == pytest.approx(0.8, abs=2e-3)
    before = {path.name: sha256_file(path) for path in (tmp_path / "out").glob("*.flac")}
    for name in before:
        with soundfile.SoundFile(str(tmp_path / "out" / name)) as sound:
            assert "AI-generated" in sound.comment
        assert (tmp_path / "out" / f"{name}.json").is_file()
    assert reader(tmp_path / "out").read(BOOK) == {"ok": 0, "kept": 4, "failed": 0, "chapters": 0}
    changed = reader(tmp_path / "out", lexicon=Lexicon({"en": {"anna": ("AA1", "N", "AH0")}}))
    assert changed.read(BOOK) == {"ok": 1, "kept": 3, "failed": 0, "chapters": 0}  # it sounds the same
    longer = [BOOK[0], Chapter("Two", (*BOOK[1].paragraphs, "It rained."))]
    assert reader(tmp_path / "out").read(longer)["chapters"] == 1
    assert sha256_file(tmp_path / "out/01.flac") == before["01.flac"]
    assert sha256_file(tmp_path / "out/02.flac") != before["02.flac"]


def test_each_chapter_begins_with_the_notice(tmp_path: Path) -> None:
    def read(notice: str, output: str) -> list[dict[str, str]]:
        reader(tmp_path / output, ReadingSettings(notice=notice)).read(BOOK)
        return read_tsv(tmp_path / output / "sentences.tsv")

    plain, spoken, marked = read("none", "a"), read("spoken", "b"), read("tone", "c")
    assert [row["text"] for row in spoken if row["start"] == "0.0"] == [LANGUAGES["en"].notice] * 2
    assert [row["text"] for row in spoken if row["start"] != "0.0"] == [row["text"] for row in plain]
    lead = tone("tone", 32_000)
    assert [float(row["start"]) for row in marked] == pytest.approx(
        [float(row["start"]) + len(lead) / 32_000 for row in plain], abs=2e-3
    )
    for name in ("01.flac", "02.flac"):
        samples, _ = read_mono(tmp_path / "c" / name)
        assert np.corrcoef(samples[: len(lead)], lead)[0, 1] > 0.95
    again = reader(tmp_path / "a", ReadingSettings(notice="tone")).read(BOOK)
    assert again == {"ok": 0, "kept": 4, "failed": 0, "chapters": 2}  # other chapters of the same sentences


@pytest.mark.parametrize("notice", ["spoken", "tone"])
def test_subtitles_wait_for_the_notice(tmp_path: Path, notice: str) -> None:
    subtitles = [TimedText(0.0, 2.0, "Good morning."), TimedText(60.0, 62.0, "Yes.")]
    reader(tmp_path / "out", ReadingSettings(notice=notice, title="a")).dub(subtitles)
    *opening, first, last = read_tsv(tmp_path / "out/sentences.tsv")
    assert len(opening) == (notice == "spoken") and float(first["late"]) >= 1.0
    assert (last["start"], last["late"]) == ("60.0", "0.0")


def test_a_sentence_that_cannot_be_spoken_stops_no_other(tmp_path: Path) -> None:
    counts = reader(tmp_path / "out").read([Chapter("One", ("Привет.", "Yes."))])
    assert counts == {"ok": 1, "kept": 0, "failed": 1, "chapters": 1}
    failed, spoken = read_tsv(tmp_path / "out/sentences.tsv")
    assert "script" in failed["error"] and failed["audio"] == "" and spoken["start"] == "0.0"


@pytest.mark.skipif(shutil.which("ffprobe") is None, reason="needs ffmpeg")
@pytest.mark.parametrize("ending", [".m4b", ".mp3"])
def test_a_whole_book_has_marks(tmp_path: Path, ending: str) -> None:
    settings = ReadingSettings(".flac", ending, Finish(), title="Rain; a = 'b'")
    chapters = [Chapter("One\n[CHAPTER]\ntitle=x", ("The first day. It rained.",)), BOOK[1]]
    reader(tmp_path / "out", settings).read(chapters)
    command = [
        "ffprobe",
        "-v",
        "error",
        "-show_chapters",
        "-show_format",
        "-of",
        "json",
        tmp_path / f"out/book{ending}",
    ]
    told = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    assert [one["tags"]["title"] for one in told["chapters"]] == ["One [CHAPTER] title=x", "Two"]
    assert told["format"]["tags"]["title"] == "Rain; a = 'b'" and "AI-generated" in told["format"]["tags"]["comment"]
    first, second = (len(read_mono(tmp_path / f"out/0{n}.flac")[0]) / 32_000 for n in (1, 2))
    assert float(told["chapters"][1]["start_time"]) == pytest.approx(first, abs=0.01)
    assert float(told["format"]["duration"]) == pytest.approx(first + second, abs=0.2)


def test_subtitles_are_spoken_at_their_times(tmp_path: Path) -> None:
    (tmp_path / "a.srt").write_text(
        "1\n00:00:01,000 --> 00:00:09,000\n<i>Good</i> morning.\n- Yes.\n\n2\n00:00:09,500 --> 00:00:09,900\n"
        "The bakery opens at seven and the bread is warm.\n\n3\n00:00:10,0 --> 00:00:20,0\nNo.\n\n4\n"
        "0:30,0 --> 0:31,0\n[rain]\n",
        "utf-8",
    )
    subtitles = read_subtitles(tmp_path / "a.srt")
    assert [one.text for one in subtitles] == [
        "Good morning. Yes.",
        "The bakery opens at seven and the bread is warm.",
        "No.",
    ]
    made = reader(tmp_path / "out", ReadingSettings(fastest=1.25, title="a"))
    made.dub(subtitles)
    first, second, third = read_tsv(tmp_path / "out/sentences.tsv")
    assert (first["start"], first["speed"], first["late"]) == ("1.0", "1.0", "0.0")
    assert (second["start"], second["speed"]) == ("9.5", "1.25")  # too long even so
    assert float(third["late"]) == pytest.approx(float(third["start"]) - 10.0, abs=1e-3) and float(third["late"]) > 0
    samples, rate = read_mono(tmp_path / "out/01.flac")
    assert abs(samples[: int(0.9 * rate)]).max() < 0.01 < abs(samples[int(rate) : int(1.5 * rate)]).max()
    (tmp_path / "b.srt").write_text("1\n00:00:03,000 --> 00:00:01,000\nNo.\n", "utf-8")
    with pytest.raises(DataError, match="subtitle 1: expected a line"):
        read_subtitles(tmp_path / "b.srt")


def test_the_finish_of_speech() -> None:
    rate, rng = 32_000, np.random.default_rng(0)
    noise = (0.02 * rng.standard_normal(2 * rate)).astype(np.float32)
    noise[rate] = 0.9  # a click, which the limiter takes down
    sound = np.concatenate([np.zeros(rate, np.float32), noise, np.zeros(rate // 2, np.float32)])
    finished, cut = Finish(loudness=-18, trim=True).apply(sound, rate)
    assert loudness(finished, rate) == pytest.approx(-18, abs=0.2) and np.abs(finished).max() <= 10 ** (-1 / 20)
    assert cut == pytest.approx(0.95, abs=0.01) and len(finished) == pytest.approx(2.1 * rate, abs=20)
    same, none = Finish().apply(sound, rate)
    assert same is sound and none == 0.0 and Finish().key == []
    assert len(Finish(trim=True).apply(np.zeros(100, np.float32), rate)[0]) == 100
