"""Where the time of reading a text goes, for whoever asks; nobody else pays for it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

#: Steps whose milliseconds are measured: numbers and signs to words, words to phones, the reading of Chinese characters
#: in their sentence, and the vectors of Chinese text.
PARTS = ("normalise_ms", "g2p_ms", "polyphones_ms", "bert_ms")
_sums: ContextVar[dict[str, float] | None] = ContextVar("sums", default=None)


@contextmanager
def measuring(sums: dict[str, float]) -> Iterator[None]:
    """Add the milliseconds of the steps inside, in this thread, to ``sums``, which has a value for each of them."""
    token = _sums.set(sums)
    try:
        yield
    finally:
        _sums.reset(token)


@contextmanager
def step(name: str) -> Iterator[None]:
    """A step of :data:`PARTS`; one inside another counts for itself alone."""
    sums = _sums.get()
    if sums is None:
        yield
        return
    inside, began = sum(sums[part] for part in PARTS), time.perf_counter()
    try:
        yield
    finally:
        inside = sum(sums[part] for part in PARTS) - inside
        sums[name] += (time.perf_counter() - began) * 1000 - inside
