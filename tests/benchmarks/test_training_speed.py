"""Training steps per second of GPT and SoVITS v2 at the public batch shapes: ``make benchmark``.

``ratio`` is how many times as fast as a straightforward loop ours is, by processor time on a CPU.
On a machine with a GPU the same is measured there, in fp32, in bf16, and in bf16 with compiled layers.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(3600)]

REPOSITORY = Path(__file__).resolve().parents[2]
VARIANTS = (
    [("cuda", "fp32", "plain"), ("cuda", "tf32", "plain"), ("cuda", "bf16", "plain"), ("cuda", "bf16", "compiled")]
    if torch.cuda.is_available()
    else [("cpu", "fp32", "plain")]
)
STEPS = {"cpu": 3, "cuda": 40}


@pytest.mark.parametrize("kind", ["gpt", "sovits"])
def test_steps_per_second_are_at_least_four_fifths_of_a_plain_loop(kind: str) -> None:
    print(f"\n{kind} v2, batches of utterances of 6 s, random weights, {torch.get_num_threads()} threads")
    print(
        f"{'':<24}{'steps/s':>9}{'naive':>9}{'ratio':>7}"
        f"{'forward s':>11}{'backward s':>11}{'update s':>10}{'peak MB':>9}"
    )
    for device, precision, compiled in VARIANTS:
        script = REPOSITORY / "tests" / "benchmarks" / "training_loops.py"
        done = subprocess.run(
            [sys.executable, str(script), kind, device, precision, compiled, str(STEPS[device])],
            env={**os.environ, "PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'workflow'}"},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        figures = json.loads(done.stdout.splitlines()[-1])
        print(
            f"{device + ' ' + precision + ' ' + compiled:<24}{1 / figures['ours']:>9.3f}{1 / figures['naive']:>9.3f}"
            f"{figures['ratio']:>7.2f}{figures['forward']:>11.4f}{figures['backward']:>11.4f}"
            f"{figures['update']:>10.4f}{figures['peak_mb']:>9.0f}"
        )
        assert figures["ratio"] >= 0.8
