"""The step loop of every training: resumable at any step, with the same result as if it had never stopped.

A :class:`Recipe` brings the model, the optimisers and one step; the :class:`Trainer` brings everything else: seeds,
saving, resuming, stopping on request, validation, the choice of the best model, history. What must survive a stop is
registered by name in ``recipe.state``; the trainer adds its own counters. The seed of a step depends on the step
alone, its batch too, so weights, optimiser and counters are the whole state.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors.torch import save_file

from voiceclone.errors import DataError, Interrupted
from voiceclone.files import atomic_path
from voiceclone.interrupts import StopRequest
from voiceclone.progress import Progress, announce, open_progress
from voiceclone.stages.settings import RuntimeSettings, TrainingSettings
from voiceclone.training.checkpoints import (
    Checkpoint,
    CheckpointStore,
    CheckpointWriter,
    Saver,
    Stateful,
    load_previous,
    restore,
    why_it_resumes,
)
from voiceclone.training.data import Order, seed_step
from voiceclone.training.finetuning import WeightAverage
from voiceclone.training.history import History
from voiceclone.training.processes import AgreedStop, Processes, versions
from voiceclone.training.state import StateFolder
from voiceclone.training.step import MemoryExhaustedError, SkippedUpdate, StepResult
from voiceclone.training.trackers import RunName, Trackers


class Recipe(Protocol):
    """One kind of training.

    ``state`` is the registry of what a checkpoint holds; a part whose ``optional`` is true may be missing in older ones
    and then starts as it is made. Its ``model`` is exported: the module, or the adapters if they alone are trained.
    ``average``, if there is one, is registered too; the trainer updates it, and validates and hands out the averaged
    weights. ``metric`` names the validation metric, lower is better, that chooses the best model.
    """

    state: dict[str, Stateful]
    metric: str
    average: WeightAverage | None

    @property
    def order(self) -> Order:
        """The items of each step."""

    @property
    def model(self) -> torch.nn.Module:
        """The module that is trained."""

    def train_step(self, step: int) -> StepResult:
        """Make the update of a step, counted from 0.

        Raises:
            SkippedUpdate: a loss or gradient is not finite or explodes; no update was made.
            MemoryExhaustedError: the step does not fit into memory, however it is cut.
        """

    def validate(self) -> dict[str, float]:
        """Metrics of the held-out utterances; empty if there are none."""

    def utterance_losses(self) -> Iterator[tuple[str, float]]:
        """Training utterances and their loss, by which suspect ones are found."""

    def sample(self) -> tuple[torch.Tensor, int] | None:
        """Sound ``(N,)`` by which a person follows the training, and its rate; None if there is none."""


@dataclass(frozen=True)
class Plan:
    """Length and intervals of a training, in optimiser steps.

    ``patience`` ends it after that many validations in a row that were no better than the best; 0: never. The weights
    are kept as ``candidates`` at that many steps, evenly over the training.
    """

    steps: int
    seed: int
    log_every: int = 10
    validate_every: int = 100
    max_skipped: int = 3
    patience: int = 0
    candidates: int = 0

    def keeps(self, step: int) -> bool:
        """Whether the weights of a step are kept to be chosen from."""
        return any(step == self.steps * number // (self.candidates + 1) for number in range(1, self.candidates + 1))

    @classmethod
    def of(cls, settings: TrainingSettings, steps: int, candidates: int = 0) -> Plan:
        """The plan of a training of ``steps`` with these settings."""
        return cls(
            steps,
            settings.seed,
            settings.log_every,
            settings.validate_every,
            settings.max_skipped,
            settings.early_stopping,
            candidates,
        )


@dataclass
class Counters:
    """Progress of a training: a stateful part like the others."""

    step: int = 0
    validated: int = 0
    seconds: float = 0.0
    skipped: int = 0  # in a row
    stale: int = 0  # validations in a row that were no better than the best
    window: dict[str, list[float]] = field(default_factory=dict)  # name -> [sum, count] since the last history line

    def state_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore them."""
        for name, value in state.items():
            setattr(self, name, value)


def weights_of(model: Stateful) -> dict[str, torch.Tensor]:
    """Copies of the weights on the CPU."""
    return {name: tensor.detach().to("cpu", copy=True) for name, tensor in model.state_dict().items()}


