"""Languages that the text front end turns into phones, and the modes in which it tells them apart."""

from __future__ import annotations

from voiceclone.errors import DataError

SUPPORTED: frozenset[str] = frozenset({"en", "ja", "ko", "yue", "zh"})
"""ISO codes of languages with phones; an utterance in any other language cannot be trained on."""

WITH_BERT: frozenset[str] = frozenset({"zh"})
"""Languages whose text-to-semantic model also reads contextual (BERT) features, one vector per phone."""

MODES: dict[str, str] = {
    **{language: language for language in sorted(SUPPORTED)},
    **{f"all_{language}": language for language in ("ja", "ko", "yue", "zh")},
    "auto": "zh",
    "auto_yue": "yue",
}
"""What a text may be read as, with the language that numbers and shared characters then belong to.

A language: it and English, by script. ``all_``: the same, with every number in that language. ``auto``: each run in its
own language; ``auto_yue``: Chinese is Cantonese.
"""


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


def check_mode(mode: str) -> str:
    """Return a language code or another mode in which text can be read.

    Raises:
        DataError: there is no such mode.
    """
    if mode not in MODES:
        raise DataError(
            f"language {mode!r}: the text front end has no phones for it; it has {', '.join(MODES)}",
            "name the language of the text, or auto",
        )
    return mode
