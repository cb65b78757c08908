"""The step of characters before every language, and what is named when nobody can read it."""

from __future__ import annotations

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voiceclone.corpus.normalise import normalise_text, unread_flags
from voiceclone.languages import SUPPORTED
from voiceclone.text.cache import CachedFrontend
from voiceclone.text.characters import describe, fold
from voiceclone.text.frontend import to_phones


@pytest.mark.parametrize(
    ("written", "plain"),
    [
        ("com\u00adpu\u200bter\ufeff", "computer"),
        ("ﬁve oﬃces", "five offices"),
        ("𝗛𝗲𝗹𝗹𝗼 𝓌ℴ𝓇𝓁𝒹 ⓗ🅷", "Hello world hH"),
        ("ＡＢＣ１２３％", "ABC123%"),
        ("Нello, раypal", "Hello, paypal"),
        ("10\u00a0000 and 5\u2009km", "10,000 and 5 km"),
        ("H̷e̷l̷l̷o̷ 1\ufe0f\u20e3", "Hello 1"),
        ("left\u2029right\x85on\r\nend", "left\nright\non\nend"),
        ("½ cup, 1½ cups, ¹⁄₃, 5⁄8", "1/2 cup, 1 1/2 cups, 1/3, 5/8"),
        ("x² and 10³, CO₂, 5 m²", "x squared and 10 cubed, CO2, 5 m²"),
        ("part Ⅳ, Henry Ⅷ", "part 4, Henry VIII"),
        ("① one ②③", "1 one 2 3"),
        ("α-rays", " alpha -rays"),
        ("№ 5, Tiếng Việt, œuvre", "No.  5, Tieng Viet, oeuvre"),
    ],
)
def test_english(written: str, plain: str) -> None:
    assert fold(written, "en") == plain


@pytest.mark.parametrize(
    ("written", "language", "plain"),
    [
        ("⼀个⼈，⻢⻋", "zh", "一个人，马车"),
        ("他说︰好﹐行﹗", "zh", "他说：好，行！"),
        ("第Ⅳ章和Ⅱ型，第IV章和II型", "zh", "第四章和二型，第四章和二型"),
        (
            "最终幻想VII重制版，路易XIV世，XX公司，VI设计，V型",
            "zh",
            "最终幻想七重制版，路易十四世，XX公司，VI设计，V型",
        ),
        ("1½杯，½杯", "yue", "1又1/2杯，1/2杯"),
        ("人々", "zh", "人人"),
        ("赤いﾊﾞｽとﾎﾟｽﾄ｡", "ja", "赤いバスとポスト。"),
        ("第Ⅲ章と½杯、x²", "ja", "第3章と1/2杯、xの2乗"),
        ("𠮟る山﨑、ＡＢＣ", "ja", "叱る山崎、ＡＢＣ"),
        ("Ⅱ장, 제IV장, 10²", "ko", "이장, 제사장, 10의 제곱"),
        ("Ⅱ장", "zh", "이장"),
    ],
)
def test_other_languages(written: str, language: str, plain: str) -> None:
    assert fold(written, language) == plain


@given(st.text(max_size=30), st.sampled_from(sorted(SUPPORTED)))
def test_plain_text_stays(text: str, language: str) -> None:
    folded = fold(text, language)
    assert text != text.encode("ascii", "ignore").decode() or folded == text.replace("\r\n", "\n").translate(
        dict.fromkeys((0x0B, 0x0C, 0x0D, 0x1C, 0x1D, 0x1E), "\n")
    )


@pytest.mark.parametrize(
    ("language", "text", "lost"),
    [
        ("en", "smile 😀 now", "😀"),
        ("en", "a ★ 5% & 60° #1 a@b.com €5", "★"),
        ("zh", "我😀好，话¹是", "😀¹"),
        ("zh", "20℃，10%，a+b=c，①②，㎏，$5，A&B，√2≈1.4，5²", ""),
        ("zh", "好\u4db6的", "\u4db6"),
        ("yue", "★星，$5-$10，680呎", "★"),
        ("ja", "好😀、\U00020089だ、気温は5℃〜8℃", "\U00020089😀"),
        ("ko", "😀 안녕★ 5%", "😀★"),
    ],
)
def test_what_is_not_read_is_named(language: str, text: str, lost: str) -> None:
    assert to_phones(text, language).unread == tuple(lost)
    assert "UNK" not in to_phones(f"ok{text[0]}", "ko").symbols


@pytest.mark.parametrize("language", ["en", "zh", "yue", "ko"])
def test_they_leave_no_phones(language: str) -> None:
    said = {"en": "good day", "zh": "你好", "yue": "你好", "ko": "안녕"}[language]
    assert to_phones(f"{said}😀", language).symbols == to_phones(said, language).symbols


def test_speaking_warns_once(caplog: pytest.LogCaptureFixture) -> None:
    frontend = CachedFrontend()
    with caplog.at_level(logging.WARNING):
        frontend.prepare(["我😀好。", "你好。"], "zh")
        frontend.read("我😀好。", "zh")
    assert [record.getMessage() for record in caplog.records] == [
        "'我😀好。': left out, as nobody can read it: 😀 (U+1F600)"
    ]
    assert describe("\u200b") == "U+200B"


def test_the_corpus_flags_them_and_keeps_what_is_read() -> None:
    assert unread_flags("我😀好 [music]", "zh") == ("unread:😀",)
    assert unread_flags("你好。", "zh") == unread_flags("Grüße", "de") == unread_flags("😀", "en") == ()
    assert normalise_text("气温20℃，5㎏😀", "zh") == "气温20℃，5㎏"


def test_the_lexicon_gives_a_character_its_reading() -> None:
    from voiceclone.text.lexicon import Lexicon

    phones = to_phones("好\u4db6", "zh", Lexicon({"zh": {"\u4db6": ("ma3",)}}))
    assert phones.unread == () and phones.symbols[-2:] == ("m", "a3")
