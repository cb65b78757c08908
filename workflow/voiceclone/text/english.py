"""English front end: normalise, pronounce, one phone sequence with the marks that shape its melody."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import groupby

from voiceclone.text.english_g2p import pronounce_all
from voiceclone.text.english_normalise import normalise

_TOKEN = re.compile(r"[A-Za-z]+(?:'[A-Za-z]+)*'?|[,.?!]|(?<=\s)-(?=\s)")

__all__ = ["normalise", "to_symbols"]


def to_symbols(text: str, lexicon: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """Phones of normalised English text.

    Args:
        text: as :func:`normalise` returns it.
        lexicon: lower-case word to phones, before every other source.

    Returns:
        ARPAbet phones with stress and the marks ``, . ? ! -``. Hyphens inside a word only part it.
    """
    phones: list[str] = []
    for is_words, run in groupby(_TOKEN.findall(text), key=lambda token: token[0].isalpha()):
        tokens = list(run)
        if not is_words:
            phones += tokens
            continue
        for token, found in zip(tokens, pronounce_all(tokens), strict=True):
            phones += lexicon.get(token.lower()) or lexicon.get(token.lower().removesuffix("'")) or found
    return tuple(phones)
