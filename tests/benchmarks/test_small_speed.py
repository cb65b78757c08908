"""A voice of the architecture small on two cores: what its parts take, and its waveform in C beside numpy's.

The weights are random, or with BENCHMARK_SMALL=FOLDER those of an exported bundle (``onnx-int8``). Times are
printed; ratios, memory and size are held against what is aimed at.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from tests.support.aims import Aims, run

from voiceclone.export.graphs import Calibration, build_graphs
from voiceclone.files import write_json
from voiceclone.kernels.binding import load_kernels
from voiceclone.models.gpt import GPTConfig, TextToSemantic
from voiceclone.models.sovits import SoVITS, SoVITSConfig

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(900)]

PARTS = ("tokens", "latent", "frames", "waveform")


def write_voice(folder: Path) -> None:
    """What a backend needs of an int8 bundle, of random weights."""
    torch.manual_seed(0)
    gpt, sovits = TextToSemantic(GPTConfig.small()).eval(), SoVITS(SoVITSConfig.small()).eval()
    gpt.pointer.emission.fill_(1 / gpt.config.codes)
    sovits.remove_weight_norm()
    config, rng = sovits.config, np.random.default_rng(0)
    sentence = {
        "codes": rng.integers(0, gpt.config.codes, (1, 1, 50)),
        "phones": rng.integers(0, gpt.config.phones, (1, 30)),
        "style": rng.standard_normal((1, config.gin_channels, 1)).astype(np.float32),
        "noise": rng.standard_normal((1, config.inter_channels, 100)).astype(np.float32) / 2,
    }
    for name, model in build_graphs(gpt, sovits, "int8", 17, Calibration([sentence], folder / "calibration")).items():
        onnx.save(model, folder / f"{name}.onnx")
    sizes = {"layers": gpt.config.layers, "heads": gpt.config.heads, "head_width": gpt.config.dim // gpt.config.heads}
    write_json(folder / "bundle.json", {
        "target": "onnx-int8", "half": False, "end_token": gpt.config.codes, "cache": sizes,
        "decoder": config.decoder, "sample_rate": config.sample_rate, "prior_channels": config.inter_channels,
        "pointer": {"layer": gpt.config.pointer_layer, "dim": gpt.config.pointer_dim, "guidance": 0.8},
    })  # fmt: skip


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    if load_kernels() is None:
        pytest.skip("no C compiler here")
    folder = Path(os.environ.get("BENCHMARK_SMALL") or tmp_path_factory.mktemp("small"))
    if not (folder / "bundle.json").is_file():
        write_voice(folder)
    found: dict[str, Any] = json.loads(run(sys.executable, "inference/speak_small.py", folder).splitlines()[-1])
    return found


def test_disk_memory_and_share_of_the_waveform(figures: dict[str, Any]) -> None:
    print()
    for part in PARTS:
        print(f"{part:<12}{figures[f'{part}_rtf']:>8.4f} s/s{figures[f'{part}_share']:>8.0%}")
    print(f"whole {figures['whole_rtf']:.4f} s/s, first sound after {figures['first_sound_s']:.3f} s")
    aims = Aims()
    aims.add("MB on disk", figures["disk_mb"], at_most=25)
    aims.add("MB of memory", figures["steady_mb"], at_most=200)
    aims.add("waveform: share of the time", figures["waveform_share"], at_most=0.2)
    aims.check()


def test_waveform_in_c_takes_less_time_than_in_numpy(figures: dict[str, Any]) -> None:
    aims, ratio = Aims(), figures["waveform_rtf"] / figures["waveform_numpy_rtf"]
    aims.add("\nwaveform: seconds in C over seconds in numpy", ratio, at_most=0.7)
    aims.check()
