"""The text front end as a whole: any text in, phones or a reason out."""

from __future__ import annotations

import cProfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voiceclone.errors import ConfigError, DataError
from voiceclone.files import write_tsv
from voiceclone.languages import MODES
from voiceclone.text.frontend import LONGEST_TEXT, to_phones
from voiceclone.text.lexicon import Lexicon, read_lexicon
from voiceclone.text.symbols import SYMBOLS

SCRIPTS = st.one_of(
    *(st.characters(min_codepoint=first, max_codepoint=last) for first, last in (
        (0x20, 0x7E), (0x3000, 0x30FF), (0x4E00, 0x9FFF), (0xAC00, 0xD7A3), (0x3131, 0x318E), (0xFF01, 0xFF9F)
    ))
)  # fmt: skip


def test_english() -> None:
    phones = to_phones("Hello, world!", "en")
    assert " ".join(phones.symbols) == "HH AH0 L OW1 , W ER1 L D !"
    assert phones.ids.dtype == np.int64 and [SYMBOLS[i] for i in phones.ids] == list(phones.symbols)
    assert phones.word2ph is None and phones.normalised == "Hello, world!"


def test_short_english_begins_with_a_comma() -> None:
    assert to_phones("Hi", "en").symbols == (",", "HH", "AY1")


def test_mandarin_counts_phones_by_character() -> None:
    phones = to_phones("你好，世界。", "zh")
    assert " ".join(phones.symbols) == "n i2 h ao3 , sh ir4 j ie4 ."
    assert phones.word2ph == (2, 2, 1, 2, 2, 1) and len(phones.normalised) == 6


def test_mixed_text_is_read_by_script() -> None:
    phones = to_phones("AI技术和5G网络", "zh")
    assert [run.language for run in phones.segments] == ["en", "zh", "en", "zh"]
    assert " ".join(phones.symbols) == "EY1 AY1 j i4 sh u4 h e2 w u3 JH IY1 w ang3 l uo4"
    assert phones.word2ph is None
    assert to_phones("你好 world", "en").symbols == ("n", "i2", "h", "ao3", "W", "ER1", "L", "D")
    assert to_phones("A股", "zh").symbols == ("EY1", "g", "u3")


