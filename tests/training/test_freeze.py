"""Frozen parts: chosen by name, refused where there is no such part."""

from __future__ import annotations

import pytest
import torch

from voiceclone.errors import ConfigError
from voiceclone.models.gpt import GPTConfig, TextToSemantic
from voiceclone.models.sovits import SoVITS, SoVITSConfig
from voiceclone.stages.train_sovits import PARTS, SoVITSSettings
from voiceclone.training.finetuning import freeze_parts, train_last_layers, trained_parameters


def trained(model: torch.nn.Module) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def small_gpt() -> TextToSemantic:
    return TextToSemantic(GPTConfig(dim=16, layers=3, heads=2, feed_forward=16, codes=8))


def test_the_last_layers_and_the_output_are_trained() -> None:
    model = small_gpt()
    everything = trained(model)
    train_last_layers(model, 0)
    assert trained(model) == everything
    train_last_layers(model, 1)
    assert trained(model) == {name for name in everything if name.startswith(("h.layers.2.", "ar_predict_layer."))}
    with pytest.raises(ConfigError, match="train_last_layers: 4, but the GPT has 3 layers"):
        train_last_layers(model, 4)


def test_parts_are_frozen_by_name() -> None:
    model = SoVITS(SoVITSConfig.nano())
    before = trained(model)
    freeze_parts(model, ["enc_p.encoder_text", "dec"], "sovits.freeze")
    assert before - trained(model) == {name for name in before if name.startswith(("enc_p.encoder_text.", "dec."))}
    assert trained_parameters(model) < sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(
    ("name", "expected"),
    [("decoder", "enc_p, dec, enc_q, flow"), ("enc_p.mrt", "enc_p.mrte, enc_p.encoder2"), ("quantizer", "enc_p, dec")],
)
def test_a_name_that_is_no_part_is_answered_with_those_that_are(name: str, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        freeze_parts(SoVITS(SoVITSConfig.nano()), [name], "sovits.freeze")
    assert f"no part '{name}'" in str(caught.value) and expected in str(caught.value)


def test_the_settings_know_the_parts_of_the_network() -> None:
    children = {name for name, _ in SoVITS(SoVITSConfig.nano()).named_children()}
    assert set(PARTS) == children - {"quantizer"}
    with pytest.raises(ValueError, match="'decoder' is no part of SoVITS; expected enc_p, dec"):
        SoVITSSettings.model_validate({"freeze": ["decoder"]})


def test_something_must_be_left_to_train() -> None:
    model = SoVITS(SoVITSConfig.nano())
    with pytest.raises(ConfigError, match="nothing is left to train"):
        freeze_parts(model, [name for name, _ in model.named_children() if name != "quantizer"], "sovits.freeze")
