"""Text in any supported language to the phones of the models.

An utterance has one language; what is written in another language's script (an English name in a Chinese sentence) is
read in that language, and with the mode ``auto`` every run is. Each language has a module that reads it, named in
:data:`voiceclone.languages.LANGUAGES`.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field, replace
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np
import numpy.typing as npt

from voiceclone.errors import DataError
from voiceclone.languages import HAN, HANGUL, IN_LATIN, KANA, LANGUAGES, LATIN, MODES, check_mode
from voiceclone.text.characters import fold, unread
from voiceclone.text.inline import Mark, parts
from voiceclone.text.lexicon import Lexicon, is_reading
from voiceclone.text.mandarin_normalise import MONEY_LETTERS
from voiceclone.text.segment import split
from voiceclone.text.stopwatch import step
from voiceclone.text.symbols import PUNCTUATION, UNKNOWN, symbols_to_ids

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
        unread: characters of the text that nothing is said for.
    """

    language: str
    normalised: str
    symbols: tuple[str, ...]
    word2ph: tuple[int, ...] | None
    unread: tuple[str, ...] = ()


@dataclass(frozen=True)
class Phones:
    """Phones of a text, as the models read them.

    Attributes:
        symbols: phone symbols.
        ids: int64 (P,), their ids.
        word2ph: phones per character of ``normalised`` if all of the text is counted by character, else None.
        normalised: the text as it is spoken.
        segments: the runs by language; their symbols and texts joined give the above.
        unread: characters of the text that nothing is said for, each once.
    """

    symbols: tuple[str, ...]
    ids: npt.NDArray[np.int64]
    word2ph: tuple[int, ...] | None
    normalised: str
    segments: tuple[Segment, ...] = field(default=())
    unread: tuple[str, ...] = ()


_DIALLED = r"\+(?=\d[\d -]{8})"  # the plus of a country code, which nobody says
_SURE = {code: re.compile(rf"[{row.kept}0-9\s]|{_DIALLED}") for code, row in LANGUAGES.items()}
"""Characters that a language's normaliser keeps or reads in every place."""


def _without(text: str, characters: tuple[str, ...]) -> str:
    return "".join(character for character in text if character not in characters)


def _lost(language: str, text: str, reader: Any, lexicon: Lexicon) -> tuple[str, ...]:
    """Characters of a run that are not read: signs that no rule knows, Chinese characters without a reading."""
    words = [word for word in lexicon.words(language) if word in text]
    strange: list[str] = []
    if HAN in LANGUAGES[language].scripts:
        characters = dict.fromkeys(re.findall(f"[{HAN}]", reader.normalise(text)))
        strange = [character for character in characters if not reader.readable(character)]
    signs = unread(text, reader.normalise, _SURE[language])
    return tuple(c for c in (*strange, *signs) if not any(c in word for word in words))


def _reader(language: str) -> Any:
    """The module that reads a language, imported when the first text needs it."""
    return import_module(LANGUAGES[language].reader)


_FOREIGN = re.compile(rf"[^\W\d_{HAN}{KANA}{HANGUL}{LATIN}\u0370-\u03ff０-９Ａ-Ｚａ-ｚ]+")
_DIGITS_AT_ONCE = re.compile(r"\d{30}(?=\d)")  # longer runs are no numbers: a breath after 30 digits
_SILENT = PUNCTUATION | {UNKNOWN, "空", "停", "_"}


def _read_run(language: str, text: str, mode: str, lexicon: Lexicon) -> Segment:
    if language == "en" != mode and len(text.strip()) == 1:
        text = text.upper()  # a lone letter is its name
    row, reader, words = LANGUAGES[language], _reader(language), lexicon.words(language)
    with step("normalise_ms"):
        lost = _lost(language, text, reader, lexicon)
        if row.by_syllable:
            normalised = _without(reader.normalise(text), lost)
        else:
            normalised = reader.normalise(_without(text, lost))
    with step("g2p_ms"):
        if row.by_syllable:
            context = (lexicon.polyphones,) if row.bert else ()
            symbols, word2ph = reader.to_symbols(normalised, words, *context)
            return Segment(language, normalised, symbols, word2ph, lost)
        return Segment(language, normalised, reader.to_symbols(normalised, words), None, lost)


