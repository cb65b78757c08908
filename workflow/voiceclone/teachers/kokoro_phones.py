"""Text to the phones that Kokoro reads: IPA of one character each, in the notation of misaki (hexgrad, Apache-2.0).

Mandarin and Japanese come from our own front ends, so that a teacher's words are those which the models' phones say;
English from hibari's port of misaki. What misaki writes where: aspiration ``ʰ``, palatalisation ``ʲ``, a Mandarin tone
as an arrow behind its vowel, the Japanese double consonant as ``ʔ``, a space between words.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from typing import Any

from voiceclone.errors import DataError
from voiceclone.text import japanese, mandarin
from voiceclone.text.frontend import to_phones
from voiceclone.text.lexicon import Lexicon

LANGUAGES = ("en", "ja", "zh")
"""Languages that :func:`read` knows."""

_MARKS = {"、": ",", "，": ",", "。": ".", "！": "!", "？": "?", "：": ":", "；": ";", "・": " ", "…": "…"}


def read(text: str, language: str) -> str:
    """Phones of a text, marks and spaces among them.

    Raises:
        DataError: unsupported language, or a text that cannot be read.
    """
    readers: dict[str, Callable[[str], str]] = {"en": _read_english, "ja": _read_japanese, "zh": _read_mandarin}
    if language not in readers:
        raise DataError(f"{language!r}: Kokoro reads {', '.join(LANGUAGES)}")
    return re.sub(r"\s+([,.!?:;])", r"\1", re.sub(r"\s+", " ", readers[language](text))).strip()


# ---- English


@cache
def _english() -> Any:
    from hibari.g2p import G2P

    return G2P()


def _read_english(text: str) -> str:
    return str(_english()(text))


# ---- Mandarin

_INITIALS = {
    "b": "p", "p": "pʰ", "m": "m", "f": "f", "d": "t", "t": "tʰ", "n": "n", "l": "l", "g": "k", "k": "kʰ", "h": "x",
    "j": "ʨ", "q": "ʨʰ", "x": "ɕ", "zh": "ꭧ", "ch": "ꭧʰ", "sh": "ʂ", "r": "ɻ", "z": "ʦ", "c": "ʦʰ", "s": "s",
    "y": "j", "w": "w", "AA": "", "EE": "", "OO": "",
}  # fmt: skip
_FINALS = {  # a digit marks where the tone stands
    "a": "a0", "ai": "ai0", "an": "a0n", "ang": "a0ŋ", "ao": "au0", "e": "ɤ0", "ei": "ei0", "en": "ə0n", "eng": "ə0ŋ",
    "er": "ɚ0", "i": "i0", "i0": "ɨ0", "ir": "ɨ0", "ia": "ja0", "ian": "jɛ0n", "iang": "ja0ŋ", "iao": "jau0",
    "ie": "je0", "in": "i0n", "ing": "i0ŋ", "iong": "jʊ0ŋ", "iu": "jou0", "o": "wo0", "ong": "ʊ0ŋ", "ou": "ou0",
    "u": "u0", "ua": "wa0", "uai": "wai0", "uan": "wa0n", "uang": "wa0ŋ", "ui": "wei0", "un": "wə0n", "uo": "wo0",
    "v": "y0", "van": "ɥɛ0n", "ve": "ɥe0", "vn": "y0n", "E": "e0", "En": "ɛ0n",
}  # fmt: skip
_BARE = {
    ("y", "i"),
    ("y", "in"),
    ("y", "ing"),
    ("y", "v"),
    ("y", "van"),
    ("y", "ve"),
    ("y", "vn"),
    ("w", "u"),
    ("w", "o"),
}
_TONES = {"1": "→", "2": "↗", "3": "↓", "4": "↘", "5": ""}


def _syllable(initial: str, final: str) -> str:
    """IPA of a syllable given as the models' pair of symbols, such as ``zh`` and ``ong1``."""
    plain, tone = final[:-1], final[-1]
    rhyme = "ɔ0" if plain == "o" and initial in ("OO", "y") else _FINALS[plain]
    onset = "" if (initial, plain) in _BARE else _INITIALS[initial]
    return onset + rhyme.replace("0", _TONES[tone])


