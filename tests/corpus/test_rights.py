"""Licence and consent, as a speaker's folder states them."""

from __future__ import annotations

import hashlib
from datetime import date
from pathlib import Path

import pytest

from voiceclone.errors import DataError
from voiceclone.lineage.rights import (
    NONE_GIVEN,
    Rights,
    Scope,
    load_rights,
    may_serve,
    read_consent,
    read_rights,
    record_rights,
    refusal,
    require_consent,
    rights_files,
    write_consent,
)


def test_nothing_stated(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "consent.txt").write_text("of another one")
    (tmp_path / "consent to marry.mp3").write_bytes(b"a recording")
    for folder in (tmp_path, tmp_path / "missing"):
        assert read_rights(folder) == Rights(NONE_GIVEN, NONE_GIVEN)
        assert rights_files(folder) == []


@pytest.mark.parametrize("name", ["LICENCE.txt", "license", "Licence.md"])
def test_licence_is_the_first_line(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("\ufeff\n  CC-BY-4.0,\t(c) Anna  \n\nThe rest.\n", encoding="utf-8")
    assert read_rights(tmp_path).licence == "CC-BY-4.0, (c) Anna"


def test_consent_is_known_by_its_content(tmp_path: Path) -> None:
    (tmp_path / "consent.yaml").write_bytes(b"myself: true\n")
    rights = read_rights(tmp_path)
    assert rights.consent_sha256 == hashlib.sha256(b"myself: true\n").hexdigest()
    assert rights.consent == {"scope": "release", "purposes": [], "languages": [], "expires": None}
    (tmp_path / "consent.yaml").write_bytes(b"myself: true\nscope: evaluation\n")
    assert read_rights(tmp_path).consent["scope"] == "evaluation"


def test_evidence_lies_beside_the_consent(tmp_path: Path) -> None:
    (tmp_path / "Consent.pdf").write_bytes(b"%PDF signed")
    write_consent(tmp_path, {"who": 'Anna: "the" Ñ', "purposes": ["audio: books", "#1"], "expires": "2031-01-31"})
    consent = read_consent(tmp_path / "consent.yaml")
    assert (consent.who, consent.purposes) == ('Anna: "the" Ñ', ("audio: books", "#1"))
    assert consent.sha256 == hashlib.sha256(b"%PDF signed").hexdigest()
    assert "Anna" not in str(read_rights(tmp_path).as_notes())
    (tmp_path / "Consent.pdf").write_bytes(b"%PDF changed")
    with pytest.raises(DataError, match=r"sha256: not that of Consent\.pdf"):
        read_rights(tmp_path)


def test_evidence_from_elsewhere_is_copied(tmp_path: Path) -> None:
    folder, letter = tmp_path / "anna", tmp_path / "My letter.PDF"
    folder.mkdir()
    letter.write_bytes(b"yes")
    write_consent(folder, {"who": "Anna", "purposes": ["x"]}, letter)
    assert (folder / "consent.pdf").read_bytes() == b"yes" and read_consent(folder / "consent.yaml").scope == "private"


GOOD = "who: Anna\npurposes: [tests]\nevidence: consent.txt\nsha256: " + hashlib.sha256(b"yes").hexdigest() + "\n"
PAIRS = zip("bcdefghi", "abcdefgh", strict=True)
ALIASES = [f"{name}: &{name} [{', '.join(['*' + before] * 9)}]" for name, before in PAIRS]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "expected keys"),
        ("- myself", "expected keys"),
        ("myself: maybe", "myself: "),
        ("who: Anna", "purposes, evidence: missing"),
        ("myslef: true", "myslef: "),
        (GOOD + "scope: everything", "scope: "),
        (GOOD + "languages: [tlh]", "languages: tlh"),
        (GOOD + "expires: soon", "expires: "),
        (GOOD.replace("consent.txt", "../consent.txt"), "leads out of"),
        (GOOD.replace("consent.txt", "take.wav"), "called consent"),
        (GOOD.replace("consent.txt", "consent.yaml"), "called consent"),
        ("\n".join(["a: &a [x]", *ALIASES]), ": "),
        ("[" * 5000, "YAML"),
        ("who: [", "YAML in line"),
        ("x" * 70_000, "larger than"),
    ],
)
def test_a_wrong_consent_says_what_to_write(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "consent.txt").write_bytes(b"yes")
    (tmp_path / "take.wav").write_bytes(b"yes")
    (tmp_path / "consent.yaml").write_text(text)
    with pytest.raises(DataError) as caught:
        read_rights(tmp_path)
    assert said in caught.value.message and len(caught.value.message) < 1000
    assert "myself: true" in caught.value.hint and str(tmp_path / "consent.yaml") in caught.value.hint


