"""Mandarin syllables to the model's pairs of initial and final symbols."""

from __future__ import annotations

from voiceclone.errors import DataError
from voiceclone.text.symbols import SYMBOL_IDS

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
        raise DataError(f"{syllable!r} is not a Mandarin syllable", "mend the pronunciation in config/lexicon/zh.tsv")
    initial, final = SYLLABLES[plain]
    return initial, final + tone
