"""What a checkpoint costs the training, its size, the time to resume, and the padding of batches: ``make benchmark``.

All times are of one process that trains, saves beside the training and saves in line in turns, so that they compare.
"""

from __future__ import annotations

import csv
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tests.support.synthetic_features import make_features

from voiceclone.models.discriminators import DiscriminatorConfig
from voiceclone.models.gpt import GPTConfig
from voiceclone.models.sovits import SoVITSConfig
from voiceclone.stages.settings import RuntimeSettings
from voiceclone.stages.train_gpt import GPTSettings
from voiceclone.stages.train_sovits import SoVITSSettings
from voiceclone.training.checkpoints import CheckpointStore, CheckpointWriter, take_snapshot
from voiceclone.training.data import BatchOrder, seed_step
from voiceclone.training.gpt import GPTData, GPTRecipe
from voiceclone.training.loop import Recipe
from voiceclone.training.processes import prepare_device
from voiceclone.training.sovits import SoVITSData, SoVITSRecipe

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(3600)]

ROUNDS, STEPS = 3, 4  # rounds of three blocks; steps in a block, with one save at its start
ROWS = 40


def gpt(folder: Path, architecture: str) -> Recipe:
    codes = 1024 if architecture == "v2" else 256
    make_features(folder, folder / "t.safetensors", utterances=12, frames=(120, 150), codes=codes)
    data, device = GPTData(folder), prepare_device(RuntimeSettings())
    config = GPTConfig() if architecture == "v2" else GPTConfig.nano(codes=codes)
    order = BatchOrder([data.semantic.length(row.name) for row in data.train], 8, 0)
    return GPTRecipe(data, config, GPTSettings(), order, 100, device)


def sovits(folder: Path, architecture: str) -> Recipe:
    make_features(folder, folder / "t.safetensors", utterances=12, frames=(120, 150), content_size=256, codes=256)
    data, device = SoVITSData(folder, 32), prepare_device(RuntimeSettings())
    config = SoVITSConfig.nano(ssl_dim=256, codes=256)
    order = BatchOrder([row.frames for row in data.train], 4, 0)
    return SoVITSRecipe(data, config, DiscriminatorConfig.nano(), SoVITSSettings(), order, device)


@pytest.mark.parametrize(("make", "architecture"), [(gpt, "nano"), (sovits, "nano"), (gpt, "v2")])
def test_cost_of_a_checkpoint(tmp_path: Path, make: Callable[[Path, str], Recipe], architecture: str) -> None:
    recipe = make(tmp_path / "features", architecture)
    store = CheckpointStore(tmp_path / "state", "0" * 12, keep=2)
    writer = CheckpointWriter(store)
    history = [{"step": step, "split": "train", "loss": 1.0} for step in range(ROWS)]
    taken: dict[str, list[float]] = {"none": [], "beside": [], "in line": []}
    step = 0

    def block(kind: str) -> float:
        """Seconds of a few steps, with one save or none, and the wait for a save that outlasts them."""
        nonlocal step
        began = time.perf_counter()
        for index in range(STEPS):
            if index == 0 and kind != "none":
                parts = {name: part.state_dict() for name, part in recipe.state.items()}
                if kind == "beside":
                    writer.submit(step, parts, history, {})
                else:
                    store.write(take_snapshot(step, parts, history, {}))
            seed_step(0, step)
            recipe.train_step(step)
            step += 1
        spent = time.perf_counter() - began
        writer.wait()
        return spent

    for kind in taken:  # first steps allocate
        block(kind)
    for _ in range(ROUNDS):
        for kind, spent in taken.items():
            spent.append(block(kind))
    plain = statistics.median(taken["none"])
    interval = RuntimeSettings().save_every_steps * plain / STEPS
    cost = {kind: max(0.0, statistics.median(taken[kind]) - plain) for kind in ("beside", "in line")}
    began = time.perf_counter()
    found = store.newest()
    assert found is not None
    for name, part in recipe.state.items():
        part.load_state_dict(found.parts[name])
    resume = time.perf_counter() - began
    size = sum(path.stat().st_size for path in found.folder.iterdir())
    print(
        f"\n{make.__name__} {architecture}: step {plain / STEPS:.3f} s, checkpoint {size / 1e6:.1f} MB, "
        f"resume {resume:.2f} s ({resume / (plain / STEPS):.1f} steps)\n"
        + "\n".join(
            f"  saved {kind:<8} costs {seconds:.3f} s, {seconds / interval:.2%} of the time at the default interval"
            for kind, seconds in cost.items()
        )
    )
    assert cost["beside"] < 0.02 * interval


def test_padding_of_real_utterances(shared_data: Path) -> None:
    """Lengths of real recordings, cut as their readers spoke them, in the batches that the trainings make of them."""
    print(f"\n{'speaker':<16}{'utterances':>11}{'batch':>7}{'padding':>9}{'unsorted':>10}")
    for folder in sorted((shared_data / "speakers").iterdir()):
        with (folder / "transcripts.csv").open(encoding="utf-8", newline="") as handle:
            seconds = [float(row["end_s"]) - float(row["start_s"]) for row in csv.DictReader(handle)]
        frames = [round(50 * value) for value in seconds]
        for batch_size in (4, 8):
            order = BatchOrder(frames, batch_size, 1234)
            ours = statistics.mean(order.padding_share(epoch) for epoch in range(20))
            random = torch.Generator().manual_seed(0)
            shares = []
            for _ in range(20):
                shuffled = [frames[index] for index in torch.randperm(len(frames), generator=random)]
                batches = [shuffled[at : at + batch_size] for at in range(0, len(frames), batch_size)]
                shares.append(1 - sum(frames) / sum(len(batch) * max(batch) for batch in batches))
            print(f"{folder.name:<16}{len(frames):>11}{batch_size:>7}{ours:>9.1%}{statistics.mean(shares):>10.1%}")
            assert ours < statistics.mean(shares)
            if order.steps_per_epoch >= 4:  # two batches of a handful of utterances leave nothing to choose
                assert ours < 0.15
