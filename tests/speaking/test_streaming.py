"""Speech in parts is the speech of the whole, part by part."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from tests.support.toy_voice import ChanceBackend, toy_voice

from voiceclone.errors import ConfigError, DataError
from voiceclone.speaking.options import SpeechOptions
from voiceclone.speaking.streaming import Streaming, sentences, stream
from voiceclone.speaking.timing import Word


class SteadyBackend(ChanceBackend):
    """A vocoder without memory: every frame sounds as its latent, which is the token's number plus noise."""

    def latent(self, codes: Any, phones: Any, style: Any, noise: Any) -> Any:
        return np.repeat(np.asarray(codes, np.float32), 2)[None, None] / 100 + noise[:, :1] * 0.01

    def vocode(self, latent: Any, style: Any, source: Any = None) -> Any:
        return latent[0, 0].repeat(640)


def voice() -> Any:
    synthesizer = toy_voice(end=0.05)
    synthesizer.backend = SteadyBackend(end=0.05)
    return synthesizer


@pytest.mark.parametrize("streaming", [Streaming(), Streaming(first_tokens=4, tokens=1, wait=1, context=3, fade=2)])
@pytest.mark.parametrize("seed", range(4))
def test_parts_join_to_the_whole(streaming: Streaming, seed: int) -> None:
    options = SpeechOptions(top_k=0, attempts=1, max_tokens_per_phone=3.0)
    parts = list(stream(voice(), "One two three four.", seed=seed, options=options, streaming=streaming))
    whole = list(
        stream(
            voice(), "One two three four.", seed=seed, options=options, streaming=replace(streaming, first_tokens=10**6)
        )
    )
    assert len(whole) <= 2 <= len(parts)  # what waits for the mark comes last
    np.testing.assert_allclose(np.concatenate(parts), np.concatenate(whole), atol=1e-5)
    spoken = voice().say("One two three four.", seed=seed, options=options)
    assert len(np.concatenate(whole)) == len(spoken.samples)


def test_sound_comes_before_the_sentence_ends() -> None:
    synthesizer = voice()
    drawn: list[int] = []
    decode = synthesizer.decode
    synthesizer.decode = lambda *arguments: (drawn.append(token) or token for token in decode(*arguments))
    first = next(stream(synthesizer, "One two three four.", options=SpeechOptions(top_k=0, attempts=1)))
    assert len(drawn) == Streaming().first_tokens and 0 <= 640 * 2 * (15 - 3) - len(first) <= 0.072 * 32_000


@pytest.mark.parametrize("speak", [stream, sentences])
def test_the_next_sentence_is_read_while_this_one_sounds(speak: Any) -> None:
    synthesizer = voice()
    options = SpeechOptions(top_k=0, attempts=1, max_tokens_per_phone=3.0)
    parts = speak(synthesizer, "One two three four. Five six. Seven.", seed=1, options=options)
    next(parts)
    assert speak is sentences or synthesizer.text_cache.asked == 1  # nothing delays the first sound
    if speak is stream:
        next(parts)
    end = time.monotonic() + 20
    while synthesizer.text_cache.asked < 2 and time.monotonic() < end:
        time.sleep(0.01)
    assert synthesizer.text_cache.asked == 2
    whole = [part for part in parts if len(part)]
    assert whole and (synthesizer.text_cache.asked, synthesizer.text_cache.found) == (3, 0)


def test_a_sentence_that_cannot_be_read_fails_in_its_turn() -> None:
    parts = stream(voice(), "One two three four. Привет. Five.", options=SpeechOptions(top_k=0, attempts=1))
    assert len(next(parts))
    with pytest.raises(DataError, match="a script that the front end cannot read"):
        list(parts)


def test_a_stream_tells_its_words() -> None:
    told: list[Word] = []
    options = SpeechOptions(top_k=0, attempts=1, pause_seconds=0.5)
    samples = sum(len(part) for part in stream(voice(), "One two. Three.", options=options, on_words=told.extend))
    assert [word.text for word in told] == ["One", "two.", "Three."]
    assert told[1].end + 0.5 <= told[2].start + 1e-6 and told[-1].end <= samples / 32_000


def test_a_very_short_sentence_is_whole() -> None:
    synthesizer = toy_voice()
    synthesizer.backend = SteadyBackend()
    options = SpeechOptions(top_k=0, attempts=1)
    sound = np.concatenate(list(stream(synthesizer, "Hi. Yes.", seed=1, options=options)))
    assert len(sound) == len(synthesizer.say("Hi. Yes.", seed=1, options=options).samples)


def test_what_a_stream_cannot_do() -> None:
    with pytest.raises(DataError, match="nothing in it can be spoken"):
        next(stream(voice(), "... !"))
    with pytest.raises(ConfigError, match="a stream has the speed 1"):
        next(stream(voice(), "Hello.", options=SpeechOptions(speed=1.5)))
