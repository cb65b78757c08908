"""Mandarin front end: normalise, find words, read characters, change tones, one pair of phones per character.

Readings of polyphonic characters come from a model that reads the sentence (:mod:`voiceclone.listeners.g2pw`) where
there is one, else from pypinyin's dictionary of phrases, word by word; a small table of phrases that cross words
(``mandarin_polyphones.tsv``) and the user's lexicon go before both.

Mandarin syllables to the model's pairs of initial and final symbols.
"""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from typing import Any, Protocol

from voiceclone.errors import DataError
from voiceclone.text.mandarin_normalise import HAN, normalise, write_out
from voiceclone.text.packages import table
from voiceclone.text.stopwatch import step
from voiceclone.text.symbols import PUNCTUATION, SYMBOL_IDS
from voiceclone.text.tone_sandhi import Word, apply_sandhi, keeps_tone, merge_words

_INITIALS = (
    "zh", "ch", "sh", "b", "p", "m", "f", "d", "t", "n", "l", "g", "k", "h", "j", "q", "x", "r", "z", "c", "s",
    "y", "w",
)  # fmt: skip
_WHOLE = {
    **{syllable: ("AA", syllable) for syllable in ("a", "ai", "an", "ang", "ao")},
    **{syllable: ("EE", syllable) for syllable in ("e", "ei", "en", "eng", "er")},
    **{syllable: ("OO", syllable) for syllable in ("o", "ou")},
    **{f"{initial}i": (initial, "ir") for initial in ("zh", "ch", "sh", "r")},
    **{f"{initial}i": (initial, "i0") for initial in ("z", "c", "s")},
    **{
        f"{initial}{written}": (initial, final)
        for initial in "jqxy"
        for written, final in (("u", "v"), ("uan", "van"), ("ue", "ve"), ("un", "vn"))
    },
    "yan": ("y", "En"),
    "ye": ("y", "E"),
}
_FINALS = {
    "b": "a ai an ang ao ei en eng i ian iao ie in ing o u",
    "c": "a ai an ang ao e ei en eng i ong ou u uan ui un uo",
    "ch": "a ai an ang ao e en eng i ong ou u ua uai uan uang ui un uo",
    "d": "a ai an ang ao e ei en eng i ia ian iao ie ing iu ong ou u uan ui un uo",
    "f": "a an ang ei en eng o ou u",
    "g": "a ai an ang ao e ei en eng ong ou u ua uai uan uang ui un uo",
    "h": "a ai an ang ao e ei en eng ong ou u ua uai uan uang ui un uo",
    "j": "i ia ian iang iao ie in ing iong iu u v uan van ue ve un vn",
    "k": "a ai an ang ao e ei en eng ong ou u ua uai uan uang ui un uo",
    "l": "a ai an ang ao e ei eng i ia ian iang iao ie in ing iu o ong ou u uan un uo v ve",
    "m": "a ai an ang ao e ei en eng i ian iao ie in ing iu o ou u",
    "n": "a ai an ang ao e ei en eng i ian iang iao ie in ing iu ong ou u uan un uo v ve",
    "p": "a ai an ang ao ei en eng i ian iao ie in ing o ou u",
    "q": "i ia ian iang iao ie in ing iong iu u v uan van ue ve un vn",
    "r": "an ang ao e en eng i ong ou u ua uan ui un uo",
    "s": "a ai an ang ao e en eng i ong ou u uan ui un uo",
    "sh": "a ai an ang ao e ei en eng i ou u ua uai uan uang ui un uo",
    "t": "a ai an ang ao e ei eng i ian iao ie ing ong ou u uan ui un uo",
    "w": "a ai an ang ei en eng o u",
    "x": "i ia ian iang iao ie in ing iong iu u v uan van ue ve un vn",
    "y": "a an ang ao e i in ing o ong ou u v uan van ue ve un vn",
    "z": "a ai an ang ao e ei en eng i ong ou u uan ui un uo",
    "zh": "a ai an ang ao e ei en eng i ong ou u ua uai uan uang ui un uo",
}
_SPELLINGS = {"lue": "lve", "nue": "nve", "hm": "hen", "hng": "heng", "m": "mu", "n": "en", "ng": "en", "ê": "ei"}


def _table() -> dict[str, tuple[str, str]]:
    table = dict(_WHOLE)
    for initial in _INITIALS:
        for final in _FINALS[initial].split():
            table.setdefault(initial + final, (initial, final))
    return {syllable: pair for syllable, pair in table.items() if f"{pair[1]}1" in SYMBOL_IDS}


SYLLABLES: dict[str, tuple[str, str]] = _table()
"""The 429 syllables without tone (ü written v) and their initial and final symbols."""


