"""A stage's revision follows the code that it runs.

When the first test fails, an edit reaches the stages that it lists. Decide whether they still write the same output:
``python -m voiceclone.lineage.revisions same`` (or ``changed``, where results differ) ``STAGE ...`` records it.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from voiceclone.files import read_json, write_json
from voiceclone.lineage import revisions as module
from voiceclone.stages import STAGES

#: A library of two modules; its stage reaches a function, a constant, a class and a table of words.
RUN = '''
"""A stage."""
import logging
from voiceclone.helper import louder

log = logging.getLogger(__name__)
WORDS = "words.tsv"

def run(args):
    """Do it."""
    from voiceclone.helper import Reader
    log.info("starts")
    if not args:
        raise ValueError(f"expected {args}")
    return louder(Reader(WORDS).read(args))

def not_reached():
    return 1
'''
HELPER = """
GAIN = 2

def louder(x: float) -> float:
    return x * GAIN

class Reader:
    def __init__(self, file): self.file = file
    def read(self, x): return x
"""


def digest(folder: Path, monkeypatch: pytest.MonkeyPatch, run: str = RUN, helper: str = HELPER, **more: str) -> str:
    folder.mkdir(exist_ok=True)
    for name, text in ({"work_py": run, "helper_py": helper, "words_tsv": "a\n"} | more).items():
        (folder / name.replace("_", ".")).write_text(text)
    monkeypatch.setattr(module, "LIBRARY", folder)
    return module._Sources().digest([("voiceclone.work", "run")])


def test_every_stage_and_cache_is_recorded() -> None:
    digests, record = module.derive(), read_json(module.RECORD)
    assert record.keys() == digests.keys() == STAGES.keys() | module.CACHES.keys()
    edited = [name for name, value in digests.items() if value not in record[name]["same"]]
    assert not edited, f"the sources of {edited} changed; see the docstring of this file"


@pytest.mark.parametrize(
    ("run", "helper"),
    [
        (RUN.replace("Do it.", "Do it well."), HELPER),
        (RUN.replace('log.info("starts")', 'log.warning("starts %s", args)'), HELPER),
        (RUN.replace("expected {args}", "expected something else than {args!r}"), HELPER),
        (RUN.replace("return 1", "return 2"), HELPER),
        (RUN, HELPER.replace("x: float", "x: int")),
        (RUN, HELPER.replace("GAIN = 2", "#: in dB\nGAIN = 2\nUNUSED = 3")),
    ],
    ids=["docstring", "log", "words of an error", "not reached", "annotation", "comment"],
)
def test_what_cannot_change_a_result_changes_no_revision(tmp_path: Path, monkeypatch, run: str, helper: str) -> None:
    assert digest(tmp_path / "a", monkeypatch) == digest(tmp_path / "b", monkeypatch, run, helper)


@pytest.mark.parametrize(
    ("run", "helper", "more"),
    [
        (RUN.replace("louder(", "-louder("), HELPER, {}),
        (RUN.replace("ValueError", "KeyError"), HELPER, {}),
        (RUN, HELPER.replace("GAIN = 2", "GAIN = 3"), {}),
        (RUN, HELPER.replace("return x\n", "return -x\n"), {}),
        (RUN, HELPER + "print(GAIN)\n", {}),
        (RUN, HELPER, {"words_tsv": "b\n"}),
    ],
    ids=["call", "kind of error", "constant", "method", "loose statement", "data file"],
)
def test_what_can_change_a_result_changes_the_revision(
    tmp_path: Path, monkeypatch, run: str, helper: str, more
) -> None:
    assert digest(tmp_path / "a", monkeypatch) != digest(tmp_path / "b", monkeypatch, run, helper, **more)


def test_a_function_that_moves_changes_no_revision(tmp_path: Path, monkeypatch) -> None:
    names = "from voiceclone.other import louder\n"
    moved = HELPER.replace("GAIN = 2\n", "").replace("def louder(x: float) -> float:\n    return x * GAIN\n", names)
    other = "GAIN = 2\n\ndef louder(x):\n    return x * GAIN\n"
    before = digest(tmp_path / "a", monkeypatch)
    assert digest(tmp_path / "b", monkeypatch, RUN, moved, other_py=other) == before
    direct = RUN.replace("from voiceclone.helper import louder", "from voiceclone.other import louder")
    assert digest(tmp_path / "c", monkeypatch, direct, moved, other_py=other) == before


def test_recorded_sources_keep_their_revision_and_others_get_a_new_one(tmp_path: Path, monkeypatch) -> None:
    known = {name: entry["revision"] for name, entry in read_json(module.RECORD).items()}
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    module._revisions.cache_clear()
    assert module.revisions() == known
    (stored,) = (tmp_path / "voiceclone").glob("revisions-*.json")
    kept = read_json(stored)
    write_json(stored, kept | {"digests": kept["digests"] | {"slice": "0123456789abcdef"}})  # as an edit derives it
    module._revisions.cache_clear()
    assert module.revisions() == known | {"slice": "0123456789abcdef"}
    stored.write_text("{")
    module._revisions.cache_clear()
    assert module.revisions() == known
    monkeypatch.undo()
    module._revisions.cache_clear()
