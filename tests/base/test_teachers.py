"""Teachers: text lists, pseudo-speakers, phones for Kokoro; every teacher speaks a line the same, bit for bit."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from pydantic import ValidationError
from safetensors import safe_open

from voiceclone.assets import open_asset
from voiceclone.config.config import Config
from voiceclone.corpus.split import sentence_key
from voiceclone.errors import DataError
from voiceclone.files import read_tsv, sha256_file
from voiceclone.sound.io import read_mono
from voiceclone.stages.teacher_speech import TeacherSettings
from voiceclone.teachers import kokoro_phones
from voiceclone.teachers.speakers import Manner, pseudo_speaker, resized, tilted, warp
from voiceclone.teachers.speech import make_teacher_speech, plan, read_held_out, read_lines
from voiceclone.teachers.teacher import open_teacher
from voiceclone.text.frontend import to_phones

REPOSITORY = Path(__file__).resolve().parents[2]
SENTENCES = sorted((REPOSITORY / "resources" / "sentences").glob("*.txt"))
LISTS = sorted((REPOSITORY / "resources" / "texts").glob("conversation.*.txt"))
OURS = [*LISTS, *(REPOSITORY / "resources" / "texts").glob("held-out-conversation.*.txt")]
SHORT = ("Who is it?", "It's only me.", "Not yet.", "Come in, then.", "Thirteen, or thirty?", "Never mind.")


def settings(**values: Any) -> TeacherSettings:
    return TeacherSettings.model_validate({"name": "any", "teacher": "hibari", "texts": ["a.txt"]} | values)


# ---- texts


def test_our_own_lines_are_many_and_none_is_an_evaluation_sentence() -> None:
    held_out = read_held_out(SENTENCES)
    assert "没有人回答。" in held_out and len(held_out) > 80
    languages = {path.suffixes[0][1:] for path in OURS}
    lines = {code: read_lines([path for path in OURS if f".{code}." in path.name], 400) for code in languages}
    assert sum(map(len, lines.values())) >= 1000 and min(map(len, lines.values())) >= 250 and len(lines) == 3
    for language, texts in lines.items():
        assert not held_out & set(texts)
        assert sum(text[-1] in "?？" for text in texts) > 0.2 * len(texts), language
        for text in texts:
            assert to_phones(text, language).ids.size > 0
    assert sum(any(character.isdigit() for character in text) for text in lines["en"]) >= 25


def test_lists_of_several_layouts_are_read_and_held_out_sentences_left_out(tmp_path: Path) -> None:
    (tmp_path / "filelist.txt").write_text("wavs/1.wav|One.\nwavs/2.wav|raw|Two.\n")
    (tmp_path / "plain.txt").write_text("# licence\n\nThree.\nOne.\nA sentence that is far too long.\nFour.\n")
    (tmp_path / "held.txt").write_text("en-01\tFour.\n")
    paths = [tmp_path / "filelist.txt", tmp_path / "plain.txt"]
    assert read_lines(paths, 20, read_held_out([tmp_path / "held.txt"])) == ["One.", "Two.", "Three."]


def test_a_held_out_sentence_is_read_in_no_spelling_and_in_no_longer_line(tmp_path: Path) -> None:
    said = "The harbour was quiet in the evening."
    lines = [said.upper(), f"Now, {said}", "The harbour was quiet.", "Yes, he said.", "yes"]
    (tmp_path / "lines.txt").write_text("\n".join(lines))
    assert read_lines([tmp_path / "lines.txt"], 99, frozenset({said, "Yes."})) == lines[2:4]


def test_what_a_base_is_measured_on_stands_in_no_other_list() -> None:
    never = sorted((REPOSITORY / "resources" / "texts").glob("held-out-*.txt"))
    held_out = {sentence_key(text) for text in read_held_out(never)}
    assert len(never) == 2 and len(held_out) == 112
    assert not held_out & {sentence_key(text) for path in LISTS for text in read_lines([path], 400)}


# ---- who speaks what, how


def test_the_plan_follows_from_seed_and_text_alone() -> None:
    texts = [f"Sentence number {number}." for number in range(300)]
    lines = list(islice(plan(texts, settings(), "model"), 900))
    assert lines == list(islice(plan(texts[::-1], settings(hours=50, name="any"), "model"), 900))
    assert Counter(line.text for line in lines) == dict.fromkeys(texts, 3)
    assert len({line.utterance for line in lines}) == 900
    own = sum(line.manners[0].speaker == 0 for line in lines)
    assert 20 < own < 80
    assert len({line.manners[0].speaker for line in lines}) > 300
    # One text more moves no other line: each is spoken as before.
    more = {line.utterance for line in islice(plan([*texts, "One more."], settings(), "model"), 301)}
    assert {line.utterance for line in lines[:300]} < more


def test_whatever_changes_the_sound_changes_the_id() -> None:
    first = next(plan(["A."], settings(), "model")).utterance
    changes = [{"seed": 1}, {"formants": (0.9, 1.1)}, {"twins": True}, {"teacher": "piper"}, {"speakers": 3}]
    ids = [next(plan(["A."], settings(**change), "model")).utterance for change in changes]
    ids += [next(plan([text], settings(), model)).utterance for text, model in (("A.", "other"), ("B.", "model"))]
    assert len({first, *ids}) == 1 + len(ids)
    assert next(plan(["A."], settings(alignment=True, hours=3), "model")).utterance == first


def test_pseudo_speakers_are_people_of_all_sizes() -> None:
    people = [pseudo_speaker(number, settings()) for number in range(1, 400)]
    assert pseudo_speaker(7, settings()) == people[6] != pseudo_speaker(7, settings(seed=1))
    assert pseudo_speaker(0, settings()) == Manner()
    formants, pitch = np.array([[person.formants, person.pitch] for person in people]).T
    assert 0.85 * 0.95 < formants.min() < 0.87 and 1.13 < formants.max() < 1.15 * 1.05
    assert pitch.min() < 0.7 and pitch.max() > 1.45
    assert np.corrcoef(np.log(formants), np.log(pitch))[0, 1] > 0.8
    assert all(0.88 <= person.tempo <= 1.15 and -3 <= person.tilt <= 3 for person in people)


def test_warping_moves_formants_and_tilting_the_balance() -> None:
    spectrum = np.exp(-0.5 * ((np.arange(601) - 200) / 15) ** 2)[:, None].astype(np.float32)
    assert [int(warp(spectrum, factor)[:, 0].argmax()) for factor in (0.8, 1.0, 1.2)] == [160, 200, 240]
    rate, time_ = 24000, np.arange(24000) / 24000
    tones = (np.sin(2 * np.pi * 1000 * time_) + np.sin(2 * np.pi * 4000 * time_)).astype(np.float32)
    levels = np.abs(np.fft.rfft(tilted(tones, rate, 3.0)))
    assert 20 * np.log10(levels[4000] / levels[1000]) == pytest.approx(6, abs=0.1)
    smaller = resized(tones, rate, 1.25)
    assert len(smaller) == pytest.approx(24000 / 1.25, abs=1)
    peaks = np.argsort(np.abs(np.fft.rfft(smaller)))[-2:] * 24000 / len(smaller)
    assert sorted(peaks) == pytest.approx([1250, 5000], abs=2)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"language": "ja"}, "hibari speaks en, not ja"),
        ({"teacher": "piper", "twins": True}, "no twins"),
        ({"formants": (1.2, 0.9)}, "lower and a higher bound"),
        ({"texts": []}, "at least 1"),
    ],
)
def test_wrong_settings_are_refused(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        settings(**values)


def test_a_run_fetches_the_models_of_its_teachers() -> None:
    teacher = {"name": "ja", "teacher": "kokoro", "language": "ja", "texts": ["lj-texts", "resources/texts/a.txt"]}
    config = Config.model_validate({"teachers": [teacher]})
    assert {"kokoro", "lj-texts"} <= set(config.all_assets()) and "kokoro" not in Config().all_assets()
    assert config.chosen_models()["teachers.0.texts.0"] == ("lj-texts", ("texts",))
    with pytest.raises(ValidationError, match=r"the names \['ja'\] come twice"):
        Config.model_validate({"teachers": [teacher, teacher]})


# ---- phones for Kokoro


@pytest.mark.parametrize(
    ("language", "text", "phones"),
    [
        ("zh", "你好，我们去学习中文。", "ni↗ xau↓, wo↓mən ʨʰy↘ ɕɥe↗ɕi↗ ꭧʊ→ŋwə↗n."),
        ("zh", "知了吃四颗月季？", "ꭧɨ→ lɤ ꭧʰɨ→ sɨ↘ kʰɤ→ ɥe↘ʨi↘?"),
        ("zh", "一共35元。", "i↗kʊ↘ŋ sa→nʂɨ↗ u↓ ɥɛ↗n."),
        ("ja", "学校へ行った。", "ɡaʔkoː e iʔta."),
        ("ja", "ティーを三杯、飲みましょう！", "tʲiː o sambai, nomʲimaɕoː!"),
        ("ja", "新幹線で京都へ。", "ɕiŋkaɴseɴ de kʲoːto e."),
        ("en", "Hello there.", "həlˈO ðˈɛɹ."),
    ],
)
def test_text_is_read_into_kokoros_phones(language: str, text: str, phones: str) -> None:
    read = kokoro_phones.read(text, language)
    # Where words part is the dictionaries' business.
    assert read.replace(" ", "") == phones.replace(" ", "")
    assert " " in read


def test_kokoro_knows_every_phone_of_our_lists(asset: Callable[[str], Path]) -> None:
    known = set(json.loads((asset("kokoro").parent / "vocab.json").read_text(encoding="utf-8"))["vocab"])
    for path in LISTS:
        language = path.suffixes[0][1:]
        for text in read_lines([path], 400):
            phones = kokoro_phones.read(text, language)
            assert set(phones) <= known, (text, phones)
            assert sum(phone.isalpha() for phone in phones) >= len(text) / 4, (text, phones)


# ---- speaking


def spoken(
    name: str, asset: Callable[[str], Path], folder: Path, texts: tuple[str, ...], processes: int = 1, **values: Any
):
    """Speak texts, each once; the table and the digests of all files."""
    chosen = settings(name=name, hours=0.9 * len(texts) / 3600, **values)
    model = open_asset(asset(chosen.model))
    folder.mkdir(exist_ok=True, parents=True)
    (folder / "texts").write_text("\n".join(texts) + "\n", encoding="utf-8")
    make_teacher_speech(model.folder, model.digest, [folder / "texts"], [], folder / "out", chosen, processes)
    rows = read_tsv(folder / "out" / "manifest.tsv")
    return rows, {path.name: sha256_file(path) for path in (folder / "out").iterdir() if path.suffix != ".tsv"}


def test_hibari_speaks_the_same_bits_whoever_works(asset: Callable[[str], Path], tmp_path: Path) -> None:
    rows, files = spoken("h", asset, tmp_path / "one", SHORT, own_voice=0.3)
    again, others = spoken("h", asset, tmp_path / "two", SHORT[::-1], processes=2, own_voice=0.3)
    assert rows == again and files == others and len(rows) >= 4
    for row in rows:
        info = soundfile.info(str(tmp_path / "one" / "out" / row["path"]))
        assert (info.samplerate, info.channels) == (24000, 1)
        assert info.duration == pytest.approx(float(row["seconds"]), abs=0.001)
        samples, _ = read_mono(tmp_path / "one" / "out" / row["path"])
        assert 0.45 < np.abs(samples).max() <= 0.51
        assert row["language"] == "en" and row["bandwidth"] == "12000" and row["speaker"].startswith("h-")


@pytest.mark.parametrize("teacher", ["hibari", "kokoro"])
def test_twins_have_the_same_durations_and_another_voice(
    teacher: str, asset: Callable[[str], Path], tmp_path: Path
) -> None:
    texts = SHORT[4:5] if teacher == "kokoro" else SHORT[:3]
    rows, _ = spoken("t", asset, tmp_path, texts, teacher=teacher, twins=True, alignment=True, own_voice=0)
    for row in rows:
        first, rate = read_mono(tmp_path / "out" / row["path"])
        twin, _ = read_mono(tmp_path / "out" / row["twin"])
        silence = round(float(row["twin_silence"]) * rate)
        assert len(twin) == silence + len(first) and silence % (rate // 25) == 0
        assert not np.abs(twin[:silence]).any() and row["twin_speaker"] != row["speaker"]
        assert not np.allclose(twin[silence:], first, atol=0.02)
        # Both are loud and soft at the same times.
        blocks = len(first) // 600
        loud = [np.square(x[: 600 * blocks].reshape(blocks, 600)).mean(1) for x in (first, twin[silence:])]
        assert np.corrcoef(np.log(np.maximum(loud[0], 1e-5)), np.log(np.maximum(loud[1], 1e-5)))[0, 1] > 0.7
        with safe_open(tmp_path / "out" / row["alignment"], "np") as alignment:
            seconds, pitch = alignment.get_tensor("seconds"), alignment.get_tensor("pitch")
            phones = json.loads(alignment.metadata()["phones"])
        assert len(phones) == len(seconds) and seconds.min() > 0
        assert seconds.sum() == pytest.approx(float(row["seconds"]), abs=0.01)
        if teacher == "hibari":
            assert len(pitch) == round(80 * float(row["seconds"])) and 50 < np.median(pitch[pitch > 0]) < 500


def test_kokoro_mixes_its_voices(asset: Callable[[str], Path]) -> None:
    teacher: Any = open_teacher(settings(teacher="kokoro"), open_asset(asset("kokoro")).folder)
    for speaker in range(5):
        timbre, prosody = teacher.mixture(speaker)
        assert timbre[speaker] == prosody[speaker] == timbre.sum() == 1
    mixtures = [teacher.mixture(speaker) for speaker in range(5, 200)]
    assert {int(prosody.argmax()) for _, prosody in mixtures} == set(range(5))
    assert np.mean([timbre.max() < 0.9 for timbre, _ in mixtures]) > 0.5
    assert all(abs(timbre.sum() - 1) < 1e-9 for timbre, _ in mixtures)


def test_piper_speaks_a_line_alike_before_and_after_others(asset: Callable[[str], Path]) -> None:
    teacher = open_teacher(settings(teacher="piper"), open_asset(asset("piper-joe")).folder)

    def speak(text: str, seed: int, **manner: float) -> Any:
        return teacher.speak(text, [Manner(**manner)], np.random.default_rng(seed))[0].samples  # type: ignore[arg-type]

    first = speak(SHORT[0], 1)
    other = speak(SHORT[0], 2)
    np.testing.assert_array_equal(speak(SHORT[0], 1), first)
    assert len(other) != len(first) or not np.allclose(other, first, atol=0.01)
    assert len(speak(SHORT[4], 1, tempo=0.8)) > 1.1 * len(speak(SHORT[4], 1, tempo=1.2))
    assert teacher.rate == 22050 and 0.4 < len(first) / 22050 < 3


def test_a_killed_run_goes_on_and_speaks_no_line_twice(asset: Callable[[str], Path], tmp_path: Path) -> None:
    texts = tuple(f"This is sentence number {number}, of which there are very many." for number in range(12))
    (tmp_path / "texts.txt").write_text("\n".join(texts) + "\n")
    out = tmp_path / "out"
    chosen = settings(name="k", hours=24 / 3600)
    command = [sys.executable, str(REPOSITORY / "scripts" / "teacher_speech.py"), "--voice", str(asset("hibari"))]
    command += ["--texts", str(tmp_path / "texts.txt"), "--output", str(out / "manifest.tsv"), "--processes", "2"]
    command += ["--settings", chosen.model_dump_json(), "--threads", "1"]
    killed = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 120
    while len(list(out.glob("[!.]*.flac"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    before = {path: path.stat().st_mtime_ns for path in out.glob("[!.]*.flac")}
    assert len(before) >= 2 and not (out / "manifest.tsv").exists()
    time.sleep(1)
    assert len(list(out.glob("[!.]*.flac"))) <= len(before) + 2  # the speaking processes ended with the killed one
    assert subprocess.run(command, check=False, capture_output=True).returncode == 0
    rows = read_tsv(out / "manifest.tsv")
    assert sum(float(row["seconds"]) for row in rows) >= 24
    kept = [path for path in before if path.is_file()]
    assert kept and all(path.stat().st_mtime_ns == before[path] for path in kept)
    assert {path.name for path in out.glob("*.flac")} == {row["path"] for row in rows}
    whole, _ = spoken("k", asset, tmp_path / "whole", texts)
    whole_ids = {row["utterance"] for row in whole}
    assert whole_ids <= {row["utterance"] for row in rows}


def test_what_cannot_be_spoken_is_reported(asset: Callable[[str], Path], tmp_path: Path) -> None:
    model = open_asset(asset("hibari"))
    (tmp_path / "texts.txt").write_text("...\nIt's only me.\n")
    chosen = settings(hours=2 / 3600)
    make_teacher_speech(model.folder, model.digest, [tmp_path / "texts.txt"], [], tmp_path / "out", chosen)
    rejected = read_tsv(tmp_path / "out" / "rejected.tsv")
    assert [row["text"] for row in rejected] in ([], ["..."])
    (tmp_path / "empty.txt").write_text("# nothing\n")
    with pytest.raises(DataError, match="no sentences"):
        make_teacher_speech(model.folder, model.digest, [tmp_path / "empty.txt"], [], tmp_path / "out", chosen)


@pytest.mark.slow
def test_a_recogniser_understands_the_teachers(asset: Callable[[str], Path], tmp_path: Path) -> None:
    import jiwer
    from faster_whisper import WhisperModel

    recogniser = WhisperModel(str(asset("whisper-base").parent), compute_type="int8", cpu_threads=1)
    texts = tuple(text for text in read_lines([LISTS[0]], 400) if len(text) > 45 and not any(map(str.isdigit, text)))[
        :14
    ]
    simplify = jiwer.Compose([jiwer.ToLowerCase(), jiwer.RemovePunctuation(), jiwer.ReduceToListOfListOfWords()])
    for teacher, most in (("hibari", 0.08), ("piper", 0.08)):
        rows, _ = spoken("w", asset, tmp_path / teacher, texts, teacher=teacher)
        said, heard = [], []
        for row in rows[:12]:
            segments, _ = recogniser.transcribe(
                str(tmp_path / teacher / "out" / row["path"]), language="en", beam_size=5
            )
            said.append(row["text"])
            heard.append(" ".join(segment.text for segment in segments))
        error = jiwer.wer(said, heard, reference_transform=simplify, hypothesis_transform=simplify)
        assert error <= most, list(zip(said, heard, strict=True))
