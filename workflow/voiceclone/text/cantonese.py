"""Cantonese front end: normalise, read characters in Jyutping, one pair of phones per character.

Readings come from ToJyutping's dictionary of words (CanCLID, BSD). Text in simplified characters is looked up in
traditional ones, as 医 is a character of its own there. A syllable is split as the public models were trained: an
initial, or the beginning of a syllable without one, then the rest with its tone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Any

from voiceclone.errors import DataError
from voiceclone.text import short_dates
from voiceclone.text.mandarin_normalise import HAN, SCALES, digits, scaled, write_out
from voiceclone.text.packages import table
from voiceclone.text.symbols import PUNCTUATION, SYMBOL_IDS

__all__ = ["check_syllable", "normalise", "to_pair", "to_symbols"]

_WRITTEN = str.maketrans("两点负万亿", "兩點負萬億")
"""Traditional forms of the simplified characters that :func:`write_out` writes."""
_MARKS = {
    "：": ",", ":": ",", "；": ",", ";": ",", "，": ",", "、": ",", "·": ",", "。": ".", "\n": ".", "！": "!",
    "？": "?", "～": "-", "~": "-", "/": ",",
}  # fmt: skip
# In this order the first that begins the syllable is its initial; the middle ones are of syllables without initial.
_BEGINNINGS = [
    "aa",
    "aai",
    "aak",
    "aap",
    "aat",
    "aau",
    "ai",
    "au",
    "ap",
    "at",
    "ak",
    "a",
    "p",
    "b",
    "e",
    "ts",
    "t",
    "dz",
    "d",
    "kw",
    "k",
    "gw",
    "g",
    "f",
    "h",
    "l",
    "m",
    "ng",
    "n",
    "s",
    "y",
    "w",
    "c",
    "z",
    "j",
    "ong",
    "on",
    "ou",
    "oi",
    "ok",
    "o",
    "uk",
    "ung",
]
_NEAREST = (
    ("ep", "ip"), ("et", "it"), ("eu", "iu"), ("em", "im"), ("en", "in"), ("oet", "eot"), ("ng", "ang"),
)  # fmt: skip


_N = r"\d[\d,]*(?:\.\d+)?(?![\d.,]*\d)"
_SCALE = r"\s?([百千万萬亿億]+|[kKmMbB](?![A-Za-z]))?(?:\s?[蚊元塊])?"
_TELEPHONE = re.compile(r"(?<![\d-])(?!(?:19|20)\d\d-(?:19|20)\d\d)\d{4}[- ]\d{4}(?![\d-]|\s?年)")


def _dollars(match: re.Match[str]) -> str:
    """Dollars of Hong Kong are 蚊, their tenths 毫; of two amounts the second says so."""
    scale = match[4] or ""
    if tenths := re.fullmatch(r"(\d[\d,]*)\.([1-9])0", match[1]) if not (scale or match[3]) else None:
        return ("" if tenths[1] == "0" else f"{tenths[1]}蚊") + f"{tenths[2]}毫"
    amounts = [
        scaled(amount, SCALES[scale]) if scale in SCALES else amount for amount in (match[1], match[3]) if amount
    ]
    return (match[2] or "").join(amounts) + ("" if scale in SCALES else scale) + "蚊"


def normalise(text: str) -> str:
    """Cantonese text with nothing but characters and the marks ``, . ! ? … -``.

    Args:
        text: one utterance or a run of it, in traditional or simplified characters.

    Returns:
        Numbers are read digit by digit with 一 for 1, as no Cantonese speaker says 幺. May be empty.
    """
    traditional = _simplified(text) != text
    text = re.sub(
        rf"(?<![A-Z])(?:HK)?[$＄]\s*({_N})(?:(\s*[-–~～至到]\s*)(?:HK)?[$＄]?\s*({_N}))?{_SCALE}", _dollars, text
    )
    text = short_dates.write_out(text, "yue", lambda month, day: f"{month}月{day}號", "到")
    text = _TELEPHONE.sub(lambda m: ",".join(map(digits, re.split("[- ]", m[0]))), text)
    text = write_out(text, simplify=False).replace("幺", "一")
    text = text.translate(_WRITTEN) if traditional else text
    for mark, symbol in _MARKS.items():
        text = text.replace(mark, symbol)
    return re.sub(rf"[^{HAN},.!?…-]", "", text)


@cache
def _readings() -> Any:
    import ToJyutping

    return ToJyutping.get_jyutping_list


@cache
def _words() -> dict[str, tuple[str, ...]]:
    """Readings that the dictionary lacks, or has otherwise than they are said."""
    return {row["word"]: tuple(row["jyutping"].split()) for row in table("cantonese_words.tsv")}


@cache
def _converters() -> tuple[Any, Any]:
    from opencc import OpenCC

    return OpenCC("t2s"), OpenCC("s2hk")


def _simplified(text: str) -> str:
    simplify, _ = _converters()
    return str(simplify.convert(text))


def _traditional(text: str) -> str:
    """Simplified text in traditional characters, if the lengths agree; any other text as it is."""
    _, restore = _converters()
    if _simplified(text) != text:
        return text
    restored = str(restore.convert(text))
    return restored if len(restored) == len(text) else text


def to_pair(syllable: str) -> tuple[str, str]:
    """Symbols of one Jyutping syllable with tone 1 to 6: ``hoeng1`` → ("Yh", "Yoeng1").

    A few colloquial syllables that the models have no symbols for become the nearest that they have.

    Raises:
        DataError: not a Cantonese syllable.
    """
    plain, tone = syllable[:-1], syllable[-1:]
    nearest = (re.sub(f"{final}$", sound, plain) for final, sound in _NEAREST if plain.endswith(final))
    for spelling in (plain, f"ng{plain}", *nearest):
        pair = _part(spelling, tone)
        if tone in set("123456") and set(pair) <= SYMBOL_IDS.keys():
            return pair
    raise DataError(f"{syllable!r} is not a Cantonese syllable", "fix the pronunciation in config/lexicon/yue.tsv")


def _part(plain: str, tone: str) -> tuple[str, str]:
    if plain.startswith("nga"):
        return "Yng", f"Y{plain[2:]}{tone}"
    beginning = next((part for part in _BEGINNINGS if plain.startswith(part)), "")
    return f"Y{beginning}", f"Y{plain[len(beginning) :] or plain[-1:]}{tone}"


def check_syllable(syllable: str) -> bool:
    """True if it is a Jyutping syllable with tone that the models have symbols for."""
    try:
        to_pair(syllable)
    except DataError:
        return False
    return True


def readable(character: str) -> bool:
    """True if the dictionary has a reading of a character."""
    return character in _words() or bool(_readings()(_traditional(character))[0][1])


def to_symbols(text: str, lexicon: Mapping[str, tuple[str, ...]]) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Phones of normalised Cantonese text.

    Args:
        text: as :func:`normalise` returns it.
        lexicon: word of characters to Jyutping syllables, before every other source.

    Returns:
        A pair of symbols per character and marks; number of phones per character of ``text``.

    Raises:
        DataError: a character without a known reading.
    """
    syllables = [reading for _, reading in _readings()(_traditional(text))]
    for words in (_words(), lexicon):
        for word in sorted(filter(text.__contains__, words), key=len):
            for match in re.finditer(re.escape(word), text):
                syllables[match.start() : match.end()] = words[word]
    phones: list[str] = []
    counts: list[int] = []
    for character, syllable in zip(text, syllables, strict=True):
        if character in PUNCTUATION:
            phones.append(character)
            counts.append(1)
            continue
        if not syllable:
            raise DataError(f"character without a known reading: {character}", "add it to config/lexicon/yue.tsv")
        pairs = [to_pair(part) for part in syllable.split()]
        phones += [symbol for pair in pairs for symbol in pair]
        counts.append(2 * len(pairs))
    return tuple(phones), tuple(counts)
