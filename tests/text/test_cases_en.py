"""English as people write it: ranges, times, money, versions, codes, Roman numerals, units, capitals, abbreviations."""

from __future__ import annotations

from pathlib import Path

import pytest

from voiceclone.files import read_tsv
from voiceclone.text.english import normalise, to_symbols
from voiceclone.text.english_abbreviations import ends_sentence
from voiceclone.text.english_g2p import pronounce_all
from voiceclone.text.frontend import to_phones

READINGS = read_tsv(Path(__file__).with_name("english_readings.tsv"), ("text", "reading"))


@pytest.mark.parametrize("row", READINGS, ids=lambda row: row["text"])
def test_readings(row: dict[str, str]) -> None:
    assert normalise(row["text"]) == row["reading"]


@pytest.mark.parametrize(
    ("sentence", "words", "letters"),
    [
        ("and a very BIG cake. PLEASE do not RUN, it is VERY wet.", "BIG PLEASE RUN VERY", ""),
        ("NASA and the USA and the FBI of the UK", "NASA", "USA FBI UK"),
        ("the WHO and IT in the US sat", "", "WHO IT US"),
        ("WHO DID IT? I AM SURE", "WHO DID IT AM SURE", ""),
        ("DON'T SHOUT, said the CEO of IBM", "DON'T SHOUT", "CEO IBM"),
        ("WOW, an NGO with two ATMs and HTML", "WOW", "NGO HTML"),
    ],
)
def test_capitals_stress_words_or_spell_them(sentence: str, words: str, letters: str) -> None:
    tokens = sentence.replace(",", " ,").replace(".", " .").replace("?", " ?").split()
    read = dict(zip(tokens, pronounce_all(tokens), strict=True))
    for word in words.split():
        assert read[word] == to_symbols(word.lower(), {}), word
    for word in letters.split():
        assert len([phone for phone in read[word] if phone[-1].isdigit()]) >= len(word), word


@pytest.mark.parametrize(
    ("before", "after", "ends"),
    [
        ("He met Dr.", " Brown.", False),
        ("It was 5 p.m.", " Then he left.", True),
        ("It was 5 p.m.", " Monday.", False),
        ("We live in the U.S.", " It is big.", True),
        ("the U.S.", " Army", False),
        ("by J. R.", " R. Tolkien", False),
        ("1.", " First", False),
        ("see No.", " 5", False),
        ("He said no.", " Five left.", True),
        ("Bring pens etc.", " for the test", False),
        ("It was good.", " Next", True),
    ],
)
def test_stops_of_abbreviations(before: str, after: str, ends: bool) -> None:
    assert ends_sentence(before, after) is ends


def test_cases_from_the_field(shared_cases: Path) -> None:
    """Words that the case file expects stand in the reading."""
    rows = [
        line.split("\t")
        for name in ("B08_B09_en.txt", "B12_split.txt", "B11_fractions_roman.txt")
        for line in (shared_cases / name).read_text(encoding="utf-8").splitlines()
        if line and line[0] != "#" and line.isascii()
    ]
    assert len(rows) >= 6
    for text, *_ in rows:
        normalised = to_phones(text, "en").normalised
        assert not any(character.isdigit() for character in normalised)
        assert ". " not in normalised or text.startswith("and a very BIG")
