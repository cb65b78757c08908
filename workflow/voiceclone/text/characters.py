"""One form for what is written in many: the step before every other, the same for all languages.

Unicode has several characters for what sounds alike (NFKC: ligatures, mathematical alphabets, squared units, Kangxi
radicals, widths), invisible ones inside words, and signs that hold a number (½, Ⅳ, ①, x²). What has one plain form
gets it; numbers keep a form that the normaliser of the language reads. What nobody reads is named by :func:`unread`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable
from functools import cache, lru_cache

from voiceclone.languages import HAN

_INVISIBLE = re.compile(r"[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\ufe00-\ufe0f\U000e0100-\U000e01ef]")
_LINES = re.compile(r"\r\n|[\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")
_THOUSANDS = re.compile(
    r"(?<![\d.,])\d{1,3}(?:[\u00a0\u2007-\u200a\u202f\u205f]\d{3})+(?!\d)"
    r"|(?<![\d.,])(?<!\d )[1-9]\d{0,2}(?: 000)+(?! ?\d)"
)
_COMBINING = re.compile(r"[\u0300-\u036f\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\u3099\u309a\ufe20-\ufe2f]")
_KEPT = frozenset("，！？：；（）～￥…™℃℉№¨¯´¸｛｝＜＞｜″‴⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ")
"""Characters that have another form and keep theirs: marks and signs that the normalisers know."""
_SPELLED = {
    "℅": "c/o", "︰": "：", "︓": "：", "﹕": "：", "﹔": "；", "﹐": "，", "︐": "，", "﹑": "、", "﹖": "？",
    "﹗": "！", "﹒": "。", "㎡": "m²", "㎢": "km²", "㎠": "cm²", "㎟": "mm²", "㎥": "m³", "㎦": "km³", "㎤": "cm³",
    "㎣": "mm³", "㏄": "cc", "ɑ": "a", "ɡ": "g", "ı": "i", "œ": "oe", "Œ": "Oe", "〆": "締", "㍱": "hPa", "º": "°",
    "˚": "°", "〜": "～", "∼": "~", "∕": "/", "∶": ":",
    "㈱": "株式会社", "㈲": "有限会社", "㈜": "주식회사 ",
    "⺎": "兀", "⺟": "母", "⺠": "民", "⻁": "虎", "⻄": "西", "⻅": "见",
    "⻆": "角", "⻉": "贝", "⻋": "车", "⻓": "长", "⻔": "门", "⻘": "青", "⻙": "韦", "⻚": "页", "⻛": "风",
    "⻜": "飞", "⻝": "食", "⻢": "马", "⻣": "骨", "⻤": "鬼", "𠮷": "吉", "﨑": "崎", "𠮟": "叱", "髙": "高",
    "⻥": "鱼", "⻦": "鸟", "⻧": "卤", "⻨": "麦", "⻩": "黄", "⻬": "齐", "⻮": "齿", "⻰": "龙", "⻱": "龟",
}  # fmt: skip
_NUMERO = {"en": "No. ", "ja": "ナンバー", "ko": "번호 ", "yue": "編號", "zh": "编号"}
_ABOVE = "⁰¹²³⁴⁵⁶⁷⁸⁹"
_BELOW = "₀₁₂₃₄₅₆₇₈₉"
_VULGAR = "¼½¾⅐-⅞↉"
_ROMAN = "Ⅰ-ↂↅ-ↈ"
_AND = {"en": " ", "ja": "と", "ko": "과 ", "yue": "又", "zh": "又"}
"""Marks between a whole number and its fraction."""
_SQUARES = "㍱㎀-㏟"
_CLOCK = {"ja": "時間 分 秒", "ko": "시간 분 초", "yue": "小時 分鐘 秒", "zh": "小时 分钟 秒"}
_DURATION = re.compile(r"(?<![\w.])(\d+)\s?h(?:\s?(\d{1,2})\s?m(?:in)?(?:\s?(\d{1,2})\s?s)?)?(?![A-Za-z\d/])", re.A)
"""2h15min: what is spelled and what is a unit, a language's own rules cannot tell."""
_LOOKS_LIKE = str.maketrans(
    "АВЕКМНОРСТУХаеорсухіјѕԁһІЈЅΑΒΕΖΗΙΚΜΝΟΡΤΥΧο",
    "ABEKMHOPCTYXaeopcyxijsdhIJSABEZHIKMNOPTYXo",
)
_WORD = re.compile(r"[^\W\d_]+")
_LATIN = re.compile(r"[A-Za-z]")
_TWIN_SCRIPTS = re.compile(r"[\u0370-\u03ff\u0400-\u052f]")


