"""Segmentation of mixed text, and pronunciations within a text."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voiceclone.corpus.normalise import normalise_text
from voiceclone.errors import DataError
from voiceclone.languages import MODES
from voiceclone.text.frontend import to_phones
from voiceclone.text.inline import parts, plain
from voiceclone.text.segment import evidence, split
from voiceclone.text.wer import normalise_for_scoring


def _runs(text: str, mode: str) -> str:
    return "|".join(f"{language}:{run}" for language, run in split(text, mode))


@pytest.mark.parametrize(
    ("text", "mode", "runs"),
    [
        ("我用iPhone 15打电话，thank you。", "auto", "zh:我用|en:iPhone 15|zh:打电话，|en:thank you。"),
        ("我用iPhone 15打电话", "all_zh", "zh:我用|en:iPhone|zh: 15打电话"),
        ("我用iPhone15打电话", "zh", "zh:我用|en:iPhone|zh:15打电话"),
        ("東京大学で勉強。我在北京学习。", "auto", "ja:東京大学で勉強。|zh:我在北京学习。"),
        ("一人、二人と数えた。", "auto", "ja:一人、二人と数えた。"),
        ("今日、明日", "auto", "zh:今日、明日"),
        ("今日、明日", "ja", "ja:今日、明日"),
        ("佢哋喺度，OK", "auto_yue", "yue:佢哋喺度，|en:OK"),
        ("나는 meeting이 있어요, 然后去吃饭。", "auto", "ko:나는 |en:meeting|ko:이 있어요, |zh:然后去吃饭。"),
        ("我喜欢ありがとう这个词", "auto", "zh:我喜欢|ja:ありがとう|zh:这个词"),
        ("我说こんにちは，안녕", "zh", "zh:我说|ja:こんにちは，|ko:안녕"),
        ("我说こんにちは，안녕", "all_zh", "zh:我说こんにちは，안녕"),
        ("温度-5°C，长3.2km，5G", "zh", "zh:温度-5°C，长3.2km，5|en:G"),
        ("Say 你好 to Bob at 5", "en", "en:Say |zh:你好|en: to Bob at 5"),
    ],
)
def test_split(text: str, mode: str, runs: str) -> None:
    assert _runs(text, mode) == runs


def test_evidence() -> None:
    assert [evidence(text) for text in ("这里", "你好", "気分", "さ", "世界", "嗎", "時々")] == [
        "zh", "zh", "ja", "ja", "", "zh", "ja",
    ]  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(text=st.text(max_size=40) | st.text("我说こ안a1 。,km°", max_size=30), mode=st.sampled_from(sorted(MODES)))
def test_runs_are_the_text(text: str, mode: str) -> None:
    runs = split(text, mode)
    assert "".join(run for _, run in runs) == text
    assert all(first != second for (first, _), (second, _) in pairwise(runs))


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("a+b=c", "A加B等于C"),
        ("2×3=6", "二乘三等于六"),
        ("密码abc123", "密码abc幺二三"),
        ("PM2.5和iPhone15", "PM二点五和iPhone十五"),
        ("https://a.cn", "a dot cn"),
    ],
)
def test_letters_among_chinese(text: str, spoken: str) -> None:
    assert to_phones(text, "zh").normalised == spoken


def test_long_text_is_split_quickly() -> None:
    assert len(split("世界，a，" * 2000 + "東京。" * 500, "auto")) == 4001


@pytest.mark.parametrize(
    ("text", "language", "symbols"),
    [
        ("<重|chong2>庆", "zh", "ch ong2 q ing4"),
        ("我在<重|chong2>庆", "auto", "w o3 z ai4 ch ong2 q ing4"),
        ("The <gif|JH IH1 F> here", "en", "DH AH0 JH IH1 F HH IY1 R"),
        ("Say {R AA1 N} now", "en", "S EY1 R AA1 N N AW1"),
        ("<橋|はし>", "ja", "h a ] sh i"),
        ("<銀行|ngan4 hong4>", "yue", "Yng Yan4 Yh Yong4"),
        ("<국|굼> 좋다", "ko", "ㄱ ㅜ ㅁ 空 ㅈ ㅗ ㅌ ㅏ ."),
    ],
)
def test_inline_pronunciation(text: str, language: str, symbols: str) -> None:
    assert " ".join(to_phones(text, language).symbols) == symbols


def test_inline_pronunciation_keeps_the_count_of_phones() -> None:
    phones = to_phones("我在<重|chong2>庆。", "zh")
    assert phones.normalised == "我在重庆." and phones.word2ph == (2, 2, 2, 2, 1) and len(phones.segments) == 1


def test_wrong_inline_pronunciation_is_named() -> None:
    with pytest.raises(DataError, match=r"<重\|foo>.*'foo'"):
        to_phones("<重|foo>庆", "zh")


def test_braces_around_anything_else_are_text() -> None:
    assert parts("{x yy} and") == ["{x yy} and"]
    assert plain("{hello there} <重|chong2>庆 {R AA1 N}") == "{hello there} 重庆 "


def test_corpus_leaves_inline_pronunciations_alone() -> None:
    assert normalise_text("在  <重|chong2>庆 ,好", "zh") == "在 <重|chong2>庆，好"
    assert normalise_text("say | {R AA1 N}!!", "en") == "say {R AA1 N}!"
    assert normalise_for_scoring("The <gif|JH IH1 F>", "en") == normalise_for_scoring("the gif", "en")


def test_mixed_text_finds_the_languages(shared_golden: Path) -> None:
    """The recorded segmentation takes some Chinese for Japanese (its model is the small one); else they agree."""
    wrong = {"今年是2024年，I was born in 1999。", "hello世界123안녕", "粤语：佢哋喺度食緊飯，very yummy。"}
    for row in json.loads((shared_golden / "text_mixed.json").read_text())["rows"]:
        recorded = [language for language, _ in row["segments"]]
        if row["text"] not in wrong and recorded != ["punctuation"]:
            assert [language for language, _ in split(row["text"], "auto")] == recorded, row["text"]


@pytest.mark.parametrize(
    ("text", "language"),
    [("3月5日は晴れです。", "ja"), ("2024年は暑い", "ja"), ("2024년은 더워요.", "ko"), ("3月5日放假。", "zh")],
)
def test_a_number_at_the_beginning_goes_with_what_follows(text: str, language: str) -> None:
    assert split(text, "auto") == [(language, text)]
