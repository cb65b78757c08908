"""A training small enough to be killed a hundred times: regression with dropout and noise, in the real engine."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from voiceclone.files import read_json
from voiceclone.lineage.fingerprint import Fingerprint
from voiceclone.stages.settings import RuntimeSettings
from voiceclone.training.data import BatchOrder
from voiceclone.training.finetuning import WeightAverage
from voiceclone.training.loop import Plan, Result, Trainer
from voiceclone.training.state import StateFolder
from voiceclone.training.step import StepResult, finite

STEPS = 20


class ToyRecipe:
    """Predict the sum of eight numbers; dropout and noise make every step depend on the seed."""

    metric = "error"

    def __init__(
        self,
        seed: int = 0,
        fail_at: set[int] = frozenset(),  # type: ignore[assignment]
        before: Callable[[int], None] | None = None,
        ema_decay: float = 0,
    ) -> None:
        torch.manual_seed(seed)
        self.model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.Dropout(0.2), torch.nn.Linear(16, 1))
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-2)
        self.state = {"model": self.model, "optimiser": self.optimizer}
        self.average = WeightAverage(self.model, ema_decay) if ema_decay else None
        if self.average is not None:
            self.state["average"] = self.average
        self.order = BatchOrder([3, 4, 5, 9, 9, 2, 7], 2, seed)
        self.data = torch.randn(7, 8, generator=torch.Generator().manual_seed(5))
        self.fail_at, self.before = fail_at, before

    def train_step(self, step: int) -> StepResult:
        if self.before:
            self.before(step)
        x = self.data[self.order.batch(step)]
        loss = (self.model(x + 0.1 * torch.randn_like(x)) - x.sum(1, keepdim=True)).square().mean()
        if step in self.fail_at:
            loss = loss * float("nan")
        finite(loss_total=loss)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return StepResult({"loss_total": loss.item()})

    def utterance_losses(self) -> Iterator[tuple[str, float]]:
        wrong = (self.model(self.data) - self.data.sum(1, keepdim=True)).abs()
        yield from ((f"item-{index}", value) for index, value in enumerate(wrong[:, 0].tolist()))

    def sample(self) -> tuple[torch.Tensor, int] | None:
        return self.data.flatten(), 8000

    def validate(self) -> dict[str, float]:
        return {"error": (self.model(self.data) - self.data.sum(1, keepdim=True)).abs().mean().item()}


def fingerprint(**settings: Any) -> Fingerprint:
    return Fingerprint({"a": "1-1", "b": "2-2"}, {"seed": 0, **settings})


def train(
    root: Path,
    recipe: ToyRecipe | None = None,
    steps: int = STEPS,
    print_of: Fingerprint | None = None,
    warm_start: bool = False,
    patience: int = 0,
    **runtime: Any,
) -> Result:
    """Train the toy to ``steps`` in ``root``."""
    settings = RuntimeSettings(**{"save_every_steps": 4, "keep_checkpoints": 2, "sample_every": 0, **runtime})
    state = StateFolder(root, print_of or fingerprint())
    plan = Plan(steps=steps, seed=0, log_every=3, validate_every=5, max_skipped=1, patience=patience)
    return Trainer(recipe or ToyRecipe(), plan, state, settings, "toy", warm_start).run()


def losses(result: Result) -> list[dict[str, Any]]:
    """History without what the clock and the interruptions put in."""
    return [{k: v for k, v in row.items() if k != "seconds"} for row in result.history if "event" not in row]


def same(first: Result, second: Result) -> bool:
    """Equal bit for bit: last weights, best weights, history."""
    pairs = [(first.last, second.last), (first.best.weights, second.best.weights)]
    return losses(first) == losses(second) and all(
        a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a) for a, b in pairs
    )


def final_state(root: Path) -> dict[str, Any]:
    """Everything in the last checkpoint but the clock: tensors as bytes, plain values, history."""
    (folder,) = root.glob(f"*/step-{STEPS:08d}")
    plain = read_json(folder / "state.json")
    plain["counters"]["$items"] = [pair for pair in plain["counters"]["$items"] if pair[0] != "seconds"]
    return {"plain": plain, **{path.name: path.read_bytes() for path in sorted(folder.glob("*.safetensors"))}}


def in_child(work: Callable[[], object]) -> int:
    """Run ``work`` in a forked process; its exit status, negative for a signal."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        except BaseException as error:
            os._exit(getattr(error, "exit_code", 99))
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
