"""Languages: one row each, read by all rooms. ``docs/code.md`` shows how one is added.

Every row has phones; an utterance in any other language cannot be trained on.
"""

from __future__ import annotations

from dataclasses import dataclass

from voiceclone.errors import DataError

# Scripts, as ranges of a character class.
LATIN = r"A-Za-z\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f"
HAN = r"\u3005\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af"
KANA = r"\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\uff66-\uff9f"
HANGUL = r"\u1100-\u11ff\u3131-\u318e\uac00-\ud7a3"


@dataclass(frozen=True)
class Language:
    """What the rooms know of a language.

    Attributes:
        code: ISO code.
        name: in English.
        reader: module with ``normalise(text)``, and ``to_symbols(normalised, lexicon)`` to phones of
            :mod:`voiceclone.text.symbols`; one that writes Chinese characters has ``readable(character)`` too.
        scripts: that it is written in.
        kept: characters, beside digits and blanks, that ``normalise`` keeps or reads in every place; as in a class.
        notation: of a pronunciation that a user writes, with an example.
        smoke_text: first words of a bundle.
        notice: says that what follows is AI-generated speech.
        respelling: characters of a pronunciation that is respelled as it sounds, as in a class; empty: it is written
            in phones, or in syllables.
        by_syllable: one syllable per character: pronunciations are syllables that ``check_syllable`` of the reader
            knows, and ``to_symbols`` also returns the number of phones of each character.
        by_character: rates of errors and of speaking count characters, not words and letters.
        spaced: blanks part the words.
        bert: its text-to-semantic model also reads contextual (BERT) features, one vector per phone, and
            ``to_symbols`` takes a model that reads characters in their sentence.
        upstream: codes of it in lists of GPT-SoVITS, beside its own.
        encodings: of its texts where they are not in UTF-8, the likeliest first.
    """

    code: str
    name: str
    reader: str
    scripts: tuple[str, ...]
    kept: str
    notation: str
    smoke_text: str
    notice: str
    respelling: str = ""
    by_syllable: bool = False
    by_character: bool = False
    spaced: bool = True
    bert: bool = False
    upstream: tuple[str, ...] = ()
    encodings: tuple[str, ...] = ()


_ROWS = (
    Language(
        "zh", "Mandarin", "voiceclone.text.mandarin", (HAN,), f"{HAN}A-Za-z",
        "one pinyin syllable with tone 1-5 per character, for example: 重庆<TAB>chong2 qing4", "这是一个简短的测试。",
        "此为AI生成语音。",
        by_syllable=True, by_character=True, spaced=False, bert=True, encodings=("gb18030", "big5"),
    ),
    Language(
        "en", "English", "voiceclone.text.english", (LATIN,), "A-Za-z",
        "ARPAbet phones with stress, for example: nasa<TAB>N AE1 S AH0", "This is a short test.",
        "This is A I generated speech.",
    ),
    Language(
        "ja", "Japanese", "voiceclone.text.japanese", (HAN, KANA), f"{HAN}{KANA}{LATIN}Ａ-Ｚａ-ｚ",
        "kana, for example: 今日<TAB>きょう", "これは短いテストです。",
        "これはAIが生成した音声です。",
        respelling=KANA, by_character=True, spaced=False, upstream=("jp",), encodings=("cp932", "euc_jp"),
    ),
    Language(
        "ko", "Korean", "voiceclone.text.korean", (HANGUL,), HANGUL,
        "Hangul as it sounds, for example: 맛있다<TAB>마시따", "이것은 짧은 시험입니다.",
        "이것은 AI가 생성한 음성입니다.",
        respelling="가-힣", by_character=True, upstream=("kr",), encodings=("cp949",),
    ),
    Language(
        "yue", "Cantonese", "voiceclone.text.cantonese", (HAN,), f"{HAN}A-Za-z",
        "one Jyutping syllable with tone 1-6 per character, for example: 銀行<TAB>ngan4 hong4",
        "呢個係一個短短嘅測試。", "呢段係AI生成嘅語音。",
        by_syllable=True, by_character=True, spaced=False, encodings=("big5hkscs", "gb18030"),
    ),
)  # fmt: skip
LANGUAGES: dict[str, Language] = {row.code: row for row in _ROWS}

SUPPORTED: frozenset[str] = frozenset(LANGUAGES)
BY_CHARACTER: frozenset[str] = frozenset(row.code for row in _ROWS if row.by_character)
UNSPACED: frozenset[str] = frozenset(row.code for row in _ROWS if not row.spaced)
WITH_BERT: frozenset[str] = frozenset(row.code for row in _ROWS if row.bert)
IN_LATIN: frozenset[str] = frozenset(row.code for row in _ROWS if LATIN in row.scripts)

MODES: dict[str, str] = {
    **{language: language for language in sorted(SUPPORTED)},
    **{f"all_{language}": language for language in sorted(SUPPORTED - IN_LATIN)},
    "auto": "zh",
    "auto_yue": "yue",
}
"""What a text may be read as, with the language that numbers and shared characters then belong to.

A language: it and English, by script; one in Latin letters reads all of those. ``all_``: the same, with every number in
that language. ``auto``: each run in its own language; ``auto_yue``: Chinese is Cantonese.
"""


def check_mode(mode: str) -> str:
    """Return a language code or another mode in which text can be read.

    Raises:
        DataError: there is no such mode.
    """
    if mode not in MODES:
        raise DataError(
            f"language {mode!r}: the text front end has no phones for it; it has {', '.join(MODES)}",
            "name the language of the text, or auto",
        )
    return mode