def to_pair(syllable: str) -> tuple[str, str]:
    """Symbols of one syllable with tone digit: ``zhong1`` → ("zh", "ong1"); tone 5 is neutral.

    Raises:
        DataError: not a Mandarin syllable.
    """
    plain, tone = (syllable[:-1], syllable[-1]) if syllable[-1:].isdigit() else (syllable, "5")
    plain = plain.replace("ü", "v")
    plain = plain if plain in SYLLABLES else _SPELLINGS.get(plain, plain)
    if plain not in SYLLABLES or tone not in "12345":
        raise DataError(f"{syllable!r} is not a Mandarin syllable", "fix the pronunciation in config/lexicon/zh.tsv")
    initial, final = SYLLABLES[plain]
    return initial, final + tone


__all__ = ["normalise", "to_symbols", "words", "write_out"]


class PolyphoneReader(Protocol):
    """A model that knows the readings of characters in their sentence."""

    name: str
    digest: str

    def read(self, sentences: Sequence[str]) -> list[list[str | None]]:
        """Pinyin with tone digit of each character of each sentence; None: left to the dictionary."""
        ...


class _Segmenter:
    """jieba without its logger and without its cache file in the temporary folder, with a memory for clauses."""

    LONGEST = 100  # characters that are cut into words at once

    def __init__(self) -> None:
        self._tag = lru_cache(maxsize=4096)(self._cut)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of jieba's old patterns and of pkg_resources, which says that it will go
            import jieba
            import jieba.posseg

        jieba.setLogLevel(logging.WARNING)
        self._words = jieba.Tokenizer()
        self._words.FREQ, self._words.total = self._words.gen_pfdict(self._words.get_dict_file())
        self._words.initialized = True
        self._tags = jieba.posseg.POSTokenizer(self._words)

    def tag(self, text: str) -> list[tuple[str, str]]:
        """Words with part-of-speech tags; a long clause without a mark is cut."""
        pieces = [text[start : start + self.LONGEST] for start in range(0, len(text), self.LONGEST)]
        return [word for piece in pieces for word in self._tag(piece)]

    def _cut(self, text: str) -> tuple[tuple[str, str], ...]:
        return tuple((pair.word, pair.flag) for pair in self._tags.cut(text))

    def parts(self, word: str) -> list[str]:
        """The words inside a word, as for a search engine."""
        return list(self._words.cut_for_search(word))


@cache
def _segmenter() -> _Segmenter:
    return _Segmenter()


@cache
def _phrases() -> dict[str, tuple[str, ...]]:
    return {row["phrase"]: tuple(row["pinyin"].split()) for row in table("mandarin_polyphones.tsv")}


@cache
def _contexts() -> dict[str, list[tuple[re.Pattern[str], re.Pattern[str], str]]]:
    """Per character: what must stand before and after it, and its reading then; the first that fits counts."""
    found: dict[str, list[tuple[re.Pattern[str], re.Pattern[str], str]]] = {}
    for row in table("mandarin_contexts.tsv"):
        found.setdefault(row["character"], []).append(
            (re.compile(f"(?:{row['before']})$"), re.compile(row["after"]), row["pinyin"])
        )
    return found


@cache
def _erhua() -> dict[str, str]:
    """Words whose 儿 is known to be ``merged`` into the syllable before it, or a ``full`` syllable of its own."""
    return {row["word"]: row["er"] for row in table("mandarin_erhua.tsv")}


def words(text: str) -> list[str]:
    """Normalised Mandarin text cut into words and marks; joined they are the text."""
    clauses = re.findall(rf"[{HAN}]+|[^{HAN}]", text)
    return [word for clause in clauses for word, _ in _segmenter().tag(clause)]


