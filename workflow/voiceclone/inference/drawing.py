"""The semantic tokens of one piece of text, drawn one by one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from voiceclone.inference.backend import BERT_CHANNELS, Backend, Floats, Tokens
from voiceclone.inference.bundle import Reference
from voiceclone.inference.sampling import sample
from voiceclone.inference.speaking import Speaking
from voiceclone.text.frontend import Phones

#: Semantic tokens per second.
TOKEN_RATE = 25
#: The public decoder never ends a sentence in its first steps.
FIRST_END_STEP = 11


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


def draw(backend: Backend, request: Request, end_token: int, rng: np.random.Generator) -> Iterator[int]:
    """The tokens that follow the reference's: up to the limit of the request, fewer where the model ends by itself."""
    reference = request.reference
    everything = np.concatenate([reference.phones, request.phones])
    logits, cache = backend.start(everything, _features(request), reference.tokens)
    tokens = reference.tokens.tolist()
    for index in range(request.limit):
        if index:
            logits, cache = backend.step(tokens[-1], len(tokens) - 1, cache)
        if index < FIRST_END_STEP:
            logits = logits.copy()
            logits[end_token] = -np.inf
        token, best = sample(logits, np.asarray(tokens, np.int64), request.manner.sampling, rng)
        if end_token in (token, best):
            return
        tokens.append(token)
        yield token


def _features(request: Request) -> Floats | None:
    """BERT features of the reference's phones and of the text's, zeros for those that have none."""
    if request.reference.bert is None and request.bert is None:
        return None
    parts = ((request.reference.bert, len(request.reference.phones)), (request.bert, len(request.phones)))
    return np.concatenate(
        [np.zeros((BERT_CHANNELS, length), np.float32) if part is None else part for part, length in parts], axis=1
    )