def test_without_consent_the_file_to_write_is_shown(tmp_path: Path) -> None:
    """What is shown is a consent that the workflow accepts."""
    folder = tmp_path / "anna"
    folder.mkdir()
    (folder / "consent.pdf").write_bytes(b"signed")
    with pytest.raises(DataError) as caught:
        require_consent(read_rights(folder), folder)
    shown = caught.value.hint.split("or write:\n\n")[1]
    (folder / "consent.yaml").write_text("".join(line.strip() + "\n" for line in shown.splitlines()))
    require_consent(read_rights(folder), folder)


@pytest.mark.parametrize(
    ("terms", "use", "languages", "why"),
    [
        ({"scope": "evaluation"}, "evaluation", [], ""),
        ({"scope": "evaluation"}, "private", [], "for evaluation, speaking needs private"),
        ({"scope": "private"}, "private", ["de"], ""),
        ({"scope": "private"}, "serve", [], "for private, serving needs serve"),
        ({"scope": "serve"}, "release", [], "for serve, handing on needs release"),
        ({"scope": "release", "languages": ["en"]}, "serve", ["en"], ""),
        ({"scope": "release", "languages": ["en"]}, "serve", ["en", "zh"], "for en, not for zh"),
        ({"scope": "release", "expires": "2030-01-01"}, "evaluation", [], ""),
        ({"scope": "release", "expires": "2029-12-31"}, "evaluation", [], "ended with 2029-12-31"),
        ({"scope": "all"}, "evaluation", [], "damaged"),
        ("x", "evaluation", [], "damaged"),
        (None, "release", [], ""),
    ],
)
def test_terms_bind(terms: object, use: Scope, languages: list[str], why: str) -> None:
    said = refusal({"consent": terms}, use, languages, date(2030, 1, 1))
    assert said == why or (why and why in said)


def test_a_server_needs_the_scope() -> None:
    assert may_serve({"consent": {"scope": "private"}}) and not may_serve({"consent": {"scope": "serve"}})


def test_an_ended_consent_reaches_jobs_as_a_problem(tmp_path: Path) -> None:
    (tmp_path / "consent.yaml").write_text("myself: true\nexpires: 2020-01-01\n")
    record_rights(tmp_path, tmp_path / "rights.json")
    with pytest.raises(DataError, match="ended with 2020-01-01"):
        load_rights(tmp_path / "rights.json")


def test_two_of_a_kind_are_refused(tmp_path: Path) -> None:
    for name in ("LICENSE", "licence.md"):
        (tmp_path / name).write_text("x")
    with pytest.raises(DataError, match=r"LICENSE, licence\.md: expected one"):
        read_rights(tmp_path)


def test_licence_that_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "LICENCE.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"LICENCE\.txt: line 1: not utf-16"):
        read_rights(tmp_path)


def test_rights_reach_jobs_as_a_file(tmp_path: Path) -> None:
    folder, target = tmp_path / "anna", tmp_path / "rights.json"
    folder.mkdir()
    (folder / "LICENSE").write_text("it's `mine` {all}")
    assert record_rights(folder, target) and not record_rights(folder, target)
    assert load_rights(target) == read_rights(folder)
    (folder / "consent.yaml").write_text("myself: 7")
    assert record_rights(folder, target)
    with pytest.raises(DataError, match="myself"):
        load_rights(target)
