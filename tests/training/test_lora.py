"""Low-rank adapters of the GPT: nothing but them is trained and saved, and merged they are the same model."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from voiceclone.models.gpt import GPTConfig, TextToSemantic
from voiceclone.stages.train_gpt import GPTSettings, LoRASettings
from voiceclone.training.finetuning import Adapters

torch.set_num_threads(1)

CONFIG = GPTConfig(dim=32, layers=2, heads=4, feed_forward=64, codes=20, dropout=0.0)
EVERY = ("in_proj", "out_proj", "linear1", "linear2")


def logits(model: TextToSemantic) -> Tensor:
    phones, tokens = torch.arange(9)[None], torch.arange(15)[None]
    out: Tensor = model(phones, torch.tensor([9]), tokens, torch.tensor([15]))
    return out


def adapted(seed: int = 0, **settings: object) -> tuple[TextToSemantic, Adapters]:
    torch.manual_seed(seed)
    model = TextToSemantic(CONFIG)
    return model, Adapters(model, LoRASettings.model_validate({"rank": 4, "alpha": 8, **settings}))


def disturb(model: TextToSemantic) -> None:
    """As a training would: all trained weights change, those that start as zeros too."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.1)


@pytest.mark.parametrize("targets", [EVERY, ("in_proj",), ("linear1", "out_proj")])
def test_the_merged_model_has_the_public_keys_and_speaks_the_same(targets: tuple[str, ...]) -> None:
    torch.manual_seed(0)
    plain = TextToSemantic(CONFIG)
    before = logits(plain)
    base = {name: tensor.clone() for name, tensor in plain.state_dict().items()}
    adapters = Adapters(plain, LoRASettings(rank=4, alpha=8, targets=targets))  # type: ignore[arg-type]
    assert torch.equal(logits(plain), before)  # they start as nothing
    disturb(plain)
    ours = logits(plain)
    assert (ours - before).abs().max() > 0.05
    merged = adapters.merged(adapters.state_dict())
    public = TextToSemantic(CONFIG)
    public.load_state_dict(merged)
    torch.testing.assert_close(logits(public), ours, atol=1e-5, rtol=1e-5)
    keys = {"in_proj": "self_attn.in_proj_weight", "out_proj": "self_attn.out_proj.weight"}
    changed = {name for name in base if not torch.equal(base[name], merged[name])}
    expected = [keys.get(target, f"{target}.weight") for target in targets]
    assert changed == {f"h.layers.{layer}.{key}" for layer in range(2) for key in expected}
    assert torch.equal(logits(plain), ours)  # the adapted model is left as it was


def test_only_the_adapters_are_trained_and_kept() -> None:
    model, adapters = adapted()
    sizes = {"in_proj": 32 + 96, "out_proj": 32 + 32, "linear1": 32 + 64, "linear2": 64 + 32}
    state = adapters.state_dict()
    assert sum(tensor.numel() for tensor in state.values()) == 2 * 4 * sum(sizes.values())
    logits(model).square().mean().backward()
    assert {name for name, item in model.named_parameters() if item.grad is not None} == set(state)


def test_adapters_come_back_into_another_process_s_model() -> None:
    model, adapters = adapted(seed=1)
    disturb(model)
    state = {name: tensor.clone() for name, tensor in adapters.state_dict().items()}
    expected = logits(model)
    again, others = adapted(seed=1)
    logits(again)
    others.load_state_dict(state)
    assert torch.equal(logits(again), expected)
    _, wider = adapted(rank=8)
    with pytest.raises(RuntimeError, match="no adapters of this rank"):
        wider.load_state_dict(state)


def test_dropout_acts_before_the_adapters_of_modules_in_training_alone() -> None:
    model, _ = adapted(dropout=0.5)
    disturb(model)
    assert not torch.equal(logits(model), logits(model))
    model.eval()
    assert torch.equal(logits(model), logits(model))


@pytest.mark.parametrize(
    ("other", "needed"),
    [({}, "base"), ({"base": "b", "optimizer": "scaled_adam"}, "adamw"), ({"base": "b", "train_last_layers": 1}, "0")],
)
def test_settings_that_do_not_go_with_adapters_are_refused(other: dict[str, object], needed: str) -> None:
    with pytest.raises(ValueError, match=f"lora.rank above 0 needs .*{needed}"):
        GPTSettings.model_validate({"lora": {"rank": 4}, **other})
