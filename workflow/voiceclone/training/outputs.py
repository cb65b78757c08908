"""What a finished training leaves in ``models/``: weights, report, history, each written whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from safetensors.torch import save_file
from torch import Tensor

from voiceclone.files import atomic_path, write_json, write_jsonl
from voiceclone.lineage.fingerprint import Fingerprint
from voiceclone.training.arguments import OutputFiles
from voiceclone.training.data import Utterance
from voiceclone.training.machine import versions
from voiceclone.training.parts import Best
from voiceclone.training.result import Result
from voiceclone.training.suspects import named, rank, write_ranking

Weights = Mapping[str, Tensor]


def judge_utterances(
    result: Result, metric: str, utterances: Sequence[Utterance], target: Path | None
) -> dict[str, Any]:
    """Write the table of utterances by loss; return what the report names of it.

    Args:
        result: of the training.
        metric: what its losses are.
        utterances: of the training split.
        target: the table; None: none is written.
    """
    rows = rank(result.losses, utterances)
    if target is not None:
        write_ranking(target, rows)
    return {"suspects": {"metric": metric, "judged": len(rows), "utterances": named(rows)}}


def write_untrained(
    files: OutputFiles, weights: Weights, metric: str, fingerprint: Fingerprint, architecture: Mapping[str, Any]
) -> None:
    """Write the base model as it is, as the result of a training without a step."""
    result = Result(step=0, epochs=0.0, seconds=0.0, last=dict(weights), best=Best(), history=[], resumes=[])
    notes = judge_utterances(result, metric, [], files.suspects)
    write_outputs(files, result, "last", fingerprint, architecture, notes)


def chosen_weights(result: Result, select: Literal["best", "last"]) -> Weights:
    """The trained weights that leave."""
    return result.best.weights if select == "best" and result.best.step is not None else result.last


def write_outputs(
    files: OutputFiles,
    result: Result,
    select: Literal["best", "last"],
    fingerprint: Fingerprint,
    architecture: Mapping[str, Any],
    notes: Mapping[str, Any],
    complete: Weights | None = None,
) -> None:
    """Write the chosen weights, what is known of them, and the history; the weights last.

    Without held-out figures there is no best model, and the last one is written. ``complete`` are all weights under
    the public keys, where those that were trained are not all.
    """
    best = result.best
    take_best = select == "best" and best.step is not None
    weights = chosen_weights(result, select) if complete is None else complete
    write_jsonl(files.history, result.history)
    write_json(
        files.report,
        {
            "fingerprint": fingerprint.key,
            "components": {"utterances": dict(fingerprint.utterances), **fingerprint.components},
            "architecture": dict(architecture),
            "step": best.step if take_best else result.step,
            "selected": "best" if take_best else "last" if result.step else "base",
            "steps": result.step,
            "epochs": round(result.epochs, 3),
            "best": {"step": best.step, **result.heldout_at(best.step)},
            "final": {"step": result.step, **result.heldout_at(result.step)},
            "started": result.started,
            "resumes": result.resumes,
            "seconds": round(result.seconds, 1),
            "versions": versions(),
            **notes,
        },
    )
    write_weights(files.weights, weights)


def write_weights(target: Path, weights: Weights) -> None:
    """Write tensors as safetensors, whole or not at all."""
    with atomic_path(target) as temporary:
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}, temporary)
