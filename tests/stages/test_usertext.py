"""Text files of people: every encoding of the field, told or detected, or one error with file, line and way out."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voiceclone.config.load import as_utf8, read_yaml
from voiceclone.errors import ConfigError, DataError
from voiceclone.usertext import decode, read_user_text, read_user_tsv, unquoted

SENTENCES = Path(__file__).resolve().parents[2] / "resources" / "sentences"
WESTERN = [
    "Café prices rose.",
    "A naïve résumé.",
    "Über die Straße gehen wir früh.",
    "It’s “fine” – really…",
    "£5 or 5€",
]
ENCODINGS = {
    "zh": ["gbk", "gb18030"], "ja": ["cp932", "euc_jp"], "ko": ["euc_kr", "cp949"], "yue": ["big5hkscs", "gb18030"],
    "en": ["cp1252"],
}  # fmt: skip
CASES = [(language, encoding) for language, encodings in ENCODINGS.items() for encoding in encodings]


def lines_of(language: str) -> list[str]:
    """Plain sentences of a language, one a line: a word or a tongue twister alone can be as plain in two encodings."""
    if language == "en":
        return WESTERN
    lines = (SENTENCES / f"{language}.txt").read_text(encoding="utf-8").splitlines()
    return [line.split("\t")[1] for line in lines if line.endswith("plain") or line.count("\t") == 1]


@pytest.mark.parametrize(("language", "encoding"), CASES)
def test_single_sentences_are_told_by_their_characters(language: str, encoding: str) -> None:
    for line in lines_of(language):
        data = line.encode(encoding, "ignore")
        assert decode(data, "x", [language]) == data.decode(encoding)


@pytest.mark.parametrize(("language", "encoding"), CASES)
def test_no_sentence_is_read_wrongly_where_the_language_is_unknown(language: str, encoding: str) -> None:
    for line in lines_of(language):
        data = line.encode(encoding, "ignore")
        assert decode(data, "x") == data.decode(encoding)


@pytest.mark.parametrize("language", sorted(ENCODINGS))
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_unicode_with_and_without_mark(language: str, encoding: str) -> None:
    text = "word\tphones\n" + "\n".join(f"{line}|EN" for line in lines_of(language)) + "\n"
    assert decode(text.encode(encoding), "x") == text


@given(st.text(st.characters(exclude_characters="\r\0", exclude_categories=["Cs"])))
def test_utf8_is_always_itself(text: str) -> None:
    assert decode(text.encode(), "x").lstrip("\ufeff") == text.lstrip("\ufeff")


@given(st.binary(max_size=200))
def test_any_bytes_are_text_or_one_error_that_names_file_and_line(data: bytes) -> None:
    try:
        decode(data, "mine.tsv")
    except DataError as error:
        assert "mine.tsv: line " in str(error) and "UTF-8" in str(error)


@pytest.mark.parametrize("languages", [[], ["zh"]])
@pytest.mark.parametrize("encoding", ["gbk", "big5"])
def test_traditional_characters(encoding: str, languages: list[str]) -> None:
    for line in [
        "銀行行長說話很快，請大家注意聽。",
        "a.wav|anna|zh|銀行長",
        "臺灣的天氣很熱。",
        "我愛你",
        "這是測試。",
    ]:
        assert decode(line.encode(encoding), "x", languages) == line


def test_an_encoding_can_be_told(tmp_path: Path) -> None:
    path = tmp_path / "words.tsv"
    path.write_bytes("# coding: cp1250\nslovo\tźdźbło".encode("cp1250"))
    assert read_user_text(path) == "\nslovo\tźdźbło"
    path.write_bytes(b"# coding: klingon\nx")
    with pytest.raises(DataError, match=r"words\.tsv: line 1: 'klingon'"):
        read_user_text(path)


def test_what_fits_nothing_names_the_line(tmp_path: Path) -> None:
    path = tmp_path / "words.tsv"
    path.write_bytes(b"plain\nplain\n\xff\xfe\xfd\x81\x8d broken\n")
    with pytest.raises(DataError, match=r"words\.tsv: line 3 is not UTF-8.*(?s:.)*coding: gbk"):
        read_user_text(path)
    with pytest.raises(DataError, match=r"absent\.tsv: cannot be read"):
        read_user_text(tmp_path / "absent.tsv")


def test_line_ends_of_every_system() -> None:
    assert decode(b"a\r\nb\rc\nd", "x") == "a\nb\nc\nd"


@pytest.mark.parametrize(
    ("cell", "meant"),
    [
        ('"He said ""hi""."', 'He said "hi".'), ('"One, two."', "One, two."), ('"A quotation."', '"A quotation."'),
        ('"Hello" he said', '"Hello" he said'), ("plain", "plain"), ('"', '"'), ("", ""),
        ('"""Hi."""', '"Hi."'),
    ],
)  # fmt: skip
def test_quotes_of_spreadsheets(cell: str, meant: str) -> None:
    assert unquoted(cell) == meant


def test_a_mark_decides_what_counts_as_quoted() -> None:
    assert unquoted('"One, two."', marks="") == '"One, two."'
    assert unquoted('"He said ""hi""."', marks="") == 'He said "hi".'


def test_tables_name_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "en.tsv"
    path.write_text('# mine\nword\tphones\tnote\n\nGIF\tJH IH1 F\n"a, b"\tEY1\tx\n', encoding="utf-16")
    assert read_user_tsv(path, ["word", "phones"]) == [
        (4, {"word": "GIF", "phones": "JH IH1 F", "note": ""}),
        (5, {"word": "a, b", "phones": "EY1", "note": "x"}),
    ]
    path.write_text("word\tphones\na\tb\tc\n")
    with pytest.raises(DataError, match=r"en\.tsv: line 2 has 3 cells"):
        read_user_tsv(path, ["word"])


def test_a_configuration_in_another_encoding(tmp_path: Path) -> None:
    path, copy = tmp_path / "config.yaml", tmp_path / "copy.yaml"
    path.write_text("seed: 1\n")
    assert as_utf8(str(path), str(copy)) == str(path) and not copy.exists()
    path.write_bytes('transcribe: {prompts: {zh: "这是一段中文录音。"}}\n'.encode("gbk"))
    assert as_utf8(str(path), str(copy)) == str(copy)
    assert read_yaml(copy) == read_yaml(path) == {"transcribe": {"prompts": {"zh": "这是一段中文录音。"}}}
    path.write_bytes(b"a: \xff\x81\x8d\n")
    with pytest.raises(ConfigError, match=r"config\.yaml: line 1"):
        as_utf8(str(path), str(copy))
    assert as_utf8(str(tmp_path / "absent.yaml"), str(copy)) == str(tmp_path / "absent.yaml")


@pytest.mark.parametrize(
    ("text", "encoding", "language"),
    [
        ("Don’t go.", "cp1252", "en"),
        ("a.wav|anna|en|Don’t go.", "cp1252", ""),
        ("佢哋喺度食嘢，唔該晒。", "big5hkscs", "yue"),
        ("It’s a café.", "mac_roman", ""),
        ("Señor Muñoz", "mac_roman", "en"),
        ("漢字와 한글", "cp949", "ko"),
        ("ｶﾞﾗｽのｺｯﾌﾟ", "cp932", "ja"),
        ("東京", "iso2022_jp", ""),
        ("嗯", "gbk", "zh"),
    ],
)
def test_short_texts_are_told_too(text: str, encoding: str, language: str) -> None:
    assert decode(text.encode(encoding), "x", [language] if language else []) == text


@pytest.mark.parametrize(("text", "encoding"), [("Señor Muñoz", "cp437"), ("瀡滑梯", "big5"), ("안녕하세요", "johab")])
def test_what_is_not_plain_is_refused(text: str, encoding: str) -> None:
    with pytest.raises(DataError, match="line 1 is not UTF-8"):
        decode(text.encode(encoding), "x", ["en"])
