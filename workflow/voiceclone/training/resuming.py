"""What a training begins with: the parts of a checkpoint of its own, or the weights of the training before it."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from voiceclone.errors import DataError
from voiceclone.training.checkpoints import Checkpoint, CheckpointStore
from voiceclone.training.machine import versions
from voiceclone.training.parts import Stateful
from voiceclone.training.state import StateFolder

log = logging.getLogger(__name__)

WEIGHTS = ("model", "discriminator")  # parts that a warm start takes over


def restore(parts: Mapping[str, Stateful], checkpoint: Checkpoint) -> None:
    """Take all parts from a checkpoint; one whose ``optional`` is true may be missing there.

    Raises:
        DataError: the checkpoint has other parts.
    """
    required = {name for name, part in parts.items() if not getattr(part, "optional", False)}
    missing = (required - checkpoint.parts.keys()) | (checkpoint.parts.keys() - parts.keys())
    if missing:
        raise DataError(
            f"{checkpoint.folder}: its parts differ from this version's: {sorted(missing)}",
            "it was written by another version; use that one, or delete the state folder to start from scratch",
        )
    for name, part in parts.items():
        if name in checkpoint.parts:
            part.load_state_dict(checkpoint.parts[name])


def why_it_resumes(checkpoint: Checkpoint, back: str) -> str:
    """In words: which other training was at work in between, if any (``back``), and which versions are new."""
    now, reasons = versions(), [back] if back else []
    for name, old in checkpoint.record.versions.items():
        if now.get(name) != old:
            reasons.append(f"{name} {old} -> {now.get(name)}")
    return "; ".join(["saved state found", *reasons])


def load_previous(state: StateFolder, parts: Mapping[str, Stateful]) -> str | None:
    """Take the weights of the training before this one, if it has any; returns ``"<key> step <n>"``.

    Raises:
        DataError: they are of another architecture.
    """
    previous = state.previous()
    if previous is None:
        return None
    key = previous[0]
    try:
        checkpoint = CheckpointStore(state.root / key, key).newest()
    except DataError as error:
        log.warning("warm start is not possible: %s", error)
        return None
    if checkpoint is None:
        return None
    try:
        for name in WEIGHTS:
            if name in parts:
                parts[name].load_state_dict(checkpoint.parts[name])
    except RuntimeError as error:
        raise DataError(
            f"warm start from {key}: its model does not fit this one ({str(error).splitlines()[0]})",
            "set warm_start to none: the architecture has changed",
        ) from error
    return f"{key} step {checkpoint.record.step}"
