"""From losses to an optimiser step: micro-batches, processes, number formats, checks (:class:`OptimizerStep`).

A global batch is a pure function of seed and step. :class:`Accumulator` cuts it into micro-batches of utterances,
whose losses are each weighted by their share of the whole batch, so that the sum of the gradients is that of the batch
in one piece. When memory runs out nothing has been updated yet: the gradients are thrown away, the micro-batch is
halved and the same batch is processed again. The smaller size is kept and belongs to the state, so that a resumed
training computes the same.

:class:`Precision` is the number format of both passes (fp32, tf32, bf16, fp16 with a scaled loss); weights, optimiser
states, losses, spectrograms and the quantiser stay in 32 bits in all of them. :class:`Guard` skips updates whose loss
or gradient is not finite, or whose loss explodes.
"""

from __future__ import annotations

import gc
import logging
import math
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import torch
from torch import Tensor

from voiceclone.errors import DataError
from voiceclone.stages.settings import RuntimeSettings, TrainingSettings
from voiceclone.training.data import Order
from voiceclone.training.processes import Processes

# What torch and the libraries below it say where they have no exception of their own.
_MESSAGES = (
    "not enough memory",
    "can't allocate memory",
    "cannot allocate memory",
    "cuda out of memory",
    "alloc_failed",  # cuBLAS, cuDNN
)


class MemoryExhaustedError(DataError):
    """The smallest piece of work does not fit into memory; not fatal, since another machine or setting may do it."""


def is_out_of_memory(error: BaseException) -> bool:
    """True if an exception reports that memory ran out, on the GPU or in the host."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error).lower() for text in _MESSAGES)


def release_memory() -> None:
    """Free unused memory. Call it after the ``except`` block, whose traceback holds tensors."""
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()


Format = Literal["fp32", "tf32", "bf16", "fp16"]
#: Instructions of a CPU that multiply bf16: with any of them a step of the GPT takes about half the time.
CPU_BF16 = ("amx_bf16", "avx512_bf16")
_HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}
SMALLEST_SCALE = 1.0  # where gradients overflow even at this, it is not the scale that is wrong


def choose_format(device: torch.device) -> tuple[Format, str]:
    """The fastest format that a device multiplies in hardware without a scaled loss, and why."""
    if device.type == "cuda":
        version = torch.cuda.get_device_capability(device)
        return ("bf16" if version >= (8, 0) else "fp32"), f"GPU of compute capability {version[0]}.{version[1]}"
    known = torch.cpu.get_capabilities()
    found = [name for name in CPU_BF16 if known.get(name)]
    return ("bf16", f"CPU with {found[0]}") if found else ("fp32", "CPU without instructions for bf16")


class Precision:
    """Autocast, the scale of the loss, and updates under it. A stateful part of the training.

    In fp16 small gradients would vanish, so losses are multiplied by a scale that grows until gradients overflow; an
    update with overflowing gradients is skipped and the scale halved. The same scale serves all optimisers of a step.

    Args:
        name: the format; auto: what :func:`choose_format` takes.
        device: where the training runs.

    Attributes:
        reason: of the choice by auto; empty if the settings name the format.
    """

    optional = True

    def __init__(self, name: Format | Literal["auto"], device: torch.device) -> None:
        self.name, self.reason = choose_format(device) if name == "auto" else (name, "")
        self.device = device
        name = self.name
        # By default torch takes TF32 for convolutions, not for products of matrices.
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = name == "tf32"
        self.scaler = torch.amp.GradScaler(device.type) if name == "fp16" else None
        self._open = False  # an optimiser has been unscaled in this step

    def describe(self) -> str:
        """The format, and why it was chosen."""
        return f"{self.name} ({self.reason})" if self.reason else self.name

    def autocast(self) -> AbstractContextManager[Any]:
        """Context of the networks' forward passes; not of losses."""
        dtype = _HALF.get(self.name)
        return nullcontext() if dtype is None else torch.autocast(self.device.type, dtype)

    def backward(self, loss: Tensor) -> None:
        """Backward pass of a loss, scaled."""
        (loss if self.scaler is None else self.scaler.scale(loss)).backward()

    def unscale(self, optimizer: torch.optim.Optimizer) -> None:
        """Bring an optimiser's gradients to their own size; between the last backward pass and :meth:`update`."""
        if self.scaler is not None:
            self.scaler.unscale_(optimizer)
            self._open = True

    def update(self, optimizer: torch.optim.Optimizer) -> None:
        """Make the update; in fp16 only if no gradient has overflowed."""
        if self.scaler is None:
            optimizer.step()
        else:
            self.scaler.step(optimizer)

    def expects_overflow(self) -> bool:
        """True if an overflow is expected at this loss scale, and fixed by lowering it."""
        return self.scaler is not None and self.scaler.get_scale() > SMALLEST_SCALE

    def end_step(self) -> None:
        """Adapt the scale; after the updates of all optimisers, or if the step is skipped."""
        if self.scaler is not None and self._open:
            self.scaler.update()
            self._open = False

    def state_dict(self) -> dict[str, Any]:
        """Plain values; empty without a scale."""
        return {} if self.scaler is None else self.scaler.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore them."""
        if self.scaler is not None and state:
            self.scaler.load_state_dict(dict(state))


def gradient_norm(optimizer: torch.optim.Optimizer, max_norm: float | None = None) -> float:
    """Norm of an optimiser's gradients; they are scaled down if it is above ``max_norm``."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    norm = torch.nn.utils.get_total_norm([item.grad for item in parameters if item.grad is not None])
    if max_norm is not None:
        torch.nn.utils.clip_grads_with_norm_(parameters, max_norm, norm)
    return float(norm)


