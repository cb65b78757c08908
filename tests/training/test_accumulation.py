"""A batch in pieces is the batch: same gradients, and memory that runs out changes nothing but the pieces."""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.support.small_training import Speaker, die_at, limit, small_gpt, small_sovits, tensors
from tests.support.training_toy import in_child
from torch import Tensor, nn

from voiceclone.errors import DataError
from voiceclone.models.discriminators import DiscriminatorConfig
from voiceclone.stages.settings import RuntimeSettings
from voiceclone.stages.train_gpt import GPTSettings
from voiceclone.stages.train_sovits import SoVITSSettings
from voiceclone.training.data import BatchOrder
from voiceclone.training.gpt import GPTData, GPTRecipe
from voiceclone.training.sovits import SoVITSData, SoVITSRecipe
from voiceclone.training.step import (
    Accumulator,
    MemoryExhaustedError,
    OptimizerStep,
    StepResult,
    is_out_of_memory,
    micro_batches,
)

pytestmark = pytest.mark.usefixtures("small_networks")

CPU = torch.device("cpu")
KINDS = ["gpt", "sovits"]


@given(st.lists(st.integers(), min_size=1, max_size=40), st.integers(0, 50))
def test_micro_batches_are_the_batch_in_order_and_nearly_equal(batch: list[int], max_size: int) -> None:
    cut = micro_batches(batch, max_size)
    assert [item for micro in cut for item in micro.items] == batch
    assert [micro.first for micro in cut] == [sum(len(p.items) for p in cut[:i]) for i in range(len(cut))]
    sizes = [len(micro.items) for micro in cut]
    assert max(sizes) - min(sizes) <= 1 and max(sizes) <= (max_size or len(batch))
    assert sum(micro.share for micro in cut) == pytest.approx(1)


def recipe(kind: str, folder: Path, micro_batch: int, dropout: bool = True) -> GPTRecipe | SoVITSRecipe:
    """A recipe on the features in ``folder``, five utterances in a batch, learning rate next to nothing."""
    order_of, runtime = {"batch_size": 5, "seed": 3}, RuntimeSettings(micro_batch=micro_batch)
    if kind == "gpt":
        data = GPTData(folder / "features")
        order = BatchOrder([data.semantic.length(row.name) for row in data.train], **order_of)
        settings = GPTSettings(learning_rate=1e-9, gradient_clip=1000)
        made: GPTRecipe | SoVITSRecipe
        step = OptimizerStep(settings, runtime, CPU)
        made = GPTRecipe(data, small_gpt(32), settings, order, 10, CPU, optimizer_step=step)
    else:
        sovits = SoVITSData(folder / "features", 32)
        order = BatchOrder([row.frames for row in sovits.train], **order_of)
        adversary = DiscriminatorConfig(periods=(3,), channel_divisor=4)
        adjusted = SoVITSSettings(learning_rate=1e-9)
        step = OptimizerStep(adjusted, runtime, CPU)
        made = SoVITSRecipe(sovits, small_sovits(16, 32), adversary, adjusted, order, CPU, step)
    for module in made.model.modules() if not dropout else ():
        if isinstance(getattr(module, "dropout", None), float):
            module.dropout = 0.0  # type: ignore[assignment]
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return made


def gradients(made: GPTRecipe | SoVITSRecipe) -> Tensor:
    """All gradients that a step has left, of both networks, as one vector."""
    networks = [part for part in made.state.values() if isinstance(part, nn.Module)]
    return torch.cat([p.grad.flatten() for network in networks for p in network.parameters() if p.grad is not None])


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_and_losses_of_micro_batches_add_up_to_those_of_the_batch(tmp_path: Path, kind: str) -> None:
    Speaker(tmp_path)
    whole = recipe(kind, tmp_path, 0, dropout=False)
    losses = whole.train_step(1).losses
    for size in (1, 2, 3):
        cut = recipe(kind, tmp_path, size, dropout=False)
        assert cut.train_step(1).losses == pytest.approx(losses, rel=1e-4)
        difference = (gradients(cut) - gradients(whole)).norm() / gradients(whole).norm()
        assert difference < 1e-5, (size, difference)
    without_noise = recipe(kind, tmp_path, 2)
    without_noise.train_step(1)
    assert (gradients(without_noise) - gradients(whole)).norm() / gradients(whole).norm() > 1e-3  # dropout is seen


