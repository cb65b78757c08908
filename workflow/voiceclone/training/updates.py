"""What both recipes do around their losses: gradients of a global batch, checks, updates. One object for a training."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from voiceclone.config.runtime import RuntimeSettings
from voiceclone.config.training import TrainingSettings
from voiceclone.training.accumulation import Accumulator, Figures, Part
from voiceclone.training.data import Order
from voiceclone.training.distributed import World
from voiceclone.training.guard import Guard, finite
from voiceclone.training.out_of_memory import MemoryExhaustedError, is_out_of_memory
from voiceclone.training.precision import Precision, gradient_norm


class Updates:
    """Micro-batches, processes, number format and guard of a training, in the order in which a step needs them.

    Args:
        settings: of the training.
        runtime: micro-batch, compilation.
        device: where the training runs.
        world: the processes.
        describe: name of an item, for messages.
    """

    def __init__(
        self,
        settings: TrainingSettings,
        runtime: RuntimeSettings,
        device: torch.device,
        world: World | None = None,
        describe: Callable[[int], str] = str,
    ) -> None:
        self.settings, self.runtime, self.device = settings, runtime, device
        self.world = world or World()
        self.accumulator = Accumulator(runtime.micro_batch, describe, self.world)
        self.precision = Precision(settings.precision, device)
        self.guard = Guard(settings.explode_ratio)
        self.parts: dict[str, Accumulator | Precision | Guard] = {
            "micro_batch": self.accumulator,
            "precision": self.precision,
            "guard": self.guard,
        }

    @property
    def fused(self) -> bool:
        """Whether optimisers should update all parameters in one kernel: on CUDA, where it is faster and leaner."""
        return self.device.type == "cuda"

    def compile(self, *modules: torch.nn.Module, dynamic: bool | None = None) -> None:
        """Have modules compiled at their first pass if the settings ask for it; names of parameters do not change."""
        for module in modules if self.runtime.compile else ():
            module.compile(dynamic=dynamic)

    @contextmanager
    def step(self) -> Iterator[None]:
        """Context of a whole step; adapts the fp16 scale at its end, also where an update is left out."""
        try:
            yield
        finally:
            self.precision.end_step()

    def gradients(
        self,
        batch: list[int],
        work: Callable[[Part], Figures],
        optimiser: torch.optim.Optimizer,
        most: float | None = None,
    ) -> dict[str, float]:
        """Gradients of a whole batch, ready for :meth:`apply`; returns its figures.

        Args:
            batch: items.
            work: forward and backward pass of a part, see :meth:`Accumulator.gradients`.
            optimiser: of the parameters.
            most: bound of the gradient's norm, which then is among the figures; None: no bound.

        Raises:
            LeftOutError: a figure or a gradient is not finite.
        """
        figures = self.accumulator.gradients(batch, work, optimiser)
        finite(**figures)
        self.precision.unscale(optimiser)
        norm = gradient_norm(optimiser, most)
        if not self.precision.expects_overflow():
            finite(gradient=norm)
        if most is not None and math.isfinite(norm):
            figures["gradient_norm"] = norm
        return figures

    def apply(self, optimiser: torch.optim.Optimizer, **losses: float) -> None:
        """Make an optimiser's update, unless a loss explodes.

        Raises:
            LeftOutError: it explodes; no update was made.
            MemoryExhaustedError: there is no room for the update. Weights may be changed in part, so the training has
                to continue from its last checkpoint.
        """
        self.guard.check(**losses)
        try:
            self.precision.update(optimiser)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            raise MemoryExhaustedError(
                "memory is not enough for the optimiser's own figures",
                "free the device for this training or take a larger one; it continues from its last checkpoint",
            ) from error

    def following(self, order: Order, step: int, part: Part, again: bool = False) -> tuple[int, Part] | None:
        """Step and part that come after a part; ``again`` if the parts of its step are gone through once more."""
        parts = self.accumulator.parts(part.batch)
        later = [(step, other) for other in parts if other.first > part.first]
        if again and not part.only:
            later += [(step, parts[0])]
        upcoming = self.accumulator.parts(order.batch(step + 1))
        return next(iter([*later, *((step + 1, other) for other in upcoming)]), None)
