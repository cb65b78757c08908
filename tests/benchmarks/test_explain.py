"""``voiceclone explain`` of a planned project with many voices: its processor time."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from voiceclone.lineage.explain import Job, record_graph
from voiceclone.lineage.handover import TABLE

pytestmark = pytest.mark.benchmark

REPOSITORY = Path(__file__).parents[2]
VOICES, TAKES = 30, 40
STAGES = (
    "takes", "separate", "clean", "slice", "transcribe", "corpus", "consent", "features", "fit_tokenizer", "tokenize",
    "train_gpt", "train_sovits", "select", "export", "evaluate", "report",
)  # fmt: skip


def plan(root: Path) -> None:
    """What a planned run leaves: its jobs, of which none has run, and the recordings."""
    shutil.copytree(REPOSITORY / "config", root / "config")
    jobs = []
    for number in range(VOICES):
        place, before = f"results/voice-{number}", [f"results/voice-{number}/inventory.tsv"]
        for take in range(TAKES):
            recording = root / f"resources/speakers/voice-{number}/take-{take}.wav"
            recording.parent.mkdir(parents=True, exist_ok=True)
            recording.write_bytes(os.urandom(1000))
        (recording.parent / "consent.yaml").write_text("myself: true\n")
        for stage in STAGES:
            after = [f"{place}/{stage}/{name}" for name in ("manifest.tsv", "summary.json")]
            jobs.append(Job(stage, [*before, f"resources/models/{stage}/asset.json"], after, "", "1"))
            before = after[:1]
    record_graph(root, jobs)
    (root / TABLE).parent.mkdir(parents=True, exist_ok=True)


def seconds(*command: str) -> float:
    """Processor time of a program and what it prints."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if "explain" in command:
        told = json.loads(done.stdout)
        assert [job["stage"] for job in told["jobs"]] == list(STAGES) and all(job["reasons"] for job in told["jobs"])
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_it_answers_at_once(tmp_path: Path) -> None:
    plan(tmp_path)
    program = ("-c", "from voiceclone.cli import app; app()", "explain", "voice-7", "--json", "--root", str(tmp_path))
    seconds(*program)  # compiled
    start, spent = min(seconds("-c", "pass") for _ in range(3)), min(seconds(*program) for _ in range(3))
    print(f"\nexplain: {spent - start:.2f} s of CPU beyond the interpreter's {start:.2f} s, {VOICES} voices")
    assert spent - start <= 2.0