@pytest.mark.parametrize("kind", KINDS)
def test_out_of_memory_halves_the_micro_batch_and_repeats_the_step(
    tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the first step on only two fit: the same bytes as a training that was told so."""
    told, found = Speaker(tmp_path / "told"), Speaker(tmp_path / "found")
    told.train(kind, batch_size=4, micro_batch=2)
    undo = limit(kind, 2)
    try:
        found.train(kind, batch_size=4)
    finally:
        undo()
    assert found.weights(kind) == told.weights(kind) and found.losses(kind) == told.losses(kind)
    assert tensors(found, kind) == tensors(told, kind)
    events = [row for row in found.history(kind) if row.get("event") == "out of memory"]
    assert [(row["step"], row["reason"]) for row in events] == [(1, "out of memory: micro-batch 4 -> 2 utterances")]
    assert "step 1: out of memory: micro-batch 4 -> 2" in capsys.readouterr().out


def limit_from(kind: str, step: int, max_items: int) -> None:
    """Let memory become short at a step: another program takes its share."""
    from voiceclone.training import gpt, sovits

    owner: Any = gpt.GPTRecipe if kind == "gpt" else sovits.SoVITSRecipe
    original = owner.train_step

    def train_step(self: object, current: int) -> StepResult:
        if current == step:
            limit(kind, max_items)
        result: StepResult = original(self, current)
        return result

    owner.train_step = train_step


@pytest.mark.parametrize(("kind", "short", "killed"), [("gpt", 5, 11), ("sovits", 2, 4)])
def test_a_training_killed_after_memory_ran_out_resumes_to_the_same_bytes(
    tmp_path: Path, kind: str, short: int, killed: int
) -> None:
    """The size that fits is part of the state: the resumed run has memory enough and still computes the same."""
    from voiceclone.training import gpt, sovits

    whole, broken = Speaker(tmp_path / "whole"), Speaker(tmp_path / "broken")

    def straight() -> None:
        limit_from(kind, short, 2)
        whole.train(kind, batch_size=4)

    def attempt() -> None:
        limit_from(kind, short, 2)
        die_at(gpt.GPTRecipe if kind == "gpt" else sovits.SoVITSRecipe, killed, signal.SIGKILL)
        broken.train(kind, batch_size=4)

    assert in_child(straight) == 0
    assert in_child(attempt) == -signal.SIGKILL
    broken.train(kind, batch_size=4)
    last = killed // 3 * 3  # saved beside the training, so on a slow disk it may not be whole when the process dies
    assert [row["step"] for row in broken.report(kind)["resumes"]] in ([last], [last - 3])
    assert broken.weights(kind) == whole.weights(kind) and broken.losses(kind) == whole.losses(kind)
    assert tensors(broken, kind) == tensors(whole, kind)


def test_memory_that_runs_out_in_the_generators_half_does_not_update_the_discriminators_twice(tmp_path: Path) -> None:
    """The discriminators have made their one update; the generator's half is repeated in smaller micro-batches."""
    Speaker(tmp_path)
    plain, short = (recipe("sovits", tmp_path, 0, dropout=False) for _ in range(2))
    plain.train_step(0)
    undo = None

    def now(*_: Any) -> None:
        nonlocal undo
        undo = undo or limit("sovits", 2)

    short.discriminator_optimizer.register_step_post_hook(now)
    try:
        result = short.train_step(0)
    finally:
        assert undo
        undo()
    assert short.optimizer_step.accumulator.size == 2 and len(result.events) == 1
    steps = [state["step"].item() for state in short.discriminator_optimizer.state.values()]
    assert steps and set(steps) == {1.0}
    for name in ("discriminator", "discriminator_optimiser"):
        ours, theirs = short.state[name].state_dict(), plain.state[name].state_dict()
        assert repr(ours) == repr(theirs)
    assert (gradients(short) - gradients(plain)).norm() / gradients(plain).norm() < 1e-5


def test_one_utterance_that_does_not_fit_is_named_and_not_held_against_the_next_attempt(tmp_path: Path) -> None:
    speaker = Speaker(tmp_path)
    undo = limit("gpt", 0)
    try:
        with pytest.raises(MemoryExhaustedError, match=r"one utterance alone: take-\d\d \(\d\.\d s\)") as caught:
            speaker.train("gpt", batch_size=4)
    finally:
        undo()
    assert isinstance(caught.value, DataError) and "leave the utterance out" in caught.value.hint
    assert not list(tmp_path.glob("state/gpt/*/FATAL.json"))
    speaker.train("gpt", batch_size=4)
    assert speaker.report("gpt")["steps"] == 14


def test_another_setting_counts_more_than_the_size_that_was_found() -> None:
    found = Accumulator(0)
    found.size = 2
    for setting, expected in ((0, 2), (4, 4)):
        resumed = Accumulator(setting)
        resumed.load_state_dict(found.state_dict())
        assert resumed.size == expected


def _exhaust() -> None:
    linear = nn.Linear(1000, 10)
    accumulator = Accumulator()
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (taken + 300 * 2**20, resource.RLIM_INFINITY))

    def forward(part: Any) -> dict[str, Tensor]:
        loss = linear(torch.ones(len(part.items) * 16_000, 1000)).mean() * part.share  # 64 MB for an item
        loss.backward()
        return {"loss": loss.detach()}

    optimizer = torch.optim.SGD(linear.parameters())
    loss = accumulator.gradients(list(range(8)), forward, optimizer)["loss"]
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert 1 <= accumulator.size <= 4 and accumulator.events
    expected = linear(torch.ones(1, 1000)).mean()
    assert loss == pytest.approx(expected.item(), rel=1e-4, abs=1e-5)


def test_the_hosts_own_exhaustion_is_recognised_and_survived() -> None:
    """A process whose address space is limited: torch cannot allocate, smaller micro-batches can.

    A new one: what a forked one has free depends on the tests before.
    """
    process = multiprocessing.get_context("spawn").Process(target=_exhaust)
    process.start()
    process.join()
    assert process.exitcode == 0


def test_other_errors_are_no_lack_of_memory() -> None:
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert is_out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 64 bytes"))
    with pytest.raises(RuntimeError, match="shapes"):
        Accumulator().gradients(
            [1], lambda part: {"loss": torch.ones(1, 2) @ torch.ones(1, 2)}, torch.optim.SGD([torch.zeros(1)])
        )
