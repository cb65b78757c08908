"""The phone that each semantic token speaks: Viterbi-EM of the tokens on the phones of the text, without any sound.

A hidden Markov model with one state per phone, left to right, whose emissions are discrete: p(token | phone). It starts
from phones spread evenly and goes through hard expectation maximisation (segmental k-means: Juang and Rabiner 1990). A
phone may be skipped, at a cost, since tokens of 40 ms are longer than some; marks of punctuation, which may be silent,
are skipped almost freely. Utterances are computed side by side, so that the only loop is over time.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from voiceclone.assets import Asset
from voiceclone.errors import DataError
from voiceclone.features.store import Entry, open_store, write_store
from voiceclone.files import read_tsv
from voiceclone.progress import announce
from voiceclone.stages.align import AlignSettings
from voiceclone.text.symbols import PUNCTUATION, SYMBOL_IDS, SYMBOLS

log = logging.getLogger(__name__)

Indices = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]
Alignment = npt.NDArray[np.int16]

EMISSION = "emission"  # key of the table in its file
BASE_EMISSION = "pointer.emission"  # key of the table in the weights of a base
#: Costs, in log probability, of staying, of passing over a phone or a mark, and of passing over the first or last.
STAY, SKIP, SKIP_MARK, SKIP_EDGE = 0.5, 2.5, 0.5, 2.0
FLOOR, BACKGROUND = 0.02, 2.0  # counts added to each token of a phone: evenly, and as tokens are frequent at all
TOGETHER = 128  # utterances computed side by side
IMPOSSIBLE = np.float32(-1e9)


@dataclass(frozen=True)
class Utterance:
    """Tokens int64 (T,) and the phones int64 (N,) that they speak."""

    codes: Indices
    phones: Indices


class Aligner:
    """Emission table and the search for the best path under it.

    Args:
        phones: size of the inventory.
        codes: size of the codebook.
        base: emission float32 (phones, codes) of other data, counted as ``base_tokens`` tokens of each phone; None: no.
        base_tokens: see there.
    """

    def __init__(self, phones: int, codes: int, base: Floats | None = None, base_tokens: float = 200.0) -> None:
        self.phones, self.codes = phones, codes
        self._base = np.zeros((phones, codes)) if base is None else base_tokens * base.astype(np.float64)
        marks = [SYMBOL_IDS[symbol] for symbol in PUNCTUATION if SYMBOL_IDS[symbol] < phones]
        self._skip = np.full(phones, SKIP, np.float32)
        self._skip[marks] = SKIP_MARK
        self.emission = self._table(np.zeros((phones, codes)))

    def fit(self, utterances: Sequence[Utterance], rounds: int) -> list[float]:
        """Rounds of alignment and counting; returns the log probability per token under the table of each round."""
        if not self._base.any():
            self.count(utterances, [_evenly(len(item.codes), len(item.phones)) for item in utterances])
        scores = []
        for _ in range(rounds):
            paths, score = self.align(utterances)
            self.count(utterances, paths)
            scores.append(score)
        return scores

    def count(self, utterances: Sequence[Utterance], paths: Sequence[Alignment | None]) -> None:
        """Make the table from paths."""
        counts = np.zeros(self.phones * self.codes)
        for item, path in zip(utterances, paths, strict=True):
            if path is not None:
                np.add.at(counts, item.phones[path] * self.codes + item.codes, 1)
        self.emission = self._table(counts.reshape(self.phones, self.codes))

    def _table(self, counts: npt.NDArray[np.float64]) -> Floats:
        counts = counts + self._base + FLOOR
        background = counts.sum(0) / counts.sum()
        table = (counts + BACKGROUND * background) / (counts.sum(1, keepdims=True) + BACKGROUND)
        return table.astype(np.float32)

    def align(self, utterances: Sequence[Utterance]) -> tuple[list[Alignment | None], float]:
        """Index of the phone of each token, int16 (T,), and the log probability per token.

        None where the tokens are too few for the phones, or there is nothing to align.
        """
        order = sorted(range(len(utterances)), key=lambda i: (-len(utterances[i].codes), len(utterances[i].phones), i))
        order = [i for i in order if len(utterances[i].codes) and len(utterances[i].phones)]
        paths: list[Alignment | None] = [None] * len(utterances)
        total, tokens = 0.0, 0
        for start in range(0, len(order), TOGETHER):
            some = order[start : start + TOGETHER]
            found, scores = self._search([utterances[i] for i in some])
            for i, path, score in zip(some, found, scores, strict=True):
                if score > IMPOSSIBLE / 2:
                    paths[i] = path
                    total, tokens = total + float(score), tokens + len(path)
        return paths, total / max(1, tokens)

    def _search(self, some: Sequence[Utterance]) -> tuple[list[Alignment], Floats]:
        """Best path of each of some utterances, sorted by falling number of tokens, and its log probability."""
        lengths = np.array([len(item.codes) for item in some])
        widths = np.array([len(item.phones) for item in some])
        codes, phones = _padded([item.codes for item in some]), _padded([item.phones for item in some])
        rows, width = phones.shape
        table, places = np.log(self.emission).ravel(), phones * self.codes
        passing = np.full((rows, width), IMPOSSIBLE, np.float32)  # cost of coming from two phones before
        passing[:, 2:] = -self._skip[phones[:, 1:-1]]
        score = np.full((rows, width), IMPOSSIBLE, np.float32)
        score[:, 0] = 0
        score[:, 1:2] = -SKIP_EDGE
        score += table[places + codes[:, :1]]
        back = np.zeros((lengths[0], rows, width), np.int8)
        moves = np.empty((3, rows, width), np.float32)
        for time in range(1, lengths[0]):
            running = int(np.searchsorted(-lengths, -time))  # those with more tokens than that
            before, move = score[:running], moves[:, :running]
            move[1:] = IMPOSSIBLE
            np.subtract(before, np.float32(STAY), out=move[0])
            move[1, :, 1:] = before[:, :-1]
            np.add(before[:, :-2], passing[:running, 2:], out=move[2, :, 2:])
            taken = move.argmax(0)
            back[time, :running] = taken
            best = np.take_along_axis(move, taken[None], 0)[0]
            score[:running] = best + table[places[:running] + codes[:running, time, None]]
        at, every = widths - 1, np.arange(rows)
        early = np.maximum(widths - 2, 0)
        earlier = score[every, early] - np.float32(SKIP_EDGE) > score[every, at]
        at = np.where(earlier, early, at)
        final = score[every, at]
        paths = np.zeros((rows, lengths[0]), np.int16)
        for time in range(lengths[0] - 1, -1, -1):
            paths[:, time] = at
            at = at - np.where(time < lengths, back[time, every, at], 0)
        return [path[:length] for path, length in zip(paths, lengths, strict=True)], final


def _evenly(tokens: int, phones: int) -> Alignment | None:
    """Phones that share the tokens evenly."""
    return (np.arange(tokens) * phones // tokens).astype(np.int16) if tokens and phones else None


def _padded(rows: Sequence[Indices]) -> Indices:
    out = np.zeros((len(rows), max(map(len, rows))), np.int64)
    for place, row in zip(out, rows, strict=True):
        place[: len(row)] = row
    return out


def base_emission(base: Asset | None) -> Floats | None:
    """The emission table in the weights of a base voice's GPT; None where there is none."""
    for path in [base.file(name) for name in sorted(base.files) if name.endswith(".safetensors")] if base else []:
        store = open_store(path)
        if BASE_EMISSION in store:
            return np.asarray(store[BASE_EMISSION], np.float32)
    return None


