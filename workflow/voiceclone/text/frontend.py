"""Text in any supported language to the phones of the models.

An utterance has one language; runs in the other language's script (an English name in a Chinese sentence) are read in
that language. To add a language: a module with ``normalise`` and a reader in ``_READERS``, its script in ``_SCRIPTS``,
its code in :data:`voiceclone.text.languages.SUPPORTED`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from voiceclone.errors import DataError
from voiceclone.text.languages import check_language
from voiceclone.text.lexicon import Lexicon
from voiceclone.text.symbols import PUNCTUATION, symbols_to_ids

LONGEST_TEXT = 10_000
"""Characters of one call at most: an utterance is a sentence or two, a book is split before."""


@dataclass(frozen=True)
class Segment:
    """A run of text in one language.

    Attributes:
        language: ISO code.
        normalised: text as it is spoken.
        symbols: its phones.
        word2ph: phones of each character of ``normalised``; None for a language that is not counted by character.
    """

    language: str
    normalised: str
    symbols: tuple[str, ...]
    word2ph: tuple[int, ...] | None


@dataclass(frozen=True)
class Phones:
    """What the models read of a text.

    Attributes:
        symbols: phone symbols.
        ids: int64 (P,), their ids.
        word2ph: phones per character of ``normalised`` if all of the text is counted by character, else None.
        normalised: the text as it is spoken.
        segments: the runs by language; their symbols and texts joined give the above.
    """

    symbols: tuple[str, ...]
    ids: npt.NDArray[np.int64]
    word2ph: tuple[int, ...] | None
    normalised: str
    segments: tuple[Segment, ...] = field(default=())


def _read_english(text: str, lexicon: Lexicon) -> Segment:
    from voiceclone.text import english

    normalised = english.normalise(text)
    return Segment("en", normalised, english.to_symbols(normalised, lexicon.words("en")), None)


def _read_mandarin(text: str, lexicon: Lexicon) -> Segment:
    from voiceclone.text import mandarin

    normalised = mandarin.normalise(text)
    symbols, word2ph = mandarin.to_symbols(normalised, lexicon.words("zh"))
    return Segment("zh", normalised, symbols, word2ph)


_READERS: dict[str, Callable[[str, Lexicon], Segment]] = {"en": _read_english, "zh": _read_mandarin}
_HAN = r"\u3400-\u4dbf\u4e00-\u9fff\u3007"
_LATIN = r"A-Za-z\u00c0-\u024f"
_GREEK = r"\u0370-\u03ff"
_FOREIGN = re.compile(rf"[^\W\d_{_HAN}{_LATIN}{_GREEK}０-９Ａ-Ｚａ-ｚ]+")


def split_by_script(text: str, language: str) -> list[tuple[str, str]]:
    """Runs of (language, text). Everything but letters of the other script belongs to the run before it.

    Chinese: Latin letters are English, except units after a number, which the Chinese normaliser reads.
    English: Chinese characters are Chinese, with the digits that touch them.
    """
    if language == "zh":
        from voiceclone.text.mandarin import write_out

        text = write_out(text)
        pattern = rf"[{_LATIN}](?:[{_LATIN}'’.&-]|\s+(?=[{_LATIN}]))*"
        other = "en"
    else:
        pattern = rf"\d*[{_HAN}][{_HAN}\d，。！？、；：％%.]*"
        other = "zh"
    runs: list[tuple[str, str]] = []
    position = 0
    for match in re.finditer(pattern, text):
        run = match[0].upper() if len(match[0].strip()) == 1 else match[0]  # a lone letter is its name
        runs += [(language, text[position : match.start()]), (other, run)]
        position = match.end()
    runs.append((language, text[position:]))
    return [(code, run) for code, run in runs if run.strip()]


def to_phones(text: str, language: str, lexicon: Lexicon | None = None) -> Phones:
    """Phones of one utterance.

    Args:
        text: what is said, as written: numbers, symbols and abbreviations are read out.
        language: ISO code of :data:`voiceclone.text.languages.SUPPORTED`.
        lexicon: pronunciations that win over all others.

    Returns:
        Phones with ids int64 (P,), P of at least 1. A text of fewer than four English phones begins with a comma, as
        the public models expect.

    Raises:
        DataError: unsupported language; text empty, without anything to pronounce, or too long.
    """
    check_language(language)
    if len(text) > LONGEST_TEXT:
        raise DataError(f"text of {len(text)} characters, at most {LONGEST_TEXT}", "split it into sentences")
    text = unicodedata.normalize("NFC", text)
    text = "".join(character if character.isprintable() else " " for character in text).strip()
    if not text:
        raise DataError("the text is empty", "write what is said, or drop the utterance")
    foreign = _FOREIGN.findall(text)
    if foreign:
        raise DataError(
            f"{foreign[0]!r}: letters of a script that the front end cannot read", "write them in Latin letters"
        )
    lexicon = lexicon or Lexicon()
    segments = [_READERS[code](run, lexicon) for code, run in split_by_script(text, language)]
    segments = [segment for segment in segments if segment.symbols]
    if all(symbol in PUNCTUATION for segment in segments for symbol in segment.symbols):
        raise DataError(f"nothing in {text[:40]!r} can be pronounced", "write what is said, or drop the utterance")
    if language == "en" and sum(len(segment.symbols) for segment in segments) < 4:
        segments.insert(0, Segment("en", "", (",",), None))
    symbols = tuple(symbol for segment in segments for symbol in segment.symbols)
    counted = [segment.word2ph for segment in segments]
    word2ph = tuple(n for counts in counted for n in counts or ()) if None not in counted else None
    joined = (" " if language == "en" else "").join(segment.normalised for segment in segments).strip()
    return Phones(symbols, symbols_to_ids(symbols), word2ph, joined, tuple(segments))
