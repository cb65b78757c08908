"""Medians and ratios with bootstrap intervals (Efron and Tibshirani 1993, percentile method) over sentences."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass

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
    numerators: Sequence[float], denominators: Sequence[float], resamples: int = 2000, seed: int = 0
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
