"""Tables against their schemas, cell by cell; ``tests/conftest.py`` checks every table that the library writes."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from voiceclone import files


@cache
def schemas() -> dict[str, dict[str, Any]]:
    """Schemas of rows by the table's name."""
    paths = sorted(files.SCHEMAS.glob("*.schema.yaml"))
    return {path.name.split(".")[0]: yaml.safe_load(path.read_text(encoding="utf-8")) for path in paths}


def schema_of(columns: Sequence[str]) -> dict[str, Any] | None:
    """The schema whose columns these are, in its order; those it does not require may be absent."""
    for schema in schemas().values():
        known = list(schema["properties"])
        required = set(schema.get("required", known))
        if required <= set(columns) and list(columns) == [column for column in known if column in columns]:
            return schema
    return None


def value(cell: str, schema: dict[str, Any]) -> Any:
    """A cell as the type its column has: empty cells as null where that is one of the types."""
    types = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    if not cell and "null" in types:
        return None
    if "string" in types:
        return cell
    try:
        return int(cell) if "integer" in types else json.loads(cell)  # integers may have leading zeros
    except ValueError:
        return cell


def faults(text: str) -> list[str]:
    """Everything in a table that its schema does not allow."""
    header, *lines = text.removesuffix("\n").split("\n")
    columns = header.split("\t")
    schema = schema_of(columns)
    if schema is None:
        return [f"no schema has the columns {columns}"]
    validator = Draft202012Validator(schema)
    found = []
    for number, line in enumerate(lines, start=2):
        cells = line.split("\t")
        row = {column: value(cell, schema["properties"][column]) for column, cell in zip(columns, cells, strict=True)}
        found += [f"line {number}, {'/'.join(map(str, e.path))}: {e.message}" for e in validator.iter_errors(row)]
    return found


def checked(write: Callable[..., str]) -> Callable[..., str]:
    """:func:`voiceclone.files.tsv_text`, failing the test where the library writes what a schema does not allow."""

    def text_of(columns: Sequence[str], rows: Any, sort_by: Sequence[str] = (), name: object = "table") -> str:
        text = write(columns, rows, sort_by, name)
        caller = sys._getframe(1)
        if caller.f_globals["__name__"] == "voiceclone.files" and caller.f_back:  # through write_tsv
            caller = caller.f_back
        writer = caller.f_globals["__name__"]
        if writer.startswith("voiceclone.") and (found := faults(text)):
            pytest.fail(f"{name}, written by {writer}: " + "; ".join(found[:5]))
        return text

    return text_of
