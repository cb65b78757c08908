"""When each word is heard: the tokens of its phones, and subtitles.

Which phones a word has is found by reading it alone and comparing with the sentence as it was read, so that numbers,
abbreviations and all languages take one way. The tokens of a phone come from the pointer that guided decoding
(:class:`voiceclone.speaking.guidance.Guide`). Where a network has none, phones of usual lengths are fitted to the
sound, whose silences belong to the marks.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from pathlib import Path

import numpy as np
import numpy.typing as npt

from voiceclone.backends.backend import Floats, Tokens
from voiceclone.errors import ConfigError, DataError
from voiceclone.files import write_text
from voiceclone.languages import HAN, KANA, MODES
from voiceclone.speaking.guidance import UNHEARD, spans_of_path
from voiceclone.text.frontend import Phones, to_phones
from voiceclone.text.inline import plain, protect, restore
from voiceclone.text.lexicon import Lexicon
from voiceclone.text.symbols import PUNCTUATION

_UNITS = {
    "ja": re.compile(rf"[{HAN}]+[{KANA}]*|[{KANA}]+|[^\s{HAN}{KANA}]+"),
    "": re.compile(rf"[{HAN}]|[{KANA}]+|[^\s{HAN}{KANA}]+"),
}
_SPOKEN = re.compile(r"\w")
#: Longest line of a subtitle, in characters, and longest time that it stands, in seconds.
CUE_CHARACTERS, CUE_SECONDS = 84, 7.0
FORMATS = (".json", ".srt", ".vtt")


@dataclass(frozen=True)
class Word:
    """A word as it is written, with its punctuation; in Chinese a character.

    Attributes:
        text: the word.
        start: seconds from the beginning of the sound.
        end: the same.
        place: of its first character in its sentence.
    """

    text: str
    start: float
    end: float
    place: int = 0

    def as_entry(self, offset: float = 0.0) -> dict[str, str | float]:
        """For JSON, ``offset`` seconds later."""
        return {"word": self.text, "start": round(self.start + offset, 3), "end": round(self.end + offset, 3)}


@dataclass(frozen=True)
class Unit:
    """A word of a sentence: its text, its place there, and its phones, as the index of the first and the last of them
    in the sentence; None: nothing is said for it."""

    text: str
    place: int
    phones: tuple[int, int] | None


def units_of(text: str, symbols: Sequence[str], language: str, lexicon: Lexicon | None = None) -> list[Unit]:
    """Words of a sentence with their phones.

    Args:
        text: the sentence, with inline pronunciations or not.
        symbols: its phones.
        language: ISO code or a mode of the text front end.
        lexicon: the user's pronunciations, with which the sentence was read.
    """
    protected, marks = protect(text)
    written = [restore(match[0], marks) for match in _pattern(language).finditer(protected)]
    written = [word for word in written if _SPOKEN.search(word)]
    owners: list[int] = []
    alone: list[str] = []
    for index, word in enumerate(written):
        read = _read_alone(word, language, lexicon)
        alone += read
        owners += [index] * len(read)
    places = [index for index, symbol in enumerate(symbols) if symbol not in PUNCTUATION]
    mine: dict[int, list[int]] = {}
    for place, owner in zip(places, _matched(alone, owners, [symbols[place] for place in places]), strict=True):
        mine.setdefault(owner, []).append(place)
    units, at = [], 0
    for index, word in enumerate(written):
        at = max(text.find(word, at), at)
        phones = mine.get(index)
        units.append(Unit(word, at, (phones[0], phones[-1]) if phones else None))
        at += len(word)
    return units


def _pattern(language: str) -> re.Pattern[str]:
    return _UNITS["ja" if MODES.get(language) == "ja" else ""]


def _read_alone(word: str, language: str, lexicon: Lexicon | None) -> list[str]:
    try:
        return [symbol for symbol in to_phones(word, language, lexicon).symbols if symbol not in PUNCTUATION]
    except DataError:
        return []


def _matched(alone: Sequence[str], owners: Sequence[int], symbols: Sequence[str]) -> list[int]:
    """The word of each phone of a sentence, given the phones of its words read alone; never falling."""
    found: list[int] = []
    for _, first, last, begin, end in SequenceMatcher(None, alone, symbols, autojunk=False).get_opcodes():
        count = last - first
        for place in range(end - begin):
            near = first + place * count // (end - begin) if count else first - 1
            found.append(owners[min(max(near, 0), len(owners) - 1)] if owners else 0)
    return found


def timed(units: Sequence[Unit], spans: Tokens, seconds: float, offset: float = 0.0) -> list[Word]:
    """Times of words.

    Args:
        units: of a sentence.
        spans: first token and number of tokens of each phone, int64 (phones, 2).
        seconds: of a token.
        offset: where the sentence begins, in seconds.
    """
    words, last = [], 0
    for unit in units:
        start = end = last
        if unit.phones is not None:
            first, final = unit.phones
            heard = [span for span in spans[first : final + 1] if span[1]]
            start = int(heard[0][0]) if heard else int(spans[first][0])
            end = int(heard[-1].sum()) if heard else start
        last = end
        words.append(Word(unit.text, offset + start * seconds, offset + end * seconds, unit.place))
    return words


#: Usual lengths, relative to each other, of vowels, consonants and marks; longest that is tried, in tokens of 40 ms.
VOWEL, CONSONANT, MARK, LONGEST = 4.2, 1.7, 0.1, 40
#: A token is silent below this share of the loudest tokens' level (their 90th percentile).
SILENT = 0.02
#: Cost of a silent token in a phone, and of a sounding one in a mark.
MISPLACED = 0.3


def spans_of(phones: Phones, codes: Tokens, samples: Floats, emission: Floats | None = None) -> Tokens:
    """Spans as :meth:`voiceclone.speaking.guidance.Guide.spans` has them, of a sentence that was not guided.

    Args:
        phones: of the sentence.
        codes: its tokens (T,).
        samples: its sound.
        emission: probability of a token given its phone, see :class:`voiceclone.speaking.guidance.PointingBackend`;
            then the best path, without the sound.
    """
    if emission is not None:
        from voiceclone.features.alignment import Aligner, Utterance

        aligner = Aligner(*emission.shape)
        aligner.emission = np.maximum(emission, np.float32(UNHEARD))
        path = aligner.align([Utterance(codes, phones.ids)])[0][0]
        if path is not None:
            return spans_of_path(path, len(phones.ids))
    return fitted(phones.symbols, len(codes), samples)


def fitted(symbols: Sequence[str], tokens: int, samples: Floats) -> Tokens:
    """Spans as :meth:`voiceclone.speaking.guidance.Guide.spans` has them, without a pointer.

    Phones get about their usual lengths, at the tempo of the sentence, silences lie in marks or at the ends: dynamic
    programming over the tokens.

    Args:
        symbols: phones of the sentence.
        tokens: of the sentence.
        samples: float32 (n,), its sound.
    """
    silent = _silent(samples, tokens)
    ends = [symbol in PUNCTUATION for symbol in symbols]
    marks = [True, *ends, True]  # silence before the first phone and after the last
    usual = np.array([MARK if mark else VOWEL if _is_vowel(symbol) else CONSONANT
                      for symbol, mark in zip(["", *symbols, ""], marks, strict=True)])  # fmt: skip
    sounding = max(1.0, float(tokens - silent.sum()))
    usual *= sounding / usual.sum()
    quiet = np.concatenate([[0.0], np.cumsum(silent)])
    cost = np.where(np.arange(tokens + 1) == 0, 0.0, np.inf)
    choices = np.zeros((len(marks), tokens + 1), np.int64)
    counts = np.arange(min(LONGEST, tokens) + 1)
    before = np.arange(tokens + 1)[:, None] - counts
    inside = quiet[:, None] - quiet[np.maximum(before, 0)]
    for index, mark in enumerate(marks):
        wrong = counts - inside if mark else inside
        length = 0.0 if mark else (counts - usual[index]) ** 2 / (2 * usual[index])
        total = np.where(before >= 0, cost[np.maximum(before, 0)] + MISPLACED * wrong + length, np.inf)
        choices[index] = total.argmin(axis=1)
        cost = total.min(axis=1)
    spans, at = np.zeros((len(marks), 2), np.int64), tokens
    for index in reversed(range(len(marks))):
        count = choices[index, at] if np.isfinite(cost[tokens]) else 0
        at -= count
        spans[index] = at, count
    return spans[1:-1]


def _silent(samples: Floats, tokens: int) -> npt.NDArray[np.bool_]:
    """Which tokens (T,) are silent."""
    parts = np.array_split(samples.astype(np.float64), max(1, tokens))
    levels = np.array([np.sqrt(np.mean(part**2)) if len(part) else 0.0 for part in parts])
    return levels < SILENT * np.percentile(levels, 90)


def _is_vowel(symbol: str) -> bool:
    return symbol[:1].lower() in "aeiouv"


def later(words: Sequence[Word], seconds: float) -> list[Word]:
    """Words with their times moved."""
    return [replace(word, start=word.start + seconds, end=word.end + seconds) for word in words]


@dataclass(frozen=True)
class Cue:
    """A subtitle: text, and seconds from which to which it stands."""

    text: str
    start: float
    end: float


def cues_of(text: str, words: Sequence[Word]) -> list[Cue]:
    """A sentence as one subtitle, or as several where it is long."""
    groups: list[list[Word]] = []
    for word in words:
        now = groups[-1] if groups else []
        long = now and (
            word.place + len(word.text) - now[0].place > CUE_CHARACTERS or word.end - now[0].start > CUE_SECONDS
        )
        if now and not long:
            now.append(word)
        else:
            groups.append([word])
    ends = [*(group[0].place for group in groups[1:]), len(text)]
    begins = [0, *ends[:-1]]
    return [
        Cue(plain(text[begin:end]).strip(), group[0].start, group[-1].end)
        for group, begin, end in zip(groups, begins, ends, strict=True)
    ]


def timestamps(form: str, sentences: Sequence[tuple[str, Sequence[Word]]]) -> str:
    """Content of a file of times.

    Args:
        form: ``.json`` (sentences, each with its words), ``.srt`` or ``.vtt``.
        sentences: texts and their words.
    """
    if form == ".json":
        entries = [{"text": plain(text), "words": [word.as_entry() for word in words]} for text, words in sentences]
        return json.dumps({"sentences": entries}, ensure_ascii=False, indent=2) + "\n"
    cues = [cue for text, words in sentences for cue in cues_of(text, words)]
    point = "," if form == ".srt" else "."
    blocks = [
        f"{number}\n{_clock(cue.start, point)} --> {_clock(cue.end, point)}\n{_escaped(cue.text, form)}\n"
        for number, cue in enumerate(cues, start=1)
    ]
    return "\n".join([*(["WEBVTT\n"] if form == ".vtt" else []), *blocks])


def _clock(seconds: float, point: str) -> str:
    minutes, left = divmod(round(seconds * 1000), 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{left // 1000:02d}{point}{left % 1000:03d}"


def _escaped(text: str, form: str) -> str:
    text = " ".join(text.split())
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;") if form == ".vtt" else text


def check_timestamps(path: Path | None) -> None:
    """Check the name of a file of times.

    Raises:
        ConfigError: unknown ending.
    """
    if path is not None and path.suffix.lower() not in FORMATS:
        raise ConfigError(f"--timestamps {path}: unknown format {path.suffix!r}, expected {', '.join(FORMATS)}")


def write_timestamps(path: Path, sentences: Sequence[tuple[str, Sequence[Word]]]) -> None:
    """Write words or subtitles, by the file's ending."""
    write_text(path, timestamps(path.suffix.lower(), sentences))
