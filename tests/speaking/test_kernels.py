"""Kernels for the CPU: against plain sums, against onnxruntime, and what happens without a compiler."""

from __future__ import annotations

import ctypes
import logging
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from voiceclone.backends.backend import OnnxBackend
from voiceclone.backends.weights import OnnxWeights
from voiceclone.errors import ConfigError, DataError
from voiceclone.export.graphs import Calibration, build_graphs
from voiceclone.kernels import binding
from voiceclone.kernels.binding import load_kernels
from voiceclone.kernels.packing import OUTPUTS, PLACES, pack_upsampling, pack_windows, toom_cook, transforms
from voiceclone.models.gpt import GPTConfig, TextToSemantic
from voiceclone.models.sovits import SoVITS, SoVITSConfig
from voiceclone.speaking.runtimes import KernelBackend, open_backend, runs_with_kernels

pytestmark = pytest.mark.skipif(load_kernels() is None, reason="no C compiler (cc): the kernels are not used")

FORMS = ("fp32", "fp16", "int8", "int4")


@pytest.fixture(scope="module")
def kernels() -> Any:
    loaded = load_kernels()
    loaded.start_team(2)
    return loaded


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, dict[str, Any]]]:
    """A bundle of each format of one small voice whose widths are no whole panels, with random weights."""
    torch.manual_seed(0)
    gpt = TextToSemantic(GPTConfig(dim=96, heads=3, layers=2, feed_forward=160)).eval()
    sovits = SoVITS(SoVITSConfig.nano()).eval()
    sovits.remove_weight_norm()
    rng, config, root = np.random.default_rng(0), sovits.config, tmp_path_factory.mktemp("bundles")
    sentence = {
        "codes": rng.integers(0, 256, (1, 1, 20)),
        "phones": rng.integers(0, 700, (1, 15)),
        "style": rng.standard_normal((1, config.gin_channels, 1)).astype(np.float32),
        "noise": rng.standard_normal((1, config.inter_channels, 40)).astype(np.float32),
    }
    found = {}
    for form in FORMS:
        folder = root / form
        folder.mkdir()
        for name, model in build_graphs(gpt, sovits, form, 17, Calibration([sentence], root)).items():
            onnx.save(model, folder / f"{name}.onnx")
        description = {
            "target": f"onnx-{form}",
            "half": form == "fp16",
            "end_token": gpt.config.codes,
            "steps_per_frame": config.upsample_rates[0],
            "vocoder": {"rates": config.upsample_rates, "dilations": config.resblock_dilations},
            "cache": {"layers": 2, "heads": 3, "head_width": 32},
        }
        found[form] = folder, description
    return found


