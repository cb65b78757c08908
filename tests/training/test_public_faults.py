"""What the public trainings get wrong and these do not; ``docs/public-faults.md`` names a test for each point."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.support.small_training import Speaker

from voiceclone.models.gpt import GPTConfig, TextToSemantic
from voiceclone.models.losses import token_loss
from voiceclone.stages.settings import RuntimeSettings
from voiceclone.stages.train_gpt import GPTSettings
from voiceclone.training.gpt import train_gpt
from voiceclone.training.run import OutputFiles

pytestmark = pytest.mark.usefixtures("small_networks")

REPOSITORY = Path(__file__).resolve().parents[2]
PAGE = REPOSITORY / "docs" / "public-faults.md"


def test_every_test_that_the_page_names_exists() -> None:
    named = re.findall(r"`(tests/\S+\.py)::(\w+)`", PAGE.read_text(encoding="utf-8"))
    assert len(named) >= 15
    for path, function in named:
        tree = ast.parse((REPOSITORY / path).read_text(encoding="utf-8"))
        assert function in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}, (path, function)


@pytest.fixture
def batch() -> dict[str, Any]:
    """Two items of different lengths, padded on the right, and the network."""
    torch.manual_seed(0)
    return {
        "gpt": TextToSemantic(GPTConfig(dim=32, layers=2, heads=2, feed_forward=64, codes=40)).eval(),
        "phones": torch.randint(0, 732, (2, 9)),
        "phone_lengths": torch.tensor([9, 4]),
        "tokens": torch.randint(0, 40, (2, 7)),
        "token_lengths": torch.tensor([7, 3]),
    }


def test_an_item_in_a_padded_batch_is_what_it_is_alone(batch: dict[str, Any]) -> None:
    gpt = batch.pop("gpt")
    together = gpt(**batch)
    alone = gpt(batch["phones"][1:, :4], torch.tensor([4]), batch["tokens"][1:, :3], torch.tensor([3]))
    torch.testing.assert_close(together[1:, :4], alone, atol=1e-5, rtol=1e-4)


def test_padding_is_no_target(batch: dict[str, Any]) -> None:
    logits = torch.randn(2, 8, 41, requires_grad=True)
    token_loss(logits, batch["tokens"], batch["token_lengths"]).backward()
    assert logits.grad is not None
    assert not logits.grad[1, 4:].any() and logits.grad[1, :4].abs().sum(-1).all()


def test_the_loss_does_not_grow_with_the_batch(batch: dict[str, Any]) -> None:
    """Per token: a batch of twice the same has the same loss; the public sum is there for who asks for it."""
    gpt = batch.pop("gpt")
    logits, twice = gpt(**batch), {key: torch.cat([value, value]) for key, value in batch.items()}
    once = token_loss(logits, batch["tokens"], batch["token_lengths"])
    again = token_loss(gpt(**twice), twice["tokens"], twice["token_lengths"])
    torch.testing.assert_close(once, again)
    total = token_loss(logits, batch["tokens"], batch["token_lengths"], reduction="sum")
    torch.testing.assert_close(total, once * (8 + 4))


@pytest.mark.parametrize("utterances", [2, 4])
def test_short_epochs_lose_no_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, utterances: int) -> None:
    """One update for every batch, however few an epoch has."""
    updates = 0
    original = torch.optim.AdamW.step

    def counted(self: Any, *arguments: Any) -> Any:
        nonlocal updates
        updates += 1
        return original(self, *arguments)

    monkeypatch.setattr(torch.optim.AdamW, "step", counted)
    speaker = Speaker(tmp_path, utterances=utterances, heldout=1)
    models = tmp_path / "models"
    settings = GPTSettings(architecture="nano", batch_size=2, epochs=3)
    outputs = OutputFiles(models / "gpt.safetensors", models / "gpt.json", models / "gpt.history.jsonl")
    train_gpt(tmp_path / "features", tmp_path / "state", outputs, settings, RuntimeSettings(device="cpu"))
    batches = -(-(utterances - 1) // 2)
    assert updates == speaker.report("gpt")["steps"] == 3 * batches


def test_the_learning_rate_falls_once_for_each_epoch_resumed_or_not(tmp_path: Path) -> None:
    speaker = Speaker(tmp_path, utterances=4, heldout=1)  # two batches in an epoch
    options = {"learning_rate": 1e-3, "learning_rate_decay": 0.5, "log_every": 1, "validate_every": 100}
    for steps in (2, 3, 8):
        speaker.train("sovits", steps=steps, **options)
    assert [row["step"] for row in speaker.report("sovits")["resumes"]] == [2, 3]
    rates = {row["step"]: row["learning_rate"] for row in speaker.losses("sovits") if row["split"] == "train"}
    assert rates == pytest.approx({step: 1e-3 * 0.5 ** ((step - 1) // 2 + 1) for step in range(1, 9)})


def test_a_damaged_generator_takes_its_discriminator_back_too(tmp_path: Path) -> None:
    """Both come from the same older checkpoint: nothing of the damaged one is kept, nothing starts from scratch."""
    whole, broken = Speaker(tmp_path / "whole"), Speaker(tmp_path / "broken")
    whole.train("sovits", save_every=2)
    broken.train("sovits", steps=4, save_every=2)
    (generator,) = broken.folder.glob("state/sovits/*/step-00000004/model.safetensors")
    generator.write_bytes(generator.read_bytes()[:1000])
    broken.train("sovits", save_every=2)
    assert [row["step"] for row in broken.report("sovits")["resumes"]] == [2]
    assert broken.weights("sovits") == whole.weights("sovits")
