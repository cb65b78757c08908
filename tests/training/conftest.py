"""Fixtures of the tests of the trainings."""

from __future__ import annotations

import pytest
import torch
from tests.support.small_training import small_gpt, small_sovits

from voiceclone.models.discriminators import DiscriminatorConfig
from voiceclone.models.gpt import GPTConfig
from voiceclone.models.sovits import SoVITSConfig


@pytest.fixture
def small_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The smallest networks of each kind in place of the nano ones: these tests are about the training."""
    torch.set_num_threads(1)
    monkeypatch.setattr(GPTConfig, "nano", staticmethod(small_gpt))
    monkeypatch.setattr(SoVITSConfig, "nano", staticmethod(small_sovits))
    monkeypatch.setattr(
        DiscriminatorConfig, "nano", staticmethod(lambda: DiscriminatorConfig(periods=(3,), channel_divisor=4))
    )
