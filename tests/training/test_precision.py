"""Short number formats: what stays in 32 bits, that trainings learn in them, and that they resume to the same bits."""

from __future__ import annotations

import math
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.support.small_training import Speaker, die_at, small_sovits, tensors
from tests.support.training_toy import in_child
from torch import nn

from voiceclone.models.gpt import attend, attention_mask
from voiceclone.models.sovits import SoVITS
from voiceclone.stages.settings import RuntimeSettings
from voiceclone.stages.train_gpt import GPTSettings
from voiceclone.training import gpt, sovits
from voiceclone.training.step import NotFiniteError, OptimizerStep, Precision

pytestmark = pytest.mark.usefixtures("small_networks")

CPU = torch.device("cpu")
FAST: dict[str, Any] = {"batch_size": 4, "log_every": 2, "validate_every": 100}


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_the_gpt_learns_in_half_precision(tmp_path: Path, precision: str) -> None:
    speaker = Speaker(tmp_path, utterances=4, heldout=1)
    options = {"learning_rate": 1e-2, "warmup_steps": 5, **FAST}
    speaker.train("gpt", steps=60, save_every=100, precision=precision, **options)
    rows = [row for row in speaker.losses("gpt") if row["split"] == "train"]
    assert rows[-1]["cross_entropy"] < rows[0]["cross_entropy"] - 1
    assert all(math.isfinite(value) for row in rows for value in row.values() if isinstance(value, float))
    weights = speaker.weights("gpt")
    speaker.train("gpt", steps=60, save_every=100, **options)
    assert speaker.weights("gpt") != weights  # it was another training, of another fingerprint
    assert len(list(tmp_path.glob("state/gpt/*"))) == 2


def test_sovits_learns_in_bf16(tmp_path: Path) -> None:
    speaker = Speaker(tmp_path, utterances=4, heldout=1)
    speaker.train(
        "sovits", steps=12, precision="bf16", learning_rate=5e-3, batch_size=2, log_every=3, validate_every=12
    )
    rows = speaker.losses("sovits")
    train = [row for row in rows if row["split"] == "train"]
    assert train[-1]["loss_mel"] < 0.7 * train[0]["loss_mel"]
    assert math.isfinite(rows[-1]["mel_l1"])


@pytest.mark.parametrize(
    ("kind", "precision"),
    [
        ("gpt", "bf16"), ("gpt", "fp16"), ("sovits", "bf16"),
        pytest.param("sovits", "fp16", marks=pytest.mark.slow),  # a CPU computes fp16 slowly
    ],
)  # fmt: skip
def test_a_killed_training_in_half_precision_resumes_to_the_same_bits(
    tmp_path: Path, kind: str, precision: str
) -> None:
    whole, broken = Speaker(tmp_path / "whole"), Speaker(tmp_path / "broken")
    whole.train(kind, precision=precision)

    def attempt() -> None:
        die_at(gpt.GPTRecipe if kind == "gpt" else sovits.SoVITSRecipe, 3, signal.SIGTERM)
        broken.train(kind, precision=precision)

    assert in_child(attempt) == 75
    broken.train(kind, precision=precision)
    assert [row["step"] for row in broken.report(kind)["resumes"]] == [4]
    assert broken.weights(kind) == whole.weights(kind) and broken.losses(kind) == whole.losses(kind)
    assert tensors(broken, kind) == tensors(whole, kind)


def linear_step(precision: str) -> tuple[nn.Linear, torch.optim.SGD, OptimizerStep]:
    torch.manual_seed(0)
    layer = nn.Linear(4, 1, bias=False)
    settings = GPTSettings(precision=precision)  # type: ignore[arg-type]
    return layer, torch.optim.SGD(layer.parameters(), lr=0.1), OptimizerStep(settings, RuntimeSettings(), CPU)


def test_an_overflow_in_fp16_leaves_the_update_out_and_halves_the_scale() -> None:
    layer, optimizer, optimizer_step = linear_step("fp16")
    before, scale = layer.weight.detach().clone(), optimizer_step.precision.scaler.get_scale()  # type: ignore[union-attr]

    def step(factor: float) -> dict[str, float]:
        def work(micro: Any) -> dict[str, torch.Tensor]:
            loss = (layer(torch.ones(2, 4)) * factor).mean()
            optimizer_step.precision.backward(loss)
            return {"loss": loss.detach()}

        with optimizer_step.running():
            metrics = optimizer_step.gradients([0, 1], work, optimizer, max_norm=1.0)
            optimizer_step.apply(optimizer, loss=metrics["loss"])
        return metrics

    metrics = step(1e35)  # finite, but not 65536 times
    assert torch.equal(layer.weight, before) and "gradient_norm" not in metrics
    assert optimizer_step.precision.scaler.get_scale() == scale / 2  # type: ignore[union-attr]
    metrics = step(0.5)
    assert not torch.equal(layer.weight, before)
    assert metrics["gradient_norm"] == pytest.approx(1.0)  # of the gradients in their own size
    saved = optimizer_step.precision.state_dict()
    again = Precision("fp16", CPU)
    again.load_state_dict(saved)
    assert again.state_dict() == saved and again.scaler.get_scale() == scale / 2  # type: ignore[union-attr]