def _read_mark(mark: Mark, mode: str) -> Segment:
    """An inline pronunciation, in the first language in which it is one."""
    if not mark.word:
        return Segment("en", "", mark.reading, None)
    languages = (MODES[mode], "en", *LANGUAGES)
    language = next((code for code in languages if is_reading(code, mark.word, mark.reading)), "")
    if not language:
        raise DataError(
            f"{mark.written}: {' '.join(mark.reading)!r} is no pronunciation of {mark.word!r}",
            "write pinyin, Jyutping, kana, Hangul or ARPAbet, as in config/lexicon",
        )
    row = LANGUAGES[language]
    if row.by_syllable:
        return Segment(language, mark.word, *_reader(language).to_symbols(mark.word, {mark.word: mark.reading}))
    if row.respelling:
        symbols = _reader(language).to_symbols("".join(mark.reading), {})
        return _without_added_stop(Segment(language, mark.word, symbols, None))
    return Segment(language, mark.word, mark.reading, None)


def _without_added_stop(segment: Segment) -> Segment:
    """A Korean run that another follows, without the full stop that ends a text."""
    if segment.language == "ko" and segment.symbols[-1:] == (".",) and not segment.normalised.endswith("."):
        return replace(segment, symbols=segment.symbols[:-1])
    return segment


def _clean(text: str, mode: str) -> str:
    """Text in its plain characters, a line's end as a sentence's."""
    text = fold(text, MODES[mode])
    text = re.sub(r"(?<=\w)[ \t]*\n\s*(?=\S)", ". ", text)
    text = re.sub(r"[^\D0-9]", lambda match: str(unicodedata.decimal(match[0])), text)  # digits of other scripts
    text = _DIGITS_AT_ONCE.sub(r"\g<0>, ", text)
    return "".join(character if _shown(character) else " " for character in text).strip()


def _shown(character: str) -> bool:
    """Anything but blanks and controls; what is of no known character is named later."""
    return character.isprintable() or unicodedata.category(character) in ("Co", "Cn")


_LABEL = re.compile(
    rf"(?<![{LATIN}\d.@:_=?&%-])(?<!\D/)(?<!^/)(?P<word>[{LATIN}]+)(?P<gap>[-_ ]?)(?P<number>\d+(?:\.\d+)*)"
    rf"(?![\d{LATIN}@_]|[-./:,]\d|[./][{LATIN}]+(?![{LATIN}\d])|\s?[%‰℃°])(?!\s[{LATIN}]{{2,}}(?![{LATIN}]*[-_ ]?\d))"
)
"""Letters with a number: a1, A-10, iPhone 15; but no address, and nothing that English words follow."""


_CODE = re.compile(
    rf"(?<![{LATIN}\d.@:_=?&%/-])[{LATIN}]{{1,4}}-?\d{{1,2}}(?:-?[{LATIN}]{{1,2}}-?\d{{0,2}})+"
    rf"(?![{LATIN}\d@_]|[-./][{LATIN}\d])"
)
"""Letters and digits in turn: H1N1, R2-D2, GPT-4o."""


def _label(language: str, match: re.Match[str]) -> str:
    """The number of a label as the language reads it, however it is joined: long ones are codes."""
    whole, *parts = match["number"].split(".")
    code = language in ("ja", "ko") and match["gap"] != " " and re.fullmatch(r"\d\d[1-9]", whole) and not parts
    counted = re.match(f"[{HAN}{KANA}{HANGUL}]", match.string[match.end() :])
    if counted and (match["gap"] == " " or (language == "ja" and not code)):
        return match[0]  # may be counted: Google 3月
    if re.fullmatch(MONEY_LETTERS, match["word"]):
        return match[0]  # a sum
    if code:
        return match["word"] + _code_digits(whole, language)
    if language in ("ja", "ko") and len(whole) > 2:
        return match[0]
    spoken = [_numeral(whole, language, not parts), *(_digits(part, language) for part in parts)]
    return match["word"] + ("점" if language == "ko" else "点").join(spoken)


def _numeral(number: str, language: str, code: bool = True) -> str:
    """A number in characters; a long one, or one with a zero before it, digit by digit if it is a code."""
    from voiceclone.text import japanese
    from voiceclone.text.korean_normalise import sino
    from voiceclone.text.mandarin_normalise import cardinal

    if code and (len(number) > 2 or (number[0] == "0" and len(number) > 1)):
        year = re.fullmatch(r"(?:19|20)\d\d", number)
        return _digits(number, language) if year else _code_digits(number, language)
    if language == "ja":
        return japanese.numeral(number)
    return sino(number) if language == "ko" else cardinal(number)


