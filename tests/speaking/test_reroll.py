"""A suspicious piece is spoken anew with another seed; the best attempt is kept; the seed decides all of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tests.support.toy_voice import NOTHING, ChanceBackend, toy_voice

from voiceclone.backends.bundle import Reference
from voiceclone.errors import ConfigError
from voiceclone.features.spectrogram import track_pitch
from voiceclone.speaking.detector import Finding, score
from voiceclone.speaking.options import DetectorSettings, SpeechOptions

TEXT = "This is a sentence."
#: Every token may be drawn.
EVERYTHING: dict[str, Any] = {"top_k": 0, "repetition_penalty": 1.0}
STRICT = DetectorSettings(least_rate=3.0)


def test_attempts_end_with_the_first_good_one() -> None:
    voice = toy_voice()
    kept = {1: 0, 2: 0, 3: 0}
    for seed in range(30):
        alone = voice.say(TEXT, seed=seed, **EVERYTHING, detector=STRICT, attempts=1)
        several = voice.say(TEXT, seed=seed, **EVERYTHING, detector=STRICT, attempts=3)
        again = voice.say(TEXT, seed=seed, **EVERYTHING, detector=STRICT, attempts=3)
        assert np.array_equal(several.samples, again.samples) and several.pieces == again.pieces
        assert alone.attempts == 1
        if not alone.findings:
            assert several.attempts == 1 and np.array_equal(alone.samples, several.samples)
        assert score(several.findings) <= score(alone.findings)
        if several.attempts < 3:
            assert several.findings == []
        kept[several.attempts] += 1
    assert all(kept.values()), kept


def test_of_equally_bad_attempts_the_first_is_kept() -> None:
    voice = toy_voice(end=1e-6)
    alone, several = (voice.say(TEXT, **EVERYTHING, attempts=n, max_tokens_per_phone=0.5) for n in (1, 4))
    assert several.attempts == 4 and several.truncated == 1
    assert [finding.kind for finding in several.findings] == ["runaway"]
    assert np.array_equal(alone.samples, several.samples)
    assert voice.backend.decodes == 2  # the attempts that are not kept cost no sound


def test_pieces_have_attempts_of_their_own() -> None:
    voice = toy_voice()
    text = "This is a sentence. Here is another one. And the last of three."
    told: list[tuple[int, int]] = []
    speech = voice.say(
        text, seed=4, **EVERYTHING, detector=STRICT, attempts=5, on_piece=lambda *pair: told.append(pair)
    )
    assert told == [(1, 3), (2, 3), (3, 3)]
    assert [piece.text for piece in speech.pieces] == [
        "This is a sentence.",
        "Here is another one.",
        "And the last of three.",
    ]
    assert speech.tokens == sum(piece.tokens for piece in speech.pieces)
    assert voice.backend.starts == speech.attempts


def test_a_listener_hears_what_the_tokens_do_not_show() -> None:
    voice = toy_voice()
    heard = []

    def dislikes_short(samples, rate, text, language, reference) -> list[Finding]:
        heard.append((len(samples), rate, text, language))
        return [] if len(samples) > 60 * 1280 else [Finding("words", 2.0, "too short")]

    first = voice.say(TEXT, seed=0, **EVERYTHING, attempts=1, listener=dislikes_short)
    assert [finding.kind for finding in first.findings] == ["words"]
    speech = voice.say(TEXT, seed=0, **EVERYTHING, attempts=20, listener=dislikes_short)
    assert {entry[1:] for entry in heard} == {(32000, TEXT, "en")}
    assert speech.findings == [] and heard[-1][0] == len(speech.samples) > 60 * 1280
    assert voice.backend.decodes == len(heard)  # the sound that was heard is the one that is kept


def test_every_attempt_is_heard_also_a_suspected_one() -> None:
    voice, heard = toy_voice(end=1e-6), []

    def dislikes(samples, rate, text, language, reference) -> list[Finding]:
        heard.append(len(samples))
        return [Finding("words", 9.0, "other words")] if len(heard) == 1 else []

    speech = voice.say(TEXT, **EVERYTHING, attempts=3, max_tokens_per_phone=0.5, listener=dislikes)
    assert len(heard) == 3 and [finding.kind for finding in speech.findings] == ["runaway"]


def test_speech_that_says_the_prompt_again_is_suspected() -> None:
    voice = toy_voice()
    alone = voice.say(TEXT, seed=2, **EVERYTHING, max_tokens_per_phone=20, attempts=1)
    codes = np.round(alone.samples[640::1280] * 64 - 0.0).astype(np.int64)
    assert alone.findings == [] and len(codes) > 40
    leaking = Reference(codes[5:40], np.arange(9), np.zeros((1, 1, 1), np.float32))
    findings = voice.say(TEXT, seed=2, **EVERYTHING, max_tokens_per_phone=20, attempts=1, reference=leaking).findings
    assert [finding.kind for finding in findings] == ["leak"]


@pytest.mark.parametrize("speed", [0.5, 1.0, 1.3, 2.0])
def test_speed_scales_the_length(speed: float) -> None:
    speech = toy_voice().say(TEXT, **EVERYTHING, speed=speed)
    frames = 2 * speech.tokens if speed == 1.0 else int(2 * speech.tokens / speed) + 1
    assert len(speech.samples) == 640 * frames


def test_pauses_and_noise() -> None:
    voice = toy_voice()
    text = "This is a sentence. Here is another one."
    with_pause, without = (voice.say(text, **EVERYTHING, pause_seconds=pause) for pause in (0.5, 0.0))
    assert len(with_pause.samples) - len(without.samples) == 16000
    still = voice.say(text, **EVERYTHING, noise_scale=0.0)
    assert still.tokens == with_pause.tokens and not np.array_equal(still.samples, with_pause.samples)


@pytest.mark.parametrize(
    ("field", "value"),
    [("speed", 0.1), ("noise_scale", -1.0), ("pause_seconds", 100.0), ("attempts", 0), ("split", "cut7")],
)
def test_values_out_of_range_are_named(field: str, value: object) -> None:
    with pytest.raises(ConfigError, match=f"{field}.*expected"):
        SpeechOptions(**{field: value})  # type: ignore[arg-type]


def test_the_detector_of_an_empty_prompt_sees_no_leak() -> None:
    assert toy_voice().reference.tokens is NOTHING
    assert toy_voice().say(TEXT, seed=3, **EVERYTHING).findings == []


def test_a_voice_without_pulses_changes_the_pitch_of_its_finished_sound() -> None:
    """A decoder that hums at 150 Hz, whatever it is asked."""
    voice = toy_voice()

    class Humming(ChanceBackend):
        def decode(self, codes: Any, phones: Any, style: Any, noise: Any, source: Any = None) -> Any:
            assert source is None
            times = np.arange(noise.shape[2] * 640) / 32_000
            return sum(np.sin(2 * np.pi * 150 * k * times) / k for k in range(1, 12)).astype(np.float32) / 10

    voice.backend = Humming(end=0.02)
    text = "One two three four five."
    plain, high = (voice.say(text, attempts=1, pitch=pitch).samples for pitch in (0.0, 5.0))
    assert len(plain) == len(high) > 16_000
    heard = [np.median(hertz[hertz > 0]) for hertz in (track_pitch(plain, 32_000), track_pitch(high, 32_000))]
    assert heard == pytest.approx([150, 150 * 2 ** (5 / 12)], rel=0.02)
