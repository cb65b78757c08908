"""Japanese front end: phonemes with pitch from Open JTalk's full-context labels.

Phonemes carry marks of the accent: ``[`` where the pitch rises, ``]`` where it falls, UNK (what the public models have
for ``#``) between two accent phrases. This notation of prosody is that of Kurihara, Seiyama and Kumano (2021), as in
ESPnet. Voiceless vowels are written like voiced ones, a pause is ``_``.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from functools import cache, lru_cache
from itertools import pairwise
from typing import Any

from voiceclone.text import short_dates
from voiceclone.text.english_quantities import roman
from voiceclone.text.symbols import SYMBOL_IDS, UNKNOWN

__all__ = ["normalise", "to_symbols"]

_READABLE = r"A-Za-z\d々ぁ-ヿ一-鿿１-９Ａ-Ｚａ-ｚｦ-ﾝ㐀-䶿豈-\ufaff\U00020000-\U000323af"
_HAN = r"[一-鿿㐀-䶿豈-\ufaff\U00020000-\U000323af]"
_RUNS = re.compile(rf"[{_READABLE}]+|[^{_READABLE}\s]")
_MARKS = {
    "：": ",", "；": ",", "，": ",", ",": ",", "。": ".", "！": "!", "？": "?", "\n": ".", "·": ",", "・": ",",
    "、": ",",
}  # fmt: skip
_UNITS = {
    "km/h": "キロメートル毎時", "m/s": "メートル毎秒", "km²": "平方キロメートル",
    "cm²": "平方センチメートル", "cm³": "立方センチメートル", "㎢": "平方キロメートル",
    "m²": "平方メートル", "㎡": "平方メートル", "m³": "立方メートル", "cm": "センチメートル", "mm": "ミリメートル",
    "km": "キロメートル", "m": "メートル", "kg": "キログラム", "mg": "ミリグラム", "g": "グラム", "ml": "ミリリットル",
    "mL": "ミリリットル", "L": "リットル", "GB": "ギガバイト", "MB": "メガバイト", "KB": "キロバイト",
    "kHz": "キロヘルツ", "MHz": "メガヘルツ", "GHz": "ギガヘルツ", "Hz": "ヘルツ", "kW": "キロワット", "W": "ワット",
    "min": "分", "rpm": "回転毎分", "mmHg": "ミリメートルエイチジー",
    "V": "ボルト", "dB": "デシベル", "°C": "度", "℃": "度", "°": "度", "㎞": "キロメートル", "㎝": "センチメートル",
    "㎏": "キログラム", "%": "パーセント", "％": "パーセント",
}  # fmt: skip
_CURRENCIES = {"$": "ドル", "＄": "ドル", "€": "ユーロ", "£": "ポンド", "¥": "円", "￥": "円"}
_WORDS = {
    "@": "アット",
    "＠": "アット",
    "#": "シャープ",
    "＃": "シャープ",
    "♯": "シャープ",
    "&": "アンド",
    "＆": "アンド",
    "±": "プラスマイナス",
    "+": "プラス",
    "=": "イコール",
    "＝": "イコール",
    "×": "かける",
    "÷": "わる",
    **dict.fromkeys("≧≥", "大なりイコール"),
    **dict.fromkeys("≦≤", "小なりイコール"),
    **dict.fromkeys("≒≈", "ニアリーイコール"),
    "≠": "ノットイコール",
    "√": "ルート",
    "∞": "無限大",
    **dict.fromkeys("〇○◯●", "まる"),
    **dict.fromkeys("△▲▽▼", "さんかく"),
    **dict.fromkeys("□■◇◆", "しかく"),
    "◎": "にじゅうまる",
}
_COUNTERS = (
    "年度|年間|年代|年生|年|[ヶかカヵケ]月|月号|月|日間|日目|日|週間|週目|時間|時半|時(?:\\d+分)?|分間|分|秒間|秒|人分|人前|人|名|個|本"
    "|枚|冊|台|匹|頭|羽|杯|回目|回|歳|才|代|[万億兆千百]*(?:円|ドル|ユーロ|ポンド|元|ウォン|人)|[万億兆千百]+|ページ|頁|章|節|条|項"
    "|巻|話|番目|番地|番線|番|号室|号車|号|丁目|階|位|点|倍|割|世紀|段|級|組|種類|キロ|メートル|センチ|ミリ|グラム|リットル|トン"
)
"""Allowed between a number and the dash of a range."""
_FRACTIONS = {
    "½": "2分の1",
    "⅓": "3分の1",
    "⅔": "3分の2",
    "¼": "4分の1",
    "¾": "4分の3",
    "⅕": "5分の1",
    "⅛": "8分の1",
}
_READINGS = [
    (re.compile(written), kana)
    for written, kana in (
        ("声高々", "こわだかだか"), ("俄か", "にわか"), ("強か(?![っろれ])", "したたか"),
        ("喧し(?=[いくけさ])", "やかまし"),
        ("蒲公英", "たんぽぽ"), ("(?<![一-鿿])鋸(?![一-鿿])", "のこぎり"), ("(?<![一-鿿])鉋(?![一-鿿])", "かんな"),
    )
]  # fmt: skip
"""Words that Open JTalk takes apart, or reads as hardly anybody does."""
_VARIANTS = str.maketrans(
    "𠮟嗤剝塡噓繫蟬瘦麵搔醬摑簞禱蠟顚鹼屢瀆潑囊焰萊攪俠嚙軀俱驒吞頰",
    "叱笑剥填嘘繋蝉痩麺掻醤掴箪祷蝋顛鹸屡涜溌嚢焔莱撹侠噛躯倶騨呑頬",
)
"""Forms of characters to those that Open JTalk's dictionary has in its words."""
_LONGEST_RUN = 1000
"""Characters without a mark between them that Open JTalk gets at once; it refuses some thousands."""
_UNIT_NAMES = "|".join(re.escape(name) for name in sorted(_UNITS, key=len, reverse=True))
_N = r"\d+(?:\.\d+)?"
_DIGITS = dict(
    zip("0123456789", ["ゼロ", "イチ", "ニー", "サン", "ヨン", "ゴー", "ロク", "ナナ", "ハチ", "キュー"], strict=True)
)


