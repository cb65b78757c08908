"""Languages that the text front end turns into phones."""

from __future__ import annotations

from voiceclone.errors import DataError

SUPPORTED: frozenset[str] = frozenset({"en", "zh"})
"""ISO codes of languages with phones; an utterance in any other language cannot be trained on."""

WITH_BERT: frozenset[str] = frozenset({"zh"})
"""Languages whose text-to-semantic model also reads contextual (BERT) features, one vector per phone."""


def check_language(language: str) -> str:
    """Return a language code that the front end supports.

    Raises:
        DataError: the front end has no phones for it.
    """
    if language not in SUPPORTED:
        raise DataError(
            f"language {language!r}: the text front end has no phones for it; it has {', '.join(sorted(SUPPORTED))}",
            "correct the language of the utterance, or leave it out",
        )
    return language
