"""Steps of a training of public size, by our loop and by a straightforward one over the same model and data.

Run by ``test_training_speed.py`` in a process of its own, so that its peak of memory is its own; prints JSON.

    python tests/benchmarks/training_loops.py gpt cpu fp32 plain 3
"""

from __future__ import annotations

import json
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from tests.support.small_training import small_gpt, small_sovits
from tests.support.synthetic_features import make_features

from voiceclone.lineage.fingerprint import Fingerprint
from voiceclone.models.discriminators import DiscriminatorConfig
from voiceclone.models.gpt import GPTConfig
from voiceclone.models.losses import (
    discriminator_loss,
    feature_matching_loss,
    generator_loss,
    kl_loss,
    mel_loss,
    token_loss,
)
from voiceclone.models.mel import mel_from_spectrogram, mel_spectrogram
from voiceclone.models.sovits import SoVITSConfig, take_slices
from voiceclone.stages.settings import RuntimeSettings
from voiceclone.stages.train_gpt import GPTSettings
from voiceclone.stages.train_sovits import SoVITSSettings
from voiceclone.training.data import BatchOrder
from voiceclone.training.gpt import GPTData, GPTRecipe
from voiceclone.training.loop import Plan, Trainer
from voiceclone.training.processes import prepare_device
from voiceclone.training.sovits import SoVITSData, SoVITSRecipe
from voiceclone.training.state import StateFolder
from voiceclone.training.step import OptimizerStep, StepResult

BATCH = {"gpt": 8, "sovits": 4}  # public defaults on a card of 16 GB and one of 8 GB
FRAMES = (280, 320)  # about 6 s: 150 tokens, 60 phones
FOREVER = 10**6

Recipe = GPTRecipe | SoVITSRecipe


@dataclass(frozen=True)
class Size:
    """Networks of a benchmark, and the frames of its utterances.

    ``vectors`` is the store of the speaker vectors, empty where there are none.
    """

    gpt: GPTConfig
    sovits: SoVITSConfig
    discriminator: DiscriminatorConfig
    vectors: str = ""
    frames: tuple[int, int] = FRAMES


SIZES = {
    "v2": Size(GPTConfig(), SoVITSConfig.v2(), DiscriminatorConfig.v2()),
    "v2Pro": Size(GPTConfig(), SoVITSConfig.v2pro(), DiscriminatorConfig.v2pro(), "speaker"),
    "toy": Size(
        small_gpt(32), small_sovits(16, 32), DiscriminatorConfig(periods=(3,), channel_divisor=4), "speaker", (34, 60)
    ),
}


def make_recipe(
    kind: str,
    folder: Path,
    runtime: RuntimeSettings,
    precision: Any,
    size: Size = SIZES["v2"],
    batch: int = 0,
    **options: Any,
) -> Recipe:
    """The recipe of a size with random weights, on random features of public shapes; batches as public by default.

    ``options``: further settings of the training.
    """
    device, batch = prepare_device(runtime), batch or BATCH[kind]
    make_features(
        folder / "features", folder / "tokenizer", 24, 1, size.frames, content_size=size.sovits.ssl_dim,
        codes=size.gpt.codes, speaker_size=size.sovits.speaker_vector_size or 192,
    )  # fmt: skip
    if kind == "gpt":
        settings = GPTSettings(precision=precision, **options)
        data = GPTData(folder / "features")
        order = BatchOrder([data.semantic.length(row.name) for row in data.train], batch, 0)
        return GPTRecipe(
            data, size.gpt, settings, order, FOREVER, device, optimizer_step=OptimizerStep(settings, runtime, device)
        )
    adversarial = SoVITSSettings(precision=precision, **options)
    sovits = SoVITSData(folder / "features", adversarial.segment_frames, vectors=size.vectors)
    order = BatchOrder([row.frames for row in sovits.train], batch, 0)
    optimizer_step = OptimizerStep(adversarial, runtime, device)
    return SoVITSRecipe(sovits, size.sovits, size.discriminator, adversarial, order, device, optimizer_step)


