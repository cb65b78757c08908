"""Base class of every configuration block."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Block(BaseModel):
    """A block of settings: unknown keys are refused, values cannot be changed after validation.

    Give every field a type with its range (``Field(ge=..., le=...)``), a default and a ``description`` that a
    user understands: the default YAML, the JSON schema and the manual's table are generated from them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)
