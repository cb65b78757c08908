"""Runs of trainings through a throw-away SLURM, and what became of their jobs."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

from tests.support.small_training import Speaker

from project import REPOSITORY, Project
from voiceclone.files import sha256_file

HERE = REPOSITORY / "tests" / "slurm"
#: Arguments of a run through the cluster.
CLUSTER = (
    "--workflow-profile", "profiles/slurm", "--seconds-between-status-checks", "2", "--latency-wait", "5",
    "--default-resources", "slurm_partition=cpu", "mem_mb=2000", "--set-threads", "train_gpt=1", "train_sovits=1",
)  # fmt: skip


def slurm(*command: str, check: bool = True) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert not check or done.returncode == 0, (command, done.stderr)
    return done.stdout + done.stderr


class Run(Project):
    """A project with random features of one speaker, whose trainings are jobs of the cluster."""

    def __init__(self, root: Path, moment: int = 2) -> None:
        super().__init__(
            root, ["--configfile", str(HERE / "trainings.yaml"), "--allowed-rules", "train_gpt", "train_sovits"]
        )
        self.moment = moment
        (root / "resources" / "speakers" / "anna").mkdir()
        Speaker(self.results / "anna", utterances=8)

    def model(self, kind: str) -> Path:
        return self.results / "anna" / "trained" / f"{kind}.safetensors"

    def through_slurm(self, *arguments: str) -> list[str]:
        """Command of a run of the trainings that the arguments name."""
        wanted = [str(self.model(kind).relative_to(self.root)) for kind in ("gpt", "sovits") if kind in arguments]
        others = [part for part in arguments if part not in ("gpt", "sovits")]
        command = self.command(*wanted, *CLUSTER, *others)
        at = command.index("--cores")  # the profile counts jobs, not cores
        return command[:at] + command[at + 2 :]

    def begin(self, *arguments: str, before: tuple[str, ...] = ()) -> subprocess.Popen[bytes]:
        """Start such a run; what it says goes to ``run.log``."""
        with (self.root / "run.log").open("ab") as log:
            command = [*before, *self.through_slurm(*arguments)]
            return subprocess.Popen(command, cwd=self.root, start_new_session=True, stdout=log, stderr=log)

    def said(self) -> str:
        return (self.root / "run.log").read_text(encoding="utf-8", errors="replace")[-6000:]

    def finish(self, run: subprocess.Popen[bytes], status: int = 0) -> None:
        """Wait for the end of a run and of all its jobs."""
        code = run.wait(timeout=1200)
        assert code == status, self.said()
        assert not [row for row in self.jobs() if row[2] in ("PENDING", "RUNNING")]

    def jobs(self) -> list[tuple[str, str, str, str]]:
        """Number, rule, state and node of every job that this project ever had."""
        listing = slurm("squeue", "--states=all", "--noheader", "--sort=i", "--format=%i\t%k\t%T\t%N\t%Z")
        rows = [tuple(line.split("\t")) for line in listing.splitlines()]
        return [(number, note, state, node) for number, note, state, node, folder in rows if folder == str(self.root)]

    def half_way(self, run: subprocess.Popen[bytes], kind: str = "gpt") -> tuple[str, str]:
        """Wait until a training has a checkpoint of the step ``moment`` or later; number and node of its job."""
        deadline = time.monotonic() + 300
        states = self.results / "anna" / "state" / kind
        while max((int(path.name[5:]) for path in states.glob("*/step-*")), default=0) < self.moment:
            assert run.poll() is None, self.said()
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.05)
        (found,) = [(number, node) for number, note, state, node in self.jobs() if state == "RUNNING" and kind in note]
        return found

    def states(self) -> list[str]:
        return [state for _, _, state, _ in self.jobs()]

    def digests(self, *kinds: str) -> list[str]:
        return [sha256_file(self.model(kind)) for kind in kinds]


def kill(run: subprocess.Popen[bytes]) -> None:
    """Kill a Snakemake and all that it started here; its jobs live on."""
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()
