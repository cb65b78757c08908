"""Guided decoding: the filter itself, and that every backend has the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from tests.support.voice_fixture import together

from voiceclone.backends.backend import OnnxBackend
from voiceclone.export.graphs import Calibration, build_graphs
from voiceclone.export.tensorrt import tensorrt_graphs
from voiceclone.kernels.binding import load_kernels
from voiceclone.models.gpt import GPTConfig, TextToSemantic
from voiceclone.models.sovits import SoVITS, SoVITSConfig
from voiceclone.speaking.detector import find_detours
from voiceclone.speaking.guidance import END_TOKENS, Guide
from voiceclone.speaking.options import DetectorSettings, SpeechOptions
from voiceclone.speaking.runtimes import KernelBackend
from voiceclone.speaking.tokens import TokenRequest, decode, make_guide
from voiceclone.speaking.torch_backend import TorchBackend
from voiceclone.tensorrt.standard import StandardOnnxBackend

CODES, PHONES = 48, 60


@pytest.fixture(scope="module")
def gpt() -> TextToSemantic:
    torch.manual_seed(0)
    config = GPTConfig(dim=96, layers=3, heads=2, feed_forward=160, phones=PHONES, codes=CODES, pointer_layer=2,
                       pointer_dim=32)  # fmt: skip
    network = TextToSemantic(config).eval()
    for weight in (network.pointer.query.weight, network.pointer.key.weight):
        torch.nn.init.normal_(weight, std=0.3)  # a pointer that has an opinion
    network.pointer.emission.copy_(torch.rand(PHONES, CODES).pow(8) + 1e-4)
    network.pointer.emission.div_(network.pointer.emission.sum(1, keepdim=True))
    return network


def wanted(backend: Any, seed: int, guidance: float | None = None, prompt: int = 5) -> TokenRequest:
    rng = np.random.default_rng(seed)
    phones, first = rng.integers(0, PHONES, 8 + seed % 9), 3 if prompt else 0
    guide = make_guide(backend, phones, first, guidance)
    noise = np.random.Generator(np.random.Philox(seed))
    options = SpeechOptions(top_k=(0, 8)[seed % 2], temperature=0.8, repetition_penalty=1.1).filled(True)
    return TokenRequest(phones, None, rng.integers(0, CODES, prompt), options, 70, noise, guide)


def sharp(phone: int, count: int) -> Any:
    return np.where(np.arange(count) == phone, 8.0, 0.0).astype(np.float32)


def test_the_filter_goes_on_steadily_and_the_end_waits_for_the_last_phones() -> None:
    emission = (np.eye(6, 8) * 0.9 + 0.0125).astype(np.float32)
    guide = Guide(np.arange(6), 0, emission, 1.0)
    for step in range(12):
        phone = step // 2
        bias = guide.bias(sharp(phone, 6))
        assert bias[:-1].argmax() == phone
        assert np.isneginf(bias[-1]) == (phone < 4)
        guide.take(phone)
    assert guide.path == [step // 2 for step in range(12)]
    np.testing.assert_array_equal(guide.spans(), [[2 * phone, 2] for phone in range(6)])
    assert find_detours(guide, np.asarray(guide.path), DetectorSettings()) == []
    for _ in range(END_TOKENS + 1):
        bias = guide.bias(sharp(5, 6))
        guide.take(5)
    assert np.isneginf(bias[:-1]).all() and bias[-1] == 0


def test_the_pointer_cannot_jump() -> None:
    guide = Guide(np.arange(20), 0, np.full((20, 8), 1 / 8, np.float32), 1.0)
    guide.bias(sharp(15, 20))
    guide.take(0)
    assert guide.path[0] <= 2


def kinds(guide: Guide) -> list[str]:
    return [finding.kind for finding in find_detours(guide, np.zeros(len(guide.path), np.int64), DetectorSettings())]


def test_phones_left_out_and_said_again_are_noticed() -> None:
    table = np.full((30, 8), 1 / 8, np.float32)
    skipped, repeated = Guide(np.arange(30), 0, table, 1.0), Guide(np.arange(30), 0, table, 1.0)
    skipped.path = [*range(10), *range(18, 30)]
    skipped.seen = list(skipped.path)
    assert kinds(skipped) == ["skip"]
    repeated.path = [*range(20), *[20] * 15, *range(20, 30)]
    repeated.seen = [*range(20), *[place % 5 + 5 for place in range(15)], *range(20, 30)]
    assert kinds(repeated) == ["repeat"]


def test_tokens_that_their_phones_seldom_have_are_unclear() -> None:
    table = np.full((6, 8), 0.001, np.float32)
    table[np.arange(6), np.arange(6)] = 0.993
    guide = Guide(np.arange(6), 0, table, 1.0)
    guide.path = guide.seen = [0, 1, 2, 3, 4, 5]
    usual, seldom = np.arange(6), np.array([0, 7, 7, 7, 7, 5])
    assert guide.surprise(usual) == pytest.approx(-np.log(0.993), abs=1e-3)
    assert guide.surprise(seldom) == pytest.approx((-2 * np.log(0.993) - 4 * np.log(0.001)) / 6, abs=0.1)
    assert find_detours(guide, usual, DetectorSettings()) == []
    (finding,) = find_detours(guide, seldom, DetectorSettings())
    assert finding.kind == "unclear" and finding.excess == pytest.approx(guide.surprise(seldom) / 3.5, abs=1e-3)
    assert find_detours(guide, seldom, DetectorSettings(unclear_nats=5.0)) == []


def test_a_loop_draws_what_is_drawn_alone_guided_and_not(gpt: TextToSemantic) -> None:
    backend = TorchBackend(gpt, None)
    strengths = [0.8, 0.0, 0.8, 2.0, 0.0, 0.8, 0.8]
    alone = [wanted(backend, seed, weight) for seed, weight in enumerate(strengths)]
    expected = [list(decode(backend, want, CODES)) for want in alone]
    rows = [wanted(backend, seed, weight) for seed, weight in enumerate(strengths)]
    assert together(backend.loop(3), rows) == expected
    for one, other in zip(alone, rows, strict=True):
        assert (one.guide is None) == (other.guide is None)
        if one.guide is not None and other.guide is not None:
            assert one.guide.path == other.guide.path and one.guide.seen == other.guide.seen
            assert len(one.guide.path) > 8


def test_no_weight_or_no_table_is_no_guide(gpt: TextToSemantic) -> None:
    assert wanted(TorchBackend(gpt, None), 1, 0.0).guide is None
    assert wanted(TorchBackend(gpt, None), 1).guide is not None
    plain = TextToSemantic(GPTConfig(dim=96, layers=2, heads=2, feed_forward=96, phones=PHONES, codes=CODES)).eval()
    assert wanted(TorchBackend(plain, None), 1).guide is None
    empty = TextToSemantic(gpt.config).eval()
    assert TorchBackend(empty, None).emission is None


@pytest.fixture(scope="module")
def bundles(gpt: TextToSemantic, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, dict[str, Any]]]:
    sovits = SoVITS(SoVITSConfig.nano()).eval()
    sovits.remove_weight_norm()
    config, root, rng = sovits.config, tmp_path_factory.mktemp("guided"), np.random.default_rng(0)
    sentence = {
        "codes": rng.integers(0, 256, (1, 1, 20)),
        "phones": rng.integers(0, 700, (1, 15)),
        "style": rng.standard_normal((1, config.gin_channels, 1)).astype(np.float32),
        "noise": rng.standard_normal((1, config.inter_channels, 40)).astype(np.float32),
    }
    found = {}
    for target, build in (("onnx-fp32", build_graphs), ("onnx-int8", build_graphs), ("trt-fp16", tensorrt_graphs)):
        form: Any = target.split("-")[1]
        (root / form).mkdir()
        for name, model in build(gpt, sovits, form, 17, Calibration([sentence], root)).items():
            onnx.save(model, root / form / f"{name}.onnx")
        found[form] = root / form, {
            "target": target, "half": False, "end_token": CODES, "steps_per_frame": config.upsample_rates[0],
            "phones": PHONES, "sample_rate": config.sample_rate,
            "vocoder": {"rates": config.upsample_rates, "dilations": config.resblock_dilations},
            "cache": {"layers": 3, "heads": 2, "head_width": 48}, "pointer": {"layer": 2, "dim": 32, "guidance": 0.8},
        }  # fmt: skip
    return found


@pytest.mark.parametrize(
    ("kind", "form"),
    [(OnnxBackend, "fp32"), (OnnxBackend, "int8"), (KernelBackend, "fp32"), (KernelBackend, "int8"),
     (StandardOnnxBackend, "fp16")],
)  # fmt: skip
def test_bundles_point_as_the_trained_network(
    gpt: TextToSemantic, bundles: dict[str, tuple[Path, dict[str, Any]]], kind: Any, form: str
) -> None:
    if kind is KernelBackend and load_kernels() is None:
        pytest.skip("no C compiler here")
    folder, description = bundles[form]
    trained, exported = TorchBackend(gpt, None), kind(folder, description, 1)
    np.testing.assert_allclose(exported.emission, trained.emission, rtol=2e-3, atol=1e-6)
    phones, prompt = np.arange(14) % PHONES, np.arange(6)
    caches = [backend.start(phones, None, prompt)[1] for backend in (trained, exported)]
    tolerance = {"fp32": 1e-4, "fp16": 0.02, "int8": 0.3}[form]
    for index in range(5):
        scores = [backend.point() for backend in (trained, exported)]
        assert scores[0].shape == (14,)
        np.testing.assert_allclose(scores[1], scores[0], atol=tolerance)
        caches = [
            backend.step(7 * index, 6 + index, cache)[1]
            for backend, cache in zip((trained, exported), caches, strict=True)
        ]
    if form != "int8":
        tokens = [list(decode(backend, wanted(backend, 4), CODES)) for backend in (trained, exported)]
        assert tokens[0] == tokens[1] and len(tokens[0]) > 8
