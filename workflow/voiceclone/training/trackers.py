"""Experiment trackers beside TensorBoard: Weights & Biases and MLflow, where they are installed.

One training is one run of a tracker: its name is the label of the progress lines, its id or tag the fingerprint of the
training. A resumed training continues its run. Both write into the state folder and send nothing; ``WANDB_MODE`` and
``MLFLOW_TRACKING_URI``, which these libraries read, send it elsewhere.
"""

from __future__ import annotations

import importlib.util
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from voiceclone.errors import ConfigError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunName:
    """What a tracker calls a training: the label of its progress lines, its fingerprint, and what that covers."""

    label: str
    fingerprint: str
    components: Mapping[str, Any]


class Tracker(Protocol):
    """Takes the metrics of one training."""

    def add(self, metrics: Mapping[str, float], step: int) -> None:
        """Metrics, named ``<split>/<name>``, after so many optimiser steps."""

    def close(self) -> None:
        """End for now."""


class WeightsAndBiases:
    """A run whose id is the fingerprint; offline unless ``WANDB_MODE`` says otherwise."""

    def __init__(self, run: RunName, folder: Path) -> None:
        import wandb

        os.environ.setdefault("WANDB_MODE", "offline")
        self._run = wandb.init(
            project="voiceclone", id=run.fingerprint, name=run.label, tags=[run.fingerprint], resume="allow",
            config=dict(run.components), dir=folder,
        )  # fmt: skip

    def add(self, metrics: Mapping[str, float], step: int) -> None:
        """See :class:`Tracker`."""
        self._run.log(dict(metrics), step=step)

    def close(self) -> None:
        """See :class:`Tracker`."""
        self._run.finish()


class MLflow:
    """A run with the fingerprint as a tag; in a file store unless ``MLFLOW_TRACKING_URI`` names another."""

    def __init__(self, run: RunName, folder: Path) -> None:
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # it asks to be allowed since version 3
        from mlflow import MlflowClient

        self._client = MlflowClient(os.environ.get("MLFLOW_TRACKING_URI") or (folder / "mlflow").resolve().as_uri())
        experiment = self._client.get_experiment_by_name("voiceclone")
        number = experiment.experiment_id if experiment else self._client.create_experiment("voiceclone")
        found = self._client.search_runs([number], f"tags.fingerprint = '{run.fingerprint}'", max_results=1)
        if found:
            self._id = found[0].info.run_id
            self._client.update_run(self._id, status="RUNNING")
            return
        tags = {"fingerprint": run.fingerprint, "stage": str(run.components.get("stage", ""))}
        self._id = self._client.create_run(number, tags=tags, run_name=run.label).info.run_id

    def add(self, metrics: Mapping[str, float], step: int) -> None:
        """See :class:`Tracker`."""
        for name, value in metrics.items():
            self._client.log_metric(self._id, name, value, step=step)

    def close(self) -> None:
        """See :class:`Tracker`."""
        self._client.set_terminated(self._id)


TRACKERS: dict[str, Callable[[RunName, Path], Tracker]] = {"wandb": WeightsAndBiases, "mlflow": MLflow}


def check_installed(names: Sequence[str]) -> None:
    """Stop before any work where a tracker that was asked for is not there.

    Raises:
        ConfigError: names it.
    """
    for name in names:
        if importlib.util.find_spec(name) is None:
            raise ConfigError(f"runtime.trackers: {name} is not installed", f"pip install {name}, or take it out")


class Trackers:
    """Those of one training. They are views: one that fails is left alone, and the training continues.

    Args:
        names: of ``TRACKERS``.
        run: the training.
        folder: its state folder, in which each tracker has a folder of its name.
    """

    def __init__(self, names: Sequence[str], run: RunName, folder: Path) -> None:
        check_installed(names)
        self._names, self._run, self._folder = names, run, folder
        self._open: dict[str, Tracker] = {}

    def begin(self) -> None:
        """Begin or continue the runs."""
        for name in self._names:
            self._safely(name, partial(self._begin, name))

    def _begin(self, name: str) -> None:
        self._open[name] = TRACKERS[name](self._run, self._folder)

    def add(self, row: Mapping[str, Any]) -> None:
        """The metrics of a row of the history; events have none."""
        if "event" not in row and self._open:
            numbers = {name: value for name, value in row.items() if isinstance(value, float) and name != "seconds"}
            metrics = {f"{row['split']}/{name}": value for name, value in numbers.items()}
            for name, tracker in list(self._open.items()):
                self._safely(name, partial(tracker.add, metrics, row["step"]))

    def close(self) -> None:
        """End the runs for now."""
        for name, tracker in list(self._open.items()):
            self._safely(name, tracker.close)
        self._open.clear()

    def _safely(self, name: str, action: Callable[[], object]) -> None:
        try:
            action()
        except Exception as error:  # whatever such a library raises, the training is worth more
            log.warning("%s: no more tracking in this run: %s", name, error)
            self._open.pop(name, None)
