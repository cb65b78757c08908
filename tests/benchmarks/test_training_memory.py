"""Memory of a training step of public size, by the tensors that it makes: the table of docs/training.md.

    .venv/bin/python -m pytest -m benchmark -s tests/benchmarks/test_training_memory.py

Utterances of 10 s. Weights, gradients and moments count, what kernels take within an operation does not. Where there is
a GPU its own peak is measured.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.benchmarks.training_loops import SIZES, Recipe, Size, make_recipe

from voiceclone.models.gpt import Layer
from voiceclone.models.sovits import GatedStack
from voiceclone.models.vocoder import ConvNeXtBlock, ResidualBlock
from voiceclone.stages.settings import RuntimeSettings
from voiceclone.training.finetuning import recompute_activations
from voiceclone.training.memory import SHARE, fitting_size, peak_bytes

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(3600)]

GB = 1000**3
CARDS = (8, 12, 24, 40, 80)
MOST = 32  # utterances in a batch
LORA = {"base": "any", "optimizer": "adamw", "lora": {"rank": 16}}
VARIANTS = [
    ("gpt", "fp32", False, {}), ("gpt", "fp32", True, {}), ("gpt", "bf16", False, {}), ("gpt", "bf16", True, {}),
    ("gpt", "fp32", False, LORA), ("gpt", "bf16", False, LORA),
    ("sovits", "fp32", False, {}), ("sovits", "fp32", True, {}), ("sovits", "bf16", False, {}),
    ("sovits", "bf16", True, {}),
]  # fmt: skip
RECOMPUTED = (Layer, ResidualBlock, ConvNeXtBlock, GatedStack)
LONG = Size(SIZES["v2Pro"].gpt, SIZES["v2Pro"].sovits, SIZES["v2Pro"].discriminator, "speaker", (500, 501))


def held_bytes(recipe: Recipe) -> int:
    """Bytes of the weights that are there before a step."""
    networks = [part for part in (recipe.model, getattr(recipe, "discriminator", None)) if part is not None]
    return sum(item.nbytes for network in networks for item in (*network.parameters(), *network.buffers()))


def test_memory_of_a_step(tmp_path: Path) -> None:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    runtime = RuntimeSettings(device=device, micro_batch=1)
    print(f"\n{'':<28}{'one GB':>8}{'each GB':>9}  utterances on a card of {', '.join(map(str, CARDS))} GB")
    for number, (kind, precision, recomputed, settings) in enumerate(VARIANTS):
        recipe = make_recipe(kind, tmp_path / str(number), runtime, precision, LONG, 2, **settings)
        if recomputed:
            recompute_activations(recipe.model, *RECOMPUTED)
        held, needs = held_bytes(recipe), []
        for size in (1, 2):
            recipe.optimizer_step.accumulator.size = size
            made = peak_bytes(recipe.device, lambda recipe=recipe: recipe.train_step(0))
            moments = 0 if size == 1 else moment_bytes(recipe)  # the first step makes them
            needs.append(held + made + moments)
        one, two = needs
        sizes = [fitting_size(one, two, round(SHARE * card * GB), MOST) or MOST for card in CARDS]
        fits = [size if one <= SHARE * card * GB else 0 for size, card in zip(sizes, CARDS, strict=True)]
        name = f"{kind} {precision}{' checkpointing' * recomputed}{' LoRA' if settings else ''}"
        print(f"{name:<28}{one / GB:>8.2f}{(two - one) / GB:>9.2f}  {', '.join(map(str, fits))}", flush=True)
        assert 0 < one < two


def moment_bytes(recipe: Recipe) -> int:
    """Bytes that the optimisers keep between steps."""
    optimizers = [recipe.optimizer, *([recipe.discriminator_optimizer] if hasattr(recipe, "discriminator") else [])]
    states = (state for optimizer in optimizers for state in optimizer.state.values())
    return sum(item.nbytes for state in states for item in state.values() if isinstance(item, torch.Tensor))
