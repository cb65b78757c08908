"""Natural speech is not suspected; a repeat, a cut, a held token, a prompt that is said again are found.

``natural_tokens.tsv``: utterances of LJ Speech (public domain) and Kathleen (CC0) as tokens of whisper-base and a
codebook of 256 codes that was fitted to each speaker, with their phones.
"""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from voiceclone.files import read_tsv
from voiceclone.speaking.detector import FEWEST_RECORDINGS, calibrated, find_faults, longest_common, score
from voiceclone.speaking.options import DetectorSettings
from voiceclone.text.symbols import symbols_to_ids

SETTINGS = DetectorSettings()
TABLE = read_tsv(Path(__file__).with_name("natural_tokens.tsv"))
SPEECH = {
    speaker: [
        (symbols_to_ids(row["phones"].split()), np.array(row["tokens"].split(), np.int64))
        for row in TABLE
        if row["speaker"] == speaker
    ]
    for speaker in ("ljspeech", "kathleen")
}
RATES = {name: float(np.median([len(t) / len(p) for p, t in pairs])) for name, pairs in SPEECH.items()}


def rate_or_not(known: bool, speaker: str) -> float | None:
    return RATES[speaker] if known else None


def kinds(*arguments, **named) -> set[str]:
    return {finding.kind for finding in find_faults(*arguments, **named)}


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("speaker", sorted(SPEECH))
def test_natural_speech_is_not_suspected(speaker: str, known: bool) -> None:
    for phones, tokens in SPEECH[speaker]:
        assert find_faults(tokens, phones, True, SETTINGS, rate=rate_or_not(known, speaker)) == []


@pytest.mark.parametrize("speaker", sorted(SPEECH))
def test_no_utterance_is_taken_for_a_prompt_of_another(speaker: str) -> None:
    for (phones, tokens), (others, prompt) in combinations(SPEECH[speaker][:20], 2):
        assert "leak" not in kinds(tokens, phones, True, SETTINGS, prompt, others)


utterances = st.sampled_from([(name, index) for name, pairs in SPEECH.items() for index in range(len(pairs))])


