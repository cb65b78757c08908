"""Bootstrap intervals: right values, right coverage, the same every time."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from voiceclone.evaluation.statistics import bootstrap_median, bootstrap_ratio, variance_components

numbers = st.lists(st.floats(-1e6, 1e6, allow_nan=False), min_size=1, max_size=40)


@given(numbers)
def test_interval_holds_the_median_and_stays_within_the_data(values: list[float]) -> None:
    found = bootstrap_median(values, resamples=100)
    assert found is not None
    assert found.value == pytest.approx(float(np.median(values)))
    assert min(values) <= found.low <= found.high <= max(values)
    assert found.n == len(values)


def test_unknown_values_are_left_out() -> None:
    found = bootstrap_median([1.0, None, math.nan, 3.0, math.inf])
    assert found is not None and (found.value, found.n) == (2.0, 2)
    assert bootstrap_median([None, math.nan]) is None and bootstrap_median([]) is None


def test_same_seed_same_interval_whatever_the_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    values = list(np.random.default_rng(0).normal(size=50))
    first = bootstrap_median(values, 500, seed=3)
    assert first == bootstrap_median(values, 500, seed=3)
    assert first != bootstrap_median(values, 500, seed=4)
    monkeypatch.setattr("voiceclone.evaluation.statistics._BLOCK", 120)
    blocks = bootstrap_median(values, 500, seed=3)
    assert first is not None and blocks is not None and blocks.low == pytest.approx(first.low)


def test_ratio_is_of_the_sums() -> None:
    found = bootstrap_ratio([1, 0, 9], [10, 10, 10])
    assert found is not None and found.value == pytest.approx(10 / 30) and found.low <= found.value <= found.high
    long_sentence = bootstrap_ratio([0, 10], [90, 10])
    assert long_sentence is not None and long_sentence.value == pytest.approx(0.1)  # not the mean of 0 and 1
    assert bootstrap_ratio([0], [0]) is None and bootstrap_ratio([], []) is None
    with pytest.raises(ValueError, match="numerators"):
        bootstrap_ratio([1], [1, 2])


def test_interval_covers_the_truth_as_often_as_it_says() -> None:
    generator = np.random.default_rng(1)
    covered = 0
    for trial in range(200):
        found = bootstrap_median(generator.normal(3.0, 1.0, size=40), 200, seed=trial)
        assert found is not None
        covered += found.low <= 3.0 <= found.high
    assert 0.88 <= covered / 200 <= 0.995


def test_variance_components_are_those_of_the_simulation() -> None:
    rng = np.random.default_rng(0)
    groups = [rng.normal(center, 2.0, size=int(rng.integers(1, 5))).tolist() for center in rng.normal(0, 3.0, 3000)]
    found = variance_components(groups)
    assert found is not None
    assert found["sentence"] == pytest.approx(9, rel=0.1) and found["seed"] == pytest.approx(4, rel=0.1)
    assert found["share"] == pytest.approx(4 / 13, rel=0.1)


def test_variance_components_by_hand() -> None:
    # Mean squares: within 2 / 2 = 1, between 2 * (1 + 1) = 4, so (4 - 1) / 2 between sentences.
    assert variance_components([[0, 1.4142135623730951], [2, 2 + 1.4142135623730951]]) == pytest.approx(
        {"sentence": 1.5, "seed": 1.0, "share": 0.4}
    )
    assert variance_components([[1.0], [2.0], []]) is None and variance_components([[1.0, 2.0]]) is None