def _digits(number: str, language: str) -> str:
    from voiceclone.text import korean_normalise, mandarin_normalise

    return korean_normalise.digits(number) if language == "ko" else mandarin_normalise.digits(number, "一")


def _code_digits(number: str, language: str) -> str:
    """Digits as those of codes are said: in Chinese 1 is 幺, in Japanese each has two moras."""
    from voiceclone.text import japanese, mandarin_normalise

    if language in ("zh", "yue"):
        return mandarin_normalise.digits(number)
    return japanese.digits(number) if language == "ja" else _digits(number, language)


_STANDARD = re.compile(
    rf"(?<![{LATIN}\d])(?P<letters>[A-Z]{{2,5}})(?P<place>\d{{2}})?(?P<kind>/[TZ])?\s?(?P<number>\d{{2,6}})(?P<part>\.\d+)?"
    rf"(?P<year>\s?[-‐–—:](?:19|20)\d\d)?(?![{LATIN}\d]|[-./:]\d)"
)
"""The number of a standard: GB/T 19001-2016, ISO 9001:2015, DB11/T 1234."""


def _standard(language: str, match: re.Match[str]) -> str:
    """Digits one by one and, after a pause, the year."""
    if not (match["kind"] or match["year"]) or match["letters"] in ("AD", "BC", "CE"):
        return match[0]
    place = _code_digits(match["place"], language) if match["place"] else ""
    part = f"点{_code_digits(match['part'][1:], language)}" if match["part"] else ""
    year = f"，{_digits(match['year'].lstrip()[1:], language)}" if match["year"] else ""
    letters = match["letters"] + place + (match["kind"] or "").replace("/", " ")
    return f"{letters}{_code_digits(match['number'], language)}{part}{year}"


_HALF_OF_DAY = re.compile(
    rf"(?<![{LATIN}\d.:])(?<![{LATIN}]\s)(?P<hour>1[0-2]|0?[1-9])(?P<minutes>:[0-5]\d)?\s?(?P<half>[ap])\.?m(?![{LATIN}\d])",
    re.IGNORECASE,
)
_OF_DAY = {
    "zh": ("上午{}点", "下午{}点"), "yue": ("上午{}點", "下午{}點"), "ja": ("午前{}時", "午後{}時"),
    "ko": ("오전 {}시", "오후 {}시"),
}  # fmt: skip


def _half_of_day(language: str, match: re.Match[str]) -> str:
    """3:30pm and 3pm as they are written in the language: 下午3:30, 下午3点."""
    said = re.search(r"(?:[上下中]午|[早晚]上?|凌晨|午[前後]|오[전후])\s?$", match.string[: match.start()])
    half, hour = _OF_DAY[language][match["half"] in "pP"].split("{}")
    return ("" if said else half) + match["hour"] + (match["minutes"] or hour)


_THOUSANDS = re.compile(
    rf"(?<![{LATIN}\d.$€£¥￥])(?:(\d+(?:\.\d+)?)[kKw]?(\s?[-–—~～至到]\s?))?(\d+(?:\.\d+)?)([kKw])(?![{LATIN}\d])"
)
"""A sum in thousands or in 万, or a range of them: 8k-12k, 10-20w, 2w人."""
_IN_THOUSANDS = re.compile(r"\+?\s?(?:[字人元块塊步单單多]|粉[丝絲]|以上|左右)")


def _in_thousands(match: re.Match[str]) -> str:
    from voiceclone.text.mandarin_normalise import scaled

    alone = not match[1] and match[4] != "w"
    if alone and not _IN_THOUSANDS.match(match.string, match.end()):  # 4K of a screen
        return match[0]
    power = 4 if match[4] == "w" else 3
    return (scaled(match[1], power) + match[2] if match[1] else "") + scaled(match[3], power)


