"""Weights & Biases and MLflow get what TensorBoard gets; a resumed training continues its run."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from tests.support.training_toy import STEPS, ToyRecipe, fingerprint, losses, train

from voiceclone.errors import ConfigError, Interrupted
from voiceclone.training import trackers
from voiceclone.training.trackers import RunName


def stopped_and_resumed(root: Path, name: str) -> list[dict[str, Any]]:
    """Train the toy with a tracker, stopped half-way; the rows of its history."""
    with pytest.raises(Interrupted):
        train(root, ToyRecipe(before=Stop(STEPS // 2)), trackers=(name,), max_seconds=3600)
    return losses(train(root, trackers=(name,)))


class Stop:
    """Ask the training to stop as SIGTERM does, at a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def __call__(self, step: int) -> None:
        if step == self.step:
            os.kill(os.getpid(), signal.SIGTERM)


def test_mlflow_has_one_run_with_every_metric(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mlflow", reason="mlflow is not installed: pip install mlflow")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    rows = stopped_and_resumed(tmp_path, "mlflow")
    from mlflow import MlflowClient

    store = tmp_path / fingerprint().key / "mlflow"
    client = MlflowClient(store.resolve().as_uri())
    experiment = client.get_experiment_by_name("voiceclone")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.data.tags["fingerprint"] == fingerprint().key and run.info.run_name == "toy"
    assert run.info.status == "FINISHED"
    for split, name in (("train", "loss_total"), ("heldout", "error")):
        drawn = {metric.step: metric.value for metric in client.get_metric_history(run.info.run_id, f"{split}/{name}")}
        assert drawn == {row["step"]: row[name] for row in rows if row["split"] == split}


def test_weights_and_biases_keeps_one_id_over_both_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb", reason="wandb is not installed: pip install wandb")
    monkeypatch.delenv("WANDB_MODE", raising=False)
    stopped_and_resumed(tmp_path, "wandb")
    runs = list((tmp_path / fingerprint().key / "wandb").rglob("run-*.wandb"))
    assert len(runs) == 2 and {path.name for path in runs} == {f"run-{fingerprint().key}.wandb"}


def test_a_tracker_that_fails_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog) -> None:
    class Failing:
        def __init__(self, run: RunName, folder: Path) -> None:
            assert run.fingerprint == fingerprint().key and run.label == "toy"

        def add(self, metrics: Any, step: int) -> None:
            raise RuntimeError("quota exceeded")

        def close(self) -> None:
            raise AssertionError("it was left alone")

    monkeypatch.setitem(trackers.TRACKERS, "wandb", Failing)
    monkeypatch.setattr(trackers, "check_installed", lambda names: None)
    assert train(tmp_path, trackers=("wandb",)).step == STEPS
    assert caplog.text.count("wandb: no more tracking in this run: quota exceeded") == 1


def test_one_that_is_not_installed_is_an_error_before_any_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trackers.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="mlflow is not installed"):
        train(tmp_path, trackers=("mlflow",))
