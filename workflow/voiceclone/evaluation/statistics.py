"""Medians and ratios with bootstrap intervals (Efron and Tibshirani 1993, percentile method) over sentences."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

CONFIDENCE = 0.95
_BLOCK = 1_000_000  # drawn indices held at once


@dataclass(frozen=True)
class Interval:
    """An estimate with its 95 % bootstrap interval over ``n`` sentences."""

    value: float
    low: float
    high: float
    n: int

    def as_dict(self) -> dict[str, float]:
        """Plain dictionary, rounded for JSON."""
        return {name: round(number, 6) for name, number in asdict(self).items()}


def known(values: Iterable[float | None]) -> npt.NDArray[np.float64]:
    """The values that are numbers: None, NaN and infinities are left out."""
    array = np.array([np.nan if value is None else float(value) for value in values], dtype=np.float64)
    return array[np.isfinite(array)]


def _draws(n: int, resamples: int, seed: int) -> Iterator[npt.NDArray[np.int64]]:
    """Indices of ``resamples`` draws with replacement, in blocks that stay small in memory."""
    generator = np.random.default_rng(seed)
    block = max(1, _BLOCK // n)
    for start in range(0, resamples, block):
        yield generator.integers(0, n, size=(min(block, resamples - start), n))


def _interval(estimate: float, replicates: npt.NDArray[np.float64], n: int) -> Interval:
    tail = (1.0 - CONFIDENCE) / 2.0
    low, high = np.quantile(replicates, [tail, 1.0 - tail])
    return Interval(float(estimate), float(low), float(high), n)


def bootstrap_median(values: Iterable[float | None], resamples: int = 2000, seed: int = 0) -> Interval | None:
    """Median of the known values with its interval; None if there are none.

    With one value the interval is that value: it says nothing, and ``n`` shows it.
    """
    numbers = known(values)
    if not len(numbers):
        return None
    replicates = np.concatenate([np.median(numbers[d], axis=1) for d in _draws(len(numbers), resamples, seed)])
    return _interval(float(np.median(numbers)), replicates, len(numbers))


def bootstrap_mean(values: Iterable[float | None], resamples: int = 2000, seed: int = 0) -> Interval | None:
    """Mean of the known values with its interval; None if there are none."""
    numbers = known(values)
    if not len(numbers):
        return None
    replicates = np.concatenate([numbers[d].mean(axis=1) for d in _draws(len(numbers), resamples, seed)])
    return _interval(float(numbers.mean()), replicates, len(numbers))


def bootstrap_ratio(
    numerators: npt.ArrayLike, denominators: npt.ArrayLike, resamples: int = 2000, seed: int = 0
) -> Interval | None:
    """Sum over sum with its interval, both recomputed in every resample; None without a divisor."""
    above, below = np.asarray(numerators, dtype=np.float64), np.asarray(denominators, dtype=np.float64)
    if above.shape != below.shape:
        raise ValueError(f"{len(above)} numerators for {len(below)} denominators")
    keep = below > 0
    above, below = above[keep], below[keep]
    if not len(below):
        return None
    replicates = np.concatenate(
        [above[d].sum(axis=1) / below[d].sum(axis=1) for d in _draws(len(below), resamples, seed)]
    )
    return _interval(float(above.sum() / below.sum()), replicates, len(below))


def variance_components(groups: Iterable[Sequence[float]]) -> dict[str, float] | None:
    """Variance between sentences and between seeds of a sentence, by the one-way random-effects analysis of variance.

    The estimates equate mean squares and their expectations, also for groups of unequal size (Searle, Casella and
    McCulloch 1992, "Variance Components", chapter 3); a negative one is 0.

    Args:
        groups: per sentence the values of its seeds.

    Returns:
        ``sentence`` and ``seed``, variances in the unit squared, and ``share``, that of the seed in both together; None
        for fewer than two sentences, or one seed each.
    """
    kept = [np.asarray(group, np.float64) for group in groups if len(group)]
    sizes = np.array([len(group) for group in kept])
    total = int(sizes.sum())
    if len(kept) < 2 or total == len(kept):
        return None
    means = np.array([group.mean() for group in kept])
    grand = float((means * sizes).sum() / total)
    seed = sum(float(np.square(group - group.mean()).sum()) for group in kept) / (total - len(kept))
    between = float((sizes * np.square(means - grand)).sum()) / (len(kept) - 1)
    usual = (total - float(np.square(sizes).sum()) / total) / (len(kept) - 1)
    sentence = max(0.0, (between - seed) / usual)
    return {"sentence": sentence, "seed": seed, "share": seed / (seed + sentence) if seed + sentence > 0 else 0.0}


POWER = 0.9


@dataclass(frozen=True)
class PairedTest:
    """Second minus first, over sentences that both spoke.

    Attributes:
        difference: estimate with its bootstrap interval.
        p: two-sided, of the sign-flip test.
        detectable: difference that this test would find with a power of 90 % at a level of 5 %, in the same unit.
    """

    difference: Interval
    p: float
    detectable: float


def paired_test(
    first: Sequence[float],
    second: Sequence[float],
    units: Sequence[float] | None = None,
    resamples: int = 5000,
    seed: int = 0,
) -> PairedTest | None:
    """Compare two voices sentence by sentence with a sign-flip permutation test (Fisher 1935; Good 2005, section 3.2).

    If both are the same, the sign of each sentence's difference is a coin toss, so the level holds for any
    distribution of errors. The sum over sentences is weighted by the inverse of the variance that counts of errors
    have, which grows with their mean: an additional error says more in an easy sentence than in one that nobody gets
    right. The weights take no side, so the level stays.

    Args:
        first: per sentence the first voice's value, or its number of errors if ``units`` is given; means over seeds.
        second: the second voice's.
        units: per sentence the number of words or characters; left out: values of their own, all weighted alike.
        resamples: sign flips, and bootstrap resamples of the interval.
        seed: of both.

    Returns:
        None without a sentence that both spoke.
    """
    above = np.asarray(second, dtype=np.float64) - np.asarray(first, dtype=np.float64)
    size = np.ones(len(above)) if units is None else np.asarray(units, dtype=np.float64)
    keep = np.isfinite(above) & (size > 0)
    above, size = above[keep], size[keep]
    if not len(above):
        return None
    weights = np.ones(len(above))
    if units is not None:
        mean = (np.asarray(first, dtype=np.float64)[keep] + np.asarray(second, dtype=np.float64)[keep]) / 2
        # A quarter of the mean rate is prior: few counts say little about how hard a sentence is.
        expected = mean + 0.25 * size * max(float(mean.sum() / size.sum()), 1e-9)
        weights = size / expected
    weighted = above * weights
    generator = np.random.default_rng(seed)
    extreme, limit = 0, abs(float(weighted.sum())) - 1e-9
    block = max(1, _BLOCK // len(above))
    for start in range(0, resamples, block):
        signs = generator.integers(0, 2, size=(min(block, resamples - start), len(above))) * 2 - 1
        extreme += int(np.count_nonzero(np.abs(signs @ weighted) >= limit))
    interval = bootstrap_ratio(above, size, resamples, seed)
    assert interval is not None
    normal = NormalDist()
    factor = normal.inv_cdf(1 - (1 - CONFIDENCE) / 2) + normal.inv_cdf(POWER)
    detectable = factor * float(np.sqrt(np.sum(weighted**2)) / np.sum(weights * size))
    return PairedTest(interval, (1 + extreme) / (1 + resamples), detectable)


def holm(p: Sequence[float]) -> list[float]:
    """Adjusted p-values of several tests together (Holm 1979), in the order given."""
    order = np.argsort(p)
    adjusted = np.maximum.accumulate([min(1.0, (len(p) - rank) * p[index]) for rank, index in enumerate(order)])
    found = [0.0] * len(p)
    for index, value in zip(order, adjusted, strict=True):
        found[int(index)] = float(value)
    return found