class Stopwatch:
    """Seconds since it was last asked, when the device has done its work."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._last = time.perf_counter()

    def lap(self) -> float:
        if self._device.type == "cuda":
            torch.cuda.synchronize()
        before, self._last = self._last, time.perf_counter()
        return self._last - before


@dataclass
class Times:
    """Figures of the steps of both loops: seconds, and costs that can be compared on a busy machine too."""

    ours: list[float] = field(default_factory=list)
    our_cost: list[float] = field(default_factory=list)
    naive: list[list[float]] = field(default_factory=list)  # seconds of forward pass, backward pass, update
    naive_cost: list[float] = field(default_factory=list)
    peak_mb: float = 0.0  # of our loop


def compare(recipe: Recipe, folder: Path, runtime: RuntimeSettings, steps: int, warm: int) -> Times:
    """Steps of the engine, its bookkeeping included, and of the straightforward loop in turn, so that load hits both.

    The cost of a step is its processor time where the CPU trains, its seconds where a GPU does.
    """
    naive: Callable[[Any, int], list[float]] = naive_gpt if isinstance(recipe, GPTRecipe) else naive_sovits
    cost = time.perf_counter if recipe.device.type == "cuda" else time.process_time
    times, train_step, began = Times(), recipe.train_step, (0.0, 0.0)

    def alternating(step: int) -> StepResult:
        nonlocal began
        if step > warm:  # a step ends with its losses on the host, so the device has nothing left to do
            times.ours.append(time.perf_counter() - began[0])
            times.our_cost.append(cost() - began[1])
        if step == warm:
            times.peak_mb = peak_megabytes(recipe.device)
        if step >= warm:
            before = cost()
            times.naive.append(naive(recipe, step))
            times.naive_cost.append(cost() - before)
        began = time.perf_counter(), cost()
        return train_step(step)

    recipe.train_step = alternating  # type: ignore[method-assign]
    plan = Plan(warm + steps + 1, 0, log_every=1, validate_every=FOREVER)
    Trainer(recipe, plan, StateFolder(folder / "state", Fingerprint({}, {})), runtime, "benchmark").run()
    del times.naive[0], times.naive_cost[0]  # its own warm-up
    return times


def naive_gpt(recipe: GPTRecipe, step: int) -> list[float]:
    """Seconds of forward pass, backward pass, update: what one would write in ten lines."""
    watch = Stopwatch(recipe.device)
    rows = [recipe.data.train[item] for item in recipe.order.batch(step)]
    batch = recipe.data.batch(rows, recipe.device)
    with recipe.optimizer_step.precision.autocast():
        logits = recipe.model(**batch)
    loss = token_loss(logits, batch["tokens"], batch["token_lengths"])
    laps = [watch.lap()]
    recipe.optimizer.zero_grad()
    loss.backward()
    laps.append(watch.lap())
    torch.nn.utils.clip_grad_norm_(recipe.model.parameters(), 1.0)
    recipe.optimizer.step()
    return [*laps, watch.lap()]


def naive_sovits(recipe: SoVITSRecipe, step: int) -> list[float]:
    """The same for generator and discriminators, the latter with gradients in both halves as in the public loop."""
    watch, autocast, judge = Stopwatch(recipe.device), recipe.optimizer_step.precision.autocast, recipe.discriminator
    batch = recipe.data.batch([recipe.data.train[item] for item in recipe.order.batch(step)], recipe.device)
    audio, frames, hop = batch.pop("audio"), recipe.model.config.segment_frames, recipe.model.config.hop
    judge.requires_grad_(True)
    with autocast():
        out = recipe.model(**batch)
        real = take_slices(audio, out.slice_starts * hop, frames * hop)
        loss = discriminator_loss(judge(real), judge(out.audio.detach()))
    forward = watch.lap()
    recipe.discriminator_optimizer.zero_grad()
    loss.backward()
    backward = watch.lap()
    recipe.discriminator_optimizer.step()
    update = watch.lap()
    with autocast():
        of_real, of_fake = judge(real), judge(out.audio)
    mel = mel_from_spectrogram(take_slices(batch["spectrogram"], out.slice_starts, frames))
    loss = generator_loss(of_fake) + feature_matching_loss(of_real, of_fake)
    loss = loss + 45 * mel_loss(mel, mel_spectrogram(out.audio.float()))
    loss = loss + kl_loss(out.z_p, out.logs_q, out.m_p, out.logs_p, out.mask)
    forward += watch.lap()
    recipe.optimizer.zero_grad()
    loss.backward()
    backward += watch.lap()
    recipe.optimizer.step()
    return [forward, backward, update + watch.lap()]


def peak_megabytes(device: torch.device) -> float:
    """Most memory so far: of the GPU, or of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(
    kind: str, device: Any, precision: str, compiled: bool, steps: int, size: Size = SIZES["v2"]
) -> dict[str, float]:
    """Medians of the seconds of a step in either loop and of its parts, ratio of their costs, peak of memory."""
    runtime = RuntimeSettings(device=device, compile=compiled, save_every_steps=FOREVER, progress_seconds=600)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        recipe = make_recipe(kind, folder, runtime, precision, size)
        times = compare(recipe, folder, runtime, steps, warm=3 if compiled else 1)
    parts = zip(("forward", "backward", "update"), zip(*times.naive, strict=True), strict=True)
    return {
        "ours": statistics.median(times.ours),
        "naive": statistics.median(map(sum, times.naive)),
        "ratio": statistics.median(times.naive_cost) / statistics.median(times.our_cost),
        **{part: statistics.median(seconds) for part, seconds in parts},
        "peak_mb": times.peak_mb,
    }


if __name__ == "__main__":
    kind, device, precision, compiled, steps = sys.argv[1:]
    result = measure(kind, device, precision, compiled == "compiled", int(steps))
    print(json.dumps(result))
