"""What every stage heeds of the runtime block."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

import pytest

from voiceclone.progress import Progress, open_progress
from voiceclone.stage import Stage
from voiceclone.stages.settings import Block, RuntimeSettings

RULES = Path(__file__).resolve().parents[2] / "workflow" / "rules"


def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, **runtime: object) -> list[Progress]:
    """What a stage counts with under a runtime block."""
    file = tmp_path / "runtime.json"
    file.write_text(json.dumps(runtime), encoding="utf-8")
    monkeypatch.setattr(sys, "argv", ["stage", "--runtime", str(file)])
    monkeypatch.setattr(Progress, "interval", 5.0)
    made: list[Progress] = []

    def count(args: argparse.Namespace, settings: Block, runtime: RuntimeSettings) -> None:
        made.extend([Progress("stage", 3), open_progress("stage", 3), Progress("stage", 3, 1.5)])

    Stage("stage", lambda parser: None, count).main(None)
    return made


def test_progress_lines_come_as_seldom_as_the_user_wants(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = run(monkeypatch, tmp_path, progress_seconds=300)
    assert [progress.interval for progress in made] == [300, 300, 1.5]
    for _ in made[0].track(range(3)):
        pass
    assert [line.split()[1] for line in capsys.readouterr().out.splitlines()] == ["1/3", "3/3"]


@pytest.mark.parametrize(("device", "seen"), [("cpu", ""), ("auto", "0,1"), ("cuda", "0,1")])
def test_cpu_hides_the_gpus(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, device: str, seen: str) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    run(monkeypatch, tmp_path, device=device)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == seen


def test_every_rule_hands_the_runtime_block_on() -> None:
    calls = [
        block
        for path in RULES.glob("*.smk")
        for block in path.read_text(encoding="utf-8").split("shell:")[1:]
        if "python scripts/" in block and "scripts/fetch_asset.py" not in block  # downloads, which compute nothing
    ]
    assert len(calls) > 15
    assert [call.split()[2] for call in calls if "--runtime {params.runtime}" not in call] == []
