"""The base of every network's configuration: plain frozen values that survive JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, Self

from voiceclone.errors import ConfigError

MOST_LAYERS, LARGEST_SIZE = 200, 1_000_000
REPEATED = ("layers", "blocks", "couplings")  # how names end that say how often a part is built


@dataclass(frozen=True)
class Architecture:
    """Sizes of a network; every field is a plain value or a tuple of plain values."""

    #: Fields that are not written at their defaults, so that older networks keep their fingerprints.
    OPTIONS: ClassVar[frozenset[str]] = frozenset()

    def to_dict(self) -> dict[str, Any]:
        """Fields as JSON-compatible values, but for options at their defaults."""
        unused = {field.name for field in fields(self) if getattr(self, field.name) == field.default} & self.OPTIONS
        return {name: _listed(value) for name, value in asdict(self).items() if name not in unused}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Rebuild from :meth:`to_dict`; missing fields take their defaults.

        Raises:
            ConfigError: a key that this network does not have, or a value that is none of its sizes.
        """
        known = {field.name for field in fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise ConfigError(
                f"{cls.__name__}: unknown field {', '.join(unknown)}, expected some of {', '.join(sorted(known))}",
                "the file was written by another version of this program",
            )
        given = {name: _tupled(value) for name, value in values.items()}
        for field in fields(cls):
            if field.name in given and not _fits(field.name, given[field.name], field.default):
                shown = str(values[field.name])[:40]
                raise ConfigError(f"{cls.__name__}: {field.name} {shown}: expected a value like {field.default}")
        return cls(**given)


def _fits(name: str, value: Any, default: Any) -> bool:
    """Whether a value is of the kind of a field's default and no larger than any network: files come from anywhere."""
    if isinstance(default, tuple):
        like = default[0] if default else 0
        return isinstance(value, tuple) and len(value) <= MOST_LAYERS and all(_fits("", item, like) for item in value)
    if isinstance(default, float):
        return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST_SIZE
    if type(default) is int:
        return type(value) is int and 0 <= value <= (MOST_LAYERS if name.endswith(REPEATED) else LARGEST_SIZE)
    return isinstance(value, type(default))


def _listed(value: Any) -> Any:
    return [_listed(item) for item in value] if isinstance(value, list | tuple) else value


def _tupled(value: Any) -> Any:
    return tuple(_tupled(item) for item in value) if isinstance(value, list | tuple) else value