def test_gradients_that_overflow_at_the_smallest_scale_are_not_finite() -> None:
    layer, optimizer, optimizer_step = linear_step("fp16")
    state = optimizer_step.precision.state_dict()
    optimizer_step.precision.load_state_dict({**state, "scale": 1.0})
    work = lambda micro: {"loss": _infinite_gradient(layer, optimizer_step)}  # noqa: E731
    for _ in range(2):  # the state of the scaler allows another step
        with pytest.raises(NotFiniteError, match="gradient not finite"), optimizer_step.running():
            optimizer_step.gradients([0], work, optimizer, max_norm=1.0)


def _infinite_gradient(layer: nn.Linear, optimizer_step: OptimizerStep) -> torch.Tensor:
    loss = (layer(torch.ones(1, 4)) * 0).sum()
    loss = loss + (layer.weight - layer.weight.detach()).abs().pow(0.5).sum()  # slope at zero: infinite
    optimizer_step.precision.backward(loss)
    return loss.detach()


def test_tokens_are_those_of_full_precision() -> None:
    """Rounding would change which code is nearest; the network that reads them is in half precision all the same."""
    torch.manual_seed(1)
    model = SoVITS(small_sovits(16, 32)).eval()
    content, frames = torch.randn(2, 16, 60), torch.rand(2, 1025, 60)
    expected = model.extract_codes(content)
    with Precision("bf16", CPU).autocast():
        assert torch.equal(model.extract_codes(content), expected)
        assert model.style(frames, torch.randn(2, 192)).dtype == torch.bfloat16


def test_formats_choose_tf32_for_products_and_convolutions_alike() -> None:
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    try:
        for name, expected in (("tf32", True), ("fp32", False), ("bf16", False)):
            Precision(name, CPU)  # type: ignore[arg-type]
            assert torch.backends.cuda.matmul.allow_tf32 == torch.backends.cudnn.allow_tf32 == expected
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["gpt", "sovits"])
def test_compiled_layers_compute_the_same_and_keep_their_names(tmp_path: Path, kind: str) -> None:
    plain, compiled = Speaker(tmp_path / "plain"), Speaker(tmp_path / "compiled")
    plain.train(kind, steps=4, log_every=1)
    compiled.train(kind, steps=4, log_every=1, compiled=True)
    for ours, theirs in zip(compiled.losses(kind), plain.losses(kind), strict=True):
        metrics = {name: value for name, value in theirs.items() if name.startswith(("cross", "loss"))}
        assert {name: ours[name] for name in metrics} == pytest.approx(metrics, rel=0.2)  # dropout draws other masks
    assert compiled.report(kind)["fingerprint"] == plain.report(kind)["fingerprint"]
    compiled.train(kind, steps=5)  # and goes on without
    assert compiled.report(kind)["steps"] == 5


def test_auto_takes_what_the_processor_multiplies(monkeypatch: pytest.MonkeyPatch) -> None:
    for found, name in (({"avx512_bf16": True}, "bf16"), ({"amx_bf16": True}, "bf16"), ({"avx2": True}, "fp32")):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda found=found: found)
        chosen = Precision("auto", CPU)
        assert chosen.name == name and "CPU" in chosen.describe()
    assert Precision("fp32", CPU).describe() == "fp32"


def test_attention_written_out_is_the_fused_one() -> None:
    random = torch.Generator().manual_seed(3)
    parts = [torch.randn(2, 3, 40, 16, generator=random) for _ in range(3)]
    allowed = attention_mask(25, 15) & (torch.arange(40) != 7)
    found = []
    for dtype in (torch.float32, torch.bfloat16):
        query, key, value = (part.detach().clone().to(dtype).requires_grad_() for part in parts)
        out = attend(query, key, value, allowed)
        out.float().square().sum().backward()
        found.append([out.detach().float(), *(part.grad.float() for part in (query, key, value))])  # type: ignore[union-attr]
    for exact, rounded in zip(*found, strict=True):
        assert (exact - rounded).norm() < 0.02 * exact.norm()


def test_a_training_on_the_cpu_keeps_the_memory_of_freed_tensors() -> None:
    script = (
        "import ctypes, sys, torch\n"
        "from voiceclone.stages.settings import RuntimeSettings\n"
        "from voiceclone.training.processes import prepare_device\n"
        "names = 'arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost'  # malloc.h\n"
        "Info = type('Info', (ctypes.Structure,), {'_fields_': [(name, ctypes.c_size_t) for name in names.split()]})\n"
        "allocator = ctypes.CDLL(None)\n"
        "allocator.mallinfo2.restype = Info\n"
        "if sys.argv[1] == 'prepared':\n"
        "    prepare_device(RuntimeSettings(device='cpu'), 1)\n"
        "before = allocator.mallinfo2().fordblks\n"
        "torch.ones(1 << 25)\n"
        "print(allocator.mallinfo2().fordblks - before)\n"
    )

    def kept(mode: str) -> int:
        done = subprocess.run([sys.executable, "-c", script, mode], capture_output=True, text=True, check=True)
        return int(done.stdout)

    tensor = 4 << 25  # bytes
    assert kept("plain") < tensor / 10
    assert kept("prepared") >= tensor
