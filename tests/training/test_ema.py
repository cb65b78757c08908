"""The moving average of the weights: its arithmetic, and that nothing of it is lost when a training is killed."""

from __future__ import annotations

import os
import signal
from functools import partial
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from tests.support import training_toy as toy

from voiceclone.training.finetuning import WeightAverage

torch.set_num_threads(1)


@given(decay=st.floats(0.01, 0.9999), values=st.lists(st.floats(-10, 10), min_size=1, max_size=30))
@settings(max_examples=50, deadline=None)
def test_the_average_is_the_recursion_with_its_rising_decay(decay: float, values: list[float]) -> None:
    model = torch.nn.Linear(1, 1, bias=False).double()
    average, expected = WeightAverage(model, decay), values[0]
    for number, value in enumerate(values):
        model.weight.data.fill_(value)
        average.update()
        if number:
            rising = min(decay, (1 + number) / (10 + number))
            expected = rising * expected + (1 - rising) * value
    with average.applied():
        assert model.weight.item() == pytest.approx(expected, abs=1e-9)
    assert model.weight.item() == values[-1]


def test_own_weights_come_back_bit_for_bit_after_an_error() -> None:
    model = torch.nn.Linear(5, 5)
    average = WeightAverage(model, 0.5)
    average.update()
    with torch.no_grad():
        model.weight.add_(1e-7)
    before = model.weight.detach().clone()
    with pytest.raises(ZeroDivisionError), average.applied():
        assert not torch.equal(model.weight, before)
        raise ZeroDivisionError
    assert torch.equal(model.weight, before)


def test_frozen_parameters_are_not_averaged() -> None:
    model = torch.nn.Linear(2, 2)
    model.bias.requires_grad_(False)
    average = WeightAverage(model, 0.9)
    average.update()
    assert set(average.state_dict()["average"]) == {"weight"}


def test_the_average_leaves_and_is_judged_the_raw_weights_stay_in_the_checkpoint(tmp_path: Path) -> None:
    recipe = toy.ToyRecipe(ema_decay=0.9)
    result = toy.train(tmp_path, recipe)
    folder = tmp_path / toy.fingerprint().key / f"step-{toy.STEPS:08d}"
    raw, average = load_file(folder / "model.safetensors"), load_file(folder / "average.safetensors")
    for name, tensor in result.last.items():
        assert torch.equal(tensor, average[f"average.{name}"]) and not torch.equal(tensor, raw[name])
    recipe.model.load_state_dict(result.last)
    recipe.model.eval()
    with torch.no_grad():
        figures = recipe.validate()
    assert figures["error"] == result.heldout_at(toy.STEPS)["error"]
    plain = toy.train(tmp_path / "plain")  # the training itself does not see its average
    assert all(torch.equal(raw[name], tensor) for name, tensor in plain.last.items())


def test_killed_at_several_steps_the_average_is_the_same_bits(tmp_path: Path) -> None:
    whole = toy.train(tmp_path / "whole", toy.ToyRecipe(ema_decay=0.99))

    def until(last: int) -> None:
        recipe = toy.ToyRecipe(
            ema_decay=0.99, before=lambda step: os.kill(os.getpid(), signal.SIGKILL) if step == last else None
        )
        toy.train(tmp_path / "broken", recipe)

    for step in (2, 7, 13):
        assert toy.in_child(partial(until, step)) == -signal.SIGKILL
    assert toy.same(whole, toy.train(tmp_path / "broken", toy.ToyRecipe(ema_decay=0.99)))
