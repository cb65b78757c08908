"""Symbols and languages of the text front end."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from voiceclone.errors import DataError
from voiceclone.languages import SUPPORTED, check_mode
from voiceclone.text.mandarin import SYLLABLES, to_pair
from voiceclone.text.symbols import PUNCTUATION, SYMBOL_IDS, SYMBOLS, UNKNOWN, ids_to_symbols, symbols_to_ids


def test_inventory_of_the_public_models() -> None:
    assert len(SYMBOLS) == len(set(SYMBOLS)) == 732
    assert [SYMBOLS[i] for i in (0, 1, 86, 95, 320, 321, 322, 731)] == ["!", ",", "UNK", "_", "zh", "…", "[", "Yz"]
    assert SYMBOL_IDS[UNKNOWN] == 86
    assert set(SYMBOLS) >= PUNCTUATION


def test_ids_there_and_back() -> None:
    ids = symbols_to_ids(["HH", "AH0", "L", "OW1"])
    assert ids.dtype == np.int64
    assert ids_to_symbols(ids) == ("HH", "AH0", "L", "OW1")
    with pytest.raises(DataError, match="XX"):
        symbols_to_ids(["HH", "XX"])


def test_unsupported_language_says_what_there_is() -> None:
    assert {check_mode(code) for code in SUPPORTED} == SUPPORTED
    with pytest.raises(DataError, match=r"'de'.*en, ja, ko, yue, zh"):
        check_mode("de")


def test_pinyin_table() -> None:
    assert len(SYLLABLES) == 429
    pairs = {"zhong1": ("zh", "ong1"), "shi4": ("sh", "ir4"), "si4": ("s", "i04"), "er2": ("EE", "er2")}
    pairs |= {"yue4": ("y", "ve4"), "xu5": ("x", "v5"), "yan2": ("y", "En2"), "ye3": ("y", "E3"), "lv4": ("l", "v4")}
    assert {syllable: to_pair(syllable) for syllable in pairs} == pairs
    for syllable in SYLLABLES:
        for tone in "12345":
            assert set(to_pair(syllable + tone)) <= SYMBOL_IDS.keys()
    with pytest.raises(DataError, match="blorp"):
        to_pair("blorp1")


def test_text_imports_without_torch() -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from voiceclone.text.frontend import to_phones\n"
        "for text in ('こんにちは', '안녕하세요', '喺度食飯'): to_phones(text, 'auto')\n"
        "print(len(to_phones('Hello 你好', 'en').ids), 'torchaudio' in sys.modules, 'g2p_en' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["8", "False", "False"]