class Best:
    """Weights with the best validation metric so far: a stateful part, saved with the others."""

    def __init__(self) -> None:
        self.step: int | None = None
        self.value = math.inf
        self.weights: dict[str, torch.Tensor] = {}

    def offer(self, step: int, value: float, model: Stateful) -> bool:
        """Keep a copy of the weights if ``value`` is lower than all before; whether it was."""
        if not value < self.value:
            return False
        self.step, self.value, self.weights = step, value, weights_of(model)
        return True

    def state_dict(self) -> dict[str, Any]:
        """Plain values and tensors."""
        return {"step": self.step, "value": None if self.step is None else self.value, "weights": self.weights}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore them."""
        self.step, self.weights = state["step"], dict(state["weights"])
        self.value = math.inf if state["value"] is None else state["value"]


def write_weights(target: Path, weights: Mapping[str, torch.Tensor]) -> None:
    """Write tensors as safetensors, whole or not at all."""
    with atomic_path(target) as temporary:
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}, temporary)


def candidate_path(folder: Path, step: int) -> Path:
    """Where a training keeps the weights of a step to be chosen from."""
    return folder / "candidates" / f"{step:08d}.safetensors"


@dataclass(frozen=True)
class Result:
    """A finished training; ``losses`` are those of every training utterance under its best weights, ``candidates`` the
    files of weights by step."""

    step: int
    epochs: float
    seconds: float
    last: dict[str, torch.Tensor]
    best: Best
    history: list[dict[str, Any]]
    resumes: list[dict[str, Any]]
    losses: dict[str, float] = field(default_factory=dict)
    candidates: dict[int, Path] = field(default_factory=dict)

    @property
    def started(self) -> str:
        """In words, why the training was begun, and how it differs from the one before."""
        return next((str(row["reason"]) for row in self.history if row.get("event") == "started"), "")

    def heldout_at(self, step: int | None) -> dict[str, float]:
        """Held-out metrics of a validated step; empty if there are none."""
        return heldout_at(self.history, step)


def heldout_at(history: Sequence[Mapping[str, Any]], step: int | None) -> dict[str, float]:
    """Held-out metrics in the rows of a validated step; empty if there are none."""
    place = {"step", "epoch", "seconds", "split"}
    for row in reversed(history):
        if row.get("split") == "heldout" and row["step"] == step:
            return {name: value for name, value in row.items() if name not in place}
    return {}


log = logging.getLogger(__name__)
SHORT = {"cross_entropy": "ce", "top3_accuracy": "top3"}  # names on progress lines
UNSHOWN = {"gradient_norm", "learning_rate"}


class Trainer:
    """Runs one training to its end, to a stop request, or to a recorded failure.

    Args:
        recipe: model, optimisers, data.
        plan: length and intervals.
        folder: of the state; its lock is taken by :meth:`run`.
        runtime: save intervals, kept checkpoints, time budget.
        label: prefix of the progress lines.
        warm_start: start a new training from the weights of the one before it.
        processes: the processes of this training; the first one alone writes.
        fit: called before the first step, when the state is as it will be: fits the training into memory, and says how.
    """

    def __init__(
        self,
        recipe: Recipe,
        plan: Plan,
        folder: StateFolder,
        runtime: RuntimeSettings,
        label: str,
        warm_start: bool = False,
        processes: Processes | None = None,
        fit: Callable[[], str] = str,
    ) -> None:
        self.recipe, self.plan, self.folder, self.runtime, self.label = recipe, plan, folder, runtime, label
        self.warm_start, self.processes, self.fit = warm_start, processes or Processes(), fit
        self.counters, self.best = Counters(), Best()
        self.state: dict[str, Stateful] = {**recipe.state, "counters": self.counters, "best": self.best}
        self.store = CheckpointStore(
            folder.folder,
            folder.fingerprint.key,
            keep=runtime.keep_checkpoints,
            keep_every=runtime.keep_every_steps,
            keep_best=runtime.keep_best,
        )
        run = RunName(label, folder.fingerprint.key, folder.fingerprint.components)
        trackers = Trackers(runtime.trackers, run, folder.folder)
        self.history = History(folder.folder, writes=self.processes.leads, trackers=trackers)
        self.writer = CheckpointWriter(self.store, before=self.history.flush)
        self.saver = Saver(self.writer, self._submit, runtime, label)
        self._submitted: tuple[int, int] | None = None  # step and validated step that the writer was given last
        self._tick = 0.0  # when the last step ended

    def run(self) -> Result:
        """Train from the newest checkpoint, or from the start, to the planned step.

        Raises:
            Interrupted: a signal or the time budget ended it; the state is saved.
            DataError: it cannot continue; ``FATAL.json`` keeps the reason if it would repeat.
        """
        back = self.folder.back_from()
        lock = self.folder.locked() if self.processes.leads else nullcontext()
        with StopRequest(self.runtime.max_seconds) as asked, lock:
            stop = AgreedStop(asked, self.processes)
            self.folder.check_not_fatal()
            try:
                self._start(back)
                self._fit()
                with self._progress() as progress:
                    self._loop(stop, progress)
                self._save_and_wait(stop)
                return self._result(asked)
            finally:
                self.saver.close()
                self.history.close()

    # -- start -----------------------------------------------------------------------------------------------------

    def _start(self, back: str) -> None:
        """Resume, or start and report how this training differs from the one before."""
        description = self.folder.describe()
        checkpoint = self._newest()
        if checkpoint is not None:
            self._resume(checkpoint, back)
            return
        event: dict[str, Any] = {"event": "started", "step": 0, "reason": description}
        warm = load_previous(self.folder, self.recipe.state) if self.warm_start else None
        if warm is not None:
            event["reason"] += f"; starts from the weights of {warm}"
        if self.processes.leads:
            self.folder.write_fingerprint({"started": event["reason"]})
        announce(f"{self.label}  {event['reason']}")
        log.info("%s", event["reason"])
        self.history.begin(0, [], event)
        if warm is not None:
            self._save()

    def _newest(self) -> Checkpoint | None:
        """The checkpoint to continue from, if any: the first process chooses it, all read it."""
        checkpoint = None
        if self.processes.leads:
            self.store.sweep()
            checkpoint = self._fitting(self.store.newest())
        step = self.processes.from_leader(None if checkpoint is None else checkpoint.record.step)
        return checkpoint if self.processes.leads or step is None else self.store.load(step)

    def _fitting(self, newest: Checkpoint | None) -> Checkpoint | None:
        """The newest checkpoint, or that of the planned step where more steps than planned were trained before.

        Raises:
            DataError: it was not kept.
        """
        planned = self.plan.steps
        if newest is None or newest.record.step <= planned:
            return newest
        if planned in self.store.steps():
            log.info("%d steps were trained before; the checkpoint of step %d is used", newest.record.step, planned)
            return self.store.load(planned)
        kept = ", ".join(map(str, self.store.steps()))
        raise DataError(
            f"{self.label}: {newest.record.step} steps were trained before, {planned} are planned now, and the "
            f"checkpoint of step {planned} was not kept",
            f"ask for one of the steps that were kept ({kept}), or delete {self.store.folder} to start again",
        )

    def _resume(self, checkpoint: Checkpoint, back: str) -> None:
        """Restore all parts; ``back`` says which other training ran in between, if any."""
        restore(self.state, checkpoint)
        step = self.counters.step
        self._submitted = (step, self.counters.validated)
        if self._complete():
            announce(f"{self.label}  was complete at step {step}: its outputs are written again")
            log.info("complete: checkpoint of step %d, planned %d", step, self.plan.steps)
            self.history.begin(step, checkpoint.history)
            return
        reason = why_it_resumes(checkpoint, back)
        announce(f"{self.label}  continues at step {step}/{self.plan.steps}: {reason}")
        log.info("resumed at step %d of %d: %s", step, self.plan.steps, reason)
        self.history.begin(step, checkpoint.history, {"event": "resumed", "step": step, "reason": reason})

    def _fit(self) -> None:
        """Fit the training into memory, unless no step is left."""
        if not self._complete() and (found := self.fit()):
            announce(f"{self.label}  {found}")
            log.info("%s", found)
            self.history.add({"event": "memory", "step": self.counters.step, "reason": found})

    # -- loop ------------------------------------------------------------------------------------------------------

    def _progress(self) -> Progress:
        return open_progress(
            f"{self.label}  step", self.plan.steps, self.runtime.progress_seconds, done=self.counters.step
        )

    def _loop(self, stop: AgreedStop, progress: Progress) -> None:
        """Steps, history, validation and saves until the plan is done."""
        counters, plan = self.counters, self.plan
        self._tick = time.monotonic()
        while True:
            self._validate_if_due(stop)
            if self._complete():
                return
            if stop.reason:
                self._save_and_wait(stop)
                raise Interrupted(
                    f"{self.label}: stopped by {stop.reason} at step {counters.step}/{plan.steps}; its state is saved",
                    "run the same command again to continue",
                )
            losses = self._step()
            if plan.keeps(counters.step):
                self._keep_candidate()
            stop.agree()
            progress.update(note=self._note(losses))
            if self.saver.due(counters.step):
                self._validate_if_due(stop)
                self._save()

    def _keep_candidate(self) -> None:
        """Write the weights of this step beside the checkpoints; those of a step that is made again are the same."""
        with self._leaving():
            weights = weights_of(self.recipe.state["model"])
        if self.processes.leads:
            try:
                write_weights(candidate_path(self.folder.folder, self.counters.step), weights)
            except OSError as error:  # a full disk ends no training
                log.warning("step %d is no candidate: %s", self.counters.step, error)

    def _complete(self) -> bool:
        """True if the plan is done, by its steps or because validation has not improved within the patience."""
        counters, plan = self.counters, self.plan
        if plan.patience and counters.stale >= plan.patience:
            return True
        return counters.step >= plan.steps and counters.validated >= counters.step

    def _note(self, losses: Mapping[str, float]) -> str:
        """The losses of a step, in short."""
        shown = {name: value for name, value in losses.items() if name not in UNSHOWN}
        return "  ".join(f"{SHORT.get(name, name.removeprefix('loss_'))} {value:.3g}" for name, value in shown.items())

    def _step(self) -> dict[str, float]:
        """One step of the recipe, its counters and its line in the history."""
        counters, plan = self.counters, self.plan
        seed_step(plan.seed, counters.step)
        try:
            result = self.recipe.train_step(counters.step)
            if self.recipe.average is not None:
                self.recipe.average.update()
            counters.skipped = 0
        except SkippedUpdate as error:
            result = StepResult({}, error.events)
            counters.skipped += 1
            log.warning("step %d: %s; update skipped", counters.step + 1, error)
            if counters.skipped > plan.max_skipped:
                self._fail(f"{error} in {counters.skipped} steps in a row")
        except MemoryExhaustedError:
            raise  # more memory may fix it: no reason to refuse the next attempt
        except DataError as error:
            self._fail(str(error))
        for reason in result.events:
            announce(f"{self.label}  step {counters.step + 1}: {reason}")
            self.history.add({"event": "out of memory", "step": counters.step + 1, "reason": reason})
        counters.step += 1
        now = time.monotonic()
        counters.seconds, self._tick = counters.seconds + now - self._tick, now
        for name, value in result.losses.items():
            total = counters.window.setdefault(name, [0.0, 0])
            total[0] += value
            total[1] += 1
        if counters.step % plan.log_every == 0 or counters.step >= plan.steps:
            self._log_window()
        return result.losses

    def _fail(self, reason: str) -> None:
        """Record a failure that would repeat itself, and end. The checkpoints stay as they are."""
        self.folder.write_fatal(self.counters.step + 1, reason)
        raise DataError(
            f"{self.label}: failed at step {self.counters.step + 1}: {reason}",
            f"lower the learning rate or look at the data; the reason is kept in {self.folder.fatal_path}",
        )

    def _row(self, split: str, metrics: Mapping[str, float]) -> None:
        """Add a line of metrics to the history."""
        step = self.counters.step
        self.history.add(
            {
                "step": step,
                "epoch": self.recipe.order.epoch(max(0, step - 1)) + 1,
                "seconds": round(self.counters.seconds, 3),
                "split": split,
                **metrics,
            }
        )

    def _log_window(self) -> None:
        """Means of the losses since the last line."""
        window = self.counters.window
        if window:
            self._row("train", {name: total / count for name, (total, count) in window.items()})
        self.counters.window = {}

    def _validate_if_due(self, stop: AgreedStop) -> None:
        """Validate at the interval and at the end; the resumed run does it if a stop is requested."""
        counters, plan = self.counters, self.plan
        step = counters.step
        due = step > 0 and (step % plan.validate_every == 0 or step >= plan.steps)
        if not due or counters.validated >= step or stop.reason:
            return
        seed_step(plan.seed, "validation")
        self.recipe.model.eval()
        with torch.no_grad(), self._leaving():
            metrics = self.processes.from_leader(self.recipe.validate())
            usable = bool(metrics) and all(map(math.isfinite, metrics.values()))
            better = usable and self.best.offer(step, metrics[self.recipe.metric], self.recipe.state["model"])
            self._sample()
        self.recipe.model.train()
        counters.validated = step
        counters.stale = 0 if better or not metrics else counters.stale + 1
        if metrics and not usable:
            log.warning("step %d held-out: not finite, ignored: %s", step, metrics)
        elif metrics:
            self._row("heldout", metrics)
            log.info("step %d held-out: %s", step, "  ".join(f"{name} {value:.4g}" for name, value in metrics.items()))
            if plan.patience and counters.stale >= plan.patience:
                announce(f"{self.label}  ends early at step {step}: no better since step {self.best.step}")
            if self._among_best(metrics[self.recipe.metric]):
                self._save()

    def _sample(self) -> None:
        """Keep a sample of speech at the first and then every ``sample_every`` validations."""
        every = self.runtime.sample_every
        validations = sum(row.get("split") == "heldout" for row in self.history.rows)
        due = self.processes.leads and every and validations % every == 0
        sound = self.recipe.sample() if due else None
        if sound is not None:
            self.history.add_sound(*sound, self.counters.step)

    def _among_best(self, value: float) -> bool:
        """True if this validation metric is among the ``keep_best`` lowest."""
        metrics = sorted(row[self.recipe.metric] for row in self.history.rows if row.get("split") == "heldout")
        return value in metrics[: self.runtime.keep_best]

    def _leaving(self) -> AbstractContextManager[None]:
        """Context in which the model holds the weights to validate and export: the average, if there is one."""
        average = self.recipe.average
        return nullcontext() if average is None else average.applied()

    # -- save ------------------------------------------------------------------------------------------------------

    def _position(self) -> tuple[int, int]:
        return self.counters.step, self.counters.validated

    def _submit(self) -> None:
        """Hand the current state to the writer."""
        counters = self.counters
        parts = {name: part.state_dict() for name, part in self.state.items()}
        metric = heldout_at(self.history.rows, counters.step).get(self.recipe.metric)
        self.writer.submit(counters.step, parts, self.history.rows, versions(), metric)
        self._submitted = self._position()

    def _save(self) -> None:
        """Have a checkpoint written, unless the writer has this step and its validation already."""
        if self.processes.leads and self._position() != self._submitted:
            self.saver.save()

    def _save_and_wait(self, stop: AgreedStop) -> None:
        """Have a checkpoint written and wait until it is complete: nothing comes after it."""
        if self.processes.leads:
            self.saver.finish(lambda: bool(stop.here), submitted=self._position() == self._submitted)
        self.processes.wait(60 * self.runtime.save_patience_minutes)

    def _result(self, stop: StopRequest) -> Result:
        with self._leaving():
            last = weights_of(self.recipe.state["model"])
            losses = self._utterance_losses(stop) if self.best.step is None else {}
        if self.best.step is not None:
            self.recipe.state["model"].load_state_dict(self.best.weights)
            losses = self._utterance_losses(stop)
        self.processes.wait(60 * self.runtime.save_patience_minutes)
        return Result(
            step=self.counters.step,
            epochs=self.counters.step / self.recipe.order.steps_per_epoch,
            seconds=self.counters.seconds,
            last=last,
            best=self.best,
            history=self.history.rows,
            resumes=[row for row in self.history.events if row["event"] == "resumed"],
            losses=losses,
            candidates={
                step: path
                for step in range(1, self.counters.step + 1)
                if self.plan.keeps(step) and (path := candidate_path(self.folder.folder, step)).is_file()
            },
        )

    def _utterance_losses(self, stop: StopRequest) -> dict[str, float]:
        """Loss of every training utterance under the weights at hand.

        The time budget does not end it: nothing of it could be saved, so the next slice would come no further.
        """
        losses: dict[str, float] = {}
        if not self.processes.leads:
            return losses
        seed_step(self.plan.seed, "ranking")
        self.recipe.model.eval()
        with torch.no_grad():
            for name, loss in self.recipe.utterance_losses():
                losses[name] = loss
                if stop.signal:
                    raise Interrupted(
                        f"{self.label}: stopped by {stop.signal} after its last step; its state is saved",
                        "run the same command again to write the model",
                    )
        return losses
