"""Word times of the base voice beside a forced alignment of the sound by whisper-base, which needs ``../shared``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.conftest import REPOSITORY

from voiceclone.listeners.recogniser import RATE, Recogniser, align_text
from voiceclone.sound.io import resample
from voiceclone.speaking.voices import Clip, open_models
from voiceclone.stages.transcribe import TranscribeSettings

pytestmark = pytest.mark.benchmark
TEXTS = (
    "The bakery opens at seven, and the bread is still warm.", "When the rain stopped, we walked along the river.",
    "He bought twenty red apples and gave half of them to his sister.", "They found the missing dog under a bridge.",
    "The children were playing football in the garden behind the house.", "Doctor Wright read seven books.",
    "It was a cold morning, and the streets were almost empty.", "The train to London leaves at nine.",
)  # fmt: skip


def test_words_are_heard_when_it_is_said(asset: Callable[[str], Path], shared_data: Path) -> None:
    for name in ("base-gpt", "base-sovits-g", "base-tokenizer", "campplus"):
        asset(name)
    clip = Clip(shared_data / "speakers" / "ljspeech" / "take_01.flac", any_length=True)
    voice = open_models(Path("base"), REPOSITORY, clip=clip).synthesizer
    recogniser = Recogniser(asset("whisper-base").parent, TranscribeSettings(languages=("en",)), "cpu", 1)
    found: dict[str, list[tuple[float, float]]] = {"pointer": [], "table": [], "sound": []}
    for seed, text in enumerate(TEXTS):
        speech = voice.say(text, "en", seed=seed, attempts=1)
        heard, _ = align_text(recogniser, resample(speech.samples, speech.rate, RATE), text, "en")
        unguided = replace(speech, pieces=[replace(piece, spans=None) for piece in speech.pieces])
        emission = voice.backend.emission
        times = {"pointer": voice.words_of(speech)[0], "table": voice.words_of(unguided)[0]}
        voice.backend.emission = None
        times["sound"] = voice.words_of(unguided)[0]
        voice.backend.emission = emission
        for way, words in times.items():
            if len(words) == len(heard):
                found[way] += [(a.start - b["start"], a.end - b["end"]) for a, b in zip(words, heard, strict=True)]
    print("\nway      words  |start| median, 90 %  |end| median, 90 %  mean of start (s)")
    for way, errors in found.items():
        rows = np.abs(errors)
        middle, most = np.median(rows, axis=0), np.percentile(rows, 90, axis=0)
        print(f"{way:8s} {len(rows):5d} {middle[0]:12.3f}, {most[0]:.3f} {middle[1]:14.3f}, {most[1]:.3f}", end=" ")
        print(f"{np.mean(errors, axis=0)[0]:12.3f}")
    assert np.median(np.abs(found["pointer"])[:, 0]) <= 0.08