def to_symbols(
    text: str, lexicon: Mapping[str, tuple[str, ...]], polyphones: PolyphoneReader | None = None
) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Phones of normalised Mandarin text.

    Args:
        text: as :func:`normalise` returns it.
        lexicon: word of characters to pinyin syllables with tone, before every other source.
        polyphones: reads characters in their sentence; None: the dictionary of phrases reads them.

    Returns:
        Initial and final of each character (final with tone digit) and marks; number of phones per character of
        ``text``: 2 for a character, 1 for a mark.

    Raises:
        DataError: a character without a known reading.
    """
    phones: list[str] = []
    counts: list[int] = []
    clauses = re.findall(rf"[{HAN}]+|[^{HAN}]", text)
    known = iter(_ask(clauses, polyphones) if polyphones else ())
    for clause in clauses:
        if clause[0] in PUNCTUATION:
            phones.append(clause)
            counts.append(1)
            continue
        for syllable in _read_clause(clause, lexicon, next(known, [])):
            phones += to_pair(syllable)
            counts.append(2)
    return tuple(phones), tuple(counts)


def _ask(clauses: Sequence[str], polyphones: PolyphoneReader) -> list[list[str | None]]:
    """Readings of the clauses of characters, each asked for with the mark that follows it."""
    spoken = [index for index, clause in enumerate(clauses) if clause[0] not in PUNCTUATION]
    marks = [*clauses[1:], ""]
    asked = [clauses[index] + (marks[index] if marks[index][:1] in PUNCTUATION else "") for index in spoken]
    with step("polyphones_ms"):
        read = polyphones.read(asked)
    return [row[: len(clauses[index])] for index, row in zip(spoken, read, strict=True)]


def _read_clause(clause: str, lexicon: Mapping[str, tuple[str, ...]], known: Sequence[str | None] = ()) -> list[str]:
    """Syllables with their spoken tones of characters without a mark between them."""
    tagged = _segmenter().tag(clause)
    syllables = [syllable for word, _ in tagged for syllable in _read_word(word)]
    syllables = [found or syllable for found, syllable in zip(known, syllables, strict=True)] if known else syllables
    _read_in_context(clause, tagged, syllables)
    for phrases in (_phrases(), lexicon):
        _override(clause, syllables, phrases)
    if "" in syllables:
        unknown = dict.fromkeys(c for c, syllable in zip(clause, syllables, strict=True) if not syllable)
        raise DataError(f"characters without a known reading: {' '.join(unknown)}", "add them to config/lexicon/zh.tsv")
    words, position = [], 0
    for text, pos in tagged:
        tones = [int(syllable[-1]) for syllable in syllables[position : position + len(text)]]
        words.append(Word(text, pos, tones))
        position += len(text)
    words = merge_words(words)
    for word in words:
        apply_sandhi(word, _segmenter().parts)
        _rhotacise(word)
    tones = [tone for word in words for tone in word.tones]
    return [syllable[:-1] + str(tone) for syllable, tone in zip(syllables, tones, strict=True)]


def check_syllable(syllable: str) -> bool:
    """True if it is a pinyin syllable with tone."""
    return syllable[:-1] in SYLLABLES and syllable[-1:] in set("12345")


def readable(character: str) -> bool:
    """True if the dictionary has a reading of a character that the models have symbols for."""
    syllable = _read_word(character)[0].rstrip("12345")
    return syllable in SYLLABLES or syllable in _SPELLINGS


@lru_cache(maxsize=20000)
def _read_word(word: str) -> Sequence[str]:
    """Dictionary readings of a word's characters, tone 5 for neutral."""
    import pypinyin

    if word == "得":
        return ["de5"]  # the particle; where it is a verb, the words around it say so
    options: dict[str, Any] = {"style": pypinyin.Style.TONE3, "neutral_tone_with_five": True}
    options["errors"] = lambda unknown: [""] * len(unknown)
    syllables = [syllable.replace("ü", "v") for syllable in pypinyin.lazy_pinyin(word, **options)]
    for place, syllable in enumerate(syllables):
        if syllable == "zi5" and keeps_tone(word[: place + 1]):
            syllables[place] = "zi3"
    # The dictionary has 一 with the changed tone in some phrases; the rules change it again.
    return ["yi1" if word[i] == "一" and syllable != "yi5" else syllable for i, syllable in enumerate(syllables)]


def _read_in_context(clause: str, tagged: Sequence[tuple[str, str]], syllables: list[str]) -> None:
    """Readings that the words around a character decide; 地 behind an adverb is the particle."""
    position = 0
    for word, tag in tagged:
        if (word == "地" and tag[:1] == "u") or re.fullmatch(r".*(.)\1地", word):
            syllables[position + len(word) - 1] = "de5"
        position += len(word)
    for position, character in enumerate(clause):
        for before, after, reading in _contexts().get(character, ()):
            start = max(0, position - _SIGHT)
            if _fits(before, clause, start, position) and after.match(clause, position + 1):
                syllables[position] = reading
                break


_SIGHT = 16
"""Characters before one that decide how it is read, at most."""


def _fits(before: re.Pattern[str], clause: str, start: int, end: int) -> bool:
    """True if the text before a character ends as the pattern asks."""
    return before.search(clause[start:end]) is not None


def _override(clause: str, syllables: list[str], table: Mapping[str, tuple[str, ...]]) -> None:
    """Replace the readings of every phrase of the table, longest first at each place."""
    longest = max(map(len, table), default=0)
    position = 0
    while position < len(clause):
        for length in range(min(longest, len(clause) - position), 0, -1):
            found = table.get(clause[position : position + length])
            if found:
                syllables[position : position + length] = found
                position += length
                break
        else:
            position += 1


def _rhotacise(word: Word) -> None:
    """A final 儿 takes the tone before it, as it melts into that syllable; in some words it stays a full syllable."""
    text = word.text
    if len(text) < 2 or text[-1] != "儿":
        return
    if _erhua().get(text, "full" if word.pos in ("a", "j", "nr") else "merged") == "merged":
        word.tones[-1] = word.tones[-2]