def _read_mandarin(text: str) -> str:
    out = []
    for segment in to_phones(text, "zh", Lexicon()).segments:
        if segment.language != "zh" or segment.word2ph is None:
            raise DataError(f"{segment.normalised!r}: not Mandarin, and Kokoro is asked for nothing else here")
        symbols = iter(segment.symbols)
        spoken = [_syllable(next(symbols), next(symbols)) if count == 2 else next(symbols) for count in segment.word2ph]
        place = 0
        for word in mandarin.words(segment.normalised):
            out.append("".join(spoken[place : place + len(word)]))
            place += len(word)
    return " ".join(out)


# ---- Japanese

_WRITTEN = (
    "アイウエオカキクケコガギグゲゴサシスセソザジズゼゾタチツテトダヂヅデドナニヌネノハヒフヘホバビブベボ"
    "パピプペポマミムメモヤユヨラリルレロワヰヱヲヴヮャュョァィゥェォーッン"
)
_SPOKEN = (
    "a i ɯ e o ka kʲi kɯ ke ko ɡa ɡʲi ɡɯ ɡe ɡo sa ɕi sɨ se so ʣa ʥi zɨ ʣe ʣo ta ʨi ʦɨ te to da ʥi zɨ de do na ɲi nɯ "
    "ne no ha çi ɸɯ he ho ba bʲi bɯ be bo pa pʲi pɯ pe po ma mʲi mɯ me mo ja jɯ jo ɾa ɾʲi ɾɯ ɾe ɾo βa i e o vɯ βa ja "
    "jɯ jo a i ɯ e o ː ʔ ɴ"
)
_KANA = dict(zip(_WRITTEN, _SPOKEN.split(), strict=True))
_SMALL = {"ャ": "a", "ュ": "ɨ", "ョ": "o", "ァ": "a", "ィ": "i", "ゥ": "ɯ", "ェ": "e", "ォ": "o"}
_NASALS = (("[mpb]", "m"), ("[kɡ]", "ŋ"), ("[ɲʨʥ]", "ɲ"), ("[ntdɾz]", "n"))


def _mora(kana: str) -> str:
    """IPA of a kana with the small kana behind it, such as ``キ`` or ``フィ``."""
    large, small = kana[0], kana[1:]
    if not small:
        return _KANA.get(large, "")
    onset = _KANA.get(large, " ")[:-1]
    if large in "イウ":
        onset = "j" if large == "イ" else "β"
    elif large in "クグ":
        onset += "ᵝ"
    elif large in "テデフヴツ" and small in "ィュョ":
        onset += "ʲ"
    return onset + _SMALL[small]


@cache
def _nodes() -> Callable[[str], Any]:
    import pyopenjtalk

    return pyopenjtalk.run_frontend


def _read_japanese(text: str) -> str:
    out, before = "", ""
    for node in _nodes()(japanese.normalise(text)):
        if node["pos"] == "記号":
            out += _MARKS.get(node["string"], "") + " "
            continue
        spoken = node["pron"].replace("’", "").replace("'", "")
        ipa = "".join(_mora(kana) for kana in re.findall(r".[ャュョァィゥェォ]?", spoken))
        # An inflected word is one word, however many pieces its dictionary has.
        inflected = before in ("動詞", "形容詞", "助動詞") and node["pos"] == "助動詞"
        joined = inflected or node["pos_group1"] in ("接続助詞", "接尾") or out.endswith("ʔ") or ipa == "ː"
        out += ("" if joined else " ") + ipa
        before = node["pos"]
    for following, nasal in _NASALS:
        out = re.sub(f"ɴ(?={following})", nasal, out)
    return re.sub(r"ʔ(?=[\s,.!?]|$)", "", out)
