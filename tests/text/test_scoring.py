"""What counts as an error between a text and what was heard."""

from __future__ import annotations

import pytest

from voiceclone.text.wer import word_errors


@pytest.mark.parametrize(
    ("said", "heard", "errors"),
    [
        ("The ferry left the harbour; it's grey.", "the ferry left the harbor it is gray", 0),
        ("He travelled to the theatre on the twenty-third.", "He traveled to the theater on the 23rd.", 0),
        ("Mister Nakamura realised it.", "Mr. Nakamura realized it!", 0),
        ("four hours at our house", "for ours at or house", 3),
        ("a rise of flour", "a rice of floor", 2),
    ],
)
def test_spelling_is_no_error_and_another_word_is(said, heard, errors) -> None:
    assert word_errors(said, heard, "en").errors == errors
