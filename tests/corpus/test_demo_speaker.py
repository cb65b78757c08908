"""The demo speaker: five takes of speech in five manners, the same bytes every time, and nothing but sound."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from voiceclone.corpus.demo import PLANS, fix_ogg_serial, hiss_and_hum, make_demo_speaker, music, read_texts
from voiceclone.errors import DataError
from voiceclone.files import read_json, sha256_file
from voiceclone.sound.io import read_mono

REPOSITORY = Path(__file__).resolve().parents[2]
TEXTS = REPOSITORY / "resources" / "sentences" / "demo_speaker.txt"


def test_texts_are_five_takes_of_readable_sentences() -> None:
    takes = read_texts(TEXTS)
    assert len(takes) == len(PLANS)
    sentences = [sentence for take in takes for sentence in take]
    assert len(set(sentences)) == len(sentences) >= 25
    assert all(sentence[-1] in ".?!" and sentence.isascii() and len(sentence) < 120 for sentence in sentences)


def test_backdrops_have_the_asked_level() -> None:
    rate, generator = 22050, np.random.default_rng(0)
    voice = (0.1 * np.sign(np.sin(2 * np.pi * 200 * np.arange(6 * rate) / rate))).astype(np.float32)
    voice[: 2 * rate] = 0
    for make, ratio, channels in ((music, 5.0, 2), (hiss_and_hum, 18.0, 1)):
        mixed = make(voice, rate, generator)
        assert mixed.shape == (len(voice), channels)
        backdrop = mixed - voice[:, None]
        assert 20 * np.log10(0.1 / backdrop.std()) == pytest.approx(ratio, abs=0.5)


def test_ogg_bytes_repeat(tmp_path: Path) -> None:
    samples = 0.1 * np.random.default_rng(0).standard_normal(100_000)
    for name in ("one.ogg", "two.ogg"):
        soundfile.write(str(tmp_path / name), samples, 22050, format="OGG", subtype="VORBIS")
    plain, _ = soundfile.read(str(tmp_path / "one.ogg"))
    for name in ("one.ogg", "two.ogg"):
        fix_ogg_serial(tmp_path / name)
    assert sha256_file(tmp_path / "one.ogg") == sha256_file(tmp_path / "two.ogg")
    again, _ = soundfile.read(str(tmp_path / "one.ogg"))
    np.testing.assert_array_equal(again, plain)


def test_another_number_of_takes_is_refused(tmp_path: Path) -> None:
    texts = tmp_path / "texts.txt"
    texts.write_text("# a comment\n\nOne.\nTwo.\n\n\nThree.\n")
    assert read_texts(texts) == [["One.", "Two."], ["Three."]]
    with pytest.raises(DataError, match="2 takes, expected 5"):
        make_demo_speaker(tmp_path / "voice.onnx", texts, tmp_path / "demo", tmp_path / "s.json")


def test_speaks_the_same_bytes_twice(asset: Callable[[str], Path], tmp_path: Path) -> None:
    model = asset("piper-joe").parent / "en_US-joe-medium.onnx"
    short = tmp_path / "short.txt"
    short.write_text("\n\n".join("\n".join(take[:1]) for take in read_texts(TEXTS)))
    stamps = []
    for threads in (1, 2):
        folder, stamp = tmp_path / f"run{threads}" / "demo", tmp_path / f"run{threads}" / "demo.json"
        start = time.monotonic()
        make_demo_speaker(model, short, folder, stamp, threads=threads)
        assert time.monotonic() - start < 60
        stamps.append(read_json(stamp))
        beside = ["LICENCE.txt", "consent.yaml"]
        assert sorted(path.name for path in folder.iterdir()) == sorted([*beside, *(plan.file for plan in PLANS)])
    assert stamps[0] == stamps[1]
    for plan in PLANS:
        info = soundfile.info(str(folder / plan.file))
        assert (info.samplerate, info.channels) == (plan.rate, plan.channels)
        assert sha256_file(folder / plan.file) == stamps[0]["files"][plan.file]["sha256"]
        samples, _ = read_mono(folder / plan.file)
        assert 1.5 < info.duration < 8 and np.abs(samples).max() > 0.3
