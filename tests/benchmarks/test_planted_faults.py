"""Faults of twelve kinds in real recordings: how many of them stand first in the queue of what a human should hear.

The limits in ``corpus/judge.py`` were set on kathleen; the speakers that are reported are others. Each mix is all of a
speaker's clips, of which one in ten has a fault. Texts are given, and the recogniser gives a second opinion.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support.planted import Planter, Workbench, judge_mixes, table

from voiceclone.assets import open_assets
from voiceclone.stages.corpus import CorpusSettings
from voiceclone.stages.settings import RuntimeSettings

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(7200)]
COUNT = 8  # of each kind and speaker


@pytest.mark.parametrize(("speaker", "foreign"), [("ljspeech", "kerstin"), ("aishell_s0150", "ljspeech")])
def test_planted_faults_stand_first(
    tmp_path: Path, shared_data: Path, asset: Callable[[str], Path], speaker: str, foreign: str
) -> None:
    assets = open_assets([asset(name) for name in ("campplus", "dnsmos", "distillmos", "whisper-base")])
    bench = Workbench(assets, tmp_path, RuntimeSettings(device="cpu"), threads=2)
    planter = Planter(shared_data, speaker, foreign)
    clean = [(clip, *bench.candidate(clip, 0)) for clip in planter.clips]
    planted = [
        (clip, *bench.candidate(clip, index))
        for kind in planter.kinds
        for index, clip in enumerate(planter.plant(kind, COUNT))
    ]
    found = judge_mixes(clean, planted, CorpusSettings().max_suspicion)
    print(f"\n{speaker}\n{table(found)}")
    never = [kind for kind, own in found.items() if kind and not own.first]
    assert not never, f"never found: {never}"
