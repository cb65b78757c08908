"""Real Snakemake runs in folders of their own that share code and fetched models with the checkout."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from filelock import FileLock

REPOSITORY = Path(__file__).resolve().parents[2]
TINY = Path(__file__).with_name("tiny.yaml")
#: Arguments of a run through a cluster.
SLURM = (
    "--workflow-profile", "profiles/slurm", "--slurm-resume-init-seconds-before-status-checks", "2",
    "--seconds-between-status-checks", "2", "--latency-wait", "5",
    "--default-resources", "slurm_partition=cpu", "mem_mb=2000", "runtime=30", "--set-threads", "train_gpt=1",
)  # fmt: skip


def need_slurm() -> None:
    """Skip where no cluster answers."""
    if shutil.which("sinfo") is None:
        pytest.skip("no SLURM on this machine: sinfo is not installed")
    done = subprocess.run(["sinfo", "-h", "-p", "cpu"], capture_output=True, text=True, check=False, timeout=60)
    if done.returncode or "cpu" not in done.stdout:
        pytest.skip(f"no SLURM partition named cpu answers: {done.stderr.strip()}")


class Project:
    """A working folder of the workflow.

    Attributes:
        root: the folder; ``results`` and ``resources/speakers`` are its own, the code is the checkout's.
        options: arguments of every Snakemake call.
        consented: whoever is a speaker at the start of a run has agreed.
    """

    consented = True

    def __init__(self, root: Path, options: Sequence[str] = ()) -> None:
        self.root, self.options = root, list(options)
        (root / "resources" / "speakers").mkdir(parents=True, exist_ok=True)
        (REPOSITORY / "resources" / "models").mkdir(parents=True, exist_ok=True)
        for name in (
            "Snakefile",
            "workflow",
            "scripts",
            "profiles",
            "resources/sentences",
            "resources/texts",
            "resources/base",
            "resources/models",
        ):
            (root / name).symlink_to(REPOSITORY / name)
        shutil.copytree(REPOSITORY / "config", root / "config")

    @property
    def results(self) -> Path:
        return self.root / "results"

    def command(self, *arguments: str) -> list[str]:
        for speaker in (self.root / "resources" / "speakers").glob("*/") if self.consented else ():
            if not speaker.is_symlink() and not (speaker / "consent.yaml").exists():
                (speaker / "consent.yaml").write_text("myself: true\n")
        return [sys.executable, "-m", "snakemake", "--cores", "2", *arguments, *self.options]

    def run(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(self.command(*arguments), cwd=self.root, capture_output=True, text=True, check=False)
        if check and done.returncode:
            pytest.fail(f"snakemake ended with {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-6000:]}")
        return done

    def log(self, speaker: str, rule: str) -> str:
        return (self.results / speaker / "logs" / f"{rule}.log").read_text(encoding="utf-8")

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a run in a process group of its own; what it says goes to ``run.log``."""
        with (self.root / "run.log").open("wb") as log:
            # A process started in the background of a script may ignore SIGINT; this one must not.
            return subprocess.Popen(
                ["env", "--default-signal=INT", *self.command(*arguments)], cwd=self.root, start_new_session=True,
                stdout=log, stderr=log,
            )  # fmt: skip

    def killed_after(self, seconds: float, *arguments: str) -> bool:
        """Start a run and kill all of its processes after a while; False if it had finished by then."""
        run = self.start(*arguments)
        try:
            code = run.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(run.pid, signal.SIGKILL)
            run.wait()
            self.run("--unlock")
            return True
        if code:
            said = (self.root / "run.log").read_text(encoding="utf-8", errors="replace")
            pytest.fail(f"snakemake ended with {code}\n{said[-6000:]}")
        return False

    def interrupt(self, when: Callable[[], bool], *arguments: str, how: signal.Signals, patience: float = 600) -> int:
        """Start a run, send a signal to its process group as soon as ``when`` holds, wait for the end."""
        run = self.start(*arguments)
        deadline = time.monotonic() + patience
        while not when():
            if run.poll() is not None:
                pytest.fail(f"the run ended with {run.returncode} before it could be interrupted")
            if time.monotonic() > deadline:
                os.killpg(run.pid, signal.SIGKILL)
                pytest.fail("the moment to interrupt never came")
            time.sleep(0.05)
        os.killpg(run.pid, how)
        code = run.wait(timeout=120)
        if how is signal.SIGKILL:
            self.run("--unlock")
        return code

    def copy(self, root: Path) -> Project:
        """A second folder with the same files and times."""
        shutil.copytree(self.root, root, symlinks=True)
        return self.opened(root, self.options)

    @classmethod
    def opened(cls, root: Path, options: Sequence[str] = ()) -> Project:
        """A working folder that is there already."""
        project = cls.__new__(cls)
        project.root, project.options = root, list(options)
        return project


def scrambled(project: Project, root: Path, keep_records: bool = True) -> Project:
    """A copy of a project in which every file has a time of its own, in no order."""
    twin = project.copy(root)
    source = random.Random(28)
    for path in [*(root / "results").rglob("*"), *(root / "resources").rglob("*"), *(root / "config").rglob("*")]:
        if path.is_file() and not path.is_symlink():
            moment = time.time() - source.uniform(1, 10_000)
            os.utime(path, (moment, moment))
    if not keep_records:
        shutil.rmtree(root / ".snakemake")
    return twin


def planned(project: Project, *arguments: str) -> list[str]:
    """Names of the stages that a run would work on."""
    done = project.run("-n", *arguments)
    found = re.findall(r"^(?:local)?rule (\w+):", done.stdout + done.stderr, re.MULTILINE)
    return sorted(set(found) - {"all", "demo"})


@pytest.fixture(scope="session")
def new_project(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Project]:
    """Make an empty project: ``new_project("name", *options)``."""
    return lambda name, *options: Project(tmp_path_factory.mktemp(name) / "project", options)


@pytest.fixture(scope="session")
def demo(
    new_project: Callable[..., Project], asset: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Project:
    """The demo speaker through the whole workflow, with short trainings: made by one worker, each has a copy."""
    asset("piper-joe")  # skips where the models cannot be reached
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent  # of all workers
    root, done, options = shared / "demo", shared / "demo.done", ["--configfile", str(TINY)]
    with FileLock(shared / "demo.lock"):
        if not done.exists():
            shutil.rmtree(root, ignore_errors=True)
            project = Project(root, options)
            project.run("demo_speaker")
            project.run()
            done.touch()
    return Project.opened(root, options).copy(tmp_path_factory.mktemp("demo") / "project")
