"""Guided decoding: follows the phones while a sentence is spoken, and prefers the tokens that each phone usually has.

A network with a pointer (:class:`voiceclone.models.gpt.Pointer`) scores at each step the phone of the next token. A
forward filter that can stay, advance, or skip one phone smooths the scores. A table from the alignment has the
probability of each token given its phone; the log probabilities are added to the logits with a weight. A sentence may
end only when the filter has reached its last phones. Every backend has the same filter.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from voiceclone.backends.backend import Floats, Tokens

#: Default weight of the table for networks trained with a pointer; others are not guided by default.
GUIDANCE = 0.8
#: Probabilities of staying at a phone, of advancing to the next, and of skipping one.
MOVES = (0.5, 0.4, 0.1)
#: Floors of the probability of a phone by the pointer, of a token given its phone, and of a phone given its token.
UNSEEN, UNHEARD, UNSPOKEN = 1e-4, 1e-4, 1e-3
#: The sentence may end once the last two phones together have this probability; it must end after the last phone was
#: the likeliest for this number of tokens.
END_SHARE, END_TOKENS = 0.3, 18


@runtime_checkable
class PointingBackend(Protocol):
    """A backend of a network that may have a pointer.

    Attributes:
        emission: float32 (phones, codes), see :class:`voiceclone.models.gpt.Pointer`; None: there is no pointer.
        guidance: default weight.
    """

    emission: Floats | None
    guidance: float

    def point(self) -> Floats:
        """Scores float32 (X,) of the phones of the sentence for the next token."""
        ...


def is_pointing(backend: object) -> bool:
    """True: the network behind the backend was trained with a pointer from the start, as that of our base voice."""
    return isinstance(backend, PointingBackend) and backend.emission is not None and backend.guidance > 0


class Guide:
    """Follows one attempt at a sentence.

    Args:
        phones: int64 (X,), of the prompt and of the text.
        first: where the text's phones begin.
        emission: see :class:`PointingBackend`.
        weight: of the log probability of a token given its phone.

    Attributes:
        path: index among the text's phones that each token speaks, so far.
        seen: the same as the pointer alone sees it, which may go back.
    """

    def __init__(self, phones: Tokens, first: int, emission: Floats, weight: float) -> None:
        self.first, self.weight, self.table = first, weight, emission[phones[first:]]
        self.path: list[int] = []
        self.seen: list[int] = []
        self._filter = np.zeros(len(self.table), np.float32)
        self._filter[0] = 1
        self._pointed = 0
        self._waited = 0

    def bias(self, scores: Floats) -> Floats:
        """Bias of the logits of the next token (codes + 1,).

        Args:
            scores: of the pointer (X,), those of the prompt's phones included.
        """
        pointed = softmax(scores[self.first :])
        moved = _moved(self._filter) * (pointed + np.float32(UNSEEN))
        self._filter = moved / moved.sum()
        self._pointed = int(pointed.argmax())
        bias = np.empty(self.table.shape[1] + 1, np.float32)
        bias[:-1] = np.float32(self.weight) * np.log(self._filter @ self.table + np.float32(UNHEARD))
        bias[-1] = 0 if self._filter[-2:].sum() >= END_SHARE else -np.inf
        self._waited = self._waited + 1 if self._filter.argmax() == len(self._filter) - 1 else 0
        if self._waited > END_TOKENS:
            bias[:-1] = -np.inf
        return bias

    def take(self, token: int) -> None:
        """Update the filter by the token that was drawn."""
        known = self._filter * (np.sqrt(self.table[:, token]) + np.float32(UNSPOKEN))
        self._filter = known / known.sum()
        self.path.append(int(self._filter.argmax()))
        self.seen.append(self._pointed)

    def surprise(self, codes: Tokens) -> float:
        """Mean negative log probability of the tokens (T,) that were taken, given their phones, in nats."""
        return float(-np.log(self.table[self.path, codes] + np.float32(UNHEARD)).mean())

    def spans(self) -> npt.NDArray[np.int64]:
        """First token and number of tokens of each phone of the text, int64 (phones, 2); a phone without any has the
        first token of the next."""
        return spans_of_path(self.path, len(self.table))


def spans_of_path(path: npt.ArrayLike, phones: int) -> Tokens:
    """Spans, see :meth:`Guide.spans`, of the phone of each token, (T,)."""
    rising, places = np.maximum.accumulate(np.asarray(path, np.int64)), np.arange(phones)
    starts, ends = (np.searchsorted(rising, places, side) for side in ("left", "right"))
    return np.stack([starts, ends - starts], axis=1).astype(np.int64)


def softmax(logits: Floats) -> Floats:
    """Probabilities float32 (V,) of logits (V,)."""
    powers = np.exp(logits - logits.max())
    return (powers / powers.sum()).astype(np.float32)


def _moved(filtered: Floats) -> Floats:
    """Probabilities of the phones (X,) one token later."""
    out = MOVES[0] * filtered
    out[1:] += MOVES[1] * filtered[:-1]
    out[2:] += MOVES[2] * filtered[:-2]
    return np.asarray(out, np.float32)
