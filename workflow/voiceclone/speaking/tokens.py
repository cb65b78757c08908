"""The semantic tokens of a piece of text, drawn one by one, or those of many pieces together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from voiceclone.backends.backend import BERT_CHANNELS, Backend, Floats, Tokens
from voiceclone.backends.bundle import Reference
from voiceclone.speaking.guidance import Guide, PointingBackend
from voiceclone.speaking.options import Speaking
from voiceclone.speaking.sampling import SamplingSettings, sample
from voiceclone.text.frontend import Phones

#: Semantic tokens per second.
TOKEN_RATE = 25
#: The public decoder never ends a sentence in its first steps.
FIRST_END_STEP = 11


@dataclass(frozen=True)
class Draw:
    """What tokens are drawn from.

    Attributes:
        phones: int64 (X,), of the prompt and of the text.
        bert: float32 (1024, X), None for zeros.
        prompt: int64 (P,).
        sampling: how they are drawn.
        limit: most tokens.
        rng: source of their noise.
        guide: follows the phones; None: nobody does.
    """

    phones: Tokens
    bert: Floats | None
    prompt: Tokens
    sampling: SamplingSettings
    limit: int
    rng: np.random.Generator
    guide: Guide | None = None


class Loop(Protocol):
    """Draws the tokens of several pieces together; each has a row, which is free again after its end."""

    @property
    def free(self) -> int:
        """Rows without a piece."""
        ...

    def clear(self) -> None:
        """Forget the pieces that have not ended."""
        ...

    def add(self, wanted: Draw) -> int:
        """Begin a piece; returns its row."""
        ...

    def advance(self) -> dict[int, tuple[list[int], bool]]:
        """The next tokens of every row that has a piece, and whether they were the last."""
        ...


@runtime_checkable
class DrawingBackend(Protocol):
    """A backend that draws tokens itself, where the weights are.

    Attributes:
        draws: whether it should, also for one piece alone.
    """

    draws: bool

    def loop(self, rows: int) -> Loop:
        """What draws for so many pieces together."""
        ...


@dataclass(frozen=True)
class Request:
    """One piece of text that is to be spoken.

    Attributes:
        text: as it is read.
        bert: its BERT features (1024, L), None for zeros.
        manner: how it is spoken.
        reference: the clip to speak like.
    """

    text: Phones
    bert: Floats | None
    manner: Speaking
    reference: Reference

    @property
    def phones(self) -> Tokens:
        """Phones (L,)."""
        return self.text.ids

    @property
    def limit(self) -> int:
        """Most tokens that it may take."""
        return int(self.manner.max_tokens_per_phone * len(self.phones)) + TOKEN_RATE

    @property
    def language(self) -> str:
        """The language of most of its phones."""
        counts: dict[str, int] = {}
        for segment in self.text.segments:
            counts[segment.language] = counts.get(segment.language, 0) + len(segment.symbols)
        return max(counts, key=lambda language: (counts[language], language))


def wanted_tokens(request: Request, rng: np.random.Generator, backend: Backend | None = None) -> Draw:
    """What the tokens of a piece are drawn from: they follow those of the reference.

    Args:
        request: the piece.
        rng: source of their noise.
        backend: guides them, if its network has a pointer; None: they are not guided.
    """
    reference = request.reference
    phones = np.concatenate([reference.phones, request.phones])
    guide = make_guide(backend, phones, len(reference.phones), request.manner.guidance)
    return Draw(
        phones,
        joined_features(reference, request.bert, len(request.phones)),
        reference.tokens,
        request.manner.sampling,
        request.limit,
        rng,
        guide,
    )


def make_guide(backend: Backend | None, phones: Tokens, first: int, weight: float | None) -> Guide | None:
    """The guide of an attempt, if the backend's network has a pointer and the weight is not 0; see :class:`Guide`.

    ``weight``: None for the usual one.
    """
    if not isinstance(backend, PointingBackend) or backend.emission is None or first >= len(phones):
        return None
    weight = backend.guidance if weight is None else weight
    return Guide(phones, first, backend.emission, weight) if weight else None


def draw(backend: Backend, wanted: Draw, end_token: int) -> Iterator[int]:
    """Tokens up to the limit, fewer where the model ends by itself."""
    if isinstance(backend, DrawingBackend) and backend.draws:
        yield from _drawn_by(backend.loop(1), wanted)
        return
    guide = wanted.guide
    logits, cache = backend.start(wanted.phones, wanted.bert, wanted.prompt)
    tokens = wanted.prompt.tolist()
    for index in range(wanted.limit):
        if index:
            logits, cache = backend.step(tokens[-1], len(tokens) - 1, cache)
        if index < FIRST_END_STEP:
            logits = logits.copy()
            logits[end_token] = -np.inf
        bias = guide.bias(backend.point()) if guide and isinstance(backend, PointingBackend) else None
        token, best = sample(logits, np.asarray(tokens, np.int64), wanted.sampling, wanted.rng, bias)
        if end_token in (token, best):
            return
        tokens.append(token)
        if guide:
            guide.take(token)
        yield token


def _drawn_by(loop: Loop, wanted: Draw) -> Iterator[int]:
    loop.clear()
    row, ended = loop.add(wanted), False
    while not ended:
        tokens, ended = loop.advance()[row]
        yield from tokens


def joined_features(reference: Reference, bert: Floats | None, phones: int) -> Floats | None:
    """BERT features (1024, X) of the reference's phones and of a text's, zeros for those that have none.

    Args:
        reference: the clip.
        bert: of the text, (1024, L), None for zeros.
        phones: L.
    """
    if reference.bert is None and bert is None:
        return None
    parts = ((reference.bert, len(reference.phones)), (bert, phones))
    return np.concatenate(
        [np.zeros((BERT_CHANNELS, length), np.float32) if part is None else part for part, length in parts], axis=1
    )
