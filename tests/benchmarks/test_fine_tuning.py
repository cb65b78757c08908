"""What gradient checkpointing and adapters cost and save at the public sizes, as ratios within one run."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from voiceclone.models.gpt import GPTConfig, Layer, TextToSemantic
from voiceclone.models.sovits import GatedStack, SoVITS, SoVITSConfig
from voiceclone.models.vocoder import ResidualBlock
from voiceclone.stages.train_gpt import LoRASettings
from voiceclone.training.finetuning import Adapters, recompute_activations, trained_parameters

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(1800)]

Step = Callable[[], Tensor]


def gpt_step(model: nn.Module) -> Step:
    phones, tokens = torch.randint(0, 700, (4, 60)), torch.randint(0, 1024, (4, 150))
    lengths = torch.full((4,), 60), torch.full((4,), 150)
    return lambda: model(phones, lengths[0], tokens, lengths[1]).square().mean()


def sovits_step(model: nn.Module) -> Step:
    batch = {
        "content": torch.randn(2, 768, 200),
        "spectrogram": torch.rand(2, 1025, 200),
        "lengths": torch.tensor([200, 200]),
        "phones": torch.randint(0, 700, (2, 40)),
        "phone_lengths": torch.tensor([40, 40]),
    }

    def loss() -> Tensor:
        out = model(**batch)
        total: Tensor = out.audio.square().mean() + out.z_p.square().mean() + out.logs_p.square().mean()
        return total

    return loss


def cost(model: nn.Module, loss: Step, rounds: int = 2) -> tuple[float, float]:
    """Seconds of a forward and backward pass, and megabytes of activations that it keeps."""
    kept: dict[int, int] = {}
    owned = {item.untyped_storage().data_ptr() for item in [*model.parameters(), *model.buffers()]}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in owned:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss().backward()
    start = time.perf_counter()
    for _ in range(rounds):
        model.zero_grad()
        loss().backward()
    return (time.perf_counter() - start) / rounds, sum(kept.values()) / 1e6


def test_gradient_checkpointing_keeps_fewer_activations() -> None:
    print(f"\n{'':<16}{'activations MB':>16}{'with':>8}{'share':>8}{'time':>8}")
    for name, model, make, kinds in (
        ("GPT v2", TextToSemantic(GPTConfig()), gpt_step, (Layer,)),
        ("SoVITS v2", SoVITS(SoVITSConfig.v2()), sovits_step, (ResidualBlock, GatedStack)),
    ):
        loss = make(model)
        seconds, kept = cost(model, loss)
        recompute_activations(model, *kinds)
        longer, fewer = cost(model, loss)
        print(f"{name:<16}{kept:>16.0f}{fewer:>8.0f}{fewer / kept:>8.2f}{longer / seconds:>7.2f}x")
        assert fewer < kept


def test_adapters_train_less_than_a_tenth_of_the_parameters() -> None:
    model = TextToSemantic(GPTConfig())
    loss = gpt_step(model)
    everything, (seconds, kept) = trained_parameters(model), cost(model, loss)
    Adapters(model, LoRASettings(rank=16))
    adapters, (with_them, kept_with_them) = trained_parameters(model), cost(model, loss)
    print(
        f"\nLoRA of rank 16: {adapters / 1e6:.2f} of {everything / 1e6:.1f} million parameters trained, step "
        f"{with_them / seconds:.2f}x, activations {kept_with_them / kept:.2f}x, checkpoint {adapters / everything:.3f}x"
    )
    assert adapters < everything / 10