WINDOW = 100  # steps over which the usual loss is taken
MIN_STEPS = 20  # steps before which none is usual


class SkippedUpdate(Exception):
    """The update of this step was not made; the message says why, so that "in n steps in a row" can follow.

    Attributes:
        events: what else happened in the step, see :class:`StepResult`.
    """

    events: Sequence[str] = ()


class NotFiniteError(SkippedUpdate):
    """A loss or gradient of this step is NaN or infinite."""


class ExplodingError(SkippedUpdate):
    """A loss of this step is far above what is usual."""


def finite(**values: float | Tensor) -> None:
    """Raise :class:`NotFiniteError` naming the values that are not finite."""
    numbers = {name: value.item() if isinstance(value, Tensor) else value for name, value in values.items()}
    wrong = [name for name, value in numbers.items() if not math.isfinite(value)]
    if wrong:
        raise NotFiniteError(f"{', '.join(wrong)} not finite")


class Guard:
    """Compares each loss with its median over the last steps. A stateful part of the training.

    Args:
        max_ratio: times the median above which a loss explodes; 0: never.
    """

    optional = True

    def __init__(self, max_ratio: float) -> None:
        self.max_ratio = max_ratio
        self.recent: dict[str, list[float]] = {}

    def check(self, **losses: float) -> None:
        """Raise for a loss that is not finite or explodes; remember the others.

        Raises:
            NotFiniteError: NaN or infinite.
            ExplodingError: above ``max_ratio`` times the median.
        """
        finite(**losses)
        for name, value in losses.items():
            recent = self.recent.setdefault(name, [])
            if self.max_ratio and len(recent) >= MIN_STEPS:
                usual = statistics.median(recent)
                if value > self.max_ratio * abs(usual):
                    raise ExplodingError(f"{name} {value:.3g}, usual {usual:.3g}: exploding")
            recent.append(value)
            del recent[:-WINDOW]

    def state_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {"recent": self.recent}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore them."""
        self.recent = {name: list(values) for name, values in state["recent"].items()}


log = logging.getLogger(__name__)
Metrics = dict[str, Tensor]


@dataclass(frozen=True)
class MicroBatch:
    """Items of a global batch that go through the network together.

    Args:
        first: position of the first item in the batch, which also seeds the micro-batch's randomness.
        items: the items.
        batch: all items of the global batch.
        only: it is this process's whole share of the batch.
    """

    first: int
    items: list[int]
    batch: list[int]
    only: bool = True

    @property
    def whole(self) -> bool:
        """It is the whole batch."""
        return len(self.items) == len(self.batch)

    @property
    def share(self) -> float:
        """Share of the batch's items: weight of a mean over items."""
        return len(self.items) / len(self.batch)

    @property
    def rows(self) -> slice:
        """Positions of the items in the batch."""
        return slice(self.first, self.first + len(self.items))


