"""English front end: normalise, pronounce, one phone sequence with the marks that shape its melody."""

from __future__ import annotations

import re
from collections.abc import Mapping

from voiceclone.text.english_g2p import pronounce_all
from voiceclone.text.english_normalise import normalise, unread

_TOKEN = re.compile(r"[A-Za-z]+(?:['-][A-Za-z]+)*'?|[,.?!]|(?<=\s)-(?=\s)")

__all__ = ["normalise", "to_symbols", "unread"]


def to_symbols(text: str, lexicon: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """Phones of normalised English text.

    Args:
        text: as :func:`normalise` returns it.
        lexicon: lower-case word to phones, before every other source.

    Returns:
        ARPAbet phones with stress and the marks ``, . ? ! -``. Hyphens inside a word only part it.
    """
    tokens = _TOKEN.findall(text)
    phones: list[str] = []
    for token, found in zip(tokens, pronounce_all(tokens), strict=True):
        phones += _in(lexicon, token) or found
    return tuple(phones)


def _in(lexicon: Mapping[str, tuple[str, ...]], token: str) -> tuple[str, ...]:
    """The user's pronunciation of a word, or of any of the words that hyphens join."""
    word = token.lower()
    found = lexicon.get(word) or lexicon.get(word.removesuffix("'"))
    if found or "-" not in word or not lexicon.keys() & set(word.split("-")):
        return found or ()
    parts = token.split("-")
    return tuple(phone for part in parts for phone in lexicon.get(part.lower()) or pronounce_all([part])[0])