@pytest.mark.parametrize("language", sorted(MODES))
@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        (" \t\n ", "empty"),
        ("\x00\x07", "empty"),
        ("😀🎉", "nothing"),
        ("?!.", "nothing"),
        ("Привет мир", "script"),
        ("x" * (LONGEST_TEXT + 1), "10001 characters"),
    ],
)
def test_what_cannot_be_spoken_says_why(text: str, language: str, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        to_phones(text, language)


def test_unsupported_language() -> None:
    with pytest.raises(DataError, match="'de'"):
        to_phones("Guten Tag", "de")


def test_control_characters_and_emoji_do_not_change_the_phones() -> None:
    assert to_phones("Hello\u200b,\x07 world!😀", "en").symbols[-4:] == ("ER1", "L", "D", "!")
    assert to_phones("👋你好😀！", "zh").symbols == ("n", "i2", "h", "ao3", "!")


@settings(max_examples=300, deadline=None)
@given(text=st.text(max_size=40) | st.text(SCRIPTS, max_size=40), language=st.sampled_from(sorted(MODES)))
def test_any_text_gives_phones_or_a_data_error(text: str, language: str) -> None:
    try:
        phones = to_phones(text, language)
    except DataError as error:
        assert error.message
        return
    assert len(phones.ids) == len(phones.symbols) > 0
    assert phones.symbols == tuple(symbol for run in phones.segments for symbol in run.symbols)
    if phones.word2ph is not None:
        assert sum(phones.word2ph) == len(phones.symbols) and len(phones.word2ph) == len(phones.normalised)


@settings(max_examples=100, deadline=None)
@given(text=st.text(alphabet="0123456789.,:/-%$￥年月日点kmhA个一不 '", min_size=1, max_size=25))
def test_any_number_is_read(text: str) -> None:
    for language in sorted(MODES):
        try:
            to_phones(text, language)
        except DataError as error:
            assert "nothing" in error.message or "empty" in error.message


UNITS = (
    "1", "年", "好1", "1:", "1-", "a-", "A.", "é ", "あ好", "가a", "😀", "<a|", "。", "٣", "א", "\ud800",
)  # fmt: skip


def calls(text: str, language: str) -> int:
    """Calls of functions that a text costs: work without a clock."""
    profile = cProfile.Profile()
    profile.enable()
    with suppress(DataError):
        to_phones(text, language)
    profile.disable()
    return sum(entry.callcount for entry in profile.getstats())


@pytest.mark.parametrize("language", ["en", "zh", "ja", "ko", "yue", "auto"])
def test_work_grows_with_the_length_at_most(language: str) -> None:
    for unit in UNITS:
        short, long = (unit * 100)[:100], (unit * 400)[:400]
        calls(long, language)  # reads dictionaries and fills the caches
        assert calls(long, language) <= 6 * calls(short, language) + 20_000, unit


def test_the_longest_text_is_read_and_a_longer_one_refused() -> None:
    assert len(to_phones("好。" * 5000, "zh").ids) == 15_000
    with pytest.raises(DataError, match="at most 10000"):
        to_phones("好" * 10_001, "zh")


def test_digits_of_other_scripts_are_digits() -> None:
    for language in ("en", "zh", "ja", "ko", "yue"):
        assert to_phones("٣ ६", language).symbols == to_phones("3 6", language).symbols


def test_a_run_of_digits_without_end_has_pauses() -> None:
    for language in ("en", "zh", "ja", "ko", "yue"):
        assert to_phones("1" * 90, language).symbols.count(",") == 2, language


def test_lexicon_files(tmp_path: Path) -> None:
    english, chinese = tmp_path / "en.tsv", tmp_path / "zh.tsv"
    write_tsv(english, ["word", "phones"], [{"word": "GIF", "phones": "JH IH1 F"}])
    write_tsv(chinese, ["word", "phones"], [{"word": "重庆", "phones": "chong2 qing4"}])
    lexicon = read_lexicon([english, chinese])
    assert to_phones("A gif here.", "en", lexicon).symbols[1:4] == ("JH", "IH1", "F")
    assert to_phones("重庆GIF", "zh", lexicon).symbols == ("ch", "ong2", "q", "ing4", "JH", "IH1", "F")
    assert lexicon.used_in("a GIF") == {"en": {"gif": ["JH", "IH1", "F"]}}
    assert Lexicon().used_in("a GIF") == {}


def test_lexicon_keeps_latin_words_in_the_language() -> None:
    lexicon = Lexicon({"ja": {"gpu": ("ジーピーユー",)}, "ko": {"gpu": ("지피유",)}, "yue": {"好": ("hou3",)}})
    assert to_phones("GPUを", "ja", lexicon).symbols == to_phones("ジーピーユーを", "ja").symbols
    assert to_phones("GPU와", "ko", lexicon).symbols == to_phones("지피유와", "ko").symbols
    assert to_phones("好", "yue", lexicon).symbols == ("Yh", "You3")
    assert to_phones("GPUを", "ja").segments[0].language == "en"


@pytest.mark.parametrize(
    ("name", "word", "phones", "message"),
    [
        ("en", "gif", "JH XX F", "XX"),
        ("en", "gif", "", "no phones"),
        ("ja", "今日", "kyou", "kana"),
        ("ko", "맛있다", "masitta", "Hangul"),
        ("yue", "銀行", "ngan4 hong9", "Jyutping"),
        ("zh", "重庆", "chong2", "per character"),
        ("zh", "重庆", "chong2 qing9", "per character"),
        ("de", "haus", "HH AW1 S", "'de'"),
    ],
)
def test_wrong_lexicon_names_the_word(tmp_path: Path, name: str, word: str, phones: str, message: str) -> None:
    table = tmp_path / f"{name}.tsv"
    write_tsv(table, ["word", "phones"], [{"word": word, "phones": phones}])
    with pytest.raises(ConfigError, match=message):
        read_lexicon([table])
