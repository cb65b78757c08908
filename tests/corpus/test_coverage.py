"""Phones that a corpus lacks, and reading lists that bring them."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from voiceclone.commands.corrections import register
from voiceclone.corpus.coverage import choose_lines, measure, phones, reading_lines
from voiceclone.corpus.split import sentence_key
from voiceclone.files import write_tsv
from voiceclone.languages import LANGUAGES

REPOSITORY = Path(__file__).resolve().parents[2]
TEXTS = REPOSITORY / "resources" / "texts"


def corpus(folder: Path, lines: list[str], language: str) -> Path:
    path = folder / "anna" / "corpus" / "corpus.tsv"
    rows = [
        {"utterance": f"u{number}", "seconds": 3.0, "language": language, "text": line}
        for number, line in enumerate(lines)
    ]
    write_tsv(path, ["utterance", "seconds", "language", "text"], rows)
    return path


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_short_list_brings_what_is_missing(tmp_path: Path, language: str) -> None:
    lines = reading_lines(TEXTS, language)
    assert len(lines) >= 30 and all(phones(line, language) for line in lines)
    path = corpus(tmp_path, lines[:3], language)
    before = measure(path, TEXTS)
    assert (before.language, before.seconds) == (language, 9.0) and len(before.missing) >= 3
    chosen = choose_lines(before, lines, 15, lines[:3])
    assert 10 <= len(chosen) <= 15 and not set(chosen) & set(lines[:3])
    after = measure(corpus(tmp_path, lines[:3] + chosen, language), TEXTS)
    first = measure(corpus(tmp_path, lines[:18], language), TEXTS)
    counts = [len(one.missing) for one in (before, after, first)]
    print(f"{language}: missing {counts[0]}, after the list {counts[1]}, after as many first lines {counts[2]}")
    assert len(after.missing) < len(first.missing) or not after.missing


def test_no_line_is_one_that_voices_are_measured_with() -> None:
    measured = [
        line.split("\t")[-1] for path in (REPOSITORY / "resources/sentences").rglob("*.txt")
        for line in path.read_text(encoding="utf-8").split("\n") if line.strip()
    ]  # fmt: skip
    known = {sentence_key(line) for line in measured}
    assert not [line for code in LANGUAGES for line in reading_lines(TEXTS, code) if sentence_key(line) in known]


def test_nothing_is_asked_for_where_nothing_is_rare(tmp_path: Path) -> None:
    lines = reading_lines(TEXTS, "en")
    assert choose_lines(measure(corpus(tmp_path, lines * 5, "en"), TEXTS), lines, 10) == []


def test_the_command_says_it_and_writes_the_list(tmp_path: Path) -> None:
    corpus(tmp_path, ["A short line.", "Another one."], "en")
    app = typer.Typer()
    register(app)
    call = ["prompts", "anna", "--results", str(tmp_path), "--texts", str(TEXTS), "--count", "5"]
    shown = CliRunner().invoke(app, call, catch_exceptions=False)
    assert (
        shown.exit_code == 0 and "English: 0.1 minutes of usable speech" in shown.output and "missing:" in shown.output
    )
    written = CliRunner().invoke(app, [*call, "-o", str(tmp_path / "prompts.txt")], catch_exceptions=False)
    lines = (tmp_path / "prompts.txt").read_text(encoding="utf-8").splitlines()
    assert "prompts.wav" in written.output and len(lines) == 5 and lines == shown.output.splitlines()[-5:]
