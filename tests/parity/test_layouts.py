"""The readers take the public layouts, whole and as exported, for what they are."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from voiceclone.errors import AssetError
from voiceclone.models.gpt import GPTConfig
from voiceclone.models.public_files import POSTERIOR, PublicFile, gpt_config, sovits_config, sovits_version
from voiceclone.models.sovits import SoVITSConfig


def layout(golden, model: str) -> dict[str, torch.Tensor]:
    """Tensors of the recorded shapes that take no memory."""
    return {key: torch.zeros(1).expand(shape) for key, shape in golden.shapes(model).items()}


def public(weights: dict[str, torch.Tensor]) -> PublicFile:
    return PublicFile(Path("x"), weights, {}, "", False)


def test_gpt(golden):
    assert gpt_config(public(layout(golden, "s1_v2"))) == GPTConfig()


@pytest.mark.parametrize(
    ("model", "version", "config", "exported"),
    [("s2G_v2", "v2", SoVITSConfig.v2(), 673), ("s2G_v2Pro", "v2Pro", SoVITSConfig.v2pro(), 678)],
)
def test_sovits(golden, model, version, config, exported):
    whole = layout(golden, model)
    small = {key: value for key, value in whole.items() if not key.startswith(POSTERIOR)}
    assert len(small) == exported
    for weights in (whole, small):
        read = sovits_config(public(weights))
        assert read == config and sovits_version(read) == version


@pytest.mark.parametrize("model", ["s1_v2", "s2G_v2Pro"])
def test_any_missing_tensor_is_named(golden, model):
    whole = layout(golden, model)
    for key in list(whole)[:: len(whole) // 12]:
        with pytest.raises(AssetError, match=key.replace(".", r"\.")):
            (gpt_config if model == "s1_v2" else sovits_config)(
                public({name: value for name, value in whole.items() if name != key})
            )