def _fraction(match: re.Match[str]) -> str:
    return f"{match[1]}点{''.join(('ゼロ', *'一二三四五六七八九')[int(digit)] for digit in match[2])}"


def numeral(number: str) -> str:
    """A number of one or two digits in kana, whatever is around it: ``12`` → ジューニ."""
    tens, ones = divmod(int(number), 10)
    head = (_DIGITS[str(tens)] if tens > 1 else "") + "ジュー" if tens else ""
    last = {2: "ニ", 5: "ゴ"}.get(ones, _DIGITS[str(ones)])
    return head + (last if ones or not tens else "")


def digits(number: str) -> str:
    """Digits one by one, in kana."""
    return "".join(_DIGITS[digit] for digit in number)


def _telephone(match: re.Match[str]) -> str:
    return "、".join(map(digits, re.findall(r"\d+", match[0])))


_DASH = r"\s?[-‐–—−~～〜]\s?"
_QUANTITY = rf"(?<=\d)(?P<unit>{'|'.join(sorted(set(_UNITS.values()), key=len, reverse=True))}|{_COUNTERS})?"
_RULES: list[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]]] = [
    (re.compile(r"(?<=\d),(?=\d{3}(?!\d))"), ""),
    (re.compile(r"(?<=〒)(\d{3})-(\d{4})(?![\d-])"),
     lambda m: f"、{digits(m[1])}の{digits(m[2])}"),
    (re.compile("〒"), "郵便番号"),
    (re.compile(r"(?<![\d-])0\d{1,3}-\d{2,4}-\d{3,4}(?![\d-])"), _telephone),
    (re.compile(r"(?<!\d)(\d{4})[-/](0?[1-9]|1[0-2])[-/](0?[1-9]|[12]\d|3[01])(?!\d)"),
     lambda m: f"{m[1]}年{int(m[2])}月{int(m[3])}日"),
    (re.compile(r"(?<![\d:])(\d{1,3}):([0-5]\d):([0-5]\d)(?![\d:])"),
     lambda m: f"{int(m[1])}時{'' if len(m[1]) > 1 else '間'}{int(m[2])}分{int(m[3])}秒"),
    (re.compile(r"(?<![\d:])([01]?\d|2[0-4]):([0-5]\d)(?![\d:])"),
     lambda m: f"{int(m[1])}時" + (f"{int(m[2])}分" if int(m[2]) else "")),
    (re.compile(rf"([$＄€£¥￥])\s?({_N}){_DASH}(?=\d)({_N})([万億兆千百]*)"),
     lambda m: f"{m[2]}から{m[3]}{m[4]}{_CURRENCIES[m[1]]}"),
    (re.compile(r"([$＄€])\s?(\d+)\.(\d\d)(?![\d万億兆千百])"),
     lambda m: f"{m[2]}{_CURRENCIES[m[1]]}" + (f"{int(m[3])}セント" if int(m[3]) else "")),
    (re.compile(rf"([$＄€£¥￥])\s?({_N})([万億兆千百]*)"), lambda m: m[2] + m[3] + _CURRENCIES[m[1]]),
    (re.compile(rf"(?<=\d)\s?({_UNIT_NAMES})(?![A-Za-z0-9])"), lambda m: _UNITS[m[1]]),
    (re.compile(rf"(?<![A-Za-z])({_UNIT_NAMES})(?=あたり|当たり)"), lambda m: _UNITS[m[1]]),
    (re.compile(rf"(?<=\d)[+＋]({_COUNTERS})"), r"\1以上"),
    (re.compile("[²³]"), lambda m: f"の{'²³'.index(m[0]) + 2}乗"),
    (re.compile(r"(?<=\d)\s?[-−–]\s?(?=\d+\s?[=＝])"), "ひく"),
    (re.compile(r"(?<![\d-])(\d+)[-–](\d+)(?=(?:で|の)(?:勝|負|敗|引|快勝|圧勝|逆転))"), r"\1対\2"),
    (re.compile(r"((?:スコア|得点|試合|結果)[はが]\s?)(\d{1,2})[-–](\d{1,2})(?![\d-])"), r"\1\2対\3"),
    (re.compile(r"(?<![\d-])\d{1,4}(?:-\d{1,4}){2,}(?![\d-])"), lambda m: m[0].replace("-", "の")),
    (re.compile(rf"{_QUANTITY}{_DASH}(?=(?:第|午前|午後|翌[日朝]?|深夜|早朝|朝|夜|夕方|[-−])?\d)"),
     lambda m: f"{m['unit'] or ''}から"),
    (re.compile(rf"(?<![一-鿿])([月火水木金土日])曜?{_DASH}([月火水木金土日])(?:曜|(?![一-鿿]))"), r"\1曜から\2曜"),
    (re.compile(r"(?<=[一-鿿])\s?[~～〜–]\s?(?=[一-鿿\d])"), "から"),
    (re.compile(r"(?<=[ぁ-ヿ])[~～〜]+(?=$|[ぁ-ん\s。、！？!?」』）)♪☆])"), "ー"),
    (re.compile(rf"(?<![A-Za-z\d.])[-−](?={_N})"), "マイナス"),
    (re.compile(r"(血圧\D{0,4}\d{2,3})/(?=\d{2,3}(?!\d))"), r"\1の"),
    (re.compile("×{2,}|×(?=[さくが社氏市県国印]|という|クイズ)"), lambda m: "ばつ" * len(m[0])),
    (re.compile(r"(?<=[一-鿿])[-‐−](?=[一-鿿])"), " "),
    (re.compile(r"(?<![\d/.])(\d+\.\d+)/(5|10|100)(?![\d/])"), r"\2点満点の\1"),
    (re.compile(r"(?<![\d/.])(\d+)/(\d+)(?![\d/])"), lambda m: f"{m[2]}分の{m[1]}"),
    (re.compile("★+(?=\\d)"), "星"),
    (re.compile("(★{2,5})☆*|(★)☆+"), lambda m: f"星{len(m[1] or m[2])}つ"),
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
    text = re.sub("[\uff66-\uff9f]+", lambda m: unicodedata.normalize("NFKC", m[0]), text)  # half-width kana
    text = re.sub("[\ufe00-\ufe0f\U000e0100-\U000e01ef]", "", text)  # variants of a character
    text = re.sub("[①-⑳]", lambda m: str(ord(m[0]) - 0x245F), text)
    text = re.sub(f"(?<=\\d)(?=[{''.join(_FRACTIONS)}])", "と", text).translate(
        str.maketrans(dict[str, str | int | None](_FRACTIONS))
    )
    text = text.replace("分の1杯", "分の1はい")
    text = text.replace("⁄", "/")
    text = re.sub("[Ⅰ-Ⅻⅰ-ⅻ]", lambda m: str(int(unicodedata.numeric(m[0]))), text)
    text = re.sub("(?<=第)[IVX]+(?![A-Za-z])", lambda m: str(roman(m[0]) or m[0]), text)
    text = short_dates.write_out(text, "ja", lambda month, day: f"{month}月{day}日", "から")
    for pattern, reading in _RULES:
        text = pattern.sub(reading, text)
    for symbol, words in _WORDS.items():
        text = text.replace(symbol, words)
    text = text.translate(_VARIANTS)
    for word, kana in _READINGS:
        text = word.sub(kana, text)
    text = _with_rare_words_in_kana(text)
    text = re.sub(r"([!?…,.-])[!?…,.-]+", r"\1", text)
    return re.sub(r"\s+", " ", text).strip()


def _is_rare(character: str) -> bool:
    """A character of Chinese origin outside level 1 of JIS X 0208, the usual ones."""
    code = character.encode("shift_jis", errors="ignore")
    return bool(re.match(_HAN, character)) and (len(code) < 2 or code >= b"\x98\x9f")


def _with_rare_words_in_kana(text: str) -> str:
    """Words with a rare character and kana that Open JTalk does not know, in the kana that Sudachi reads.

    Characters in the forms of before 1946 get those of today, with which the words are in the dictionaries.
    """
    if not any(map(_is_rare, text)):
        return text
    text = "".join(_modern(character) if _is_rare(character) else character for character in text)
    parts = []
    for word in _words()(text):
        surface, kind = word.surface(), word.part_of_speech()[0]
        inflected = kind in ("動詞", "形容詞")
        written = inflected or (kind in ("名詞", "形状詞", "副詞") and re.search(f"{_HAN}[ぁ-ん]", surface))
        read = written and not word.is_oov() and any(map(_is_rare, surface))
        if read and not _is_known(word.dictionary_form(), kind):
            surface = "".join(chr(ord(kana) - 0x60) if "ァ" <= kana <= "ヶ" else kana for kana in word.reading_form())
        parts.append(surface)
    return "".join(parts)


@lru_cache(maxsize=8192)
def _modern(character: str) -> str:
    """The form of a character in today's Japanese: 黑 → 黒."""
    modern = str(_modernizer().convert(character))
    return character if _is_rare(modern) else modern


@cache
def _modernizer() -> Any:
    from opencc import OpenCC

    return OpenCC("t2jp")


@cache
def _words() -> Callable[[str], Any]:
    from sudachipy import Dictionary

    return Dictionary().tokenizer().tokenize


@lru_cache(maxsize=10000)
def _is_known(word: str, kind: str) -> bool:
    """True if Open JTalk's dictionary has a word as that part of speech."""
    found = _frontend()(word)
    return len(found) == 1 and found[0]["pos"] == kind


@cache
def _frontend() -> Callable[[str], Any]:
    import pyopenjtalk

    return pyopenjtalk.run_frontend


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


@lru_cache(maxsize=8192)
def readable(character: str) -> bool:
    """True if Open JTalk has a reading of a character that stands alone."""
    return character == "々" or bool(set("aeiouN") & set(to_symbols(normalise(character), {})))


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