def _respell(text: str, mode: str, lexicon: Lexicon) -> str:
    """Text with what its letters are in the language around them, before they are read in English.

    Japanese and Korean: the lexicon's Latin words as they sound there; then the numbers of labels and codes.
    """
    language = MODES[mode]
    if language in ("ja", "ko"):
        for word, reading in lexicon.words(language).items():
            if re.search(f"[{LATIN}]", word):
                spoken = "".join(reading)
                text = re.sub(rf"(?<![{LATIN}]){re.escape(word)}(?![{LATIN}])", spoken, text, flags=re.IGNORECASE)
    if language in _OF_DAY:
        text = _HALF_OF_DAY.sub(partial(_half_of_day, language), text)
    script = {"en": "", "ja": HAN + KANA, "ko": HANGUL}.get(language, f"{HAN}、，。；！？")
    if script and re.search(f"[{script}]", text):
        if language in ("zh", "yue"):
            text = _THOUSANDS.sub(_in_thousands, _STANDARD.sub(partial(_standard, language), text))
        text = _CODE.sub(lambda m: re.sub(r"-?(\d+)-?", lambda n: _numeral(n[1], language), m[0]), text)
        return _LABEL.sub(partial(_label, language), text)
    return text


def _read(text: str, mode: str, lexicon: Lexicon) -> list[Segment]:
    segments: list[Segment] = []
    for part in parts(text):
        if isinstance(part, Mark):
            segments.append(_read_mark(part, mode))
        else:
            runs = split(_respell(part, mode, lexicon), mode)
            segments += [_read_run(language, run, mode, lexicon) for language, run in runs]
    return segments


def _spoken(segments: list[Segment]) -> list[Segment]:
    """The segments that say anything; only the last may have the full stop that ends a Korean text."""
    spoken = [segment for segment in segments if segment.symbols]
    return [*map(_without_added_stop, spoken[:-1]), *spoken[-1:]]


def _joined(segments: list[Segment]) -> list[Segment]:
    """Neighbours in one language as one segment."""
    joined: list[Segment] = []
    for segment in segments:
        before = joined[-1] if joined else None
        if before and before.language == segment.language:
            gap = " " if LANGUAGES[segment.language].spaced and before.normalised and segment.normalised else ""
            counted = before.word2ph is not None and segment.word2ph is not None
            word2ph = (*(before.word2ph or ()), *(segment.word2ph or ())) if counted else None
            joined[-1] = Segment(
                before.language,
                before.normalised + gap + segment.normalised,
                before.symbols + segment.symbols,
                word2ph,
                before.unread + segment.unread,
            )
        else:
            joined.append(segment)
    return joined


def to_phones(text: str, language: str, lexicon: Lexicon | None = None) -> Phones:
    """Phones of one utterance.

    Args:
        text: what is said, as written: numbers, symbols and abbreviations are read out. Inline pronunciations as in
            :mod:`voiceclone.text.inline`.
        language: ISO code, or another mode of :data:`voiceclone.languages.MODES`.
        lexicon: pronunciations that win over all others.

    Returns:
        Phones with ids int64 (P,), P of at least 1. An English text of fewer than four phones begins with a comma, as
        the public models expect.

    Raises:
        DataError: unsupported language; text empty, without anything to pronounce, or too long; a wrong inline
            pronunciation; a character without a known reading.
    """
    check_mode(language)
    if len(text) > LONGEST_TEXT:
        raise DataError(f"text of {len(text)} characters, at most {LONGEST_TEXT}", "split it into sentences")
    text = _clean(text, language)
    if not text:
        raise DataError("the text is empty", "write what is said, or drop the utterance")
    foreign = [word for word in _FOREIGN.findall(text) if word.isalpha()]
    if foreign:
        raise DataError(
            f"{foreign[0]!r}: letters of a script that the front end cannot read", "write them in Latin letters"
        )
    runs = _read(text, language, lexicon or Lexicon())
    segments = _joined(_spoken(runs))
    if all(symbol in _SILENT for segment in segments for symbol in segment.symbols):
        raise DataError(f"nothing in {text[:40]!r} can be pronounced", "write what is said, or drop the utterance")
    if language == "en" and sum(len(segment.symbols) for segment in segments) < 4:
        segments.insert(0, Segment("en", "", (",",), None))
    symbols = tuple(symbol for segment in segments for symbol in segment.symbols)
    counted = [segment.word2ph for segment in segments]
    word2ph = tuple(n for counts in counted for n in counts or ()) if None not in counted else None
    joined = (" " if language in IN_LATIN else "").join(segment.normalised for segment in segments).strip()
    lost = tuple(dict.fromkeys(character for run in runs for character in run.unread))
    return Phones(symbols, symbols_to_ids(symbols), word2ph, joined, tuple(segments), lost)
