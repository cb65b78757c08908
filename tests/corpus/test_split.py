import hashlib

from hypothesis import given
from hypothesis import strategies as st

from voiceclone.corpus.split import HELDOUT, TRAIN, position, split_by_hash


def contents(count: int, start: int = 0) -> list[str]:
    return [hashlib.sha256(str(number).encode()).hexdigest() for number in range(start, start + count)]


def heldout(split: dict[str, str]) -> set[str]:
    return {sha256 for sha256, part in split.items() if part == HELDOUT}


def test_the_share_is_met_and_the_seed_draws_another_set() -> None:
    names = contents(5000)
    first, second = split_by_hash(names, 0.1, seed=0), split_by_hash(names, 0.1, seed=1)
    assert 0.08 < len(heldout(first)) / 5000 < 0.12
    assert len(heldout(first) & heldout(second)) < 0.03 * 5000


def test_order_does_not_matter() -> None:
    names = contents(50)
    assert split_by_hash(names, 0.1) == split_by_hash(reversed(names), 0.1)


def test_nothing_moves_when_data_is_added_to_a_corpus_of_some_size() -> None:
    old = split_by_hash(contents(200), 0.1, min_heldout=2)
    new = split_by_hash(contents(400), 0.1, min_heldout=2)
    assert all(new[sha256] == part for sha256, part in old.items())


@given(st.integers(1, 30), st.integers(0, 30), st.integers(1, 4), st.floats(0, 0.5), st.integers(0, 9))
def test_growth_never_moves_a_trained_utterance_to_held_out(
    count: int, added: int, least: int, share: float, seed: int
) -> None:
    old = split_by_hash(contents(count), share, seed, least)
    new = split_by_hash(contents(count + added), share, seed, least)
    if least < count and not all(position(sha256, seed) < share for sha256 in old):
        assert not heldout(new) & {sha256 for sha256, part in old.items() if part == TRAIN}


@given(st.integers(2, 40), st.integers(1, 5))
def test_small_corpora_have_both_parts(count: int, least: int) -> None:
    split = split_by_hash(contents(count), 0.0, min_heldout=least)
    assert len(heldout(split)) == min(least, count - 1)
    assert TRAIN in split.values()


def test_one_utterance_is_trained_on_and_none_is_no_error() -> None:
    assert list(split_by_hash(contents(1), 0.5).values()) == [TRAIN]
    assert split_by_hash([], 0.5) == {}
