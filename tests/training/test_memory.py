"""Activations computed again: the same losses and gradients bit for bit, from fewer kept bytes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from voiceclone.models.gpt import GPTConfig, Layer, TextToSemantic
from voiceclone.models.sovits import GatedStack, SoVITS, SoVITSConfig
from voiceclone.models.vocoder import ResidualBlock
from voiceclone.stages.train_gpt import LoRASettings
from voiceclone.training.finetuning import Adapters, recompute_activations

torch.set_num_threads(1)


def gpt_loss() -> tuple[nn.Module, Callable[[], Tensor]]:
    model = TextToSemantic(GPTConfig(dim=32, layers=3, heads=4, feed_forward=64, codes=20, dropout=0.2))
    random = torch.Generator().manual_seed(1)
    phones, tokens = (torch.randint(0, 20, (2, size), generator=random) for size in (9, 30))
    lengths = torch.tensor([9, 5]), torch.tensor([30, 21])
    return model, lambda: model(phones, lengths[0], tokens, lengths[1]).square().mean()


def adapted_gpt_loss() -> tuple[nn.Module, Callable[[], Tensor]]:
    model, loss = gpt_loss()
    Adapters(model, LoRASettings(rank=4, dropout=0.3))  # type: ignore[arg-type]
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.01)
    return model, loss


def sovits_loss() -> tuple[nn.Module, Callable[[], Tensor]]:
    config = SoVITSConfig(
        ssl_dim=16, codes=16, inter_channels=16, hidden_channels=16, filter_channels=16, layers=1, gin_channels=16,
        style_hidden=16, mrte_channels=16, mrte_heads=2, posterior_layers=4, flow_layers=2, flow_couplings=2,
        decoder_channels=32, dropout=0.2, segment_frames=16,
    )  # fmt: skip
    model = SoVITS(config)
    random = torch.Generator().manual_seed(1)
    batch = {
        "content": torch.randn(2, 16, 40, generator=random),
        "spectrogram": torch.rand(2, 1025, 40, generator=random),
        "lengths": torch.tensor([40, 32]),
        "phones": torch.randint(0, 700, (2, 9), generator=random),
        "phone_lengths": torch.tensor([9, 6]),
    }

    def loss() -> Tensor:
        out = model(**batch)
        total: Tensor = out.audio.square().mean() + out.z_p.square().mean() + out.logs_p.square().mean()
        return total

    return model, loss


def measured(model: nn.Module, loss: Callable[[], Tensor]) -> tuple[Tensor, list[Tensor | None], int, Tensor]:
    """Loss, gradients, bytes kept for the backward pass beside the weights, and the random number after it."""
    owned = {item.untyped_storage().data_ptr() for item in [*model.parameters(), *model.buffers()]}
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in owned:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    torch.manual_seed(3)
    model.zero_grad()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        value = loss()
    value.backward()
    gradients = [None if item.grad is None else item.grad.clone() for item in model.parameters()]
    return value.detach(), gradients, sum(kept.values()), torch.rand(1)


@pytest.mark.parametrize(
    ("make", "kinds", "chosen", "share"),
    [
        (gpt_loss, (Layer,), 3, 0.35),
        (adapted_gpt_loss, (Layer,), 3, 0.35),
        (sovits_loss, (ResidualBlock, GatedStack), 15 + 3, 0.7),
    ],
)
def test_gradients_are_the_same_bits_and_less_is_kept(
    make: Callable[[], tuple[nn.Module, Callable[[], Tensor]]], kinds: tuple[type[nn.Module]], chosen: int, share: float
) -> None:
    torch.manual_seed(0)
    model, loss = make()
    names = sorted(model.state_dict())  # peft moves the parameters that it adapts to the end
    plain = measured(model, loss)
    assert recompute_activations(model, *kinds) == chosen
    again = measured(model, loss)
    assert torch.equal(plain[0], again[0]) and torch.equal(plain[3], again[3])
    assert sum(item is not None for item in plain[1]) > 3
    for one, other in zip(plain[1], again[1], strict=True):
        assert one is other is None or torch.equal(one, other)  # type: ignore[arg-type]
    assert again[2] < share * plain[2], (again[2], plain[2])
    assert sorted(model.state_dict()) == names


def test_without_gradients_nothing_is_computed_again() -> None:
    model, loss = gpt_loss()
    model.eval()
    with torch.no_grad():
        expected = loss()
        recompute_activations(model, Layer)
        assert torch.equal(loss(), expected)
