"""ScaledAdam and the learning rates of the public GPT training against its recorded runs."""

from __future__ import annotations

import pytest
import torch

from voiceclone.stages.train_gpt import GPTSettings
from voiceclone.training.gpt import learning_rate
from voiceclone.training.optimizers import ScaledAdam

LIMIT = 1e-5


@pytest.mark.parametrize("name", ["s1_optimizer", "s1_optimizer_clipping"])
def test_every_recorded_step(golden, close, name):
    recorded = golden.read(name)
    letters = "abcdef"
    parameters = [torch.nn.Parameter(recorded[f"param_{letter}_000"].clone()) for letter in letters]
    optimizer = ScaledAdam(parameters, clipping_update_period=int(recorded["clipping_update_period"]))
    compared = 0
    for step, rate in enumerate(recorded["lr"].tolist()):
        optimizer.param_groups[0]["lr"] = rate
        for letter, parameter in zip(letters, parameters, strict=True):
            parameter.grad = recorded[f"grad_{letter}"][step].clone()
        optimizer.step()
        for letter, parameter in zip(letters, parameters, strict=True):
            if (expected := recorded.get(f"param_{letter}_{step + 1:03d}")) is not None:
                close(parameter, expected, LIMIT, f"{letter} after step {step + 1}")
                compared += 1
    assert compared == 6 * 13


def test_clipping_comes_into_force(golden):
    """The two recordings differ by the clipping alone, so that following both proves its part."""
    last = [golden.read(name)["param_a_048"] for name in ("s1_optimizer", "s1_optimizer_clipping")]
    assert not torch.equal(*last)


def test_public_schedule(golden):
    recorded = golden.read("s1_lr_schedule")
    settings = GPTSettings(optimizer="scaled_adam", schedule="public")
    rates = [learning_rate(settings, step, 5000) for step in recorded["step"].tolist()]
    assert torch.tensor(rates).tolist() == recorded["lr_used_at_step"].tolist()