_GREEK_LETTER = re.compile(r"(?<![\u0370-\u03ff])[Α-Ωα-ω](?![\u0370-\u03ff])(?<![μπ])")


def _greek(match: re.Match[str]) -> str:
    """A Greek letter that stands alone, by its English name; after a number Ω is a unit."""
    if match[0] == "Ω" and re.search(r"\d\s?[kM]?$", match.string[: match.start()]):
        return " ohms "
    name = unicodedata.name(match[0]).split()[-1].lower()
    return f" {name.replace('lamda', 'lambda')} "


_PER = re.compile(r"(?<=[A-Za-z])[ ·⋅](s|min|h|[cm]?m|kg|g|K|[mµ]?L|mol)⁻([¹²³])(?![⁰-⁹¹²³])")  # m s⁻¹ is m/s


def fold(text: str, language: str) -> str:
    """Text in its plain characters.

    Args:
        text: as written.
        language: ISO code of the language that the text as a whole is in; numbers get a form that it reads.

    Returns:
        Text without invisible characters and compatibility forms, in NFC; line ends are ``\\n``. Full-width letters
        stay in Japanese, where they are read by their names, and so do squared units in Chinese.
    """
    text = _LINES.sub("\n", unicodedata.normalize("NFC", text))
    text = "".join(c for c in _INVISIBLE.sub("", text) if unicodedata.category(c) != "Cf")
    if text.isascii():
        return text
    text = _THOUSANDS.sub(lambda m: re.sub(r"\D", ",", m[0]), text)
    text = re.sub(f"[{_ROMAN}]+", lambda m: _roman_signs(m, language), text)
    text = _fractions(text, language)
    text = _DURATION.sub(lambda m: _duration(m, language), text)
    text = _PER.sub(lambda m: f"/{m[1]}{m[2].replace('¹', '')}", text)
    text = re.sub(rf"[⁺⁻]?[{_ABOVE}ⁿ]+", lambda m: _power(m, language), text)
    if language == "ko":  # the number of a thing, not how often
        text = re.sub("[①-⑨](?=번)", lambda m: "일이삼사오육칠팔구"[ord(m[0]) - 0x2460], text)
    text = re.sub(r"[\u2460-\u24ff\u2776-\u2793\u3251-\u325f\u32b1-\u32bf]", _enclosed, text)
    text = "".join(_plain(character, language) for character in text)
    text = _COMBINING.sub("", unicodedata.normalize("NFC", text))
    text = _GREEK_LETTER.sub(_greek, text) if language == "en" else text
    text = _WORD.sub(lambda m: _one_script(m[0]), text)
    text = re.sub(rf"([{HAN}])々", r"\1\1", text) if language in ("zh", "yue") else text
    return _roman_letters(text, language)


def _duration(match: re.Match[str], language: str) -> str:
    if language not in _CLOCK:
        return match[0]
    return "".join(
        f"{number}{unit}" for number, unit in zip(match.groups(), _CLOCK[language].split(), strict=True) if number
    )


@lru_cache(maxsize=8192)
def _plain(character: str, language: str) -> str:
    """One character without its compatibility form."""
    if re.match(f"[{_SQUARES}]", character) and language in ("zh", "yue"):
        return character
    if character in _SPELLED:
        return _SPELLED[character]
    if character == "№":
        return _NUMERO.get(language, _NUMERO["en"])
    wide = "\uff10" <= character <= "\uff5a" and character.isalnum()
    if character in _KEPT or "\u3131" <= character <= "\u318e" or (language == "ja" and wide and character.isalpha()):
        return character
    if "\U0001f150" <= character <= "\U0001f189":  # letters in black circles and squares
        return chr(ord("A") + (ord(character) - 0x1F150) % 32)
    if "\u1e00" <= character <= "\u1eff":  # Latin letters with several marks, as in Vietnamese
        return unicodedata.normalize("NFD", character)[0]
    if "\u3021" <= character <= "\u3029":  # Suzhou numerals
        return str(ord(character) - 0x3020)
    if unicodedata.category(character) == "Zs":
        return " "
    folded = unicodedata.normalize("NFKC", character)
    return character if folded.startswith(" ") else folded


