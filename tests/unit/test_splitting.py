"""Texts are cut into speakable pieces and nothing is lost."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from voiceclone.inference.splitting import split_text


def test_sentences_of_both_scripts() -> None:
    text = "Hello there. It costs 3.50! 你好。再见？"
    assert split_text(text) == [
        "Hello there.",
        "It costs 3.50!",
        "你好。",
        "再见？",
    ]


def test_marks_alone_are_dropped() -> None:
    assert split_text("... !? \n —") == []


@given(st.text(alphabet="ab ,.!。，\n", max_size=300), st.integers(5, 60))
def test_no_letter_is_lost_and_no_piece_is_too_long(text, limit) -> None:
    pieces = split_text(text, limit)
    assert re.sub(r"\W", "", "".join(pieces)) == re.sub(r"\W", "", text)
    assert all(len(piece) <= limit for piece in pieces)
