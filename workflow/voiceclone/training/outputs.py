"""What a finished training leaves in ``models/``: weights, report, history, each written whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from safetensors.torch import save_file

from voiceclone.files import atomic_path, write_json, write_jsonl
from voiceclone.lineage.fingerprint import Fingerprint
from voiceclone.training.engine import Result, versions


def write_outputs(
    result: Result,
    select: Literal["best", "last"],
    fingerprint: Fingerprint,
    architecture: Mapping[str, Any],
    output: Path,
    report: Path,
    history: Path,
    notes: Mapping[str, Any],
) -> None:
    """Write the chosen weights, what is known of them, and the history; the weights last.

    Without held-out figures there is no best model, and the last one is written.
    """
    best = result.best
    take_best = select == "best" and best.step is not None
    weights = best.weights if take_best else result.last
    write_jsonl(history, result.history)
    write_json(
        report,
        {
            "fingerprint": fingerprint.key,
            "components": {"utterances": dict(fingerprint.utterances), **fingerprint.components},
            "architecture": dict(architecture),
            "step": best.step if take_best else result.step,
            "selected": "best" if take_best else "last",
            "steps": result.step,
            "epochs": round(result.epochs, 3),
            "best": {"step": best.step, **result.heldout_at(best.step)},
            "final": {"step": result.step, **result.heldout_at(result.step)},
            "resumes": result.resumes,
            "seconds": round(result.seconds, 1),
            "versions": versions(),
            **notes,
        },
    )
    with atomic_path(output) as temporary:
        save_file({name: tensor.contiguous() for name, tensor in weights.items()}, temporary)
