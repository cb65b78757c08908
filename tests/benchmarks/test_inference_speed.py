"""Exported voices of the full public size beside other engines for the same models, on 2 cores, in one run.

``make benchmark-peers`` creates the environment of the other engines; without it they are left out. Every engine speaks
the sentence of ``inference/workload.py`` in a process of its own. Times are printed; ratios within the run, memory and
sizes are held against what is aimed at. BENCHMARK_PREFIX is put before each measured command, as in
``BENCHMARK_PREFIX="chrt -r 1"`` on a machine that others use too. With BENCHMARK_VOICE=FOLDER the voice, which takes
minutes to make, is kept there and found again.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.support.aims import Aims, run

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(1800)]

HERE = Path(__file__).resolve().parent
PEERS = HERE.parents[1] / ".venv-peers" / "bin" / "python"
FORMATS = ("fp32", "fp16", "int8", "int4")
#: Rows of the table: a format, by the kernels or ("ort") by onnxruntime.
ROWS = (*FORMATS, "fp32 ort", "int8 ort")
#: Tokens and samples of the sentence in ``inference/workload.py``.
SENTENCE = (250, 320_000)
#: Of ``greedy_tokens`` in ``inference/make_voice.py``.
GREEDY_TOKENS = 40
Figures = dict[str, Any]

#: Columns of the table: key, heading, width, decimals.
COLUMNS = (
    ("load_s", "load s", 8, 1),
    ("prefill_s", "prefill s", 11, 2),
    ("step_tokens_per_s", "steps tok/s", 13, 1),
    ("tokens_per_s", "AR tok/s", 10, 1),
    ("decoder_rtf", "decoder RTF", 13, 3),
    ("whole_rtf", "whole RTF", 11, 3),
    ("first_sound_s", "first sound s", 15, 2),
    ("loaded_mb", "MB loaded", 11, 0),
    ("steady_mb", "steady", 8, 0),
    ("peak_mb", "peak", 7, 0),
    ("disk_mb", "disk", 6, 0),
)


def measure(python: Path | str, script: str, *arguments: Path | str) -> Figures:
    figures: Figures = json.loads(run(python, script, *arguments).splitlines()[-1])
    return figures


@pytest.fixture(scope="module")
def voice(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bundles of every format and public files of one voice with random weights."""
    kept = os.environ.get("BENCHMARK_VOICE")
    folder = Path(kept).resolve() if kept else tmp_path_factory.mktemp("voice")
    if not (folder / "int4" / "bundle.json").exists():
        run(sys.executable, "inference/make_voice.py", folder, *FORMATS, measured=False)
    return folder


class Machine:
    """What the machine can do, which others change who work on it: measured before, between and after the engines."""

    def __init__(self) -> None:
        self.readings: list[Figures] = []

    def read(self) -> Figures:
        self.readings.append(measure(sys.executable, "inference/machine.py"))
        return self.readings[-1]

    def around(self, script: str, *arguments: Path | str) -> Figures:
        """Figures of an engine of ours, and ``read_gb_per_s``: the mean of right before and right after it."""
        before = self.readings[-1] if self.readings else self.read()
        figures = measure(sys.executable, script, *arguments)
        pair = (before["read_gb_per_s"], self.read()["read_gb_per_s"])
        return {**figures, "read_gb_per_s": statistics.mean(pair)}

    def spread(self, key: str) -> str:
        values = [reading[key] for reading in self.readings]
        return f"{min(values):.1f} / {statistics.median(values):.1f} / {max(values):.1f}"


@pytest.fixture(scope="module")
def machine() -> Machine:
    return Machine()


@pytest.fixture(scope="module")
def bundles(voice: Path, machine: Machine) -> dict[str, Figures]:
    """Figures of every row."""
    found = {}
    for row in ROWS:
        form, *runtime = row.split()
        engine = "onnxruntime" if runtime else "kernels"
        found[row] = machine.around("inference/speak_bundle.py", voice / form, voice / "greedy.json", engine)
    return found


@pytest.fixture(scope="module")
def peers(voice: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Figures]:
    """Figures of the other engines; empty without their environment."""
    if not PEERS.exists():
        return {}
    genie = tmp_path_factory.mktemp("peers") / "genie"
    run(PEERS, "peers/genie.py", "convert", voice / "public", genie, measured=False)
    return {
        "genie-tts 2.0.2": measure(PEERS, "peers/genie.py", "speak", genie),
        "cpufast 0.1.0": measure(PEERS, "peers/cpufast.py", "speak", voice / "public"),
    }


