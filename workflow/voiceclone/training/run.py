"""From a recipe to the files in ``models/``: weights, report, history and suspects, each whole or absent.

The suspects are utterances that the trained model finds much harder than the others. A model that has learnt a voice
predicts most of its utterances equally well; one with a wrong text or damaged sound stands out. The score is the robust
z-score of Iglewicz and Hoaglin (1993): the distance from the median in units of the median absolute deviation, scaled
to agree with standard deviations.
"""

from __future__ import annotations

import hashlib
import logging
import statistics
from argparse import Namespace
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from safetensors.torch import save_file
from torch import Tensor, nn

from voiceclone.files import atomic_path, table_columns, write_json, write_jsonl, write_tsv
from voiceclone.lineage.fingerprint import Fingerprint
from voiceclone.progress import announce
from voiceclone.stages.train_gpt import GPTSettings
from voiceclone.stages.train_sovits import SoVITSSettings
from voiceclone.training.data import Order, Utterance
from voiceclone.training.finetuning import recompute_activations, trained_parameters
from voiceclone.training.loop import Best, Plan, Recipe, Result, Trainer
from voiceclone.training.processes import versions
from voiceclone.training.state import StateFolder
from voiceclone.training.step import OptimizerStep

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class OutputFiles:
    """Output files of a training.

    Attributes:
        weights: ``.safetensors`` with the public keys.
        report: JSON, what the weights are.
        history: JSON lines, every logged loss.
        suspects: table of the training utterances by their loss; None: none is written.
    """

    weights: Path
    report: Path
    history: Path
    suspects: Path | None = None


def output_files(args: Namespace) -> OutputFiles:
    """The files that the arguments name."""
    return OutputFiles(args.output, args.report, args.history, args.suspects)


def label(args: Namespace, model: str) -> str:
    """Prefix of the progress lines."""
    return f"{args.speaker} · {model}" if args.speaker else model


COLUMNS = table_columns("suspects")
MAX_SCORE = 3.5  # above it an utterance is a suspect, as the source advises
MIN_UTTERANCES = 8  # without which nothing is usual
MIN_SPREAD = 0.05  # of the median: where all are alike, small differences mean nothing
MAX_REPORTED = 20


def judged(utterances: Sequence[Utterance], max_count: int) -> list[Utterance]:
    """The utterances whose loss is measured, in their order: all, or the ``max_count`` of the smallest name hashes."""
    hashes = {row.name: hashlib.sha256(row.name.encode()).digest() for row in utterances}
    kept = set(sorted(hashes, key=lambda name: hashes[name])[:max_count])
    return [row for row in utterances if row.name in kept]


def rank(losses: Mapping[str, float], utterances: Iterable[Utterance]) -> list[dict[str, Any]]:
    """Rows of the table, highest loss first.

    Args:
        losses: utterance -> loss under the model that is judged.
        utterances: with their texts; those without a loss are left out.
    """
    judged = [row for row in utterances if row.name in losses]
    if not judged:
        return []
    middle = statistics.median(losses.values())
    deviation = statistics.median(abs(loss - middle) for loss in losses.values())
    spread = max(1.4826 * deviation, MIN_SPREAD * middle, 1e-12)
    judged.sort(key=lambda row: (-losses[row.name], row.name))
    digits = len(str(len(judged)))
    rows = []
    for number, row in enumerate(judged, start=1):
        score = (losses[row.name] - middle) / spread
        rows.append(
            {
                "rank": f"{number:0{digits}d}",
                "utterance": row.name,
                "suspect": len(judged) >= MIN_UTTERANCES and score > MAX_SCORE,
                "loss": losses[row.name],
                "score": round(score, 2),
                "seconds": row.seconds,
                "language": row.language,
                "text": row.text,
            }
        )
    return rows


def write_ranking(target: Path, rows: Iterable[Mapping[str, object]]) -> None:
    """Write the table of :func:`rank`."""
    write_tsv(target, COLUMNS, rows)


def named(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The suspects that the report lists, worst first."""
    kept = ("utterance", "loss", "score", "language", "text")
    return [{key: row[key] for key in kept} for row in rows if row["suspect"]][:MAX_REPORTED]


Weights = Mapping[str, Tensor]


def judge_utterances(
    result: Result, metric: str, utterances: Sequence[Utterance], target: Path | None
) -> dict[str, Any]:
    """Write the table of utterances by loss; return what the report says of it.

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
    """The trained weights that are exported."""
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

    Without held-out metrics there is no best model, and the last one is written. ``complete`` are all weights under
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


@dataclass(frozen=True)
class Finished:
    """A recipe's part of the outputs.

    Attributes:
        architecture: of the written network.
        notes: for the report.
        weights: all of them under the public keys, where those that were trained are not all.
    """

    architecture: Mapping[str, Any]
    notes: Mapping[str, Any]
    weights: Weights | None = None


def run_training(
    recipe: Recipe,
    train: Sequence[Utterance],
    heldout: Sequence[Utterance],
    order: Order,
    steps: int,
    fingerprint: Fingerprint,
    settings: GPTSettings | SoVITSSettings,
    optimizer_step: OptimizerStep,
    state_dir: Path,
    files: OutputFiles,
    label: str,
    recomputed: tuple[type[nn.Module], ...],
    finish: Callable[[Result], Finished],
) -> None:
    """Run a recipe to its end, or continue it, and write model, report and history.

    Args:
        recipe: with the network in ``model``.
        train: utterances of the training split.
        heldout: utterances that it is validated on.
        order: of the batches.
        steps: to make in all.
        fingerprint: of the training.
        settings: of the training.
        optimizer_step: of the recipe; has the runtime block and the processes.
        state_dir: folder of the states of this kind, one folder per fingerprint.
        files: to write.
        label: for the progress lines.
        recomputed: modules whose activations are computed again where the runtime block asks for less memory.
        finish: called with the result where files are written.

    Raises:
        Interrupted: stopped by a signal or the time budget, saved.
    """
    runtime, processes = optimizer_step.runtime, optimizer_step.processes
    precision = optimizer_step.precision.describe() if optimizer_step.precision.reason else ""
    if precision:
        announce(f"{label}  precision {precision}")
    if runtime.gradient_checkpointing:
        recompute_activations(recipe.model, *recomputed)
    padding, trained = order.padding_share(), trained_parameters(recipe.model)
    log.info(
        "%d training and %d held-out utterances, %d steps per epoch, %d steps, %.1f %% padding, %d parameters, %d of "
        "them trained, %s",
        len(train), len(heldout), order.steps_per_epoch, steps, 100 * padding,
        sum(parameter.numel() for parameter in recipe.model.parameters()), trained, optimizer_step.device,
    )  # fmt: skip
    state = StateFolder(state_dir, fingerprint)
    warm = settings.warm_start == "previous"
    result = Trainer(recipe, Plan.of(settings, steps), state, runtime, label, warm, processes).run()
    if processes.leads:
        notes: dict[str, Any] = {"padding_share": round(padding, 4), "trained_parameters": trained}
        notes |= {"precision": precision} if precision else {}
        notes |= judge_utterances(result, recipe.metric, train, files.suspects)
        done = finish(result)
        notes |= done.notes
        write_outputs(files, result, settings.select, fingerprint, done.architecture, notes, done.weights)
    processes.leave()
