"""Mandarin: normalisation, tone sandhi, readings."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.support.text_agreement import agreement

from voiceclone.errors import DataError
from voiceclone.text.mandarin import normalise, to_symbols
from voiceclone.text.mandarin_normalise import cardinal, digits


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("2024年3月5日下午3点30分", "二零二四年三月五日下午三点三十分"),
        ("2001/02/29和2001-03-01", "二零零一年二月二十九日和二零零一年三月一日"),
        ("08:05，09:40，2:30", "八点零五分,九点四十分,两点半"),
        ("￥199.9，$5", "一百九十九点九元,五美元"),
        ("3.5%到0.7", "百分之三点五到零点七"),
        ("从-5°C到12℃", "从零下五度到十二度"),
        ("13812345678", "幺三八幺二三四五六七八"),
        ("010-88889999", "零幺零,八八八八九九九九"),
        ("3.2km，5kg，120m²", "三点二千米,五千克,一百二十平方米"),
        ("2/3，3:2", "三分之二,三比二"),
        ("10~20，或者50-100人", "十到二十,或者五十到一百人"),
        ("第23名，2次，12个，10000只", "第二十三名,两次,十二个,一万只"),
        ("号码123456", "号码幺二三四五六"),
        ("5-3=2，π≈3.14", "五减三等于二,派约等于三点一四"),
        ("08:00-10:30", "八点至十点半"),
        ("￥50元，100+个，2两", "五十元,一百多个,二两"),
        ("涨了-3.5%，10%~20%，5km~8km", "涨了负百分之三点五,百分之十至百分之二十,五千米至八千米"),
        ("5元/斤，他/她", "五元每斤,他,她"),
        ("2³，.5，Ω", "二的三次方,零点五,欧米伽"),
        ("800-820-8820，138 1234 5678", "八零零,八二零,八八二零,幺三八幺二三四五六七八"),
        ("啊——不要", "啊不要"),
        ("繁體字：這個軟體", "繁体字,这个软体"),
        ("１２个Ａ", "十二个"),
        ("等等。。。真的吗？？？", "等等.真的吗?"),
        ("“你好！”（小声）《书》", "你好!小声书"),
    ],
)
def test_normalise(text: str, spoken: str) -> None:
    assert normalise(text) == spoken


def test_numbers() -> None:
    numbers = {"0": "零", "10": "十", "15": "十五", "110": "一百一十", "1010": "一千零一十", "20000": "二万"}
    numbers |= {"100200": "十万零二百", "1001000": "一百万一千", "100000000": "一亿", "100000001": "一亿零一"}
    assert {number: cardinal(number) for number in numbers} == numbers
    assert digits("110") == "幺幺零"


@pytest.mark.parametrize(
    ("text", "pinyin"),
    [
        ("不是不去不好", "b u2 sh ir4 b u2 q v4 b u4 h ao3"),
        ("一个人一天走一万步", "y i2 g e5 r en2 y i4 t ian1 z ou3 y i2 w an4 b u4"),
        ("一百人走一万里", "y i4 b ai3 r en2 z ou3 y i2 w an4 l i3"),
        ("第一名看一看", "d i4 y i1 m ing2 k an4 y i5 k an4"),
        ("二零零一年一月", "EE er4 l ing2 l ing2 y i1 n ian2 y i1 y ve4"),
        ("我很好", "w o3 h en2 h ao3"),
        ("三点五", "s an1 d ian3 w u3"),
        ("我还得去", "w o3 h ai2 d ei3 q v4"),
        ("一点五和一千二百", "y i4 d ian3 w u3 h e2 y i1 q ian1 EE er4 b ai3"),
        ("展览馆", "zh an2 l an2 g uan3"),
        ("小老虎", "x iao3 l ao2 h u3"),
        ("妈妈的桌子", "m a1 m a5 d e5 zh uo1 z i05"),
        ("银行行长", "y in2 h ang2 h ang2 zh ang3"),
        ("味儿女儿", "w ei4 EE er4 n v3 EE er2"),
        ("绿色旅行", "l v4 s e4 l v3 x ing2"),
    ],
)
def test_tones(text: str, pinyin: str) -> None:
    phones, word2ph = to_symbols(text, {})
    assert " ".join(phones) == pinyin
    assert word2ph == (2,) * len(text)


def test_lexicon_wins_and_sandhi_follows() -> None:
    assert to_symbols("他姓仇", {"仇": ("qiu2",)})[0][-2:] == ("q", "iu2")
    assert to_symbols("重好", {"重好": ("chong3", "hao3")})[0] == ("ch", "ong2", "h", "ao3")


def test_character_without_reading_is_named() -> None:
    with pytest.raises(DataError, match="without a known reading"):
        to_symbols("好\u4db6\u9fff\u9ff6", {})


@pytest.mark.parametrize("name", ["text_zh.json", "text_zh_given_pinyin.json"])
def test_agreement_with_the_public_front_end(shared_golden: Path, name: str) -> None:
    """Given the public normalisation, phones agree but for readings that are corrected here."""
    rows = json.loads((shared_golden / name).read_text())["rows"]
    rows = [row for row in rows if row["phones"] and "￥" not in row["text"]]
    pairs = []
    for row in rows:
        phones, word2ph = to_symbols(row["normalized"], {})
        assert len(word2ph) == len(row["normalized"]) and sum(word2ph) == len(phones)
        pairs.append((phones, row["phones"]))
    assert agreement(pairs) > 0.98