def align_features(
    features: Path,
    phones: Path,
    semantic: Path,
    output: Path,
    table: Path,
    settings: AlignSettings,
    base: Asset | None = None,
    label: str = "align",
) -> None:
    """Write the phone of each token, and the table of the phones' tokens.

    The table is counted on the training split; a base's counts as many tokens of each phone, so that new data need
    few rounds and little speech.

    Args:
        features: ``features/manifest.tsv``.
        phones: store of phone ids.
        semantic: store of tokens.
        output: store to write, int16 (T,): index of the phone; utterances that cannot be aligned have no entry.
        table: file to write: ``emission`` float32 (phones, codes), probability of a token given its phone.
        settings: rounds.
        base: GPT with a table, see :func:`base_emission`.
        label: for the progress lines.

    Raises:
        DataError: nothing could be aligned, or the base has another number of codes.
    """
    texts, speech = open_store(phones), open_store(semantic)
    codes = int(speech.metadata["codes"])
    rows = read_tsv(features, ["utterance", "split"])
    items = [Utterance(speech[row["utterance"]], texts[row["utterance"]]) for row in rows]
    known = base_emission(base)
    if known is not None and known.shape != (len(SYMBOLS), codes):
        raise DataError(f"{base.name if base else ''}: its table is of {known.shape[1]} tokens, here are {codes}")
    aligner = Aligner(len(SYMBOLS), codes, known, settings.base_tokens)
    train = [item for item, row in zip(items, rows, strict=True) if row["split"] == "train"]
    scores = aligner.fit(train, settings.rounds if known is None else settings.base_rounds)
    log.info("log probability per token by round: %s", " ".join(f"{score:.3f}" for score in scores))
    paths, score = aligner.align(items)
    aligned = {row["utterance"]: path for row, path in zip(rows, paths, strict=True) if path is not None}
    if not aligned:
        raise DataError(f"{semantic}: no utterance can be aligned to its phones", "look at the transcripts")
    for row in rows:
        if row["utterance"] not in aligned:
            log.warning("%s: not aligned: too few tokens for its phones", row["utterance"])
    announce(f"{label}  {len(aligned)} of {len(rows)} utterances aligned, log probability per token {score:.3f}")
    entries = {name: Entry(path.shape, lambda path=path: path) for name, path in aligned.items()}  # type: ignore[misc]
    write_store(output, "int16", entries, {"kind": "align"})
    write_store(
        table, "float32", {EMISSION: Entry(aligner.emission.shape, lambda: aligner.emission)}, {"kind": EMISSION}
    )
