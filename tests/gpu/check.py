"""What a GPU computes, whether it is right, and how fast: one run, one JSON.

Sections, each of which may fail without the others: ``parity`` (a training step of GPT and SoVITS here and on the CPU,
per number format), ``resume`` (trainings killed and resumed, bit for bit), ``training`` (steps per second beside a
plain loop), ``inference`` (tokens per second, first sound). On the CPU the same code runs on tiny networks: its
figures say nothing, its checks do.

    PYTHONPATH=.:workflow python tests/gpu/check.py --output result.json
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from tests.benchmarks import speaking_loops as speech
from tests.benchmarks.training_loops import SIZES, Size, make_recipe, measure
from tests.support.small_training import Speaker

from voiceclone.files import sha256_file
from voiceclone.models.discriminators import DiscriminatorConfig
from voiceclone.models.gpt import GPTConfig
from voiceclone.models.sovits import SoVITSConfig
from voiceclone.speaking.torch_backend import TorchBackend
from voiceclone.stages.settings import RuntimeSettings
from voiceclone.training.history import Curves

#: Largest relative distance (L2) of a training step's gradients from those of the CPU in fp32. The logarithm of mel
#: bands that random networks leave almost empty magnifies what short formats round off.
TOLERANCES = {
    "gpt": {"fp32": 1e-3, "tf32": 2e-2, "bf16": 1e-1, "fp16": 2e-2},
    "sovits": {"fp32": 1e-2, "tf32": 1e-1, "bf16": 6e-1, "fp16": 3e-1},
}
#: What was aimed at on an H100: tokens per second of one sentence, milliseconds to the first sound.
GOALS = {"tokens_per_second": 1300.0, "first_sound_ms": 60.0}
KILL_STEPS, SEED = 12, 20
Check = dict[str, Any]


class Late(Exception):
    """No time is left for what would come next."""


class Clock:
    """Seconds that are left of those that were given."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        return self._end - time.monotonic()

    def need(self, seconds: float, what: str) -> None:
        if self.left() < seconds:
            raise Late(f"{what}: {seconds:.0f} s needed, {max(0.0, self.left()):.0f} s left")


@contextmanager
def noise_of_the_cpu() -> Iterator[None]:
    """Random numbers are drawn on the CPU and moved, so that both devices get the same."""
    names = ("randn", "rand", "randn_like")
    drawn = {name: getattr(torch, name) for name in names}

    def drawing(name: str) -> Callable[..., torch.Tensor]:
        def draw(*args: Any, device: Any = None, **options: Any) -> torch.Tensor:
            if name == "randn_like":
                device = args[0].device if device is None else device
                args, options = (torch.empty(args[0].shape, dtype=args[0].dtype),), options
            return drawn[name](*args, device="cpu", **options).to(device or "cpu")

        return draw

    with patch.multiple(torch, **{name: drawing(name) for name in names}):
        yield


def step_gradients(kind: str, device: str, precision: str, size: Size) -> tuple[dict[str, torch.Tensor], Check]:
    """Gradients (on the CPU, fp32) and losses of the first training step of a recipe with random weights."""
    runtime = RuntimeSettings(device=device, progress_seconds=600)  # type: ignore[arg-type]
    with tempfile.TemporaryDirectory() as folder, noise_of_the_cpu():
        recipe = make_recipe(kind, Path(folder), runtime, precision, size, batch=2)
        networks = {"model": recipe.model}
        if kind == "sovits":
            networks["discriminator"] = recipe.discriminator  # type: ignore[union-attr]
        torch.manual_seed(SEED)
        losses = recipe.train_step(0).losses
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    gradients = {
        f"{network}.{name}": parameter.grad.detach().float().cpu()
        for network, module in networks.items()
        for name, parameter in module.named_parameters()
        if parameter.grad is not None
    }
    return gradients, {name: float(value) for name, value in losses.items()}


