"""The prepared checks for a GPU, in their CPU mode: every section runs on tiny networks, and nothing fails."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_all_sections_pass_on_the_cpu(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "tests/gpu/check.py", "--device", "cpu", "--output", str(tmp_path / "gpu.json"),
         "--seconds", "1700"],
        cwd=REPOSITORY, env={**os.environ, "PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'workflow'}"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    result = json.loads((tmp_path / "gpu.json").read_text())
    assert result["failed"] == []
    assert all(row["passed"] for kind in ("gpt", "sovits") for row in (result["parity"][f"{kind} bf16"],
               result["resume"][kind]))  # fmt: skip
    assert result["training"]["gpt toy"]["steps_per_second"] > 0
    assert result["inference"]["fp32"]["tokens_per_second_1"] > 0 and result["inference"]["fp32"]["first_sound_ms"] > 0
