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
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from voiceclone.files import table_columns, write_json, write_jsonl, write_tsv
from voiceclone.lineage.fingerprint import Fingerprint
from voiceclone.progress import announce
from voiceclone.stages.settings import RuntimeSettings
from voiceclone.stages.train_gpt import GPTSettings
from voiceclone.stages.train_sovits import SoVITSSettings
from voiceclone.training.data import Utterance
from voiceclone.training.finetuning import recompute_activations, trained_parameters
from voiceclone.training.loop import Best, Plan, Recipe, Result, Trainer, write_weights
from voiceclone.training.memory import fit_micro_batch
from voiceclone.training.processes import Processes, prepare_device, versions
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
        candidates: checkpoints of intermediate steps to keep beside the weights, for the choice by ear.
    """

    weights: Path
    report: Path
    history: Path
    suspects: Path | None = None
    candidates: int = 0


def output_files(args: Namespace) -> OutputFiles:
    """The files that the arguments name."""
    return OutputFiles(args.output, args.report, args.history, args.suspects, args.candidates)


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
    write_outputs(files, result, fingerprint, architecture, notes)


def chosen_weights(result: Result) -> Weights:
    """The weights with the lowest held-out loss; the last ones without held-out utterances."""
    return result.last if result.best.step is None else result.best.weights


def write_candidates(
    files: OutputFiles, result: Result, complete: Callable[[Weights], Weights]
) -> list[dict[str, Any]]:
    """Write the weights that the choice by ear has beside the best ones; name, step and file of all, the best first."""
    chosen = result.step if result.best.step is None else result.best.step
    found = [{"name": "last" if result.best.step is None else "best", "step": chosen, "file": files.weights.name}]
    folder = files.weights.with_suffix(".candidates")
    if files.candidates and result.step:
        others: dict[int, tuple[str, Callable[[], Weights]]] = {
            step: (f"step-{step}", partial(load_file, path)) for step, path in result.candidates.items()
        }
        others[result.step] = ("last", lambda: result.last)
        others.pop(chosen, None)
        for step, (name, weights) in sorted(others.items()):
            write_weights(folder / f"{name}.safetensors", complete(weights()))
            found.append({"name": name, "step": step, "file": f"{folder.name}/{name}.safetensors"})
    kept = {entry["file"] for entry in found}
    for path in folder.glob("*.safetensors"):
        if f"{folder.name}/{path.name}" not in kept:
            path.unlink()
    return found


def write_outputs(
    files: OutputFiles,
    result: Result,
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
    weights = chosen_weights(result) if complete is None else complete
    write_jsonl(files.history, result.history)
    write_json(
        files.report,
        {
            "fingerprint": fingerprint.key,
            "components": {"utterances": dict(fingerprint.utterances), **fingerprint.components},
            "architecture": dict(architecture),
            "step": result.step if best.step is None else best.step,
            "selected": "best" if best.step is not None else "last" if result.step else "base",
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


Settings = TypeVar("Settings", GPTSettings, SoVITSSettings)


@dataclass(frozen=True)
class Job(Generic[Settings]):
    """A training of a stage: its settings, where it runs, what it writes.

    Attributes:
        settings: of the training.
        runtime: save intervals, micro-batch, time budget.
        state_dir: folder of the states of this kind, one folder per fingerprint.
        files: to write.
        label: for the progress lines.
        device: where to train.
        processes: that share each batch.
    """

    settings: Settings
    runtime: RuntimeSettings
    state_dir: Path
    files: OutputFiles
    label: str
    device: torch.device
    processes: Processes

    @classmethod
    def start(
        cls,
        settings: Settings,
        runtime: RuntimeSettings,
        state_dir: Path,
        files: OutputFiles,
        label: str,
        threads: int,
    ) -> Job[Settings]:
        """Prepare device and CPU threads (0: what torch chooses), and join the other processes."""
        device = prepare_device(runtime, threads)
        processes = Processes.join(device, runtime.process_timeout)
        return cls(settings, runtime, state_dir, files, label, device, processes)

    def optimizer_step(self, train: Sequence[Utterance]) -> OptimizerStep:
        """How losses of these utterances become an update."""
        return OptimizerStep(
            self.settings, self.runtime, self.device, self.processes, lambda item: train[item].describe()
        )


@dataclass(frozen=True)
class Finished:
    """A recipe's part of the outputs.

    Attributes:
        architecture: of the written network.
        notes: for the report.
        weights: all of them under the public keys, where those that were trained are not all.
        complete: makes the same of the weights of another step; None: those of other steps are no candidates.
    """

    architecture: Mapping[str, Any]
    notes: Mapping[str, Any]
    weights: Weights | None = None
    complete: Callable[[Weights], Weights] | None = dict


def run_training(
    job: Job[Any],
    recipe: Recipe,
    optimizer_step: OptimizerStep,
    train: Sequence[Utterance],
    heldout: Sequence[Utterance],
    fingerprint: Fingerprint,
    recomputed: tuple[type[nn.Module], ...],
    finish: Callable[[Result], Finished],
) -> None:
    """Run a recipe to its end, or continue it, and write model, report and history.

    Args:
        job: the training.
        recipe: with the network in ``model``.
        optimizer_step: of the recipe.
        train: utterances of the training split.
        heldout: utterances that it is validated on.
        fingerprint: of the training.
        recomputed: modules whose activations are computed again where the runtime block asks for less memory.
        finish: called with the result where files are written.

    Raises:
        Interrupted: stopped by a signal or the time budget, saved.
    """
    settings, runtime, files, label, order = job.settings, job.runtime, job.files, job.label, recipe.order
    steps = settings.total_steps(len(train), order.steps_per_epoch)
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
        sum(parameter.numel() for parameter in recipe.model.parameters()), trained, job.device,
    )  # fmt: skip
    state = StateFolder(job.state_dir, fingerprint)
    warm = settings.warm_start == "previous"
    plan = Plan.of(settings, steps, files.candidates)
    fit = partial(fit_micro_batch, recipe, optimizer_step, steps)
    result = Trainer(recipe, plan, state, runtime, label, warm, job.processes, fit).run()
    if job.processes.leads:
        notes: dict[str, Any] = {"padding_share": round(padding, 4), "trained_parameters": trained}
        notes |= {"precision": precision} if precision else {}
        notes |= judge_utterances(result, recipe.metric, train, files.suspects)
        done = finish(result)
        notes |= done.notes
        given = files if done.complete is not None else replace(files, candidates=0)
        notes["candidates"] = write_candidates(given, result, done.complete or dict)
        write_outputs(files, result, fingerprint, done.architecture, notes, done.weights)
    job.processes.leave()