@given(
    taps=st.sampled_from([3, 5, 7, 11]), dilation=st.integers(1, 5), length=st.integers(1, 240),
    channels=st.sampled_from([8, 16, 48]), residual=st.booleans(), add=st.booleans(), seed=st.integers(0, 99),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_convolutions(
    kernels: Any, taps: int, dilation: int, length: int, channels: int, residual: bool, add: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    weights = (rng.standard_normal((channels, channels, taps)) / np.sqrt(channels * taps)).astype(np.float32)
    bias = rng.standard_normal(channels).astype(np.float32)
    packed = toom_cook(weights, bias, dilation)
    wide = packed.structure.channels
    x, more, y = (np.zeros((length, wide), np.float32) for _ in range(3))
    for array in (x, more, y):
        array[:, :channels] = rng.standard_normal((length, channels))
    expected = F.conv1d(
        F.leaky_relu(torch.from_numpy(x[:, :channels].T.copy())[None], 0.1), torch.from_numpy(weights),
        torch.from_numpy(bias), padding=dilation * (taps // 2), dilation=dilation,
    )[0].numpy().T  # fmt: skip
    expected = 0.5 * (expected + residual * more[:, :channels]) + add * y[:, :channels]
    kernels.filter(
        ctypes.byref(packed.structure), x.ctypes.data, length, 0.1, more.ctypes.data if residual else None, 0.5, add,
        y.ctypes.data,
    )  # fmt: skip
    np.testing.assert_allclose(y[:, :channels], expected, atol=2e-5)
    assert not y[:, channels:].any()


@pytest.mark.parametrize("taps", PLACES)
def test_a_tile_is_a_convolution(taps: int) -> None:
    inputs, kernel, outputs = transforms(taps)
    rng = np.random.default_rng(0)
    samples, weights = rng.standard_normal(OUTPUTS + taps - 1), rng.standard_normal(taps)
    expected = [weights @ samples[step : step + taps] for step in range(OUTPUTS)]
    np.testing.assert_allclose(outputs @ ((kernel @ weights) * (inputs @ samples)), expected, atol=1e-12)


@pytest.mark.parametrize(("rate", "taps"), [(10, 16), (8, 16), (2, 8), (2, 2)])
def test_upsampling(kernels: Any, rate: int, taps: int) -> None:
    rng = np.random.default_rng(0)
    weights = rng.standard_normal((16, 24, taps)).astype(np.float32)
    bias, x = rng.standard_normal(24).astype(np.float32), rng.standard_normal((13, 16)).astype(np.float32)
    packed = pack_upsampling(weights, bias, rate)
    window = packed.structure.inputs // 16
    wide = np.pad(x, [(window - 1, window - 1), (0, 0)])
    y = np.empty((len(wide) - window + 1, packed.structure.outputs), np.float32)
    kernels.windows(ctypes.byref(packed.structure), wide.ctypes.data, len(y), 16, y.ctypes.data)
    pad = (taps - rate) // 2
    expected = F.conv_transpose1d(
        torch.from_numpy(x.T.copy())[None], torch.from_numpy(weights), torch.from_numpy(bias), rate, pad
    )
    made = y.reshape(-1, y.shape[1] // rate)[pad : pad + rate * len(x), :24]
    np.testing.assert_allclose(made.T, expected[0].numpy(), atol=1e-4)


def test_plain_windows(kernels: Any) -> None:
    rng = np.random.default_rng(0)
    weights, x = rng.standard_normal((5, 16, 7)).astype(np.float32), rng.standard_normal((30, 16)).astype(np.float32)
    packed = pack_windows(weights, None)
    y = np.empty((24, packed.structure.outputs), np.float32)
    kernels.windows(ctypes.byref(packed.structure), x.ctypes.data, 24, 16, y.ctypes.data)
    expected = F.conv1d(torch.from_numpy(x.T.copy())[None], torch.from_numpy(weights))[0].numpy()
    np.testing.assert_allclose(y[:, :5].T, expected, atol=1e-4)


def logits_of(backend: Any, phones: np.ndarray, prompt: np.ndarray, codes: np.ndarray) -> np.ndarray:
    logits, cache = backend.start(phones, None, prompt)
    seen = [logits.copy()]
    for index, code in enumerate(codes.tolist()):
        logits, cache = backend.step(code, len(prompt) + index, cache)
        seen.append(logits.copy())
    return np.stack(seen)


@pytest.mark.parametrize(("form", "limit"), [("fp32", 1e-5), ("fp16", 2e-3), ("int8", 3e-2), ("int4", 3e-2)])
@pytest.mark.parametrize("prompt", [0, 37])
def test_tokens_as_by_onnxruntime(bundles: Any, form: str, limit: float, prompt: int) -> None:
    """Over the end of the buffers of keys and values, too."""
    rng = np.random.default_rng(1)
    phones, clip = rng.integers(0, 700, 29), rng.integers(0, 1024, prompt)
    codes = rng.integers(0, 1024, 240)
    folder, description = bundles[form]
    mine, theirs = (
        logits_of(backend(folder, description, 2), phones, clip, codes) for backend in (KernelBackend, OnnxBackend)
    )
    assert np.abs(mine - theirs).max() <= limit * np.abs(theirs).max()


@pytest.mark.parametrize(("form", "limit"), [("fp32", 1e-5), ("fp16", 2e-2), ("int8", 0.2)])
def test_sound_as_by_onnxruntime(bundles: Any, form: str, limit: float) -> None:
    folder, description = bundles[form]
    config, rng = SoVITSConfig.nano(), np.random.default_rng(2)
    codes, phones = rng.integers(0, 256, 75), rng.integers(0, 700, 40)
    style = rng.standard_normal((1, config.gin_channels, 1)).astype(np.float32)
    noise = rng.standard_normal((1, config.inter_channels, 150)).astype(np.float32)
    mine, theirs = (
        backend(folder, description, 2).decode(codes, phones, style, noise) for backend in (KernelBackend, OnnxBackend)
    )
    assert mine.shape == theirs.shape == (75 * 1280,)
    assert np.abs(mine - theirs).max() <= limit * np.abs(theirs).max()


def test_one_sentence_does_not_change_the_next(bundles: Any) -> None:
    backend = KernelBackend(*bundles["int8"], 2)
    rng = np.random.default_rng(3)
    phones, codes = rng.integers(0, 700, 29), rng.integers(0, 1024, 12)
    first = logits_of(backend, phones, codes[:5], codes)
    logits_of(backend, rng.integers(0, 700, 300), codes, codes)
    np.testing.assert_array_equal(logits_of(backend, phones, codes[:5], codes), first)


def test_weights_of_a_graph(bundles: Any) -> None:
    """The reader of weights gives what the onnx package gives, of each type and way of storing."""
    for form in FORMS:
        for path in bundles[form][0].glob("*.onnx"):
            weights = OnnxWeights(path)
            stored = {item.name: onnx.numpy_helper.to_array(item) for item in onnx.load(path).graph.initializer}
            assert set(weights) == set(stored)
            for name, array in stored.items():
                np.testing.assert_array_equal(weights[name], array)
                assert weights[name].dtype == array.dtype


@pytest.mark.parametrize("keep", [3, 100, 5000])
def test_a_cut_graph_is_named(bundles: Any, tmp_path: Path, keep: int) -> None:
    cut = tmp_path / "cut.onnx"
    cut.write_bytes((bundles["fp32"][0] / "tail.onnx").read_bytes()[:keep])
    with pytest.raises(DataError, match=r"cut\.onnx"):
        OnnxWeights(cut)["decoder.ups.1.weight"]


def test_engines(bundles: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    folder, description = bundles["fp32"]
    assert open_backend(folder, description).name == "kernels"
    assert open_backend(folder, description, engine="onnxruntime").name == "onnxruntime"
    with pytest.raises(ConfigError, match="engine 'fast': one of auto, kernels, onnxruntime"):
        open_backend(folder, description, engine="fast")
    assert not runs_with_kernels({**description, "cache": {**description["cache"], "head_width": 24}})
    monkeypatch.setenv("CC", "no-such-compiler")
    load_kernels.cache_clear()
    try:
        with caplog.at_level(logging.INFO):
            assert open_backend(folder, description).name == "onnxruntime"
        assert "no C compiler" in caplog.text
        with pytest.raises(ConfigError, match="engine kernels: not for bundle onnx-fp32"):
            open_backend(folder, description, engine="kernels")
    finally:
        monkeypatch.undo()
        load_kernels.cache_clear()


def test_a_compiler_that_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "cc"
    broken.write_text("#!/bin/sh\necho sorry >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("CC", str(broken))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(subprocess.CalledProcessError):
        binding.compiled()
    assert not list(tmp_path.rglob("*.so"))


@pytest.mark.parametrize("starts", [True, False])
def test_a_forked_process_speaks_too(bundles: Any, starts: bool) -> None:
    """The threads of a team do not live on in a child: it starts its own, or does without."""
    folder, description = bundles["fp32"]
    program = f"""
import os, sys, numpy as np
from pathlib import Path
from voiceclone.text_to_semantic.kernels import KernelGPT
from voiceclone.backends.weights import OnnxWeights
from voiceclone.kernels.binding import load_kernels

kernels = load_kernels()
kernels.start_team(2)
network = KernelGPT(kernels, OnnxWeights(Path(sys.argv[1])), {description["cache"]!r})
phones = np.arange(9)
first = network.start(phones, None, phones)[0].copy()
child = os.fork()
if child == 0:
    if {starts}:
        kernels.start_team(2)
    os._exit(0 if (network.start(phones, None, phones)[0] == first).all() else 3)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    command = [sys.executable, "-c", program, str(folder / "text_to_semantic.onnx")]
    assert subprocess.run(command, timeout=60, env=os.environ.copy()).returncode == 0


def test_two_voices_at_the_same_time(bundles: Any) -> None:
    """Whoever comes while the team works waits; nobody's numbers are mixed up."""
    rng = np.random.default_rng(4)
    phones, codes = rng.integers(0, 700, 29), rng.integers(0, 1024, 60)
    voices = [KernelBackend(*bundles[form], 2) for form in ("fp32", "int8")]
    alone = [logits_of(voice, phones, codes[:5], codes) for voice in voices]
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda voice: logits_of(voice, phones, codes[:5], codes), voices))
    for first, second in zip(alone, both, strict=True):
        np.testing.assert_array_equal(first, second)
