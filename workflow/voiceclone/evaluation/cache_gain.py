"""What the cache of keys and values spares: the time of the same tokens with it and without it."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from voiceclone.speaking.backend import Floats, Tokens
from voiceclone.speaking.splitting import AUTO, pieces_of
from voiceclone.speaking.tokens import Draw, draw, wanted_tokens

if TYPE_CHECKING:
    from voiceclone.speaking.synthesizer import Synthesizer
    from voiceclone.speaking.torch_backend import TorchBackend

#: Tokens that are drawn: without a cache each costs as much as reading all that is before it.
TOKENS = 32

Everything = tuple[Tokens, Floats | None, Tokens]


class WithoutCache:
    """The text-to-semantic half of a backend that keeps nothing: every step reads all from the beginning."""

    def __init__(self, backend: TorchBackend) -> None:
        self._backend = backend

    def start(self, phones: Tokens, bert: Floats | None, prompt: Tokens) -> tuple[Floats, Everything]:
        """See :class:`voiceclone.speaking.backend.Backend`; the cache is all that was read."""
        return self._backend.read(phones, bert, prompt), (phones, bert, prompt)

    def step(self, token: int, position: int, cache: Everything) -> tuple[Floats, Everything]:
        """See :class:`voiceclone.speaking.backend.Backend`."""
        phones, bert, tokens = cache
        return self.start(phones, bert, np.append(tokens, token))


def cache_gain(synthesizer: Synthesizer, text: str, language: str, seed: int) -> dict[str, Any]:
    """Draw the first tokens of a text's first sentence with and without the cache.

    Args:
        synthesizer: over the trained models in torch.
        text: what is said.
        language: its language.
        seed: of the draws.

    Returns:
        ``tokens`` drawn after ``positions`` of phones and prompt, ``with_ms``, ``without_ms``, their ``ratio``, and
        whether both drew the ``same_tokens``.
    """
    from voiceclone.speaking.torch_backend import TorchBackend

    backend = synthesizer.backend
    assert isinstance(backend, TorchBackend)

    def timed(runner: Any) -> tuple[list[int], float]:
        wanted = _first_tokens(synthesizer, text, language, seed)
        began = time.perf_counter()
        tokens = list(draw(runner, wanted, synthesizer.end_token))
        return tokens, (time.perf_counter() - began) * 1000

    timed(backend)  # first calls cost more
    kept, with_ms = timed(backend)
    anew, without_ms = timed(WithoutCache(backend))
    wanted = _first_tokens(synthesizer, text, language, seed)
    return {
        "tokens": len(kept),
        "positions": len(wanted.phones) + len(wanted.prompt),
        "with_ms": round(with_ms, 3),
        "without_ms": round(without_ms, 3),
        "ratio": round(without_ms / with_ms, 3),
        "same_tokens": kept == anew,
    }


def _first_tokens(synthesizer: Synthesizer, text: str, language: str, seed: int) -> Draw:
    piece = pieces_of(text, AUTO, language)[0]
    request = synthesizer.request(piece, language)
    wanted = wanted_tokens(request, np.random.Generator(np.random.Philox([seed, 0])))
    return replace(wanted, limit=min(TOKENS, wanted.limit))
