"""Texts are cut into speakable pieces and nothing is lost; the public methods cut where the public program does."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voiceclone.errors import ConfigError
from voiceclone.speaking.splitting import ALIASES, AUTO, METHODS, joined_lines, pieces_of, public_pieces, split_text

ANY_TEXT = st.text(alphabet="ab ,.!。，…\n3", max_size=300)


def test_sentences_of_both_scripts() -> None:
    text = "Hello there. It costs 3.50! 你好。再见？"
    assert split_text(text) == [
        "Hello there.",
        "It costs 3.50!",
        "你好。",
        "再见？",
    ]


@pytest.mark.parametrize("method", [AUTO, *METHODS])
def test_inline_pronunciations_stay_whole(method: str) -> None:
    text = "Say <three|TH R IY1> {F AO1 R , . N} times. " * 12
    pieces = pieces_of(text, method, "en")
    assert "".join(pieces).count("<three|TH R IY1> {F AO1 R , . N} times") == 12
    assert all(piece.count("{") == piece.count("}") for piece in pieces)


def test_marks_alone_are_dropped() -> None:
    assert split_text("... !? \n —") == []


@given(st.text(alphabet="ab ,.!。，\n", max_size=300), st.integers(5, 60))
def test_no_letter_is_lost_and_no_piece_is_too_long(text, limit) -> None:
    pieces = split_text(text, limit)
    assert re.sub(r"\W", "", "".join(pieces)) == re.sub(r"\W", "", text)
    assert all(len(piece) <= limit for piece in pieces)


@pytest.mark.parametrize("alias", sorted(ALIASES))
def test_public_methods_cut_as_recorded(shared_golden: Path, alias: str) -> None:
    rows = json.loads((shared_golden / "text_splitting.json").read_text(encoding="utf-8"))["rows"]
    assert len(rows) == 5
    for row in rows:
        assert "\n".join(METHODS[ALIASES[alias]](row["text"])) == row[alias]
        for language in ("zh", "en"):
            assert public_pieces(row["text"], alias, language) == row[f"pre_seg_text_{language}_{alias}"]


@pytest.mark.parametrize(
    ("method", "pieces"),
    [
        ("cut0", ["。One. Two, three! Four? Five. Six: seven, eight. Nine."]),
        ("cut1", ["。One. Two, three!", " Four? Five. Six: seven, eight. Nine."]),
        ("cut4", ["。One Two, three! Four? Five。", " Six: seven, eight。", " Nine。"]),
        ("cut5", ["One. Two,", " three!", " Four?", " Five.", " Six: seven,", " eight.", " Nine."]),
    ],
)
def test_methods_by_example(method: str, pieces: list[str]) -> None:
    text = "One. Two, three! Four? Five. Six: seven, eight. Nine."
    assert public_pieces(text, method, "zh") == public_pieces(text, ALIASES[method], "zh") == pieces


def test_a_point_in_a_number_is_no_end() -> None:
    assert METHODS["punctuation"]("It is 3.5. Or v2.0.1, said he. 7.") == [
        "It is 3.5.",
        " Or v2.0.1,",
        " said he.",
        " 7.",
    ]


def test_unknown_method_names_those_that_there_are() -> None:
    with pytest.raises(ConfigError, match=r"split 'cut9': no such method; expected auto, none, four-sentences"):
        pieces_of("Hello.", "cut9")


def test_without_text_there_is_no_piece() -> None:
    for method in (AUTO, *METHODS):
        assert pieces_of("", method) == pieces_of("\n\n", method) == pieces_of("...!", method) == []


@given(ANY_TEXT, st.sampled_from(sorted(METHODS)))
def test_public_methods_lose_no_letter(text, method) -> None:
    pieces = pieces_of(text, method, "en")
    assert re.sub(r"\W", "", "".join(pieces)) == re.sub(r"\W", "", text)
    assert all(len(piece) <= 510 for piece in pieces if re.search("[,.!。，…]", piece[:-1]))


@pytest.mark.parametrize(
    "text",
    [
        "Mr. Smith met Mrs. Jones and Dr. Brown at 5 p.m. on St. James St. yesterday.",
        "He works for Acme Inc. in Washington D.C. and the U.S. Army, e.g. as a clerk.",
        "J. R. R. Tolkien, George W. Bush and Prof. Lee came on Mon. at 9 a.m. to No. 5.",
        "See Fig. 3, vol. II, pp. 3-7 and so on, etc. in Jan. 2020, i.e. cats vs. dogs.",
        "1. First we eat.",
        "Approx. 5 ft. 3 in. tall, i.e. not very tall, cf. Fig. 2b.",
        "Dr. M. L. King Jr. spoke in Washington, D.C., on Aug. 28.",
        "Lt. Col. Sanders and Sgt. Pepper left Ft. Worth for the U.S. Supreme Court.",
        "Look at https://example.com/page?id=3!b and 3.50 or v2.0.1 now",
        "「すごい！」と彼は言った。",
        "“快跑！”小明喊道。",
        "“真的吗？”她问。",
        "그는 “가자!”라고 외쳤다.",
        "Ask Dr. Who about it.",
        '"Stop!" he said.',
        "He was born c. 1850 and died ca. 1900.",
        "The Rt. Hon. Tony Blair works at Yahoo! and likes it.",
        "See you on Fri. Jan. 5.",
        "On Mon. Mr. Smith came.",
        "彼はDr. Smithだ。",
        "他是Dr. Wang的学生。",
    ],
)
def test_one_sentence_stays_whole(text: str) -> None:
    assert split_text(text) == [text]


@pytest.mark.parametrize(
    "pieces",
    [
        ("It was cold in Dec.", "Snow fell."),
        ("See you on Fri.", "John will come."),
        ("Rent is due in Aug.", "Pay it."),
        ("他选A.", "我选B."),
    ],
)
def test_a_month_or_a_weekday_ends_its_sentence(pieces: tuple[str, str]) -> None:
    assert split_text(" ".join(pieces)) == list(pieces)


def test_abbreviations_end_sentences_too() -> None:
    assert split_text("We met at 5 p.m. Then we left. He lives in the U.S. It is big. I said no. Five left.") == [
        "We met at 5 p.m.",
        "Then we left.",
        "He lives in the U.S.",
        "It is big.",
        "I said no.",
        "Five left.",
    ]
    assert split_text("1. First. 2. Second.") == ["1. First.", "2. Second."]


@pytest.mark.parametrize(
    ("text", "joined"),
    [
        (
            "It was late when he came back and all the lights were out be-\nfore he had closed the door of his well-"
            "\nknown house.\n\nThen he slept.",
            "It was late when he came back and all the lights were out before he had closed the door of his"
            " well-known house.\n\nThen he slept.",
        ),
        (
            "This was typed by hand with a ragged\nmargin, so its lines\nare not all of one length but belong to one.",
            "This was typed by hand with a ragged margin, so its lines are not all of one length but belong to one.",
        ),
        (
            "他从小就喜欢在河边看船，每天放学以后都要去那\r\n里坐上一个小时，一直坐到太阳下山才肯回家吃\r\n饭。",
            "他从小就喜欢在河边看船，每天放学以后都要去那里坐上一个小时，一直坐到太阳下山才肯回家吃饭。",
        ),
        (
            "It was a dark and stormy night, and the rain fell in torrents on the\nold roofs of the town.\n",
            "It was a dark and stormy night, and the rain fell in torrents on the old roofs of the town.",
        ),
        ("Meet Mr.\nSmith at 5 p.m.\nsharp.\n", "Meet Mr. Smith at 5 p.m. sharp."),
        (
            "- an item of a list that is so long that it goes\n  on in the next line\n- another",
            "- an item of a list that is so long that it goes on in the next line\n- another",
        ),
    ],
)
def test_lines_of_a_page_are_joined(text: str, joined: str) -> None:
    assert joined_lines(text) == joined


@pytest.mark.parametrize(
    "text",
    [
        "Shall I compare thee to a summer's day?\nThou art more lovely and more temperate:\nRough winds do shake",
        "床前明月光，\n疑是地上霜。\n举头望明月，\n低头思故乡。",
        "milk\neggs\nbread",
        "- pens etc.\n- paper",
        "1. First do this.\n2. Then do that.\n3. Go home.",
        "The Title Of A Long Story About The Sea\nIt was late.",
        "“Where are you going?” asked the old woman.\n“To the market by the sea,” said the boy.",
    ],
)
def test_verse_and_lists_are_kept(text: str) -> None:
    assert joined_lines(text) == text


@pytest.mark.parametrize("method", sorted(METHODS))
def test_public_methods_join_no_lines(method: str) -> None:
    text = "It was late when he came back and all the lights were out be-\nfore he had closed the door."
    assert any("be-" in piece for piece in pieces_of(text, method, "en"))
