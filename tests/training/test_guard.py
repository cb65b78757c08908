from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from tests.support.small_training import Speaker

from voiceclone.errors import DataError
from voiceclone.training import gpt, sovits
from voiceclone.training.data import Loader
from voiceclone.training.step import MIN_STEPS, ExplodingError, Guard, NotFiniteError, StepResult, finite

pytestmark = pytest.mark.usefixtures("small_networks")


def test_figures_that_are_not_finite_are_named() -> None:
    finite(a=1.0, b=torch.tensor(2.0))
    with pytest.raises(NotFiniteError, match=r"^a, c not finite$"):
        finite(a=float("nan"), b=0.0, c=torch.tensor(float("inf")))


@given(st.lists(st.floats(1, 15), min_size=MIN_STEPS, max_size=150))
def test_a_loss_far_above_the_usual_explodes_and_does_not_become_usual(losses: list[float]) -> None:
    guard = Guard(20)
    for value in losses:
        guard.check(loss=value)
    before = guard.state_dict()["recent"]["loss"][:]
    for _ in range(3):
        with pytest.raises(ExplodingError, match=r"loss 1e\+03, usual .*: exploding"):
            guard.check(loss=1000.0)
    assert guard.state_dict()["recent"]["loss"] == before and len(before) == min(100, len(losses))
    guard.check(loss=20.0)


def test_nothing_is_usual_at_the_start_and_never_where_the_guard_is_off() -> None:
    guard, off = Guard(20), Guard(0)
    for value in (1.0, 1e5, 1.0, 1e7):
        guard.check(loss=value)
    for value in [1.0] * 50 + [1e9]:
        off.check(loss=value)


def test_the_state_of_the_guard_is_plain_and_whole() -> None:
    guard, again = Guard(20), Guard(20)
    for value in range(1, 40):
        guard.check(loss=float(value))
    again.load_state_dict(guard.state_dict())
    assert again.state_dict() == guard.state_dict()
    guard.check(loss=3.0)
    assert again.state_dict() != guard.state_dict()


def explode(monkeypatch: pytest.MonkeyPatch, steps: set[int]) -> None:
    """Make the GPT's loss a hundred thousand times as large in some steps."""
    loss, current = gpt.token_loss, [0]
    original = gpt.GPTRecipe.train_step

    def train_step(self: Any, step: int) -> StepResult:
        current[0] = step
        return original(self, step)

    monkeypatch.setattr(gpt.GPTRecipe, "train_step", train_step)
    monkeypatch.setattr(gpt, "token_loss", lambda *a, **k: loss(*a, **k) * (1e5 if current[0] in steps else 1))


def test_an_exploding_step_is_left_out_reported_and_the_training_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    speaker = Speaker(tmp_path)
    explode(monkeypatch, {25, 26})
    speaker.train("gpt", steps=30, save_every=100, log_every=1, validate_every=100)
    assert "step 26: cross_entropy" in caplog.text and "exploding; update skipped" in caplog.text
    logged = [row["step"] for row in speaker.losses("gpt") if row["split"] == "train"]
    assert logged == [step for step in range(1, 31) if step not in (26, 27)]


def test_a_loss_that_keeps_exploding_ends_the_training_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    speaker = Speaker(tmp_path)
    explode(monkeypatch, set(range(25, 99)))
    with pytest.raises(DataError, match=r"exploding in 4 steps in a row"):
        speaker.train("gpt", steps=40, save_every=10, validate_every=100)
    (state,) = tmp_path.glob("state/gpt/*")
    assert (state / "FATAL.json").is_file() and (state / "step-00000020").is_dir()


def test_a_gradient_that_is_not_finite_changes_no_weight_though_its_loss_is_finite(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Poison(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, loss: torch.Tensor) -> torch.Tensor:
            return loss.clone()

        @staticmethod
        def backward(ctx: Any, slope: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
            return slope * float("nan")

    calls: list[int] = []
    loss = sovits.kl_loss

    def poisoned(*args: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        value: torch.Tensor = loss(*args)
        return Poison.apply(value) if len(calls) == 2 else value  # type: ignore[no-untyped-call,no-any-return]

    monkeypatch.setattr(sovits, "kl_loss", poisoned)
    speaker = Speaker(tmp_path)
    speaker.train("sovits", steps=3, log_every=1)
    assert "step 2: gradient not finite; update skipped" in caplog.text
    weights = load_file(tmp_path / "models" / "sovits.safetensors").values()
    assert all(bool(torch.isfinite(value).all()) for value in weights)


def test_the_loader_reads_ahead_and_gives_what_is_asked_for() -> None:
    asked: list[int] = []

    def read(key: int) -> dict[str, torch.Tensor]:
        asked.append(key)
        if key == 9:
            raise DataError("nine is damaged")
        return {"x": torch.tensor(key)}

    loader = Loader(read, torch.device("cpu"))
    assert loader.get(1, 2)["x"] == 1 and loader.get(2, 3)["x"] == 2
    assert loader.get(7, 8)["x"] == 7  # another one than was announced
    assert loader.get(8)["x"] == 8
    assert sorted(asked) == [1, 2, 3, 7, 8]  # three was read ahead in vain
    with pytest.raises(DataError, match="nine"):
        loader.get(9)
    loader.get(1, 9)
    with pytest.raises(DataError, match="nine"):
        loader.get(9)
