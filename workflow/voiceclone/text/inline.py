"""Pronunciations written into a text: ``<重|chong2>庆``, ``the <gif|JH IH1 F>``, ``{R AA1 N}``.

``<word|reading>`` says how this one word is read, in the notation of the lexicon of its language; ``{phones}`` puts
symbols of the models in place of words.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from voiceclone.text.symbols import SYMBOL_IDS

_MARK = re.compile(
    r"<(?P<word>[\w'-]+)\|(?P<reading>[\w']+(?: [\w']+)*)>|\{(?P<phones>[\w\[\],.!?…-]+(?: [\w\[\],.!?…-]+)*)\}"
)


@dataclass(frozen=True)
class Mark:
    """A pronunciation in a text.

    Attributes:
        written: the mark as it stands in the text.
        word: the word that is read; empty for bare phones.
        reading: its syllables, kana or phones.
    """

    written: str
    word: str
    reading: tuple[str, ...]


def parts(text: str) -> list[str | Mark]:
    """The text in order, marks apart; braces around anything but symbols of the models are text."""
    found: list[str | Mark] = []
    position = 0
    for match in _MARK.finditer(text):
        reading = tuple((match["reading"] or match["phones"]).split())
        if match["phones"] and not SYMBOL_IDS.keys() >= set(reading):
            continue
        found += [text[position : match.start()], Mark(match[0], match["word"] or "", reading)]
        position = match.end()
    return [part for part in (*found, text[position:]) if part]


def plain(text: str) -> str:
    """The text as a reader sees it: words without their readings, bare phones left out."""
    return "".join(part if isinstance(part, str) else part.word for part in parts(text))


def protect(text: str) -> tuple[str, dict[str, str]]:
    """The text with a rare letter in place of each mark, and what the letters stand for (:func:`restore`)."""
    letters = (chr(code) for code in range(0xA000, 0xA48D) if chr(code) not in text)
    protected, marks = "", {}
    for part in parts(text):
        letter = next(letters, None) if isinstance(part, Mark) else None
        if isinstance(part, Mark) and letter:
            marks[letter] = part.written
        protected += part if isinstance(part, str) else letter or part.written
    return protected, marks


def restore(text: str, marks: dict[str, str]) -> str:
    """Undo :func:`protect`."""
    return "".join(marks.get(character, character) for character in text)
