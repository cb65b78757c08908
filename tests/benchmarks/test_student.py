"""A student of the default sizes beside its teacher of the full public size, both in int8, on 2 cores, in one run.

Weights are random: neither speed nor size depends on them. Times are printed; BENCHMARK_PREFIX and BENCHMARK_VOICE are
as in ``test_inference_speed.py``.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.support.aims import Aims, run

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(1800)]


def test_size_speed_and_first_sound_of_a_student(tmp_path_factory: pytest.TempPathFactory) -> None:
    kept = os.environ.get("BENCHMARK_VOICE")
    folder = Path(kept).resolve() / "student-run" if kept else tmp_path_factory.mktemp("voice")
    if not (folder / "student" / "bundle.json").exists():
        run(sys.executable, "inference/make_voice.py", folder, "int8", "student", measured=False)
    figures: dict[str, dict[str, Any]] = {}
    for name, form in (("teacher", "int8"), ("student", "student")):
        out = run(sys.executable, "inference/speak_bundle.py", folder / form, folder / "greedy.json", "kernels")
        figures[name] = json.loads(out.splitlines()[-1])
    print()
    for name, found in figures.items():
        parts = ", ".join(f"{part} {found[f'{part}_rtf']:.4f}" for part in ("latent", "vocoder", "whole"))
        print(f"{name:<8} {parts} s/s, {found['tokens_per_s']:.0f} tokens/s, first sound after "
              f"{1000 * found['first_sound_s']:.0f} ms, {found['steady_mb']:.0f} MB of memory")  # fmt: skip
    teacher, student = figures["teacher"], figures["student"]
    assert (teacher["tokens"], teacher["samples"]) == (student["tokens"], student["samples"])
    aims = Aims()
    aims.add("MB on disk, with the graphs that take new clips", student["disk_mb"], at_most=20)
    aims.add("seconds per second of speech", student["whole_rtf"], at_most=0.05)
    aims.add("ms to the first sound", 1000 * student["first_sound_s"], at_most=60)
    aims.add("times the teacher's speed", teacher["whole_rtf"] / student["whole_rtf"], at_least=8)
    aims.check()
