"""Licence and consent, as a speaker's folder states them."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from voiceclone.errors import DataError
from voiceclone.lineage.rights import NONE_GIVEN, Rights, load_rights, read_rights, record_rights, rights_files


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
    (tmp_path / "Consent.pdf").write_bytes(b"%PDF signed")
    assert read_rights(tmp_path).consent_sha256 == hashlib.sha256(b"%PDF signed").hexdigest()
    assert rights_files(tmp_path) == [tmp_path / "Consent.pdf"]


def test_two_of_a_kind_are_refused(tmp_path: Path) -> None:
    for name in ("consent.txt", "consent.pdf"):
        (tmp_path / name).write_text("x")
    with pytest.raises(DataError, match=r"consent\.pdf, consent\.txt: expected one"):
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
    for name in ("consent.txt", "consent.pdf"):
        (folder / name).write_text("x")
    assert record_rights(folder, target)
    with pytest.raises(DataError, match="expected one of them"):
        load_rights(target)
