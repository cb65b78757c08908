"""What a training is made from, as one key, and what tells two trainings apart, in words.

The key names the folder of a training's state. So the same data and settings find their state again, changed ones start
a new one, and going back finds the old one. The components stay readable beside the key, for the log and the report.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from voiceclone.files import digest


@dataclass(frozen=True)
class Fingerprint:
    """Components of a training.

    Args:
        utterances: utterance id -> ``"<digest of its text>-<digest of its features>"``.
        components: everything else that changes the result, as nested plain values: model, settings, seed,
            digests of base weights, stage revision. Steps and run-time settings stay out: more steps continue.
    """

    utterances: Mapping[str, str]
    components: Mapping[str, Any]

    @property
    def key(self) -> str:
        """12 hexadecimal digits over all components."""
        return digest(self.as_dict(), length=12)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"utterances": dict(self.utterances), "components": dict(self.components)}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Fingerprint:
        """Undo :meth:`as_dict`."""
        return cls(stored["utterances"], stored["components"])


def flatten(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield ``("a.b", leaf)`` of nested dictionaries, sorted."""
    for name, item in sorted(value.items()):
        if isinstance(item, Mapping) and item:
            yield from flatten(item, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", item


def _utterance_changes(old: Mapping[str, str], new: Mapping[str, str]) -> str:
    """``"2 utterances changed text, 1 changed sound or features, 1 added"``, or nothing if they are equal."""
    changed = [name for name in old.keys() & new.keys() if old[name] != new[name]]
    texts = sum(old[name].split("-")[0] != new[name].split("-")[0] for name in changed)
    counts = {
        "changed text": texts,
        "changed sound or features": len(changed) - texts,
        "added": len(new.keys() - old.keys()),
        "removed": len(old.keys() - new.keys()),
    }
    parts = [f"{count} {what}" for what, count in counts.items() if count]
    if not parts:
        return ""
    number, what = parts[0].split(" ", 1)
    noun = "utterance" if number == "1" else "utterances"
    return ", ".join([f"{number} {noun} {what}", *parts[1:]])


def difference(old: Fingerprint, new: Fingerprint) -> str:
    """What changed from ``old`` to ``new``, for example ``"1 utterance added; learning_rate 0.0001 -> 0.0002"``."""
    before, after = dict(flatten(old.components)), dict(flatten(new.components))
    changes = [_utterance_changes(old.utterances, new.utterances)]
    for name in sorted(before.keys() | after.keys()):
        if before.get(name) != after.get(name):
            changes.append(f"{name} {before.get(name, 'none')} -> {after.get(name, 'none')}")
    return "; ".join(change for change in changes if change) or "nothing"