def _number_of(signs: str) -> int:
    """Value of Roman numerals that Unicode has as characters, or in letters."""
    letters = unicodedata.normalize("NFKC", signs).upper()
    values = [{"I": 1, "V": 5, "X": 10, "L": 50, "C": 100, "D": 500, "M": 1000}.get(c, 0) for c in letters]
    following = [*values[1:], 0]
    return sum(-value if value < after else value for value, after in zip(values, following, strict=True))


def _roman_signs(match: re.Match[str], language: str) -> str:
    """Ⅳ as a number of the language around it; after an English name as letters: Henry Ⅷ."""
    before, after = match.string[: match.start()], match.string[match.end() :]
    if re.search(r"[A-Z][\w'’-]*\s$", before) and not re.match(f"[{HAN}]", after):
        return unicodedata.normalize("NFKC", match[0]).upper()
    value = _number_of(match[0])
    return (_numeral(value, before, after, language) if value else match[0]) + (" " if after[:1].isdigit() else "")


def _numeral(value: int, before: str, after: str, language: str) -> str:
    """A number up to some thousands that no counting word changes: Ⅱ is 二 in every place, never 两."""
    beside = (after.lstrip()[:1] + before.rstrip()[-1:]) or " "
    if language == "ko" or re.match("[\uac00-\ud7a3]", beside):
        from voiceclone.text.korean_normalise import sino

        return sino(str(value))
    if language in ("zh", "yue") and not re.fullmatch(r"[A-Za-z\s]+", beside):
        from voiceclone.text.mandarin_normalise import cardinal

        return cardinal(str(value))
    return str(value)


_LETTERS = r"(?:XL|L?X{0,3})(?:IX|IV|V?I{0,3})"
_CLASSES = {
    "zh": "型|级|級|期|类|類|章|卷|部|世|代|度|相|区|區|篇|节|節|册|冊|等|族|阶段|阶|号|號",
    "ja": "章|部|編|巻|型|期|世|級|種|類|度|相|号|節|話|回|世代",
    "ko": "장|부|편|권|형|기|세|급|차|절|단계|호",
}
_CLASSES["yue"] = _CLASSES["zh"]
_NAMES = {"zh": HAN, "yue": HAN, "ja": f"{HAN}ァ-ー", "ko": "가-힣"}


@cache
def _roman_pattern(language: str) -> re.Pattern[str]:
    """Letters that are a number: after 第, before what is numbered so, and of two letters at least after a name."""
    ordinal = "제" if language == "ko" else "第"
    end, name = "(?![A-Za-z0-9&.-]|'s)", _NAMES[language]
    classes = rf"(?=\s?(?:{_CLASSES[language]}))"
    blank = r"(?:(?<=\s)|)" if language == "ko" else ""
    return re.compile(
        rf"(?<={ordinal})\s?(?P<a>{_LETTERS}){end}|(?<![A-Za-z0-9.&-])(?P<b>(?=I|[VX][VXI]){_LETTERS}){end}{classes}"
        rf"|(?<=[{name}]){blank}(?P<c>(?=[IVX]{{2}})(?!X+{end}){_LETTERS}){end}(?!设计|設計|识别|識別|系统|系統)"
    )


def _roman_letters(text: str, language: str) -> str:
    """Roman numerals in plain letters, recognised by their context: 第IV章, II型, 最终幻想VII."""
    if language not in _CLASSES:
        return text  # has its own contexts

    def read(match: re.Match[str]) -> str:
        letters = match["a"] or match["b"] or match["c"] or ""
        if not letters:
            return match[0]
        return _numeral(_number_of(letters), text[: match.start()], text[match.end() :], language)

    return _roman_pattern(language).sub(read, text)


