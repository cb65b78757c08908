"""ScaledAdam as a part of a training: what it changes, what it stores, that a stopped training ends the same."""

from __future__ import annotations

import os
import signal
import time
from functools import partial
from pathlib import Path

import pytest
import torch
from tests.support import training_toy as toy
from tests.support.small_training import Speaker

from voiceclone.config.load import load_config
from voiceclone.errors import ConfigError
from voiceclone.stages.train_gpt import GPTSettings
from voiceclone.training.checkpoints import CheckpointStore
from voiceclone.training.gpt import learning_rate
from voiceclone.training.optimizers import ScaledAdam

pytestmark = pytest.mark.usefixtures("small_networks")


class Recipe(toy.ToyRecipe):
    """The toy with this optimiser, whose clipping starts within the few steps."""

    def __init__(self, before: object = None) -> None:
        super().__init__(before=before)  # type: ignore[arg-type]
        self.optimizer = ScaledAdam(self.model.parameters(), lr=0.05, clipping_update_period=6)  # type: ignore[assignment]
        self.state["optimiser"] = self.optimizer


@pytest.mark.parametrize("stop", [5, 9, 14])
def test_a_killed_training_ends_with_the_same_bits(tmp_path: Path, stop: int) -> None:
    def die(step: int) -> None:
        if step == stop:
            while not list((tmp_path / "broken").rglob("step-*")):  # written beside the training
                time.sleep(0.01)
            os.kill(os.getpid(), signal.SIGKILL)

    straight = toy.train(tmp_path / "straight", Recipe())
    assert toy.in_child(partial(toy.train, tmp_path / "broken", Recipe(before=die))) == -signal.SIGKILL
    finished = toy.train(tmp_path / "broken", Recipe())
    assert toy.same(straight, finished) and len(finished.resumes) == 1
    states = [CheckpointStore(tmp_path / name / toy.fingerprint().key, toy.fingerprint().key).newest()
              for name in ("straight", "broken")]  # fmt: skip
    (one, other) = (state.parts["optimiser"]["state"] for state in states if state is not None)
    clipping = {"model_norms", "model_norm_threshold", "num_clipped"}
    assert clipping <= {name for state in one.values() for name in state}
    for key, state in one.items():
        assert state.keys() == other[key].keys()
        assert all(
            torch.equal(torch.as_tensor(value), torch.as_tensor(other[key][name])) for name, value in state.items()
        )


def test_alike_parameters_share_one_state_and_steps_are_relative() -> None:
    torch.manual_seed(0)
    small, large = (torch.nn.Parameter(size * torch.randn(20, 30)) for size in (0.01, 1.0))
    scalar = torch.nn.Parameter(torch.ones(1))
    before = [small.detach().clone(), large.detach().clone()]
    optimizer = ScaledAdam([small, large, scalar], lr=0.01)
    for parameter in (small, large, scalar):
        parameter.grad = torch.randn_like(parameter)
    optimizer.step()
    assert set(optimizer.state) == {small, scalar}
    moved = [
        (now.detach() - then).square().mean().sqrt().item() for now, then in zip((small, large), before, strict=True)
    ]
    assert moved[1] / moved[0] == pytest.approx(100, rel=0.1)


def test_it_finds_the_minimum() -> None:
    torch.manual_seed(0)
    target = torch.randn(6, 5)
    weights = torch.nn.Parameter(torch.randn(6, 5))
    optimizer = ScaledAdam([weights], lr=0.05)
    for _ in range(300):
        optimizer.zero_grad()
        (weights - target).square().sum().backward()
        optimizer.step()
    assert (weights - target).abs().max() < 0.1


def test_the_gpt_trains_with_it_at_the_public_rates_and_resumes_exactly(tmp_path: Path) -> None:
    options = {"optimizer": "scaled_adam", "schedule": "public", "log_every": 1}
    whole, parts = Speaker(tmp_path / "whole"), Speaker(tmp_path / "parts")
    whole.train("gpt", **options)
    parts.train("gpt", steps=5, **options)
    parts.train("gpt", **options)
    assert parts.weights("gpt") == whole.weights("gpt")
    rows = [row for row in parts.losses("gpt") if row["split"] == "train"]
    assert [row["learning_rate"] for row in rows] == [0.01] + [0.002] * (len(rows) - 1)
    assert rows[-1]["cross_entropy"] < rows[0]["cross_entropy"]
    Speaker(tmp_path / "parts").train("gpt", log_every=1)  # another optimiser is another training
    assert parts.report("gpt")["resumes"] == [] and parts.weights("gpt") != whole.weights("gpt")


def test_schedules() -> None:
    cosine = GPTSettings(learning_rate=1e-3, warmup_steps=10)
    assert [learning_rate(cosine, step, 110) for step in (0, 9, 10)] == pytest.approx([1e-4, 1e-3, 1e-3])
    assert learning_rate(cosine, 60, 110) == pytest.approx(1e-3 * 0.55)
    assert learning_rate(cosine, 110, 110) == pytest.approx(1e-4)
    public = GPTSettings(optimizer="scaled_adam", schedule="public", learning_rate=0.5)
    assert [learning_rate(public, step, 110) for step in (0, 1, 109)] == [0.01, 0.002, 0.002]


def test_the_public_schedule_is_refused_with_another_optimizer() -> None:
    with pytest.raises(ConfigError, match="optimizer: scaled_adam"):
        load_config({"gpt": {"schedule": "public"}})
