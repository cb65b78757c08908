"""Needs of a run beside what this machine has, as one table. Fast: no torch, no checksums, no network."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from voiceclone.assets.fetch import asset_problem, human_size
from voiceclone.assets.registry import AssetSpec, load_registry
from voiceclone.assets.sources import label, obstacle, sources_of
from voiceclone.errors import ConfigError

if TYPE_CHECKING:
    from rich.table import Table

    from voiceclone.config.config import Config

REGISTRY = Path("config/assets.yaml")
MODELS = Path("resources/models")
WORKING_SPACE = 2 * 1000**3  # bytes beside the models: cleaned audio, features, checkpoints of a small speaker
NEED_GPU = {"few-shot", "full"}  # presets that train models of the public size
GOOD, LATER, BAD = "ok", "will be fetched", "problem"


@dataclass(frozen=True)
class Row:
    """One line: what, its state (ok, will be fetched, problem), details, and for a problem what to do."""

    group: str
    name: str
    state: str
    detail: str
    todo: str = ""
    bytes_to_fetch: int = 0


@dataclass
class Preflight:
    """All lines of the check."""

    rows: list[Row] = field(default_factory=list)

    @property
    def problems(self) -> list[Row]:
        """Lines that stop a run."""
        return [row for row in self.rows if row.state == BAD]

    @property
    def next_step(self) -> str:
        """The one next thing to do."""
        if self.problems:
            return self.problems[0].todo
        size = sum(row.bytes_to_fetch for row in self.rows)
        return f"ready; {human_size(size)} of models will be fetched by the run" if size else "ready"


def inspect(
    config: Config, root: Path, gpu_through_torch: bool = False, voices: Sequence[Config] = (), here: bool = True
) -> Preflight:
    """Look at models, tools and machine.

    Args:
        config: the resolved configuration.
        root: the working folder of the workflow.
        gpu_through_torch: ask torch for the GPU (seconds) instead of the driver's files.
        voices: configurations of voices that have their own, for their models and their trainings.
        here: whether the stages run on this machine; else its GPUs say nothing.
    """
    registry = load_registry(root / REGISTRY)
    result = Preflight()
    for name in dict.fromkeys(name for one in (config, *voices) for name in one.all_assets()):
        result.rows.append(_model(name, registry.get(name), config, root))
    result.rows += [_ffmpeg(), _compiler(config.runtime.compile)]
    result.rows += _machine(result, root)
    result.rows.append(_gpu([config, *voices], gpu_through_torch, here))
    return result


def _model(name: str, spec: AssetSpec, config: Config, root: Path) -> Row:
    problem = asset_problem(name, spec, root / MODELS)
    size = human_size(spec.size)
    if not problem:
        return Row("model", name, GOOD, f"{size}, present")
    what = "missing" if problem == "missing" else f"damaged ({problem})"
    sources = sources_of(name, spec, config.models_dir, root)
    usable = [source for source in sources if not obstacle(source, config.offline)]
    if usable:
        return Row("model", name, LATER, f"{size}, {what}, {label(usable[0])}", bytes_to_fetch=spec.size or 0)
    reasons = "; ".join(f"{label(source)}: {obstacle(source, config.offline)}" for source in sources)
    files = ", ".join(spec.files)
    todo = f"put {files} into FOLDER/{name}/ and set models_dir: FOLDER" + (
        ", or set offline: false" if config.offline else ""
    )
    return Row("model", name, BAD, f"{size}, {what}; {reasons}", todo)


def _ffmpeg() -> Row:
    found = shutil.which("ffmpeg")
    if not found:
        return Row("tool", "ffmpeg", BAD, "not found", "install ffmpeg, for example: apt install ffmpeg")
    done = subprocess.run([found, "-version"], capture_output=True, text=True, check=False, timeout=20)
    words = done.stdout.split()
    return Row("tool", "ffmpeg", GOOD, words[2] if done.returncode == 0 and len(words) > 2 else found)


def _compiler(needed: bool) -> Row:
    found = shutil.which(os.environ.get("CXX", "")) or shutil.which("c++") or shutil.which("g++")
    if found:
        return Row("tool", "compiler", GOOD, found)
    todo = "install a C++ compiler, for example: apt install g++; or set runtime.compile to false"
    return Row("tool", "compiler", BAD if needed else GOOD, "not found; runtime.compile needs one", todo * needed)


def _machine(result: Preflight, root: Path) -> list[Row]:
    import psutil

    free = shutil.disk_usage(root).free
    needed = WORKING_SPACE + 2 * sum(row.bytes_to_fetch for row in result.rows)
    enough = free >= needed
    memory = psutil.virtual_memory()
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not on this system
        cores = os.cpu_count() or 1
    return [
        Row(
            "machine",
            "disk",
            GOOD if enough else BAD,
            f"{human_size(free)} free, about {human_size(needed)} needed",
            "" if enough else f"free {human_size(needed - free)} on the disk of {root}",
        ),
        Row("machine", "processor", GOOD, f"{cores} cores"),
        Row("machine", "memory", GOOD, f"{human_size(memory.available)} of {human_size(memory.total)} available"),
    ]


DRIVER = Path("/proc/driver/nvidia/gpus")


def gpus_here() -> list[str]:
    """The GPUs of this machine: the driver has a folder for each; asking it takes seconds on some machines.

    Models as far as the driver says them, else addresses.
    """
    return [_model_of(path) for path in sorted(DRIVER.glob("*"))]


def _model_of(folder: Path) -> str:
    try:
        lines = (folder / "information").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    values = dict(line.split(":", 1) for line in lines if ":" in line)
    return values.get("Model", "").strip() or folder.name


def _gpu(configs: Sequence[Config], through_torch: bool, here: bool) -> Row:
    device = configs[0].runtime.device
    if not here:
        asked = device != "cpu"
        return Row(
            "machine", "GPU", GOOD, "the cluster's, where runtime.device: cuda asks for one" if asked else "none"
        )
    names = gpus_here()
    if through_torch:
        import torch

        cards = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
        names = [f"{card.name}, {human_size(card.total_memory)}" for card in cards]
    if names:
        return Row("machine", "GPU", GOOD, "; ".join(names))
    presets = sorted({one.corpus.tier for one in configs} & NEED_GPU)
    if device == "cuda":
        return Row("machine", "GPU", BAD, "none found", "set runtime.device to auto or cpu")
    if device == "auto" and presets:
        todo = "take a machine with a GPU, or the preset small; runtime.device: cpu trains on the processor, for days"
        return Row("machine", "GPU", BAD, f"none found; the preset {presets[0]} needs one", todo)
    return Row("machine", "GPU", GOOD, "none found; the processor is used")


def preflight_table(config: Config, root: Path) -> Table:
    """The check as a table to print."""
    return as_table(inspect(config, root))


def as_table(result: Preflight) -> Table:
    """Lines as a rich table; the next step is its caption."""
    from rich.table import Table
    from rich.text import Text

    styles = {GOOD: "green", LATER: "yellow", BAD: "bold red"}
    table = Table(title="Preflight", caption=f"next: {result.next_step}", caption_justify="left")
    for column in ("", "name", "state", "details"):
        table.add_column(column, no_wrap=column in ("name", "state"))
    for row in result.rows:
        table.add_row(row.group, row.name, Text(row.state, style=styles[row.state]), Text(row.detail))
    return table


def start_preflight(config: Config, root: Path, voices: Sequence[Config], here: bool) -> None:
    """Print the check at the start of a run, on standard error as everything that the workflow engine says.

    Raises:
        ConfigError: the run would need a GPU, or said that there is one, and there is none.
    """
    from rich.console import Console

    result = inspect(config, root, voices=voices, here=here)
    Console(stderr=True).print(as_table(result))
    for row in result.problems:
        if row.name == "GPU":
            raise ConfigError(f"GPU: {row.detail}", row.todo)
