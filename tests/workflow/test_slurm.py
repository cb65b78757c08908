"""The same workflow through SLURM: a training whose job was stopped goes on in the next one.

Needs a cluster that answers ``sinfo`` with a partition named ``cpu``; a throw-away one on this machine is enough.
"""

from __future__ import annotations

import shutil
import subprocess
import time

import pytest

from project import SLURM, need_slurm
from voiceclone.files import sha256_file

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture(autouse=True)
def cluster() -> None:
    """Skip where no cluster answers."""
    need_slurm()


def jobs() -> list[str]:
    done = subprocess.run(["squeue", "-h", "-t", "R", "-o", "%i"], capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_stopped_job_is_followed_by_one_that_continues(demo, tmp_path) -> None:
    project = demo.copy(tmp_path / "project")
    voice = project.results / "demo"
    model, state = voice / "trained" / "gpt.safetensors", voice / "state" / "gpt"
    expected = sha256_file(model)
    for path in [model, voice / "trained" / "gpt.json", voice / "trained" / "gpt.history.jsonl"]:
        path.unlink()
    shutil.rmtree(state)
    command = [part for part in project.command("results/demo/trained/gpt.safetensors", *SLURM) if part != "--cores"]
    command.remove("2")  # the profile counts jobs, not cores
    run = subprocess.Popen(command, cwd=project.root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    deadline = time.monotonic() + 600
    while not any(state.glob("*/step-*")):
        assert run.poll() is None, run.communicate()[0][-3000:]
        assert time.monotonic() < deadline
        time.sleep(0.1)
    subprocess.run(["scancel", "--signal=TERM", *jobs()], check=True)
    output, _ = run.communicate(timeout=900)
    assert run.returncode == 0, output[-3000:]
    assert "resum" in project.log("demo", "train_gpt").lower()
    assert sha256_file(model) == expected
