"""A quantiser whose codes identify phones: linear discriminant analysis of frame pairs, then k-means.

The averaged vectors of an encoder hold the place in the utterance and the voice as much as the phone, and k-means
spends its codes on them. A linear map that separates phones (Fisher 1936; for speech Haeb-Umbach and Ney 1992) leaves
them out. Its classes are phone x pitch, so that codes keep intonation and tones. They come from the speech itself:
tokens are aligned with the phones of the text, the map is fitted to the alignment, new tokens are made with it, and
again. Twins, one text with one timing in two voices, show what should not matter: their difference counts as scatter
within the classes. The map is written into ``ssl_proj``, so every reader of a tokenizer reads this one too.

Nearest centres and k-means.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from voiceclone.errors import DataError
from voiceclone.features.alignment import Aligner, Utterance
from voiceclone.progress import announce
from voiceclone.stages.fit_tokenizer import TokenizerSettings
from voiceclone.text.symbols import PUNCTUATION, SYMBOLS

Floats = npt.NDArray[np.float32]
Codes = npt.NDArray[np.int64]
BLOCK = 8192
ITERATIONS = 50  # of k-means, at most


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
        iterations: max. rounds.
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


Ints = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]
PITCHES_PER_TOKEN = 4  # F0 comes 100 times a second, tokens 25 times
PITCH_EDGES = (-0.12, 0.08)  # of log F0 about the speaker's median: low, middle, high
MIN_FRAMES = 15  # of a class; the mean of fewer is not reliable
NUISANCE_WEIGHT = 3.0
ALIGNMENT_ROUNDS = 8
RIDGE = 0.03  # share of the mean variance within classes that is added to each
MAX_SHIFT = 100  # tokens by which twins may be apart
TIMING = 2  # tokens by which the ends of twins may differ
SEARCHED = 64  # dimensions that are looked at to find where twins lie on each other
FRAMES_PER_CODE = 256  # more frames than this for each code do not move the centres noticeably
log = logging.getLogger(__name__)


def _phone(symbol: str) -> str:
    """Phone of a symbol in classes and error rates: without stress or tone; all pauses are one."""
    return "" if symbol in PUNCTUATION else symbol.rstrip("0123456789") or symbol


PHONES = tuple(dict.fromkeys(["", *map(_phone, SYMBOLS)]))
_OF_SYMBOL = np.array([PHONES.index(_phone(symbol)) for symbol in SYMBOLS], dtype=np.int64)


@dataclass(frozen=True)
class Speech:
    """One utterance.

    Attributes:
        pairs: reads its pairs of neighbouring content frames, float32 (T, 2 D), 25 a second.
        phones: ids int64 (P,) of its text.
        pitch: F0 float32 (at least 4 T,) in Hz, 0 where unvoiced; None: not measured.
        voice: whose median the pitch is compared with.
        text: what is said; equal texts of one length in different voices are twins.
    """

    pairs: Callable[[], Floats]
    phones: Ints
    pitch: Floats | None = None
    voice: str = ""
    text: str = ""


@dataclass(frozen=True)
class Projection:
    """An affine map of frame pairs: ``(x - mean) @ axes``, mean (2 D,), axes (2 D, d), float32."""

    mean: Floats
    axes: Floats

    def __call__(self, pairs: Floats) -> Floats:
        """Map (N, 2 D) to (N, d)."""
        return np.asarray((pairs - self.mean) @ self.axes, dtype=np.float32)

    def convolution(self) -> tuple[Floats, Floats]:
        """The same as ``ssl_proj``: weight (D, D, 2) and bias (D,); dimensions beyond d are zero."""
        size, used = len(self.mean) // 2, self.axes.shape[1]
        weight = np.zeros((size, size, 2), dtype=np.float32)
        weight[:used, :, 0], weight[:used, :, 1] = self.axes[:size].T, self.axes[size:].T
        bias = np.zeros(size, dtype=np.float32)
        bias[:used] = -(self.mean @ self.axes)
        return weight, bias


def fit_phone_tokenizer(speech: Sequence[Speech], settings: TokenizerSettings) -> tuple[Projection, Floats, Ints]:
    """Find projection and codes.

    Args:
        speech: what to fit to; its pairs are read several times in each round.
        settings: number of codes, dimensions, rounds, seed.

    Returns:
        Projection, centres float32 (K, d), and the codes int64 of the frames they were made from.

    Raises:
        DataError: not one phone is spoken often enough.
    """
    levels, nuisance = pitch_levels(speech), twin_scatter(speech)
    projection = standardising(speech)
    centres, _ = _cluster(speech, projection, settings)
    for number in range(settings.rounds):
        tokens = [nearest(projection(item.pairs()), centres)[0] for item in speech]
        phones = _spoken_phones(speech, tokens, len(centres))
        share = read_phones(tokens, phones, len(centres))[1]
        announce(f"tokenizer: round {number + 1} of {settings.rounds}, codes told {share:.0%} of the phones before it")
        projection = discriminants(speech, phones, levels, nuisance, settings.dimensions)
        centres, codes = _cluster(speech, projection, settings)
    return projection, centres, codes


def _spoken_phones(speech: Sequence[Speech], tokens: Sequence[Ints], codes: int) -> list[Ints]:
    """Phone number of each token, int64 (T,), by alignment; -1 where an utterance cannot be aligned."""
    aligner = Aligner(len(SYMBOLS), codes)
    items = [Utterance(token, item.phones) for token, item in zip(tokens, speech, strict=True)]
    aligner.fit(items, ALIGNMENT_ROUNDS)
    return [
        np.full(len(item.codes), -1, dtype=np.int64) if path is None else _OF_SYMBOL[item.phones[path]]
        for item, path in zip(items, aligner.align(items)[0], strict=True)
    ]


def standardising(speech: Sequence[Speech]) -> Projection:
    """Mean of the two frames, every dimension brought to unit variance: good enough for a first alignment."""
    size = speech[0].pairs().shape[1] // 2
    total, squares, number = np.zeros(size), np.zeros(size), 0
    for item in speech:
        pairs = item.pairs().astype(np.float64)
        means = 0.5 * (pairs[:, :size] + pairs[:, size:])
        total, squares, number = total + means.sum(axis=0), squares + np.square(means).sum(axis=0), number + len(means)
    mean = total / number
    deviation = np.sqrt(np.maximum(squares / number - np.square(mean), 0.0))
    half = np.diag(0.5 / np.maximum(deviation, 1e-3 * max(float(deviation.max()), 1e-12)))
    return Projection(np.tile(mean, 2).astype(np.float32), np.concatenate([half, half]).astype(np.float32))


def discriminants(
    speech: Sequence[Speech], phones: Sequence[Ints], levels: Sequence[Ints], nuisance: Doubles, dimensions: int
) -> Projection:
    """Directions in which phone and pitch differ most in relation to the scatter within them.

    Args:
        speech: utterances.
        phones: phone number of each token, int64 (T,); -1: not known, left out.
        levels: pitch level of each token, int64 (T,); -1: not known, left out.
        nuisance: scatter (2 D, 2 D) that counts as within the classes.
        dimensions: directions to keep, the most telling first.

    Raises:
        DataError: not two classes have enough frames.
    """
    sums: dict[int, Doubles] = {}
    counts: dict[int, int] = {}
    size = speech[0].pairs().shape[1]
    total, scatter, number = np.zeros(size), np.zeros((size, size)), 0
    for item, phone, level in zip(speech, phones, levels, strict=True):
        known = (level >= 0) & (phone >= 0)
        pairs, classes = item.pairs()[known].astype(np.float64), (phone * 4 + level)[known]
        total, scatter, number = total + pairs.sum(axis=0), scatter + pairs.T @ pairs, number + len(pairs)
        for one in np.unique(classes):
            chosen = pairs[classes == one]
            sums[one] = sums.get(one, np.zeros(size)) + chosen.sum(axis=0)
            counts[one] = counts.get(one, 0) + len(chosen)
    kept = [one for one in sorted(counts) if counts[one] >= MIN_FRAMES]
    if len(kept) < 2:
        raise DataError(f"{number} frames of speech hold {len(kept)} phones that are spoken often enough", "add speech")
    mean = total / number
    means = np.stack([sums[one] / counts[one] for one in kept]) - mean
    between = (means * (np.array([counts[one] for one in kept]) / number)[:, None]).T @ means
    all_scatter = scatter / number - np.outer(mean, mean)
    within = all_scatter - between + NUISANCE_WEIGHT * nuisance
    within += RIDGE * np.trace(within) / len(mean) * np.eye(len(mean))
    from scipy.linalg import eigh

    last = len(mean) - 1
    _, axes = eigh(all_scatter, within, subset_by_index=[last - dimensions + 1, last])
    return Projection(mean.astype(np.float32), np.ascontiguousarray(axes[:, ::-1], dtype=np.float32))


def pitch_levels(speech: Sequence[Speech]) -> list[Ints]:
    """Level of each token, int64 (T,): 0 unvoiced, 1 low, 2 middle, 3 high for the voice, -1 not measured."""
    logs = [_token_pitch(item) for item in speech]
    voiced: dict[str, list[Floats]] = {}
    for item, values in zip(speech, logs, strict=True):
        voiced.setdefault(item.voice, []).append(values[values > 0])
    medians = {
        voice: float(np.median(joined)) for voice, parts in voiced.items() if len(joined := np.concatenate(parts))
    }

    def levels(item: Speech, values: Floats) -> Ints:
        if item.pitch is None:
            return np.full(len(values), -1, dtype=np.int64)
        relative = values - medians.get(item.voice, 0.0)
        return np.where(values > 0, 1 + np.digitize(relative, PITCH_EDGES), 0).astype(np.int64)

    return [levels(item, values) for item, values in zip(speech, logs, strict=True)]


def _token_pitch(item: Speech) -> Floats:
    """Mean log F0 of each token (T,), 0 where less than half of it is voiced."""
    tokens = len(item.pairs())
    pitch = np.zeros(tokens * PITCHES_PER_TOKEN, dtype=np.float32)
    measured = pitch[:0] if item.pitch is None else item.pitch[: len(pitch)]
    pitch[: len(measured)] = measured
    grid = pitch.reshape(tokens, PITCHES_PER_TOKEN)
    voiced = (grid > 0).sum(axis=1)
    logs = np.log(np.where(grid > 0, grid, 1.0)).sum(axis=1) / np.maximum(voiced, 1)
    return np.where(2 * voiced >= PITCHES_PER_TOKEN, logs, 0.0).astype(np.float32)


def twin_scatter(speech: Sequence[Speech]) -> Doubles:
    """Scatter float64 (2 D, 2 D) of what differs between twins about their mean; zeros where there are no twins."""
    by_text: dict[str, list[Speech]] = {}
    for item in speech:
        by_text.setdefault(item.text, []).append(item)
    size = speech[0].pairs().shape[1]
    total, number = np.zeros((size, size)), 0
    pairs = [pair for text, same in by_text.items() if text for pair in pairwise(same)]
    for first, second in pairs:
        differences = _twin_differences(first.pairs(), second.pairs()) if first.voice != second.voice else None
        if differences is not None:
            total, number = total + differences.T @ differences, number + len(differences)
    log.info("tokenizer: %d frames of twins", number)
    return 2.0 * total / max(number, 1)


def _twin_differences(first: Floats, second: Floats) -> Doubles | None:
    """Half the differences of two utterances' pairs where they lie best on each other; None: not of one timing.

    Of one timing they lie apart by the silence before one of them, which is what their lengths differ by. Readings in
    another tempo do not: laid on each other, their phones would count as scatter within the phones.
    """
    apart = len(first) - len(second)
    if abs(apart) > MAX_SHIFT:
        return None

    def laid(shift: int, step: int = 1) -> Doubles | None:
        one, other = first[max(0, shift) :, ::step], second[max(0, -shift) :, ::step]
        count = min(len(one), len(other))
        enough = count >= 0.8 * min(len(first), len(second))
        return 0.5 * (one[:count].astype(np.float64) - other[:count]) if enough else None

    step = max(1, first.shape[1] // SEARCHED)
    found = {shift: laid(shift, step) for shift in range(-MAX_SHIFT, MAX_SHIFT + 1)}
    distances = {shift: float(np.square(some).mean()) for shift, some in found.items() if some is not None}
    best = min(distances, key=lambda shift: distances[shift], default=None)
    return None if best is None or abs(best - apart) > TIMING else laid(best)


def _cluster(speech: Sequence[Speech], projection: Projection, settings: TokenizerSettings) -> tuple[Floats, Ints]:
    """Centres of k-means over a seeded selection of all frames, and the codes of these frames."""
    lengths = [len(item.pairs()) for item in speech]
    available, max_count = sum(lengths), settings.codes * FRAMES_PER_CODE
    kept = np.ones(available, dtype=bool)
    if available > max_count:
        kept[:] = False
        kept[np.random.default_rng(settings.seed).choice(available, max_count, replace=False)] = True
    parts = np.split(kept, np.cumsum(lengths)[:-1])
    points = np.concatenate([projection(item.pairs()[part]) for item, part in zip(speech, parts, strict=True)])
    return kmeans(np.ascontiguousarray(points), settings.codes, ITERATIONS, settings.seed)


def read_phones(tokens: Sequence[Ints], phones: Sequence[Ints], codes: int) -> tuple[Ints, float]:
    """Most frequent phone of each code, int64 (codes,), and the share of spoken tokens it is right for."""
    counts = np.zeros((codes, len(PHONES)), dtype=np.int64)
    for token, phone in zip(tokens, phones, strict=True):
        np.add.at(counts, (token[phone >= 0], phone[phone >= 0]), 1)
    names = counts.argmax(axis=1)
    right = counts[np.arange(codes), names][names > 0].sum()
    return names, float(right / max(1, counts[:, 1:].sum()))


def phone_error_rate(tokens: Sequence[Ints], phones: Sequence[Ints], names: Ints) -> float:
    """Errors per phone when tokens are read as phones, repeats merged and pauses left out.

    Args:
        tokens: codes of each utterance.
        phones: ids of its text.
        names: phone of each code, see :func:`read_phones`.
    """
    import jiwer

    def text(numbers: Ints) -> str:
        return " ".join(str(number) for number in numbers if number)

    heard = [names[token] for token in tokens]
    merged = [read[np.flatnonzero(np.diff(read, prepend=-1))] for read in heard]
    return float(jiwer.wer([text(_OF_SYMBOL[ids]) for ids in phones], [text(read) or "-" for read in merged]))