def _fractions(text: str, language: str) -> str:
    """½ and ¹⁄₂ as 1/2, apart from a whole number before: 1½ is one and a half."""
    digits = str.maketrans(_ABOVE + _BELOW, "0123456789" * 2)
    text = re.sub(rf"([{_ABOVE}\d]+)⁄([{_BELOW}\d]+)", lambda m: f"{m[1]}/{m[2]}".translate(digits), text)

    def plain(match: re.Match[str]) -> str:
        before, after = match.string[: match.start()].rstrip(" "), match.string[match.end() :]
        mixed = before[-1:].isdigit() and match.start() - len(before) <= 1
        blank = " " if language == "en" and after[:1].isalpha() else ""
        lead = _AND.get(language, " ") if mixed else match[1]
        return lead + unicodedata.normalize("NFKC", match[2]).replace("⁄", "/") + blank

    return re.sub(f"( ?)([{_VULGAR}])", plain, text)


_POWERS: dict[str, Callable[[str], str]] = {
    "en": lambda n: {"2": " squared", "3": " cubed"}.get(n, f" to the power of {n.replace('-', 'minus ')}"),
    "ja": lambda n: f"の{n.replace('-', 'マイナス')}乗",
    "ko": lambda n: {"2": "의 제곱", "3": "의 세제곱"}.get(n, f"의 {n.replace('-', '마이너스 ')}제곱"),
}


def _power(match: re.Match[str], language: str) -> str:
    """x² in words; what stands after a unit or a word (a note's number) remains."""
    before = match.string[: match.start()]
    unit = re.search(r"\d\s?[kcdm]?m$|\d\s?(?:ft|in|mi|yd)$", before)
    if language not in _POWERS or unit or not re.search(r"[\d)\]]$|(?<![A-Za-z])[A-Za-zα-ω]{1,2}$", before):
        return match[0]
    return _POWERS[language](unicodedata.normalize("NFKC", match[0]).replace("−", "-"))


def _enclosed(match: re.Match[str]) -> str:
    """① is 1, apart from a digit beside it."""
    try:
        value = unicodedata.numeric(match[0])
    except ValueError:
        return match[0]  # ⓐ
    before, after = match.string[: match.start()][-1:], match.string[match.end() :][:1]
    digit = re.compile(r"[\d\u2460-\u24ff\u2776-\u2793\u3251-\u325f\u32b1-\u32bf]")
    return (" " if before.isdecimal() else "") + f"{value:.0f}" + (" " if digit.match(after) else "")


def _one_script(word: str) -> str:
    """A word of Latin letters with Cyrillic or Greek ones that look the same, all Latin."""
    if not _LATIN.search(word) or not _TWIN_SCRIPTS.search(word):
        return word
    fixed = word.translate(_LOOKS_LIKE)
    return word if _TWIN_SCRIPTS.search(fixed) else fixed


_HELD = frozenset("%‰‱&@#§¶†‡")
"""Punctuation, to Unicode, that is read as a word."""
_PASSED = frozenset("|~～`^¨¯´¸\ufeff")


def _suspect(character: str) -> bool:
    """True if a character says something, so that it must not get lost: neither a mark nor a blank."""
    if character in _HELD:
        return True
    return unicodedata.category(character)[0] in "LNSMC" and not character.isspace() and character not in _PASSED


def unread(text: str, normalise: Callable[[str], str], known: re.Pattern[str]) -> tuple[str, ...]:
    """Characters of a run of text that its normaliser leaves out or as they are, each once, in order.

    Args:
        text: the run, as the normaliser gets it.
        normalise: of the run's language.
        known: matches the characters that are sure to be read.
    """
    heard: dict[str, bool] = {}
    memory: dict[str, str] = {}

    def spoken(piece: str) -> str:
        return memory[piece] if piece in memory else memory.setdefault(piece, normalise(piece))

    for position, character in enumerate(known.sub(" ", text)):
        if not heard.get(character) and _suspect(character):
            left, right = text[max(0, position - 6) : position], text[position + 1 : position + 7]
            whole = spoken(left + character + right)
            without = [spoken((left + blank + right).replace(character, blank)).split() for blank in ("", " ")]
            heard[character] = character not in whole and whole.split() not in without
    return tuple(character for character, read in heard.items() if not read)


def describe(characters: Iterable[str]) -> str:
    """Characters as a message names them: themselves where they show, and their code points."""
    return ", ".join(f"{c} (U+{ord(c):04X})" if c.isprintable() else f"U+{ord(c):04X}" for c in characters)
