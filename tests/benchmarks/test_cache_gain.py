"""The cache of keys and values against reading everything again for each token, on a GPT of the public size."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.voice_fixture import make_voice

from voiceclone.evaluation.sentences import Item
from voiceclone.evaluation.target import TOKENS, Source, cache_gain
from voiceclone.models.gpt import GPTConfig

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(600)]

LEAST_GAIN = 3.0
TEXT = "The birch canoe slid on the smooth planks, and the sailors glued the sheet to the dark blue background."


def test_the_cache_makes_tokens_three_times_as_fast(tmp_path: Path) -> None:
    root = make_voice(tmp_path, gpt=GPTConfig())
    gain = cache_gain(Source("torch-fp32", root / "features", root / "models"), Item("a", "fixed", "en", TEXT), seed=0)
    print(
        f"\n{gain['tokens']} tokens after {gain['positions']} positions: {gain['with_ms']:.0f} ms with the cache, "
        f"{gain['without_ms']:.0f} ms without, x{gain['ratio']:.1f}"
    )
    assert gain["tokens"] == TOKENS and gain["ratio"] >= LEAST_GAIN