@given(utterances, st.integers(0, 200), st.integers(30, 60), st.integers(1, 3), st.integers(0, 2**32 - 1))
def test_words_said_again_are_found(which, start, length, times, seed) -> None:
    """One second and more, spoken two to four times, one token in thirty otherwise than before."""
    phones, tokens = SPEECH[which[0]][which[1]]
    length = min(length, len(tokens))
    start = min(start, len(tokens) - length)
    part = tokens[start : start + length]
    again = np.tile(part, times)
    random = np.random.default_rng(seed)
    changed = random.choice(len(again), len(again) // 30, replace=False)
    again[changed] = random.integers(0, 256, len(changed))
    spoken = np.concatenate([tokens[: start + length], again, tokens[start + length :]])
    assert "loop" in kinds(spoken, phones, True, SETTINGS)


@given(utterances, st.integers(0, 200), st.integers(20, 40))
def test_words_said_again_more_slowly_are_found(which, start, length) -> None:
    phones, tokens = SPEECH[which[0]][which[1]]
    units = tokens[np.r_[True, np.diff(tokens) != 0]]
    start = min(start, max(0, len(units) - length))
    part = units[start : start + length]
    if len(part) < SETTINGS.loop_units:
        return  # a short utterance
    spoken = np.concatenate([np.repeat(part, 1), np.repeat(part, 2)])
    assert "loop" in kinds(spoken, phones, True, SETTINGS)


@given(utterances, st.integers(3, 12), st.integers(8, 20))
def test_a_stuck_syllable_is_found(which, length, times) -> None:
    phones, tokens = SPEECH[which[0]][which[1]]
    middle = len(tokens) // 2
    part = np.arange(length) + 3  # different tokens
    spoken = np.concatenate([tokens[:middle], np.tile(part, times), tokens[middle:]])
    assert "loop" in kinds(spoken, phones, True, SETTINGS)


@given(utterances, st.integers(SETTINGS.stuck_tokens + 1, 200))
def test_a_held_token_is_found(which, length) -> None:
    phones, tokens = SPEECH[which[0]][which[1]]
    assert "stuck" in kinds(np.append(tokens, np.full(length, 7)), phones, True, SETTINGS)


@given(utterances, st.booleans())
def test_half_a_text_is_found(which, known) -> None:
    speaker, index = which
    phones, tokens = SPEECH[speaker][index]
    rate = rate_or_not(known, speaker)
    assert kinds(tokens[: len(tokens) // 3], phones, True, SETTINGS, rate=rate) == {"omission"}


@given(utterances, st.booleans())
def test_no_end_and_far_too_long_are_found(which, known) -> None:
    speaker, index = which
    phones, tokens = SPEECH[speaker][index]
    assert kinds(tokens, phones, False, SETTINGS) == {"runaway"}
    rng = np.random.default_rng(0)
    long = rng.integers(0, 256, int(8 * len(phones)) + 26)
    assert "runaway" in kinds(long, phones, True, SETTINGS, rate=rate_or_not(known, speaker))


@given(utterances, st.integers(0, 100))
def test_a_prompt_said_again_is_found(which, start) -> None:
    speaker, index = which
    pairs = SPEECH[speaker]
    phones, tokens = pairs[index]
    prompt_phones, prompt = pairs[(index + 7) % len(pairs)]
    start = min(start, max(0, len(prompt) - 45))
    part = prompt[start : start + 45]
    if len(np.flatnonzero(np.diff(part))) < SETTINGS.leak_units or longest_common(phones, prompt_phones) >= 10:
        return  # mostly a pause, or words that both texts have
    spoken = np.concatenate([part, tokens])
    assert "leak" in kinds(spoken, phones, True, SETTINGS, prompt, prompt_phones)
    assert "leak" not in kinds(spoken, np.concatenate([prompt_phones, phones]), True, SETTINGS, prompt, prompt_phones)


def test_a_text_that_repeats_may_sound_so() -> None:
    phones, tokens = SPEECH["ljspeech"][1]
    thrice, spoken = np.tile(phones, 3), np.tile(tokens, 3)
    assert "loop" in kinds(spoken, SPEECH["ljspeech"][0][0], True, SETTINGS)
    assert kinds(spoken, thrice, True, SETTINGS) == set()


def test_the_worse_scores_higher_and_says_its_figures() -> None:
    phones = np.arange(20)
    some, more = (find_faults(np.arange(length), phones, True, SETTINGS, rate=2.0) for length in (19, 11))
    assert 0 < score(some) < score(more)
    assert str(some[0]) == "omission (19 tokens for 20 phones, at least 20 expected)"
    assert score([]) == 0.0
    assert find_faults(np.zeros(0, np.int64), phones, True, SETTINGS)[0].excess == 10.0


def test_longest_common_stretch() -> None:
    assert longest_common(np.array([1, 2, 3, 4, 9]), np.array([7, 2, 3, 4, 8])) == 3
    assert longest_common(np.array([1]), np.array([2])) == longest_common(np.zeros(0, int), np.array([2])) == 0


@pytest.mark.parametrize("speaker", sorted(SPEECH))
def test_limits_of_a_voice_pass_its_recordings_and_find_its_faults(speaker: str) -> None:
    (_, prompt), *pairs = SPEECH[speaker]
    rate = RATES[speaker]
    own = [(tokens, phones, rate) for phones, tokens in pairs]
    many = own * (FEWEST_RECORDINGS // len(own) + 1)
    limits = calibrated(many, prompt)
    assert limits != SETTINGS and calibrated(own[: FEWEST_RECORDINGS - 1], prompt) == SETTINGS
    for tokens, phones, _ in own:
        assert find_faults(tokens, phones, True, limits, prompt, rate=rate) == []
    tokens, phones, _ = max(own, key=lambda pair: len(pair[0]))
    assert "loop" in kinds(np.tile(tokens[:60], 6), phones, True, limits, rate=rate)
    assert "stuck" in kinds(np.insert(tokens, 20, [tokens[20]] * 100), phones, True, limits, rate=rate)
    assert "omission" in kinds(tokens[: len(tokens) // 4], phones, True, limits, rate=rate)
    assert "leak" in kinds(np.concatenate([prompt, tokens]), phones, True, limits, prompt, rate=rate)


def test_a_slow_voice_has_other_limits_than_a_hasty_one() -> None:
    rng = np.random.default_rng(0)
    phones = [np.arange(30) for _ in range(40)]

    def voice(held: int) -> DetectorSettings:
        return calibrated([(np.repeat(rng.permutation(30), held), each, 1.0 * held) for each in phones], np.arange(0))

    assert (voice(2).stuck_tokens, voice(20).stuck_tokens) == (5, 46)
    assert voice(2).leak_units == SETTINGS.leak_units  # there is no prompt to leak
