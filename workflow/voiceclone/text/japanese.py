"""Japanese front end: phonemes with pitch from Open JTalk's full-context labels.

Phonemes carry marks of the accent: ``[`` where the pitch rises, ``]`` where it falls, UNK (what the public models have
for ``#``) between two accent phrases. This notation of prosody is that of Kurihara, Seiyama and Kumano (2021), as in
ESPnet. Voiceless vowels are written like voiced ones, a pause is ``_``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cache
from itertools import pairwise
from typing import Any

from voiceclone.text.symbols import SYMBOL_IDS, UNKNOWN

__all__ = ["normalise", "to_symbols"]

_READABLE = r"A-Za-z\d々ぁ-ヿ一-鿿１-９Ａ-Ｚａ-ｚｦ-ﾝ㐀-䶿"
_RUNS = re.compile(rf"[{_READABLE}]+|[^{_READABLE}\s]")
_MARKS = {
    "：": ",", "；": ",", "，": ",", ",": ",", "。": ".", "！": "!", "？": "?", "\n": ".", "·": ",", "・": ",",
    "、": ",",
}  # fmt: skip
_UNITS = {
    "km/h": "キロメートル毎時", "m/s": "メートル毎秒", "km²": "平方キロメートル", "㎢": "平方キロメートル",
    "m²": "平方メートル", "㎡": "平方メートル", "m³": "立方メートル", "cm": "センチメートル", "mm": "ミリメートル",
    "km": "キロメートル", "m": "メートル", "kg": "キログラム", "mg": "ミリグラム", "g": "グラム", "ml": "ミリリットル",
    "mL": "ミリリットル", "L": "リットル", "GB": "ギガバイト", "MB": "メガバイト", "KB": "キロバイト",
    "kHz": "キロヘルツ", "MHz": "メガヘルツ", "GHz": "ギガヘルツ", "Hz": "ヘルツ", "kW": "キロワット", "W": "ワット",
    "V": "ボルト", "dB": "デシベル", "°C": "度", "℃": "度", "°": "度", "㎞": "キロメートル", "㎝": "センチメートル",
    "㎏": "キログラム", "%": "パーセント", "％": "パーセント",
}  # fmt: skip
_CURRENCIES = {"$": "ドル", "＄": "ドル", "€": "ユーロ", "£": "ポンド", "¥": "円", "￥": "円"}
_WORDS = {
    "㈱": "株式会社",
    "㈲": "有限会社",
    "&": "アンド",
    "＆": "アンド",
    "+": "プラス",
    "=": "イコール",
    "＝": "イコール",
    "×": "かける",
    "÷": "わる",
    "〇": "まる",
}
_LONGEST_RUN = 1000
"""Characters without a mark between them that Open JTalk gets at once; it refuses some thousands."""
_UNIT_NAMES = "|".join(re.escape(name) for name in sorted(_UNITS, key=len, reverse=True))
_N = r"\d+(?:\.\d+)?"
_DIGITS = dict(
    zip("0123456789", ["ゼロ", "イチ", "ニー", "サン", "ヨン", "ゴー", "ロク", "ナナ", "ハチ", "キュー"], strict=True)
)


def _fraction(match: re.Match[str]) -> str:
    return f"{match[1]}点{''.join('〇一二三四五六七八九'[int(digit)] for digit in match[2])}"


def _telephone(match: re.Match[str]) -> str:
    return "、".join("".join(_DIGITS[digit] for digit in group) for group in re.findall(r"\d+", match[0]))


_RULES: list[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]]] = [
    (re.compile(r"(?<=\d),(?=\d{3}(?!\d))"), ""),
    (re.compile(r"(?<![\d-])0\d{1,3}-\d{2,4}-\d{3,4}(?![\d-])"), _telephone),
    (re.compile(r"(?<!\d)(\d{4})[-/](0?[1-9]|1[0-2])[-/](0?[1-9]|[12]\d|3[01])(?!\d)"),
     lambda m: f"{m[1]}年{int(m[2])}月{int(m[3])}日"),
    (re.compile(r"(?<![\d:])([01]?\d|2[0-4]):([0-5]\d)(?![\d:])"),
     lambda m: f"{int(m[1])}時" + (f"{int(m[2])}分" if int(m[2]) else "")),
    (re.compile(rf"([$＄€£¥￥])\s?({_N})([万億兆千百]*)"), lambda m: m[2] + m[3] + _CURRENCIES[m[1]]),
    (re.compile(rf"(?<![A-Za-z\d.])[-−](?={_N})"), "マイナス"),
    (re.compile(rf"(?<=\d)(?:{_UNIT_NAMES})?\s?[~～〜]\s?(?=\d)"), "から"),
    (re.compile(rf"(?<=\d)\s?({_UNIT_NAMES})(?![A-Za-z0-9])"), lambda m: _UNITS[m[1]]),
    (re.compile(r"(?<![\d/])(\d+)/(\d+)(?![\d/])"), lambda m: f"{m[2]}分の{m[1]}"),
    (re.compile(r"(?<![\d:])(\d{1,3}):(\d{1,3})(?![\d:])"), r"\1対\2"),
    (re.compile(r"\d+(?:\.\d+){2,}"), lambda m: m[0].replace(".", "点")),
    (re.compile(r"(?<![\d.])(\d+)[.．](\d+)(?![\d.．])"), _fraction),
]  # fmt: skip


def normalise(text: str) -> str:
    """Japanese text with units, money, decimals and telephone numbers written out; Open JTalk reads the rest.

    Args:
        text: one utterance or a run of it.

    Returns:
        Text in which whole numbers remain digits. Brackets and quotes remain: they part accent phrases.
    """
    table = {code: chr(code - 0xFEE0) for a, b in ("０９", "ＡＺ", "ａｚ") for code in range(ord(a), ord(b) + 1)}
    text = text.translate(table)
    text = re.sub("[①-⑳]", lambda m: str(ord(m[0]) - 0x245F), text)
    for pattern, reading in _RULES:
        text = pattern.sub(reading, text)
    for symbol, words in _WORDS.items():
        text = text.replace(symbol, words)
    text = re.sub(r"([!?…,.-])[!?…,.-]+", r"\1", text)
    return re.sub(r"\s+", " ", text).strip()


@cache
def _labels() -> Callable[[str], list[str]]:
    import pyopenjtalk

    return pyopenjtalk.extract_fullcontext


_PHONEME = re.compile(r"-([^+]+)\+.*?/A:(xx|-?\d+)\+(xx|\d+)\+(xx|\d+)/.*/F:(xx|\d+)_")


def _numbers(label: str) -> tuple[str, int | None, int | None, int | None, int | None]:
    """Phoneme; distance to the accent nucleus, mora from the front, mora from the back (A), moras of the phrase (F)."""
    found: Any = _PHONEME.search(label)
    values = [None if value == "xx" else int(value) for value in found.groups()[1:]]
    return found[1], values[0], values[1], values[2], values[3]


def _read_run(text: str) -> list[str]:
    """Phonemes and accent marks of text without punctuation."""
    labels = [_numbers(label) for label in _labels()(text) or []]
    symbols: list[str] = []
    for (phoneme, accent, front, back, moras), (_, _, next_front, _, _) in pairwise(labels):
        if phoneme == "sil":
            continue
        if phoneme == "pau":
            symbols.append("_")
            continue
        symbols.append(phoneme.lower() if phoneme in "AEIOU" else phoneme)
        if phoneme not in {*"aeiouAEIOUN", "cl"}:
            continue
        if back == 1 and next_front == 1:
            symbols.append("#")
        elif front is not None and next_front == front + 1 and accent == 0 and front != moras:
            symbols.append("]")
        elif front == 1 and next_front == 2:
            symbols.append("[")
    return symbols


def to_symbols(text: str, lexicon: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """Phones of normalised Japanese text.

    Args:
        text: as :func:`normalise` returns it.
        lexicon: word to the kana in which it is read.

    Returns:
        Phonemes with accent marks, and marks; UNK for accent phrase borders and for what cannot be read.
    """
    for word in sorted(lexicon, key=len, reverse=True):
        text = re.sub(re.escape(word), "".join(lexicon[word]), text, flags=re.IGNORECASE)
    symbols: list[str] = []
    for run in _RUNS.findall(re.sub("[%％]", "パーセント", text).lower()):
        if re.match(rf"[{_READABLE}]", run):
            for start in range(0, len(run), _LONGEST_RUN):
                symbols += _read_run(run[start : start + _LONGEST_RUN])
        else:
            symbols.append(_MARKS.get(run, run))
    return tuple(symbol if symbol in SYMBOL_IDS else UNKNOWN for symbol in symbols)
