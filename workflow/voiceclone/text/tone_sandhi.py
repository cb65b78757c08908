"""Tone changes of Mandarin words in context: 不, 一, neutral tone, third tone, and words ending in 儿.

The rules are those that PaddleSpeech's front end describes (Apache-2.0) and the public models were trained with. They
see a sentence as words with part-of-speech tags (jieba's) and one tone per character.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

_PARTICLES = frozenset("吧呢啊呐噻嘛吖嗨哦哒滴哩哟喽啰耶喔诶")
_NUMERALS = frozenset("零一二三四五六七八九十百千万亿几两半多各整每做是")
_BEFORE_LAST_DIGIT = frozenset("零一二三四五六七八九十")
_DIGITS = frozenset("零一二三四五六七八九十百千万亿幺两")


@dataclass
class Word:
    """A word with the tone (1 to 5) of each character.

    Attributes:
        text: its characters.
        pos: jieba's part-of-speech tag.
        tones: one per character.
    """

    text: str
    pos: str
    tones: list[int]

    def joined(self, other: Word) -> Word:
        """Both as one word with this word's tag."""
        return Word(self.text + other.text, self.pos, self.tones + other.tones)

    @property
    def all_third(self) -> bool:
        """True if every character has the third tone."""
        return all(tone == 3 for tone in self.tones)

    @property
    def reduplicated(self) -> bool:
        """True if the word is one character twice."""
        return len(self.text) == 2 and self.text[0] == self.text[1]


Split = Callable[[str], Sequence[str]]


@cache
def _last_tone() -> dict[str, str]:
    """Words whose last character is known to be ``neutral``, or to keep its ``full`` tone against the rules."""
    lines = files("voiceclone.text").joinpath("mandarin_neutral.tsv").read_text(encoding="utf-8").splitlines()[1:]
    return dict(line.split("\t") for line in lines)


def keeps_tone(word: str) -> bool:
    """True if the last character of a word, or of its end, is known to keep its tone: 电子, 韩非子."""
    return "full" in (_last_tone().get(word), _last_tone().get(word[-2:]))


def _known_neutral(word: str) -> bool:
    return "neutral" in (_last_tone().get(word), _last_tone().get(word[-2:]))


def merge_words(words: Sequence[Word]) -> list[Word]:
    """Join words that are spoken as one: 不 and 一 with what follows, doubled words, runs of third tones, 儿."""
    merged = _merge_one(_merge_not(words))
    merged = _merge_if(merged, lambda before, word: before.text == word.text, once=False)
    merged = _merge_if(merged, lambda before, word: _short(before, word) and before.all_third and word.all_third)
    merged = _merge_if(merged, lambda before, word: _short(before, word) and before.tones[-1] == word.tones[0] == 3)
    return _merge_if(merged, lambda before, word: word.text == "儿", once=False)


def _short(before: Word, word: Word) -> bool:
    return not before.reduplicated and len(before.text) + len(word.text) <= 3


def _merge_if(words: Sequence[Word], condition: Callable[[Word, Word], bool], once: bool = True) -> list[Word]:
    """Join a word to the one before it where the condition holds for the two; ``once``: not to a joined one."""
    merged: list[Word] = []
    joined_before = False
    for position, word in enumerate(words):
        joins = position > 0 and not (once and joined_before) and condition(words[position - 1], word)
        if joins:
            merged[-1] = merged[-1].joined(word)
        else:
            merged.append(word)
        joined_before = joins
    return merged


def _merge_not(words: Sequence[Word]) -> list[Word]:
    merged: list[Word] = []
    for word in words:
        if merged and merged[-1].text == "不" and word.pos != "x":
            merged[-1] = Word("不" + word.text, word.pos, merged[-1].tones + word.tones)
        else:
            merged.append(word)
    return merged


def _merge_one(words: Sequence[Word]) -> list[Word]:
    """看 一 看 becomes one word; 一 joins what follows."""
    merged: list[Word] = []
    position = 0
    while position < len(words):
        word = words[position]
        doubled = [following.text for following in words[position + 1 : position + 3]] == ["一", word.text]
        if doubled and word.pos == "v":
            merged.append(word.joined(words[position + 1]).joined(words[position + 2]))
            position += 3
        elif merged and merged[-1].text == "一" and word.pos not in ("x", "c") and not _within_number(merged):
            merged[-1] = Word("一" + word.text, word.pos, merged[-1].tones + word.tones)
            position += 1
        else:
            merged.append(word)
            position += 1
    return merged