def distance(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> float:
    """Relative L2 distance over all parameters."""
    assert found.keys() == expected.keys()
    apart = sum(float((found[name] - value).square().sum()) for name, value in expected.items())
    whole = sum(float(value.square().sum()) for value in expected.values())
    return (apart / whole) ** 0.5


def without_dropout(size: Size) -> Size:
    return replace(size, gpt=replace(size.gpt, dropout=0.0), sovits=replace(size.sovits, dropout=0.0))


def parity(device: str, clock: Clock, result: Check) -> None:
    """A training step of each network, in every format, beside the CPU's in fp32."""
    size = without_dropout(SIZES["v2Pro" if device == "cuda" else "toy"])
    formats = ("fp32", "tf32", "bf16", "fp16") if device == "cuda" else ("fp32", "bf16")
    for kind in ("gpt", "sovits"):
        expected, losses = step_gradients(kind, "cpu", "fp32", size)
        for name in formats:
            clock.need(10, f"parity of {kind} in {name}")
            found, others = step_gradients(kind, device, name, size)
            apart, limit = distance(found, expected), TOLERANCES[kind][name]
            result[f"{kind} {name}"] = {
                "gradients": apart, "tolerance": limit, "passed": apart <= limit,
                "losses": others, "losses_cpu": losses,
            }  # fmt: skip


def without_curves() -> None:
    """Train without TensorBoard where a bare machine has none; it is a view that nothing here looks at."""
    if importlib.util.find_spec("tensorboard") is None:
        Curves.begin = lambda self, step: None  # type: ignore[method-assign]


def use_toys() -> None:
    """The smallest networks in place of the nano ones, whose steps take a CPU too long."""
    toy = SIZES["toy"]
    GPTConfig.nano = staticmethod(lambda codes: toy.gpt)  # type: ignore[method-assign]
    SoVITSConfig.nano = staticmethod(lambda ssl_dim, codes: toy.sovits)  # type: ignore[method-assign]
    DiscriminatorConfig.nano = staticmethod(lambda: toy.discriminator)  # type: ignore[method-assign]


def train_small(kind: str, folder: Path, device: str, die_at: int) -> None:
    """One training of KILL_STEPS steps; killed in the middle of a step where ``die_at`` is not 0."""
    from tests.support import small_training

    from voiceclone.training import gpt, sovits

    if die_at:
        recipe = gpt.GPTRecipe if kind == "gpt" else sovits.SoVITSRecipe
        small_training.die_at(recipe, die_at, signal.SIGKILL)
    precision = "bf16" if device == "cuda" else "fp32"
    if device == "cpu":
        use_toys()
    Speaker(folder).train(kind, steps=KILL_STEPS, device=device, precision=precision)


def resume(device: str, clock: Clock, result: Check) -> None:
    """Trainings that were killed, twice on a GPU, end with the bytes of one that was not."""
    with tempfile.TemporaryDirectory() as name:
        for kind in ("gpt", "sovits"):
            digests = []
            for run, deaths in (("whole", (0,)), ("killed", (5, 9, 0) if device == "cuda" else (5, 0))):
                folder = Path(name) / kind / run
                for die_at in deaths:
                    clock.need(15, f"resume of {kind}")
                    done = subprocess.run(
                        [sys.executable, __file__, "--train", kind, str(folder), device, str(die_at)],
                        capture_output=True, text=True, check=False, timeout=max(1.0, clock.left()),
                    )  # fmt: skip
                    expected = -signal.SIGKILL if die_at else 0
                    assert done.returncode == expected, done.stderr[-2000:]
                digests.append(sha256_file(folder / "models" / f"{kind}.safetensors"))
            warned = sorted({line for line in done.stderr.splitlines() if "deterministic" in line})
            result[kind] = {"passed": digests[0] == digests[1], "sha256": digests, "warnings": warned}


def training(device: str, clock: Clock, result: Check) -> None:
    """Steps per second of our loop and of a plain one over the same networks and data; bf16, then compiled."""
    on_gpu = device == "cuda"
    steps = 40 if on_gpu else 2
    for compiled in (False, True) if on_gpu else (False,):
        for kind, name in (("gpt", "v2"), ("sovits", "v2Pro")):
            clock.need(90 if compiled else 20, f"training of {kind}" + ", compiled" * compiled)
            shape = name if on_gpu else "toy"
            figures = measure(kind, device, "bf16" if on_gpu else "fp32", compiled, steps, SIZES[shape])
            result[f"{kind} {shape}{' compiled' * compiled}"] = {
                "steps_per_second": 1 / figures["ours"], "plain_steps_per_second": 1 / figures["naive"], **figures
            }  # fmt: skip


def speak(backend: TorchBackend, voice: speech.Voice, batch: int) -> list[list[int]]:
    """So many sentences at once."""
    return speech.together(backend, [voice.wanted(seed) for seed in range(batch)])


def inference(device: str, clock: Clock, result: Check) -> None:
    """Tokens per second of 1, 8 and 32 sentences (CUDA graphs on a GPU), and milliseconds to the first sound."""
    voice = speech.make_voice(device)
    for precision in ("bf16", "fp16") if device == "cuda" else ("fp32",):
        backend = TorchBackend(voice.gpt, voice.sovits, device, precision)
        first = 1000 * speech.seconds(partial(speech.first_sound, backend, voice), device)
        figures: Check = {"first_sound_ms": first}
        result[precision] = figures
        for batch in speech.BATCHES if device == "cuda" else (1, 2):
            clock.need(10, f"inference of {batch} in {precision}")
            assert [len(tokens) for tokens in speak(backend, voice, batch)] == [voice.tokens] * batch
            spent = speech.seconds(partial(speak, backend, voice, batch), device)
            figures[f"tokens_per_second_{batch}"] = batch * voice.tokens / spent


SECTIONS = {"parity": parity, "resume": resume, "inference": inference, "training": training}


def machine(device: str) -> Check:
    import numpy

    return {
        "device": torch.cuda.get_device_name() if device == "cuda" else platform.processor() or platform.machine(),
        "torch": torch.__version__, "cuda": torch.version.cuda, "numpy": numpy.__version__,
        "python": platform.python_version(), "cores": os.cpu_count(),
    }  # fmt: skip


def failures(result: Check) -> list[str]:
    """Sections with an error, and checks that did not pass."""
    wrong = []
    for name in SECTIONS:
        section = result.get(name, {})
        wrong += [f"{name}: {section['error']}"] if "error" in section else []
        wrong += [
            f"{name}, {key}" for key, row in section.items() if isinstance(row, dict) and not row.get("passed", True)
        ]
    return wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, help="the JSON")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--seconds", type=float, default=450, help="after which no further part begins")
    parser.add_argument("--only", nargs="*", choices=tuple(SECTIONS), default=tuple(SECTIONS))
    parser.add_argument("--train", nargs=4, metavar=("KIND", "FOLDER", "DEVICE", "STEP"), help="for the script itself")
    args = parser.parse_args()
    without_curves()
    if args.train:
        kind, folder, device, die_at = args.train
        train_small(kind, Path(folder), device, int(die_at))
        return
    clock, began = Clock(args.seconds), time.monotonic()
    result: Check = {"machine": machine(args.device), "goals_on_h100": GOALS}
    for name in args.only:
        print(f"{name} ...", file=sys.stderr, flush=True)
        start, result[name] = time.monotonic(), {}
        try:
            SECTIONS[name](args.device, clock, result[name])
        except Late as late:
            result[name]["left_out"] = str(late)
        except Exception as error:
            traceback.print_exc()
            result[name]["error"] = f"{type(error).__name__}: {error}"
        result[name]["seconds"] = round(time.monotonic() - start, 1)
        torch.cuda.empty_cache()
    result |= {"seconds": round(time.monotonic() - began, 1), "failed": failures(result)}
    text = json.dumps(result, indent=1, sort_keys=True)
    print(text)
    if args.output:
        args.output.parent.mkdir(parents=True, exist_ok=True)
        args.output.write_text(text + "\n", encoding="utf-8")
    sys.exit(bool(result["failed"]))


if __name__ == "__main__":
    main()
