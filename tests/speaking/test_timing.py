"""When each word is heard: phones of words, their tokens, subtitles."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from tests.support.toy_voice import ToyEncoders, toy_voice

from voiceclone.errors import ConfigError
from voiceclone.speaking.batch import Defaults, read_jobs, speak_table
from voiceclone.speaking.options import SpeechOptions
from voiceclone.speaking.reference import ClipReader
from voiceclone.speaking.timing import Word, check_timestamps, fitted, spans_of, timed, timestamps, units_of
from voiceclone.speaking.voices import Voice
from voiceclone.text.frontend import to_phones
from voiceclone.text.lexicon import Lexicon

OPTIONS = SpeechOptions(top_k=0, attempts=1, pause_seconds=0.5)
TEXT = "Dr. Wright paid $25.50 in 1984, didn't he? Yes."


def phones_of(text: str, language: str, lexicon: Lexicon | None = None) -> dict[str, str]:
    symbols = to_phones(text, language, lexicon).symbols
    units = units_of(text, symbols, language, lexicon)
    assert all(text[unit.place : unit.place + len(unit.text)] == unit.text for unit in units)
    return {unit.text: " ".join(symbols[slice(unit.phones[0], unit.phones[1] + 1)]) for unit in units if unit.phones}


@pytest.mark.parametrize(
    ("text", "language", "wanted"),
    [
        ("Dr. Wright paid in 1984, right?", "en", {"Dr.": "D AA1 K T ER0", "right?": "R AY1 T"}),
        ("It is <gif|JH IH1 F> here.", "en", {"<gif|JH IH1 F>": "JH IH1 F", "here.": "HH IY1 R"}),
        ("天气好，去 London 吧。", "zh", {"好": "h ao3", "London": "L AH1 N D AH0 N", "吧": "b a5"}),
        ("東京へ行きます。", "ja", {"行きます": "i [ k i m a ] s u"}),
    ],
)
def test_words_find_their_phones(text: str, language: str, wanted: dict[str, str]) -> None:
    found = phones_of(text, language)
    assert {word: found[word] for word in wanted} == wanted


def test_numbers_and_own_readings_belong_to_their_words() -> None:
    found = phones_of("She paid $25.50 to Anna.", "en", Lexicon({"en": {"anna": ("AA1", "N", "AH0")}}))
    assert found["$25.50"].startswith("T W EH1 N T IY0") and found["$25.50"].endswith("S EH1 N T S")
    assert found["Anna."] == "AA1 N AH0"


def test_silence_belongs_to_the_marks() -> None:
    symbols = to_phones("Good morning, bread.", "en").symbols
    sounding = np.concatenate([np.zeros(5), np.ones(25), np.zeros(20), np.ones(15), np.zeros(5)])  # by token
    sound = (np.repeat(sounding, 1280) * np.sin(np.arange(70 * 1280))).astype(np.float32)
    words = timed(units_of("Good morning, bread.", symbols, "en"), fitted(symbols, 70, sound), 0.04)
    assert [round(word.start / 0.04) for word in words][::2] == [5, 50]
    assert [round(word.end / 0.04) for word in words][1:] == [30, 65]


def test_tokens_without_a_pointer_are_aligned_by_their_table() -> None:
    phones = to_phones("Good bread.", "en")
    emission = np.full((800, 16), 0.01, np.float32)
    ids = list(dict.fromkeys(phones.ids))
    emission[ids, range(len(ids))] = 0.85
    counts = [3, 4, 2, 5, 2, 6, 3, 1][: len(phones.ids)]
    codes = np.repeat([ids.index(phone) for phone in phones.ids], counts)
    spans = spans_of(phones, codes, np.zeros(len(codes) * 1280, np.float32), emission)
    assert spans[:, 1].tolist() == counts and spans[:, 0].tolist() == [sum(counts[:n]) for n in range(len(counts))]


@pytest.mark.parametrize("speed", [1.0, 2.0])
def test_a_speech_knows_its_words(speed: float) -> None:
    voice = toy_voice()
    speech = voice.say(TEXT, seed=3, options=OPTIONS, speed=speed)
    first, second = voice.words_of(speech, "en", 1.0)
    assert [word.text for word in (*first, *second)] == TEXT.split()
    assert first[-1].end + 0.5 <= second[0].start + 1e-6 and second[-1].end <= speech.seconds + 1.0 + 1e-6
    times = [time for word in first for time in (word.start, word.end)]
    assert times == sorted(times) and times[0] >= 1.0


def test_files_of_times() -> None:
    words = [Word("Fish", 0.5, 1.0), Word("&", 1.0, 1.25, 5), Word("<chips|CH IH1 P S>.", 3600.5, 3601.0, 7)]
    sentences = [("Fish & <chips|CH IH1 P S>.", words)]
    entries = json.loads(timestamps(".json", sentences))["sentences"]
    assert entries[0]["text"] == "Fish & chips."
    assert entries[0]["words"][0] == {"word": "Fish", "start": 0.5, "end": 1.0}
    srt, vtt = (timestamps(form, sentences) for form in (".srt", ".vtt"))
    assert srt == "1\n00:00:00,500 --> 00:00:01,250\nFish &\n\n2\n01:00:00,500 --> 01:00:01,000\nchips.\n"
    assert vtt.startswith("WEBVTT\n\n1\n00:00:00.500 --> 00:00:01.250\nFish &amp;\n")
    with pytest.raises(ConfigError, match=r"expected \.json, \.srt, \.vtt"):
        check_timestamps(Path("out.txt"))


def test_a_batch_writes_times_and_speaks_again_where_they_are_missing(tmp_path: Path) -> None:
    (tmp_path / "lines.tsv").write_text("name\ttext\na/hello\tHello there. Yes.\n", encoding="utf-8")
    voice, jobs = (
        Voice(toy_voice(), ClipReader(ToyEncoders())),
        read_jobs(tmp_path / "lines.tsv", Defaults("", 0, OPTIONS)),
    )

    def run() -> dict[str, int]:
        return speak_table(voice, jobs, tmp_path / "out", ".flac", timestamps=".srt")

    assert run()["ok"] == 1 and run()["kept"] == 1
    lines = (tmp_path / "out/a/hello.srt").read_text(encoding="utf-8")
    assert re.findall("[A-Z].*", lines) == ["Hello there.", "Yes."]
    (tmp_path / "out/a/hello.srt").unlink()
    assert run()["ok"] == 1
