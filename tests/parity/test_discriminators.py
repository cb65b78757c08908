"""Discriminators against recorded runs of the public ones."""

from __future__ import annotations

import pytest
import torch

LIMIT = 2e-4


@pytest.mark.parametrize("version", ["v2", "v2Pro"])
def test_keys_shapes_and_order(golden, public, version):
    ours = {key: tuple(value.shape) for key, value in public(f"s2D_{version}").state_dict().items()}
    assert list(ours.items()) == list(golden.shapes(f"s2D_{version}").items())


@pytest.mark.parametrize("version", ["v2", "v2Pro"])
@pytest.mark.parametrize("kind", ["real", "fake"])
def test_logits_and_maps(golden, public, close, version, kind):
    recorded = golden.read(f"s2_{version}_disc")
    with torch.no_grad():
        judgements = public(f"s2D_{version}")(recorded["y" if kind == "real" else "y_hat"])
    for index, (logits, _) in enumerate(judgements):
        close(logits, recorded[f"{kind}_{index}"], LIMIT, f"logits {index}")
    maps = [each for _, maps in judgements for each in maps]
    assert [[*each.shape, *[1] * (4 - each.dim())] for each in maps] == recorded["fmap_shapes"].tolist()
    for index, each in enumerate(maps):
        mean, deviation, largest = recorded[f"fmap_{kind}_stats"][index].tolist()
        scale = (mean**2 + deviation**2) ** 0.5
        assert abs(each.mean().item() - mean) < LIMIT * scale
        assert abs(each.std(unbiased=False).item() - deviation) < LIMIT * scale
        assert abs(each.abs().max().item() - largest) < LIMIT * largest
        head = (each.flatten()[:32] - recorded[f"fmap_{kind}_head"][index]).abs().max().item()
        assert head < LIMIT * scale, f"map {index}: {head / scale:.3g}"
