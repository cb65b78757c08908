"""Text of a transcript as it will be trained on and read: one spelling for what sounds the same to the front end."""

from __future__ import annotations

import functools
import re
import unicodedata
from typing import Any

from voiceclone.errors import DataError
from voiceclone.languages import HANGUL, KANA, SUPPORTED, UNSPACED
from voiceclone.text.frontend import to_phones
from voiceclone.text.inline import protect, restore

_SPACED = str.maketrans(
    {"\u00a0": " ", "\u3000": " ", "\t": " ", "\r": " ", "\n": " ", "\u2028": " ", "\u2029": " ", "|": " "}
)
_QUOTES = str.maketrans(
    dict.fromkeys("‘’‚‛ʼ´`＇", "'") | dict.fromkeys("“”„‟«»＂「」『』《》〈〉", '"') | {"…": "...", "⁄": "/"}
)
# What recognisers write for sounds that are not speech, and for a change of speaker.
_ANNOTATION = re.compile(r"\[[^\]]*\]|【[^】]*】|♪[^♪]*♪|[♪♫♬]|\*[^*]{1,40}\*|>>+|&gt;&gt;")
_SOUND = r"music|laugh\w*|applause|cough\w*|sigh\w*|inaudible|silence|noise|breath\w*|音乐|掌声|笑声?|音楽|拍手"
_PARENTHESIS = re.compile(rf"[(（]\s*(?:{_SOUND})[^)）]{{0,20}}[)）]", re.IGNORECASE)
_CJK = r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff々〇]"
_FULL_WIDTH = {",": "，", ".": "。", "?": "？", "!": "！", ":": "：", ";": "；"}
_HALF_WIDTH = {mark: ascii_mark for ascii_mark, mark in _FULL_WIDTH.items()} | {"、": ",", "｡": "."}


def normalise_text(text: str, language: str, *, simplified_chinese: bool = True) -> str:
    """Clean one transcript; applying it twice changes nothing more.

    Width variants of letters and digits, quotes, dashes, blanks and repeated marks get one form; control characters
    and the recogniser's annotations ([music], ♪, >>) go; punctuation that the front end turns into pauses stays, and so
    do inline pronunciations (:mod:`voiceclone.text.inline`) as they are.
    Chinese and Japanese get full-width punctuation and no blanks between characters, other languages ASCII punctuation.

    Args:
        text: as recognised or corrected.
        language: ISO code.
        simplified_chinese: write ``zh`` in simplified characters.

    Returns:
        the text, empty if no letter or digit is left.
    """
    text, marks = protect(text)
    while (cleaner := _pass(text, language, simplified_chinese)) != text:
        text = cleaner  # what one rule removes may bring together what another joins
    return restore(text, marks)


_USUAL = re.compile(rf"[A-Za-z0-9\s{KANA}{HANGUL}.,!?;:'\"()…，。！？、；：“”‘’「」（）—-]")


def _rare(text: str) -> bool:
    """True if there is more in a text than letters, kana, marks and the characters of everyday."""
    rest = _USUAL.sub("", text)
    return any(not (c.encode("gb2312", "ignore") or c.encode("big5", "ignore")) or not c.isalpha() for c in rest)


def unread_flags(text: str, language: str) -> tuple[str, ...]:
    """Flags of an utterance for the characters of its text, as recognised or corrected, that nobody will read.

    Args:
        text: before :func:`normalise_text`, which takes some of them out.
        language: ISO code; of a language without phones there are no flags.
    """
    if language not in SUPPORTED or not _rare(text):
        return ()
    try:
        lost = to_phones(_ANNOTATION.sub(" ", text), language).unread
    except DataError:
        return ()  # empty, or refused later with the reason
    return tuple(f"unread:{c}" if c.isprintable() else f"unread:U+{ord(c):04X}" for c in lost)


def _pass(text: str, language: str, simplified_chinese: bool) -> str:
    text = unicodedata.normalize("NFC", text).translate(_SPACED)
    text = "".join(_plain(char) for char in text)
    text = _PARENTHESIS.sub(" ", _ANNOTATION.sub(" ", text)).translate(_QUOTES)
    text = re.sub(r"\s*[‐‑‒–—―─]{1,}\s*", lambda dash: "-" if dash.group() in "‐‑" else " - ", text)
    text = re.sub(r"([!?,;:！？，；：。、\"~])\1+", r"\1", text)
    text = re.sub(r"\.{2,}|。{2,}", "...", text)
    if language == "zh" and simplified_chinese:
        text = _converter().convert(text)
    text = _east_asian(text) if language in UNSPACED else _western(text)
    text = re.sub(r"\s+", " ", text).strip()
    text = re.sub(r"^[\s\-,.;:!?，。；：！？、~]+", "", text)
    return text.strip() if any(char.isalnum() for char in text) else ""


def _plain(char: str) -> str:
    """One character without width variants; nothing for controls, invisible marks, pictures and broken bytes."""
    category = unicodedata.category(char)
    picture = category == "So" and char not in "♪♫♬°" and unicodedata.normalize("NFKC", char) == char
    if category in {"Cc", "Cf", "Cs", "Co", "Cn"} or char == "\ufffd" or picture:
        return ""
    if "\uff01" <= char <= "\uffef" and char.isalnum():
        return unicodedata.normalize("NFKC", char)
    return char


def _east_asian(text: str) -> str:
    for ascii_mark, mark in _FULL_WIDTH.items():
        text = re.sub(rf"(?<={_CJK})\s*{re.escape(ascii_mark)}(?!\.)", mark, text)
    text = re.sub(rf"(?<={_CJK})\s+(?={_CJK}|[，。？！：；、])", "", text)
    return re.sub(rf"(?<=[，。？！：；、])\s+(?={_CJK})", "", text)


def _western(text: str) -> str:
    for mark, ascii_mark in _HALF_WIDTH.items():
        text = text.replace(mark, ascii_mark + " ")
    return re.sub(r"\s+([,.;:!?])", r"\1", text)


@functools.cache
def _converter() -> Any:
    import opencc

    return opencc.OpenCC("t2s")
