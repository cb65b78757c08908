"""Word and character errors between a reference and what a recogniser heard.

The texts are normalised first, as is usual for Whisper (Radford et al. 2022, appendix C): case, punctuation, spelling
of numbers and British or American spelling are not errors. Chinese, Japanese and Korean are counted in characters.
"""

from __future__ import annotations

import functools
import json
import re
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import resources
from typing import Any

from voiceclone.languages import BY_CHARACTER
from voiceclone.text.inline import plain


@dataclass(frozen=True)
class ErrorCounts:
    """Edits between two texts; ``words`` counts the units (words or characters) of the reference."""

    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0
    words: int = 0

    @property
    def errors(self) -> int:
        """All edits."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def rate(self) -> float:
        """Edits per unit of the reference; an empty reference counts as one unit."""
        return self.errors / max(self.words, 1)

    def __add__(self, other: ErrorCounts) -> ErrorCounts:
        return ErrorCounts(
            self.substitutions + other.substitutions,
            self.deletions + other.deletions,
            self.insertions + other.insertions,
            self.words + other.words,
        )


def normalise_for_scoring(text: str, language: str) -> str:
    """Text with only what counts as an error left, units separated by single spaces.

    Args:
        text: any text; inline pronunciations in it do not count.
        language: ISO code. ``en``: Whisper's English normaliser (contractions, numbers, fillers, spelling). Chinese:
            simplified characters. :data:`voiceclone.languages.BY_CHARACTER`: one character per unit. Others:
            lower-case words.
    """
    text = plain(text)
    if language == "en":
        return str(_english_normaliser()(text))
    folded = unicodedata.normalize("NFKC", text).lower()
    if language == "zh":
        folded = _simplified().convert(folded)
    kept = "".join(char if unicodedata.category(char)[0] in "LNM" else " " for char in folded)
    return " ".join(re.sub(r"\s+", "", kept) if language in BY_CHARACTER else kept.split())


def word_errors(reference: str, hypothesis: str, language: str) -> ErrorCounts:
    """Edits that turn the normalised reference into the normalised hypothesis, at least cost."""
    import jiwer

    output = jiwer.process_words(
        normalise_for_scoring(reference, language), normalise_for_scoring(hypothesis, language)
    )
    return ErrorCounts(
        output.substitutions, output.deletions, output.insertions, sum(map(len, output.references))
    )  # fmt: skip


def corpus_errors(pairs: Iterable[tuple[str, str]], language: str) -> ErrorCounts:
    """Sum of :func:`word_errors` over (reference, hypothesis) pairs: its rate is the corpus error rate."""
    return sum((word_errors(reference, hypothesis, language) for reference, hypothesis in pairs), ErrorCounts())


@functools.cache
def _english_normaliser() -> Callable[[str], str]:
    from transformers.models.whisper.english_normalizer import EnglishTextNormalizer

    american = resources.files("whisper_normalizer") / "normalizers" / "english.json"  # British spelling -> American
    normaliser: Callable[[str], str] = EnglishTextNormalizer(json.loads(american.read_text(encoding="utf-8")))
    return normaliser


@functools.cache
def _simplified() -> Any:
    import opencc

    return opencc.OpenCC("t2s")
