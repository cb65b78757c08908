"""What an earlier version of the code has left is found: states of trainings and items of caches, never made again.

``kept/gpt`` is the state of the tiny training below, stopped at its fifth step by the code of commit 6eaa330.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.support.small_training import Speaker, small_gpt, small_sovits

from voiceclone.lineage.items import item_key
from voiceclone.models.discriminators import DiscriminatorConfig
from voiceclone.models.gpt import GPTConfig
from voiceclone.models.sovits import SoVITSConfig
from voiceclone.stages.clean import CleanSettings
from voiceclone.stages.slice import SliceSettings
from voiceclone.stages.transcribe import TranscribeSettings

KEPT = Path(__file__).with_name("kept")


@pytest.fixture(autouse=True)
def tiny_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks so small that a state of them can be kept beside this file."""
    torch.set_num_threads(1)

    def gpt(codes: int) -> GPTConfig:
        return replace(small_gpt(codes), dim=4, layers=1, heads=1, feed_forward=8)

    def sovits(ssl_dim: int, codes: int) -> SoVITSConfig:
        widths = ("inter", "hidden", "filter", "gin", "mrte")
        narrow = {f"{name}_channels": 8 for name in widths}
        return replace(small_sovits(ssl_dim, codes), **narrow, style_hidden=8)

    monkeypatch.setattr(GPTConfig, "nano", staticmethod(gpt))
    monkeypatch.setattr(SoVITSConfig, "nano", staticmethod(sovits))
    monkeypatch.setattr(
        DiscriminatorConfig, "nano", staticmethod(lambda: DiscriminatorConfig(periods=(3,), channel_divisor=16))
    )


def test_a_training_continues_a_state_of_earlier_code(tmp_path: Path) -> None:
    shutil.copytree(KEPT / "gpt", tmp_path / "state" / "gpt")
    speaker = Speaker(tmp_path)
    speaker.train("gpt", steps=6)
    report = speaker.report("gpt")
    assert report["fingerprint"] == "1a50f88e26b9" and [row["step"] for row in report["resumes"]] == [5]
    assert speaker.history("gpt")[-1]["step"] == 6


def test_the_fingerprint_of_a_training_is_that_of_earlier_code(tmp_path: Path) -> None:
    speaker = Speaker(tmp_path)
    speaker.train("sovits", steps=1)
    assert speaker.report("sovits")["fingerprint"] == "e13d273c0e2e"


@pytest.mark.parametrize(
    ("make", "key"),
    [
        (lambda: item_key("clean", CleanSettings(), "a"), "7506a9ef8fa7c6bb"),
        (lambda: item_key("slice", SliceSettings(), "a"), "f32685a355cbbe0b"),
        (lambda: item_key("transcribe", TranscribeSettings(), "a"), "b46e1412b9bfeb22"),
        (lambda: item_key("takes", None, "a"), "b324213913758b51"),
        (lambda: item_key("features", {"kind": "phones"}, "a"), "ddc26f55f2e0047b"),
    ],
)
def test_items_are_kept_under_the_keys_of_earlier_code(make: Callable[[], str], key: str) -> None:
    assert make() == key