def _within_number(merged: Sequence[Word]) -> bool:
    """True if the last word, 一, is the last digit of a number: 二零零一, 三十一."""
    return len(merged) > 1 and merged[-2].text[-1] in _BEFORE_LAST_DIGIT


def apply_sandhi(word: Word, split: Split) -> None:
    """Change the tones of one (merged) word in place.

    Args:
        word: with the tones of its characters read alone.
        split: parts of a word, shortest first (jieba's search mode).
    """
    _not(word)
    _one(word)
    _neutral(word, split)
    _third(word, split)


def _not(word: Word) -> None:
    """不 is neutral inside 看不懂 and rises before a fourth tone."""
    if len(word.text) == 3 and word.text[1] == "不":
        word.tones[1] = 5
        return
    for i, character in enumerate(word.text[:-1]):
        if character == "不" and word.tones[i + 1] == 4:
            word.tones[i] = 2


def _one(word: Word) -> None:
    """一 keeps its tone as a digit and in ordinals, is neutral in 看一看, rises before a fourth tone, else falls."""
    text = word.text
    if "一" not in text:
        return
    if all(character in _DIGITS for character in text):
        if text.startswith("一百"):
            word.tones[0] = 4
        return
    if len(text) == 3 and text[1] == "一" and text[0] == text[2]:
        word.tones[1] = 5
    elif text.startswith("第一"):
        word.tones[1] = 1
    else:
        for i, character in enumerate(text[:-1]):
            if (
                character == "一"
                and text[i + 1] != "月"
                and (i == 0 or text[i - 1] not in _BEFORE_LAST_DIGIT or text[i + 1] == "个")
            ):
                word.tones[i] = 2 if word.tones[i + 1] in (4, 5) else 4


def _neutral(word: Word, split: Split) -> None:
    """Doubled characters, particles, suffixes, 个 as a measure word and the listed words lose their tone."""
    text = word.text
    full = _last_tone().get(text) == "full"
    for i in range(1, len(text)):
        across = len(text) == 4 and i == 2  # 银行|行长
        named = word.pos == "nr" and len(text) == 3  # 李冰冰
        if (
            text[i] == text[i - 1]
            and word.pos[:1] in ("n", "v")
            and not (full or across or named or keeps_tone(text[: i + 1]))
        ):
            word.tones[i] = 5
    measure = text.find("个")
    must = text[-1] == "得" and (word.tones[-1] == 3 or (text == "得" and word.tones[-1] == 2))  # děi, dé
    must |= text[-1] == "了" and word.tones[-1] == 3  # liǎo
    if _neutral_ending(text, word.pos) and not full and not must:
        word.tones[-1] = 5
    elif text == "个" or (measure >= 1 and text[measure - 1] in _NUMERALS):
        word.tones[measure] = 5
    elif _known_neutral(text):
        word.tones[-1] = 5
    end = 0
    for part in _halves(text, split):
        end += len(part)
        if _known_neutral(part):
            word.tones[end - 1] = 5


def _neutral_ending(text: str, pos: str) -> bool:
    """True if the last character is a particle, a suffix or a direction that is spoken without tone."""
    last, before = text[-1], text[-2:-1]
    if last in _PARTICLES or last in "的得" or (last == "地" and pos[:1] not in ("n", "s", "f")):
        return True
    if not before:
        return last in "了着过" and pos in ("ul", "uz", "ug")
    return (
        (last in "们子" and pos[:1] in ("r", "n"))
        or (last in "上下里" and pos[:1] in ("s", "l", "f"))
        or (last in "来去" and before in "上下进出回过起开")
    )


def _halves(text: str, split: Split) -> list[str]:
    """A word as its shortest part and the rest, in order."""
    first = min(split(text), key=len, default=text)
    if text.startswith(first):
        return [part for part in (first, text[len(first) :]) if part]
    return [text[: -len(first)], first]


def _third(word: Word, split: Split) -> None:
    """The first of two third tones rises; in threes and fours the inner structure decides which rise."""
    tones = word.tones
    if len(tones) == 2:
        _raise_pair(tones, 0)
    elif len(tones) == 3:
        first = len(_halves(word.text, split)[0])
        if word.all_third:
            tones[1] = 2
            tones[0] = 2 if first == 2 else 3
        elif first == 2:
            _raise_pair(tones, 0)
        elif first == 1:
            _raise_pair(tones, 1)
            if tones[0] == tones[1] == 3:
                tones[0] = 2
    elif len(tones) == 4:
        _raise_pair(tones, 0)
        _raise_pair(tones, 2)


def _raise_pair(tones: list[int], start: int) -> None:
    if tones[start] == tones[start + 1] == 3:
        tones[start] = 2