def micro_batches(batch: Sequence[int], max_size: int = 0, low: int = 0, high: int | None = None) -> list[MicroBatch]:
    """Cut the items from ``low`` to ``high`` of a batch into micro-batches of nearly equal size, in order.

    Args:
        batch: all items.
        max_size: items in a micro-batch; 0: all in one.
        low: first position.
        high: position after the last one; None: the end.
    """
    high = len(batch) if high is None else high
    count = -(-(high - low) // max_size) if max_size else min(1, high - low)
    bounds = [low + (high - low) * index // max(1, count) for index in range(count + 1)]
    return [MicroBatch(start, list(batch[start:end]), list(batch), count == 1) for start, end in pairwise(bounds)]


class Accumulator:
    """Processes global batches in micro-batches that fit into memory. A stateful part of the training.

    Args:
        micro_batch: max. items that go through the network together; 0: the whole batch; auto: ``size`` is None until
            :func:`voiceclone.training.memory.fit_micro_batch` has found it.
        describe: name of an item, for messages.
    """

    optional = True  # older states lack it: their batches were whole

    def __init__(
        self,
        micro_batch: int | Literal["auto"] = 0,
        describe: Callable[[int], str] = str,
        processes: Processes | None = None,
    ) -> None:
        self.setting = micro_batch
        self.size = None if micro_batch == "auto" else micro_batch
        self.describe, self.processes = describe, processes or Processes()
        self.events: list[str] = []  # of the current step

    def split(self, batch: Sequence[int]) -> list[MicroBatch]:
        """This process's micro-batches of a global batch, at the size that is known to fit."""
        return micro_batches(batch, self.size or 0, *self.processes.share(batch))

    def at_most(self, count: int) -> int:
        """``count``, or what is known to fit if that is less."""
        return min(count, self.size or count)

    def gradients(
        self, batch: Sequence[int], work: Callable[[MicroBatch], Metrics], optimizer: torch.optim.Optimizer
    ) -> dict[str, float]:
        """Leave the gradients of the whole batch in the optimiser's parameters; return the batch's metrics.

        Args:
            batch: items.
            work: forward and backward pass of one micro-batch, its losses weighted by its share of the batch; returns
                detached scalars that add up to those of the batch. It may be called again for the same items.
            optimiser: its gradients are cleared first.

        Raises:
            MemoryExhaustedError: not even one item fits.
        """
        while True:
            optimizer.zero_grad(set_to_none=True)
            answers = self.processes.exchange(self._attempt(batch, work))
            failed = [answer for answer in answers if isinstance(answer, MicroBatch)]
            if not failed:
                parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
                self.processes.add_gradients(parameters)
                return _sum(answer.items() for answer in answers if not isinstance(answer, MicroBatch))
            optimizer.zero_grad(set_to_none=True)
            release_memory()
            self._back_off(failed[0])

    def _attempt(self, batch: Sequence[int], work: Callable[[MicroBatch], Metrics]) -> dict[str, float] | MicroBatch:
        """This process's metrics of the batch, or the micro-batch for which memory ran out."""
        done = []
        for micro in self.split(batch):
            try:
                done.append(work(micro))
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                log.warning("out of memory with %d utterances: %s", len(micro.items), str(error).partition("\n")[0])
                return micro
        return _sum(zip(metrics, torch.stack(list(metrics.values())).tolist(), strict=True) for metrics in done)

    def _back_off(self, failed: MicroBatch) -> None:
        """Halve the micro-batch, to the same size in all processes."""
        before = min(self.size or len(failed.batch), -(-len(failed.batch) // self.processes.size))
        if before == 1:
            raise MemoryExhaustedError(
                f"memory is not enough for one utterance alone: {self.describe(failed.items[0])}",
                "free the device for this training or take a larger one, set runtime.gradient_checkpointing, leave the "
                "utterance out by a correction, or lower slice.max_seconds",
            )
        self.size = -(-before // 2)
        self.events.append(f"out of memory: micro-batch {before} -> {self.size} utterances")
        log.warning("%s; the step is done again, the effective batch stays the same", self.events[-1])

    def state_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {"setting": self.setting, "size": self.size}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the size that was found to fit, unless the setting has changed."""
        if state["setting"] == self.setting:
            self.size = state["size"]


def _sum(metrics: Iterable[Iterable[tuple[str, float]]]) -> dict[str, float]:
    """Sums by name, added in order."""
    total: dict[str, float] = {}
    for item in metrics:
        for name, value in item:
            total[name] = total[name] + value if name in total else value
    return total


@dataclass(frozen=True)
class StepResult:
    """Outcome of a training step.

    Attributes:
        losses: and other metrics of the batch, by name.
        events: for progress and history: each time that memory ran out, and what became of the micro-batch.
    """

    losses: dict[str, float]
    events: Sequence[str] = ()


class OptimizerStep:
    """Micro-batches, processes, number format and guard of a training, in the order in which a step needs them.

    Args:
        settings: of the training.
        runtime: micro-batch, compilation.
        device: where the training runs.
        processes: the processes.
        describe: name of an item, for messages.
    """

    def __init__(
        self,
        settings: TrainingSettings,
        runtime: RuntimeSettings,
        device: torch.device,
        processes: Processes | None = None,
        describe: Callable[[int], str] = str,
    ) -> None:
        self.settings, self.runtime, self.device = settings, runtime, device
        self.processes = processes or Processes()
        self.accumulator = Accumulator(runtime.micro_batch, describe, self.processes)
        self.precision = Precision(settings.precision, device)
        self.guard = Guard(settings.explode_ratio)
        self.state: dict[str, Accumulator | Precision | Guard] = {
            "micro_batch": self.accumulator,
            "precision": self.precision,
            "guard": self.guard,
        }

    @property
    def fused(self) -> bool:
        """Optimisers update all parameters in one kernel: on CUDA, where it is faster and needs less memory."""
        return self.device.type == "cuda"

    def compile(self, *modules: torch.nn.Module, dynamic: bool | None = None) -> None:
        """Have modules compiled at their first pass if the settings ask for it; names of parameters do not change."""
        for module in modules if self.runtime.compile else ():
            module.compile(dynamic=dynamic)

    @contextmanager
    def running(self) -> Iterator[Sequence[str]]:
        """Context of a whole step; gives its events. Adapts the fp16 scale at its end, also if an update is skipped."""
        events: list[str] = []
        self.accumulator.events = events
        try:
            yield events
        except SkippedUpdate as skipped:
            skipped.events = events
            raise
        finally:
            self.precision.end_step()

    def gradients(
        self,
        batch: list[int],
        work: Callable[[MicroBatch], Metrics],
        optimizer: torch.optim.Optimizer,
        max_norm: float | None = None,
    ) -> dict[str, float]:
        """Gradients of a whole batch, ready for :meth:`apply`; returns its metrics.

        Args:
            batch: items.
            work: forward and backward pass of a micro-batch, see :meth:`Accumulator.gradients`.
            optimiser: of the parameters.
            max_norm: bound of the gradient's norm, which then is among the metrics; None: no bound.

        Raises:
            SkippedUpdate: a loss or a gradient is not finite.
        """
        metrics = self.accumulator.gradients(batch, work, optimizer)
        finite(**metrics)
        self.precision.unscale(optimizer)
        norm = gradient_norm(optimizer, max_norm)
        if not self.precision.expects_overflow():
            finite(gradient=norm)
        if max_norm is not None and math.isfinite(norm):
            metrics["gradient_norm"] = norm
        return metrics

    def apply(self, optimizer: torch.optim.Optimizer, **losses: float) -> None:
        """Make an optimiser's update, unless a loss explodes.

        Raises:
            SkippedUpdate: it explodes; no update was made.
            MemoryExhaustedError: there is no room for the update. Weights may be changed in part, so the training has
                to continue from its last checkpoint.
        """
        self.guard.check(**losses)
        try:
            self.precision.update(optimizer)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            raise MemoryExhaustedError(
                "not enough memory for the optimiser state",
                "free the device for this training or take a larger one; it continues from its last checkpoint",
            ) from error

    def to_prefetch(
        self, order: Order, step: int, micro: MicroBatch, second_pass: bool = False
    ) -> tuple[int, MicroBatch] | None:
        """Step and micro-batch that are read after ``micro``.

        ``second_pass``: the step will go through its micro-batches once more, as the generator does after the
        discriminators; a batch in one micro-batch is read once.
        """
        own = self.accumulator.split(micro.batch)
        later = [(step, other) for other in own if other.first > micro.first]
        if second_pass and not micro.only:
            later.append((step, own[0]))
        later += [(step + 1, other) for other in self.accumulator.split(order.batch(step + 1))]
        return later[0] if later else None
