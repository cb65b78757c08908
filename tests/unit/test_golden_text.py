"""The front end beside recordings of the public one: equal but for the differences that a table explains.

``golden_differences.tsv`` lists every recorded text that is read in another way, with its reason; all others have the
same phones, one for one.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from voiceclone.errors import DataError
from voiceclone.files import read_tsv
from voiceclone.text.frontend import to_phones

from .text_agreement import agreement

FILES = {"en": "text_en", "zh": "text_zh", "ja": "text_ja_plus", "ko": "text_ko", "yue": "text_yue"}
LEAST = {"en": 0.85, "zh": 0.91, "ja": 0.88, "ko": 0.93, "yue": 0.95}
"""Share of the recorded phones that are the same, differences on purpose counted as differences."""


def _explained(language: str) -> dict[str, str]:
    rows = read_tsv(Path(__file__).with_name("golden_differences.tsv"), ("language", "text", "reason"))
    found = {row["text"]: row["reason"] for row in rows if row["language"] == language}
    return {text.replace("\\n", "\n").replace("\\t", "\t"): reason for text, reason in found.items()}


def _read(text: str, language: str) -> tuple[str, ...]:
    try:
        return to_phones(text, language).symbols
    except DataError as error:
        assert "nothing" in error.message
        return ()


@pytest.mark.parametrize("language", sorted(FILES))
def test_differences_are_explained(shared_golden: Path, language: str) -> None:
    rows = json.loads((shared_golden / f"{FILES[language]}.json").read_text())["rows"]
    recorded = {row["text"]: tuple(row["phones"]) for row in rows if row["text"] and row["phones"]}
    explained = _explained(language)
    read = {text: _read(text, language) for text in recorded}
    assert {text for text in read if read[text] != recorded[text]} == explained.keys()
    assert all(explained.values())
    assert agreement((read[text], recorded[text]) for text in read) > LEAST[language]


def _pairs(rows: list[dict[str, list[str]]], language: str) -> list[tuple[tuple[str, ...], list[str]]]:
    from voiceclone.text import cantonese, english, japanese, korean, mandarin

    readers = {
        "en": lambda text: english.to_symbols(text, {}),
        "zh": lambda text: mandarin.to_symbols(text, {})[0],
        "ja": lambda text: japanese.to_symbols(text, {}),
        "ko": lambda text: korean.to_symbols(korean.normalise(text), {}),  # the public one has no step of its own
        "yue": lambda text: cantonese.to_symbols(text, {})[0],
    }
    return [(readers[language](row["normalized"]), row["phones"]) for row in rows if len(row["phones"]) > 3]


@pytest.mark.parametrize(
    ("language", "least"), [("zh", 0.98), ("ja", 0.9999), ("ko", 0.98), ("yue", 0.99), ("en", 0.95)]
)
def test_phones_of_given_text(shared_golden: Path, language: str, least: float) -> None:
    """Given the public normalisation; what is left is in the table too, or a fault of that normalisation."""
    rows = json.loads((shared_golden / f"{FILES[language]}.json").read_text())["rows"]
    assert agreement(_pairs(rows, language)) > least
