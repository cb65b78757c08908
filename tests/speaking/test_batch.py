"""A table of texts: every row is told of, a bad one stops no other, nothing is spoken twice."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import soundfile
from tests.support.toy_voice import ToyEncoders, toy_voice
from tests.support.voice_fixture import make_voice

from voiceclone.errors import ConfigError, DataError, Interrupted
from voiceclone.files import read_tsv
from voiceclone.speaking.batch import Defaults, Job, Refused, read_jobs, speak_table
from voiceclone.speaking.options import SpeechOptions
from voiceclone.speaking.reference import ClipReader
from voiceclone.speaking.synthesizer import Synthesizer
from voiceclone.speaking.voices import Voice
from voiceclone.text.lexicon import Lexicon

DEFAULTS = Defaults(options=SpeechOptions(top_k=0, attempts=1))


def write(path: Path, *rows: str) -> Path:
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


def run(table: Path, output: Path, voice: Voice | None = None, defaults: Defaults = DEFAULTS) -> dict[str, int]:
    return speak_table(
        voice or Voice(toy_voice(), ClipReader(ToyEncoders())), read_jobs(table, defaults), output, ".flac"
    )


def results(output: Path) -> dict[str, dict[str, str]]:
    return {row["line"]: row for row in read_tsv(output / "results.tsv")}


def test_rows_are_spoken_with_their_own_settings(tmp_path: Path) -> None:
    table = write(
        tmp_path / "lines.tsv",
        "name\ttext\tlanguage\tseed\tspeed\tsplit\ttop_k\tguidance",
        "hello\tHello there.\t\t\t\t\t\t",
        "part/two\t你好。 And more.\tauto\t7\t2.0\tcut0\t5\t0.5",
    )
    first, second = read_jobs(table, DEFAULTS)
    assert isinstance(first, Job) and isinstance(second, Job)
    assert (first.seed, first.language, first.options) == (0, "", DEFAULTS.options)
    assert (second.seed, second.language, second.options.speed) == (7, "auto", 2.0)
    assert (second.options.split, second.options.top_k, second.options.guidance) == ("cut0", 5, 0.5)
    assert run(table, tmp_path / "out") == {"ok": 2, "kept": 0, "failed": 0}
    told = results(tmp_path / "out")
    assert [row["audio"] for row in told.values()] == ["hello.flac", "part/two.flac"]
    assert [row["seed"] for row in told.values()] == ["0", "7"]
    for row in told.values():
        with soundfile.SoundFile(str(tmp_path / "out" / row["audio"])) as sound:
            assert "AI-generated" in sound.comment
            assert sound.frames / sound.samplerate == pytest.approx(float(row["seconds"]), abs=1e-3)
        assert int(row["tokens"]) >= 11 and int(row["attempts"]) >= 1


def test_bad_rows_stop_no_other(tmp_path: Path) -> None:
    long_way_up = "../../outside"
    table = write(
        tmp_path / "lines.tsv",
        "name\ttext\tseed\treference",
        f"{long_way_up}\tHello.\t\t",
        "/absolute\tHello.\t\t",
        ".hidden\tHello.\t\t",
        "good\tHello there.\t\t",
        "GOOD\tAgain.\t\t",
        "empty\t\t\t",
        "marks\t...!\t\t",
        "seedless\tHello.\tmany\t",
        "clipped\tHello.\t\tnowhere.flac",
        "short\tHello.",
        "a..b\tHello.\t\t",
        "last\tGood day.\t3\t",
    )
    assert run(table, tmp_path / "out") == {"ok": 2, "kept": 0, "failed": 10}
    told = results(tmp_path / "out")
    assert [line for line, row in told.items() if row["status"] == "ok"] == ["05", "13"]
    errors = {line: row["error"] for line, row in told.items()}
    assert "expected letters" in errors["02"] and "expected letters" in errors["03"] and "expected" in errors["04"]
    assert errors["06"] == "name 'GOOD': line 5 has it already"
    assert errors["07"] == "text: empty" and "nothing in it can be spoken" in errors["08"]
    assert errors["09"] == "seed 'many': expected a whole number"
    assert "nowhere.flac: no such file" in errors["10"] and errors["11"] == "2 cells, the header has 4"
    assert sorted(path.name for path in (tmp_path / "out").glob("*.flac")) == ["good.flac", "last.flac"]
    assert not list(tmp_path.glob("*.flac")) and not (tmp_path.parent / "outside.flac").exists()


def test_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    output = tmp_path / "out"
    output.mkdir()
    (tmp_path / "elsewhere").mkdir()
    (output / "link").symlink_to(tmp_path / "elsewhere")
    table = write(tmp_path / "lines.tsv", "name\ttext", "link/one\tHello.", "two\tHello.")
    assert run(table, output) == {"ok": 1, "kept": 0, "failed": 1}
    assert "leads out of" in results(output)["2"]["error"] and not list((tmp_path / "elsewhere").iterdir())


def test_only_what_changed_is_spoken_again(tmp_path: Path) -> None:
    table = write(tmp_path / "lines.tsv", "name\ttext", "one\tHello there.", "two\tGood day.")
    output, voice = tmp_path / "out", Voice(toy_voice(), ClipReader(ToyEncoders()))
    assert run(table, output, voice)["ok"] == 2
    before = results(output)
    decodes = voice.synthesizer.backend.decodes
    assert run(table, output, voice) == {"ok": 0, "kept": 2, "failed": 0}
    assert voice.synthesizer.backend.decodes == decodes
    kept = results(output)
    assert all({**kept[line], "status": "ok"} == before[line] for line in before)

    write(table, "name\ttext", "two\tGood day.", "one\tHello again.")  # another order, one other text
    assert run(table, output, voice) == {"ok": 1, "kept": 1, "failed": 0}
    (output / "two.flac").write_bytes(b"damaged")
    assert run(table, output, voice) == {"ok": 1, "kept": 1, "failed": 0}
    (output / "two.flac").unlink()
    assert run(table, output, voice) == {"ok": 1, "kept": 1, "failed": 0}
    assert run(table, output, voice, Defaults(seed=1, options=DEFAULTS.options))["ok"] == 2
    assert run(table, output, Voice(toy_voice(fingerprint="other"), ClipReader(ToyEncoders())), DEFAULTS)["ok"] == 2
    lexicon = Lexicon({"en": {"hello": ("HH", "AH0", "L", "OW0")}})
    with_lexicon = Voice(toy_voice(fingerprint="other"), ClipReader(ToyEncoders()))
    with_lexicon.synthesizer.lexicon = lexicon
    assert run(table, output, with_lexicon) == {"ok": 1, "kept": 1, "failed": 0}  # one text has the word


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("name\ttext\tvoice", "column 'voice' is unknown; possible: name, text, language"),
        ("name\twords", "column 'words' is unknown"),
        ("name\tlanguage", "column 'text' is missing"),
        ("name\ttext\ttext", "column 'text' is there twice"),
    ],
)
def test_wrong_columns_are_named(tmp_path: Path, header: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_jobs(write(tmp_path / "lines.tsv", header), DEFAULTS)
    (tmp_path / "lines.tsv").write_bytes(b"name\ttext\na\tcaf\xe9 au lait\n")
    assert read_jobs(tmp_path / "lines.tsv", DEFAULTS)[0].text == "café au lait"
    (tmp_path / "lines.tsv").write_bytes(b"name\ttext\na\t\x81\x8d\xff\n")
    with pytest.raises(DataError, match="line 2 is not UTF-8"):
        read_jobs(tmp_path / "lines.tsv", DEFAULTS)
    (tmp_path / "lines.tsv").write_text("")
    with pytest.raises(DataError, match="empty, expected a header"):
        read_jobs(tmp_path / "lines.tsv", DEFAULTS)


def test_a_signal_ends_between_rows_and_the_rest_comes_later(tmp_path: Path) -> None:
    table = write(tmp_path / "lines.tsv", "name\ttext", *(f"row{n}\tHello there." for n in range(4)))
    output, voice = tmp_path / "out", Voice(toy_voice(), ClipReader(ToyEncoders()))

    def interrupts(samples, rate, text, language, reference) -> list:
        os.kill(os.getpid(), signal.SIGTERM)
        return []

    with pytest.raises(Interrupted, match="SIGTERM: 1 of 4 rows are done"):
        speak_table(voice, read_jobs(table, DEFAULTS), output, ".flac", interrupts)
    assert [row["status"] for row in results(output).values()] == ["ok"]
    assert run(table, output, voice)["failed"] == 0
    assert len(list(output.glob("*.flac"))) == 4


def test_refused_rows_keep_their_line(tmp_path: Path) -> None:
    table = write(tmp_path / "lines.tsv", "name\ttext\treference_text", "", "one\tHello.\twords")
    assert read_jobs(table, DEFAULTS) == [
        Refused(3, "one", "reference_text, reference_language: there is no reference")
    ]


def test_line_ends_of_other_systems_and_marks_of_other_programs(tmp_path: Path) -> None:
    (tmp_path / "lines.tsv").write_bytes("\ufeffname\ttext\r\none\tHello\u2028there.\r\n".encode())
    (job,) = read_jobs(tmp_path / "lines.tsv", DEFAULTS)
    assert isinstance(job, Job) and (job.name, job.text) == ("one", "Hello\u2028there.")


def test_rows_spoken_together_sound_as_alone(tmp_path: Path) -> None:
    root = make_voice(tmp_path)
    table = write(
        tmp_path / "lines.tsv",
        "name\ttext\tseed\tattempts\ttemperature",
        "first\tGood morning. How are you?\t\t1\t",
        "second\tYes.\t5\t2\t0.8",
        "marks\t...!\t\t\t",
        "third\tAnother sentence is here.\t\t1\t",
        "fourth\tNo.\t2\t1\t1.2",
        "fifth\tPerhaps.\t3\t1\t",
    )
    jobs = read_jobs(table, Defaults(options=SpeechOptions(attempts=1, max_tokens_per_phone=1.5)))
    voice = Voice(Synthesizer.from_models(root / "models", root / "features"), ClipReader(ToyEncoders()))
    for size in (1, 3):
        counts = speak_table(voice, jobs, tmp_path / str(size), ".flac", size=size)
        assert counts == {"ok": 5, "kept": 0, "failed": 1}
    assert results(tmp_path / "3") == results(tmp_path / "1")
    for name in ("first", "second", "third", "fourth", "fifth"):
        alone, beside = (soundfile.read(tmp_path / size / f"{name}.flac")[0] for size in ("1", "3"))
        assert abs(alone - beside).max() < 1e-3
    assert speak_table(voice, jobs, tmp_path / "1", ".flac", size=2)["kept"] == 5


def test_one_row_at_a_time_is_said(tmp_path: Path) -> None:
    jobs = read_jobs(write(tmp_path / "lines.tsv", "name\ttext", "a\tHello."), DEFAULTS)
    with pytest.raises(ConfigError, match="--batch-size: a bundle speaks one sentence at a time"):
        speak_table(Voice(toy_voice(), ClipReader(ToyEncoders())), jobs, tmp_path / "out", ".flac", size=2)
