"""What benchmarks share: measured processes, and ratios held against what is aimed at."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


def run(python: Path | str, script: str, *arguments: Path | str, measured: bool = True) -> str:
    """Standard output of a benchmark script; the environment is that of the tests but for what it imports from."""
    prefix = shlex.split(os.environ.get("BENCHMARK_PREFIX", "")) if measured else []
    command = [*prefix, str(python), str(BENCHMARKS / script), *map(str, arguments)]
    paths = [str(BENCHMARKS / "inference")]
    if python == sys.executable and "PYTHONPATH" in os.environ:  # other engines see nothing of ours
        paths.append(os.environ["PYTHONPATH"])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        pytest.fail(f"{shlex.join(command)}: {done.stderr[-2000:] or done.stdout[-2000:]}")
    return done.stdout


class Aims:
    """Values beside their aims: printed as they come, asserted at the end, so that a run shows all of them."""

    def __init__(self) -> None:
        self._missed: list[str] = []

    def add(self, text: str, value: float, *, at_least: float | None = None, at_most: float | None = None) -> None:
        missed = (at_least is not None and value < at_least) or (at_most is not None and value > at_most)
        aim = f">= {at_least:g}" if at_least is not None else f"<= {at_most:g}"
        line = f"{text:<58}{value:>8.2f}   aim {aim}{' missed' if missed else ''}"
        print(line)
        self._missed += [line] if missed else []

    def check(self) -> None:
        assert not self._missed, "\n".join(self._missed)
