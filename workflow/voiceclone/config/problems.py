"""Validation errors of pydantic as lines that a user understands."""

from __future__ import annotations

import difflib
import types
import typing
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo


def _models_of(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in typing.get_args(annotation) for model in _models_of(part)]


def _alternatives(annotation: Any) -> list[Any]:
    """The values of a Literal inside an annotation."""
    if typing.get_origin(annotation) is typing.Literal:
        return list(typing.get_args(annotation))
    return [value for part in typing.get_args(annotation) for value in _alternatives(part)]


def type_name(annotation: Any) -> str:
    """Type of a field in words of YAML."""
    names = {bool: "true or false", int: "whole number", float: "number", str: "text", type(None): "null"}
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return type_name(args[0])
    if origin is typing.Literal:
        return " | ".join(map(str, args))
    if origin in (typing.Union, types.UnionType):
        return " or ".join(type_name(part) for part in args)
    if origin in (tuple, list):
        return f"list of {type_name(args[0])}"
    if origin is dict:
        return f"table of {type_name(args[0])} to {type_name(args[1])}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "block"
    return names.get(annotation, getattr(annotation, "__name__", str(annotation)))


def allowed(field: FieldInfo) -> str:
    """Allowed values of a field: type and range."""
    bounds = []
    for rule in field.metadata:
        for name, sign in (("ge", ">="), ("gt", ">"), ("le", "<="), ("lt", "<")):
            if (value := getattr(rule, name, None)) is not None:
                bounds.append(f"{sign} {value:g}" if isinstance(value, float) else f"{sign} {value}")
        unit = " items" if typing.get_origin(field.annotation) in (tuple, list) else " characters"
        if (value := getattr(rule, "min_length", None)) is not None:
            bounds.append(f"at least {value}{unit if value > 1 else unit[:-1]}")
        if (value := getattr(rule, "max_length", None)) is not None:
            bounds.append(f"at most {value}{unit}")
        if (value := getattr(rule, "pattern", None)) is not None:
            bounds.append(f"matching {value}")
    return ", ".join([type_name(field.annotation), *bounds])


def _walk(model: type[BaseModel], location: tuple[Any, ...]) -> tuple[type[BaseModel] | None, FieldInfo | None]:
    """Model that holds the last key of a location, and the field of that key where it exists."""
    current: type[BaseModel] | None = model
    field: FieldInfo | None = None
    owner: type[BaseModel] | None = model
    container: type[BaseModel] | None = None
    for key in location:
        if current is not None:
            owner, field = current, current.model_fields.get(str(key))
            current = None
            if field is None:
                continue
            nested = _models_of(field.annotation)
            direct = nested and isinstance(field.annotation, type)
            current = nested[0] if direct else None
            container = None if direct else (nested[0] if nested else None)
        elif container is not None:  # a key or index inside a table or list of blocks
            current, container = container, None
    return owner, field


def describe(error: ValidationError, model: type[BaseModel]) -> str:
    """One line per wrong key: dotted path, the value given, what is allowed, the nearest key for an unknown one."""
    lines = []
    for item in error.errors(include_url=False):
        location = tuple(item["loc"])
        path = ".".join(map(str, location)) or "(the whole file)"
        owner, field = _walk(model, location)
        if item["type"] == "extra_forbidden":
            known = list(owner.model_fields) if owner else []
            close = difflib.get_close_matches(str(location[-1]), known, 1, cutoff=0.5)
            near = f"did you mean {close[0]}?" if close else f"known keys: {', '.join(known)}"
            lines.append(f"  {path}: unknown key; {near}")
        elif item["type"] == "missing":
            lines.append(f"  {path}: missing")
        elif item["type"] == "value_error":
            lines.append(f"  {path}: {item['msg'].removeprefix('Value error, ')}")
        else:
            expected = allowed(field) if field else item["msg"]
            lines.append(f"  {path}: {item['input']!r} is not allowed; expected {expected}")
    return "\n".join(dict.fromkeys(lines))
