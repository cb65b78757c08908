"""Schemas of tables; every table that a test lets the library write is checked too (``tests/support/tables.py``)."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from tests.support.tables import faults, schemas

import voiceclone
from voiceclone import files

SOURCES = [path.read_text(encoding="utf-8") for path in sorted(Path(voiceclone.__file__).parent.rglob("*.py"))]


@pytest.mark.parametrize("name", schemas())
def test_a_schema_says_type_and_meaning_of_every_column(name) -> None:
    schema = schemas()[name]
    Draft202012Validator.check_schema(schema)
    assert schema["title"] and schema["description"] and schema["additionalProperties"] is False
    for column, rules in schema["properties"].items():
        assert rules.keys() >= {"type", "description"}, column
    assert set(schema.get("required", ())) <= set(schema["properties"])


def test_every_schema_is_of_a_table_that_the_library_knows() -> None:
    assert {name for source in SOURCES for name in re.findall(r'table_columns\("(\w+)"\)', source)} == set(schemas())


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("text\treason\tmore\n", "no schema has the columns"),
        ("reason\ttext\n", "no schema has the columns"),
        (
            "take\tstart_ms\tend_ms\tstate\tutterance\treason\nt\t0\t10\tnoise\t\t\n",
            "line 2, state: 'noise'",
        ),
        ("take\tstart_ms\tend_ms\tstate\tutterance\treason\nt\t0\t1.5\tslice\tu\t\n", "line 2, end_ms: '1.5' is not"),
        ("file\tsize\ttime_ns\tsha256\nf\t\t1\t" + "0" * 64 + "\n", "line 2, size: '' is not of type 'integer'"),
        ("file\tsize\ttime_ns\tsha256\nf\t1\t1\tabc\n", "line 2, sha256: 'abc' does not match"),
    ],
)
def test_what_a_schema_does_not_allow_is_found(text, fault) -> None:
    (found,) = faults(text)
    assert found.startswith(fault)


def test_a_table_of_the_library_with_another_column_fails_the_test_that_writes_it(tmp_path, monkeypatch) -> None:
    from voiceclone.lineage import handover

    (tmp_path / "results").mkdir()
    (tmp_path / "a").write_text("a")
    monkeypatch.chdir(tmp_path)
    handover.record_times(tmp_path, ["a"])
    assert faults((tmp_path / handover.TABLE).read_text(encoding="utf-8")) == []
    monkeypatch.setattr(handover, "COLUMNS", ("file", "size", "time_ns", "sha256", "owner"))
    with pytest.raises(pytest.fail.Exception, match=r"contents\.tsv, written by .*: no schema"):
        handover.record_times(tmp_path, ["a"])


def test_columns_come_from_the_schema_in_its_order() -> None:
    assert files.table_columns("contents") == ("file", "size", "time_ns", "sha256")
