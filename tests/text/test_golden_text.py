"""The front end beside recordings of the public one: equal but for the differences that a table explains.

``golden_differences.tsv`` lists every recorded text that is read in another way, with its reason; all others have the
same phones, one for one. Its column ``kind``: ``better``, the recorded reading is wrong to a listener and the reason
says in what; ``pipeline``, the recorded reader alone spells or drops words in Latin letters, and we read what the
public pipeline as a whole reads, which is recorded too; ``other``, a difference that counts as a fault. ``pytest -s``
prints the shares of equal phones.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import pytest
from tests.support.text_agreement import agreement, distance

from voiceclone.errors import DataError
from voiceclone.files import read_tsv
from voiceclone.text import cantonese, english, japanese, korean, mandarin
from voiceclone.text.frontend import to_phones

FILES = {"en": "text_en", "zh": "text_zh", "ja": "text_ja_plus", "ko": "text_ko", "yue": "text_yue"}
#: Bounds of the raw agreement, 1 - edits / recorded phones: differences on purpose count as differences.
RAW = {"en": 0.865, "zh": 0.935, "ja": 0.889, "ko": 0.93, "yue": 0.95}
#: The same, given the recorded normalisation, so that only its phones are compared.
RAW_GIVEN = {"en": 0.96, "zh": 0.985, "ja": 0.9999, "ko": 0.989, "yue": 0.996}
READERS = {
    "en": lambda text: english.to_symbols(text, {}),
    "zh": lambda text: mandarin.to_symbols(text, {})[0],
    "ja": lambda text: japanese.to_symbols(text, {}),
    "ko": lambda text: korean.to_symbols(korean.normalise(text), {}),  # the public one has no step of its own
    "yue": lambda text: cantonese.to_symbols(text, {})[0],
}


@cache
def _differences(language: str) -> dict[str, dict[str, str]]:
    rows = read_tsv(Path(__file__).with_name("golden_differences.tsv"), ("language", "text", "kind", "reason"))
    found = {row["text"].replace("\\n", "\n").replace("\\t", "\t"): row for row in rows if row["language"] == language}
    assert all(row["reason"] and row["kind"] in ("better", "pipeline", "other") for row in found.values())
    return found


def _rows(folder: Path, language: str) -> list[dict[str, list[str]]]:
    rows = json.loads((folder / f"{FILES[language]}.json").read_text())["rows"]
    return [row for row in rows if row["text"] and row["phones"]]


def _read(text: str, language: str) -> tuple[str, ...]:
    try:
        return to_phones(text, language).symbols
    except DataError as error:
        assert "nothing" in error.message
        return ()


@pytest.mark.parametrize("language", sorted(FILES))
def test_differences_are_explained_and_few(shared_golden: Path, language: str) -> None:
    recorded = {str(row["text"]): tuple(row["phones"]) for row in _rows(shared_golden, language)}
    pairs = {text: (_read(text, language), phones) for text, phones in recorded.items()}
    assert {text for text, (ours, phones) in pairs.items() if ours != phones} == _differences(language).keys()
    raw = agreement(pairs.values())
    print(f"\n{language}: from the text, {raw:.1%} of phones as recorded")
    assert raw > RAW[language]


@pytest.mark.parametrize("language", ["zh", "ja", "ko", "yue"])
def test_latin_words_are_read_as_by_the_whole_pipeline(shared_golden: Path, language: str) -> None:
    """But for a comma that the public pipeline puts before an English word of fewer than four phones."""
    rows = json.loads((shared_golden / f"text_{language}.json").read_text())["rows"]
    texts = {text for text, row in _differences(language).items() if row["kind"] == "pipeline"}
    assert texts
    for row in (row for row in rows if row["text"] in texts):
        ours = to_phones(row["text"], language).ids.tolist()
        assert min(distance(ours, part["ids"]) for part in row["preprocessor"]) <= 1, row["text"]


@pytest.mark.parametrize("language", sorted(FILES))
def test_phones_of_given_text_agree(shared_golden: Path, language: str) -> None:
    """Given the public normalisation; what is left is in the table too, or a fault of that normalisation."""
    pairs = {
        str(row["text"]): (tuple(READERS[language](row["normalized"])), tuple(row["phones"]))
        for row in _rows(shared_golden, language)
        if len(row["phones"]) > 3
    }
    share = agreement(pairs.values())
    print(f"\n{language}: given the spoken text, {share:.1%} of phones as recorded")
    assert share > RAW_GIVEN[language]
