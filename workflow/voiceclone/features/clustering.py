"""Nearest centres and k-means."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Codes = npt.NDArray[np.int64]

BLOCK = 8192


def nearest(points: Floats, centres: Floats) -> tuple[Codes, Floats]:
    """Index of the nearest centre (K, D) of each point (N, D), and its squared distance (N,)."""
    codes = np.empty(len(points), dtype=np.int64)
    distances = np.empty(len(points), dtype=np.float32)
    lengths = np.square(centres).sum(axis=1)
    for start in range(0, len(points), BLOCK):
        block = points[start : start + BLOCK]
        relative = lengths - 2.0 * (block @ centres.T)
        found = relative.argmin(axis=1)
        codes[start : start + BLOCK] = found
        distances[start : start + BLOCK] = relative[np.arange(len(block)), found] + np.square(block).sum(axis=1)
    return codes, np.maximum(distances, 0.0)


def kmeans(points: Floats, size: int, iterations: int, seed: int) -> tuple[Floats, Codes]:
    """Centres by Lloyd's algorithm from k-means++ seeds (Arthur and Vassilvitskii 2007).

    A centre without points moves to the point farthest from its own. Deterministic for given data, seed and threads.

    Args:
        points: float32 (N, D).
        size: number of centres K, at most N.
        iterations: most rounds.
        seed: of the first centres.

    Returns:
        Centres float32 (K, D) and the centre of each point int64 (N,).
    """
    centres = points[_first_centres(points, size, seed)].copy()
    codes = np.full(len(points), -1, dtype=np.int64)
    for _ in range(iterations):
        before = codes
        codes, distances = nearest(points, centres)
        if np.array_equal(before, codes):
            break
        counts = np.bincount(codes, minlength=size)
        occupied = counts > 0
        starts = np.concatenate([[0], np.cumsum(counts[occupied])[:-1]])
        sums = np.add.reduceat(points[np.argsort(codes, kind="stable")], starts, axis=0, dtype=np.float64)
        centres[occupied] = (sums / counts[occupied, None]).astype(np.float32)
        farthest = np.argsort(distances, kind="stable")[::-1]
        centres[~occupied] = points[farthest[: int((~occupied).sum())]]
    return centres, nearest(points, centres)[0]


def _first_centres(points: Floats, size: int, seed: int) -> list[int]:
    """Indices of the k-means++ seeds, each drawn in proportion to its squared distance to the rest."""
    random = np.random.default_rng(seed)
    lengths = np.square(points).sum(axis=1)

    def distance_to(index: int) -> Floats:
        return np.maximum(lengths - 2.0 * (points @ points[index]) + lengths[index], 0.0)

    chosen = [int(random.integers(len(points)))]
    distance = distance_to(chosen[0])
    while len(chosen) < size:
        cumulated, draw = np.cumsum(distance, dtype=np.float64), random.random()
        position = np.searchsorted(cumulated, draw * cumulated[-1]) if cumulated[-1] > 0 else int(draw * len(points))
        chosen.append(min(int(position), len(points) - 1))
        distance = np.minimum(distance, distance_to(chosen[-1]))
    return chosen
