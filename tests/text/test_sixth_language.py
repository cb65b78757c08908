"""The language that docs/code.md adds: its diff applies, and every room knows the language then."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

USE = r"""
import json
from pathlib import Path

import voiceclone.config
from voiceclone.corpus.filters import repeated_phrase
from voiceclone.corpus.listfile import ListEntry, read_list, write_list
from voiceclone.corpus.normalise import normalise_text, unread_flags
from voiceclone.text.wer import word_errors
from voiceclone.languages import LANGUAGES
from voiceclone.report.words import language_name
from voiceclone.speaking.reference import with_end_mark
from voiceclone.text.frontend import to_phones
from voiceclone.text.lexicon import read_lexicon

lexicon = Path("eo.tsv")
lexicon.write_text("word\tphones\nvoiceclone\tV OY1 S K L OW2 N\n", encoding="utf-8")
write_list(Path("a.list"), [ListEntry("a.wav", "anna", "eo", "Saluton!")])
mixed = to_phones("Mi diris 안녕 al 5 homoj", "eo")
errors = word_errors("Ĉu vi venos?", "ĉu li venos", "eo")
sentences = [line.split("\t") for line in Path("resources/sentences/eo.txt").read_text(encoding="utf-8").splitlines()]
print(json.dumps({
    "phones": to_phones("Ĉiuj ŝafoj.", "eo").symbols,
    "short": to_phones("Ne", "eo").symbols,
    "runs": [run.language for run in mixed.segments],
    "spoken": mixed.normalised,
    "inline": to_phones("[[GIF|JH IH1 F]] kaj ☂", "eo").unread,
    "lexicon": to_phones("voiceclone", "eo", read_lexicon([lexicon])).symbols,
    "sentences": [len(to_phones(text, "eo").ids) > 20 for _, text in sentences],
    "smoke": len(to_phones(LANGUAGES["eo"].smoke_text, "eo").ids),
    "list": [(Path("a.list").read_text(encoding="utf-8"), entry.language) for entry in read_list(Path("a.list"))],
    "clean": normalise_text("Saluton  ， mondo 。", "eo"),
    "flags": unread_flags("Saluton ☂", "eo"),
    "looping": repeated_phrase("jes " * 7, "eo"),
    "errors": [errors.errors, errors.words],
    "name": language_name("eo"),
    "end": with_end_mark("Saluton", "eo"),
}))
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """What the code of the diff makes of texts in the new language."""
    copy = tmp_path_factory.mktemp("copy")
    for folder in ("workflow/voiceclone", "workflow/schemas", "resources/sentences"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
    page = (ROOT / "docs" / "code.md").read_text(encoding="utf-8")
    diff = re.search(r"```diff\n(.*?)```", page, re.DOTALL)
    assert diff is not None
    subprocess.run(["git", "apply", "-"], cwd=copy, input=diff[1].encode(), check=True)
    environment = os.environ | {"PYTHONPATH": str(copy / "workflow"), "PYTHONUTF8": "1"}
    done = subprocess.run(
        [sys.executable, "-c", USE], cwd=copy, env=environment, capture_output=True, text=True, encoding="utf-8"
    )
    assert done.returncode == 0, done.stderr
    answers: dict[str, object] = json.loads(done.stdout)
    return answers


def test_front_end_reads_it(found: dict[str, object]) -> None:
    assert found["phones"] == ["CH", "IY1", "UW0", "Y", "SH", "AA1", "F", "OW0", "Y", "."]
    assert found["short"] == ["N", "EH1"]
    assert found["runs"] == ["eo", "ko", "eo"] and found["spoken"] == "mi diris 안녕 al kvin homoj"
    assert found["lexicon"] == ["V", "OY1", "S", "K", "L", "OW2", "N"]
    assert found["inline"] == ["☂"] and found["sentences"] == [True, True]


def test_other_rooms_know_it(found: dict[str, object]) -> None:
    assert found["list"] == [["a.wav|anna|EO|Saluton!\n", "eo"]]
    assert found["clean"] == "Saluton, mondo." and found["flags"] == ["unread:☂"] and found["looping"] == "jes"
    assert found["errors"] == [1, 3]  # counted in words
    assert found["name"] == "Esperanto" and found["end"] == "Saluton." and found["smoke"] == 22