def print_table(rows: dict[str, Figures]) -> None:
    print(f"\n{'':<16}" + "".join(f"{heading:>{width}}" for _, heading, width, _ in COLUMNS))
    for name, figures in rows.items():
        print(f"{name:<16}" + "".join(f"{figures[key]:>{width}.{digits}f}" for key, _, width, digits in COLUMNS))


def made(figures: Figures) -> tuple[int, int]:
    """Tokens and samples of an engine's sentence: without them its speed says nothing."""
    return figures["tokens"], figures["samples"]


def test_share_of_the_speed_that_memory_allows(machine: Machine, bundles: dict[str, Figures]) -> None:
    """Every token reads all weights once, so reading memory bounds the tokens per second."""
    print(f"\nmin / median / max of {len(machine.readings)} readings of the machine, 2 threads:")
    print(f"{machine.spread('read_gb_per_s')} GB/s read")
    print(f"{machine.spread('gemm_gflop_per_s')} GFLOP/s in float32 products")
    print_table(bundles)
    aims = Aims()
    for form, figures in bundles.items():
        ceiling = figures["read_gb_per_s"] * 1e9 / figures["bytes_per_token"]
        label = f"{form}: share of {ceiling:.0f} tokens/s at {figures['read_gb_per_s']:.1f} GB/s"
        aims.add(label, figures["step_tokens_per_s"] / ceiling, at_least={"fp32": 0.7, "int8": 0.4}.get(form, 0.0))
    assert {form: made(figures) for form, figures in bundles.items()} == dict.fromkeys(ROWS, SENTENCE)
    aims.check()


def test_faster_than_peers_in_less_memory(bundles: dict[str, Figures], peers: dict[str, Figures]) -> None:
    if not peers:
        pytest.skip("no .venv-peers: 'make benchmark-peers' installs the other engines")
    print_table({**bundles, **peers})
    assert {name: made(figures) for name, figures in peers.items()} == dict.fromkeys(peers, SENTENCE)
    tokens = max(figures["tokens_per_s"] for figures in peers.values())
    decoder = min(figures["decoder_rtf"] for figures in peers.values())
    memory = min(figures["steady_mb"] for figures in peers.values())
    aims = Aims()
    for form in FORMATS:
        least = {"fp32": 1.5, "int8": 3.0}.get(form, 1.0)
        aims.add(f"{form}: tokens/s, times the best peer's", bundles[form]["tokens_per_s"] / tokens, at_least=least)
    for form in FORMATS:
        share = bundles[form]["decoder_rtf"] / decoder
        aims.add(f"{form}: decoder RTF, share of the best peer's", share, at_most=0.8)
    aims.add("fp32: memory, share of the best peer's", bundles["fp32"]["steady_mb"] / memory, at_most=1.0)
    aims.check()


def test_size_on_disk(bundles: dict[str, Figures]) -> None:
    sizes = {form: bundles[form]["disk_mb"] / bundles["fp32"]["disk_mb"] for form in FORMATS}
    print("\n" + ", ".join(f"{form} {size:.3f} of fp32" for form, size in sizes.items()))
    assert sizes["fp16"] <= 0.55 and sizes["int8"] <= 0.32 and sizes["int4"] < sizes["int8"]


@pytest.mark.parametrize(
    ("form", "megabytes"), [("fp32", 900), ("int8", 450), ("int4", 450), ("fp32 ort", 900), ("int8 ort", 450)]
)
def test_memory(bundles: dict[str, Figures], form: str, megabytes: int) -> None:
    aims = Aims()
    aims.add(f"{form}: MB of the whole engine after three sentences", bundles[form]["steady_mb"], at_most=megabytes)
    aims.check()


def test_same_tokens_as_torch(bundles: dict[str, Figures]) -> None:
    """In fp32 to the last token; the others as far as their rounding lets them."""
    print(f"\nfirst tokens as torch draws them, of {GREEDY_TOKENS}: ", end="")
    print(", ".join(f"{form} {figures['greedy_as_torch']}" for form, figures in bundles.items()))
    assert bundles["fp32"]["greedy_as_torch"] == bundles["fp32 ort"]["greedy_as_torch"] == GREEDY_TOKENS
