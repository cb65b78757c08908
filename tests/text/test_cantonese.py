"""Cantonese: normalisation, readings, the parts of a syllable."""

from __future__ import annotations

import pytest

from voiceclone.errors import DataError
from voiceclone.text.cantonese import normalise, to_pair, to_symbols
from voiceclone.text.symbols import SYMBOL_IDS


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("2024年3月5日下午3點30分", "二零二四年三月五日下午三點三十分"),
        ("要$199，HK$20", "要一百九十九蚊,二十蚊"),
        ("電話23456781", "電話二三四五六七八一"),
        ("2個，50-100", "兩個,五十到一百"),
        ("電話2345-6789，哈~", "電話二三四五,六七八九,哈-"),
        ("「噉樣」得唔得㗎？", "噉樣得唔得㗎?"),
    ],
)
def test_normalise(text: str, spoken: str) -> None:
    assert normalise(text) == spoken


def test_parts_of_syllables() -> None:
    pairs = {"hoeng1": ("Yh", "Yoeng1"), "gwong2": ("Ygw", "Yong2"), "m4": ("Ym", "Ym4"), "ng5": ("Yng", "Yg5")}
    pairs |= {"aa3": ("Yaa", "Ya3"), "on1": ("Yon", "Yn1"), "ngaa4": ("Yng", "Yaa4"), "jyun4": ("Yj", "Yyun4")}
    assert {syllable: to_pair(syllable) for syllable in pairs} == pairs
    for wrong in ("", "foo", "hoeng", "hoeng7", "xyz1"):
        with pytest.raises(DataError, match="not a Cantonese syllable"):
            to_pair(wrong)


def test_every_reading_of_the_dictionary_has_symbols() -> None:
    import ToJyutping

    characters = "".join(map(chr, range(0x4E00, 0xA000)))
    readings = {part for _, found in ToJyutping.get_jyutping_candidates(characters[:4000]) for part in found}
    assert all(set(to_pair(part)) <= SYMBOL_IDS.keys() for reading in readings for part in reading.split())


def test_readings_follow_the_word_and_the_script() -> None:
    assert " ".join(to_symbols("銀行行山", {})[0]) == "Yng Yan4 Yh Yong4 Yh Yaang4 Ys Yaan1"
    assert to_symbols("牙医", {}) == to_symbols("牙醫", {})
    assert to_symbols("好", {"好": ("hou3",)}) == (("Yh", "You3"), (2,))
    with pytest.raises(DataError, match="without a known reading"):
        to_symbols("\u9fff", {})
