"""The workflow as a process that outlives the studio: start, stop, progress.

It is the command that a person types, in a session of its own; its output goes to ``results/logs/studio.log``. Its
process id is in ``results/logs/studio.json`` with the time of its start, so that a later process with the same id is
not mistaken for it.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import psutil

from voiceclone.errors import DataError
from voiceclone.files import read_json, read_tsv, write_json
from voiceclone.stages import STAGES

STATE = Path("results/logs/studio.json")
LOG = Path("results/logs/studio.log")
LAST_LINES = 15  # of a log, where something failed

_PLANNED = re.compile(r"([\w-]+) +(\d+)")
_STARTED = re.compile(r"(?:local)?rule ([\w-]+):")
_FINISHED = re.compile(r"Finished jobid: \d+ \(Rule: ([\w-]+)\)")
_FAILED = re.compile(r"Error in rule ([\w-]+):")
_STEP = re.compile(r" {4}(?:\S+ · )?(\w+).*?  (\d+)/(\d+)  ?(.*)")
_NOTHING = re.compile(r"^Nothing to be done", re.MULTILINE)
#: Why nothing starts after a power cut, or while another run is running.
_LOCKED = "LockException"


@dataclass(frozen=True)
class Run:
    """A run of the workflow.

    Attributes:
        voice: that it makes.
        command: as it was started, in the working folder.
        pid: of the workflow engine, which leads its session.
        created: when that process began, in seconds since 1970.
        stopped: somebody asked it to stop.
    """

    voice: str
    command: Sequence[str]
    pid: int
    created: float
    stopped: bool = False

    @property
    def alive(self) -> bool:
        """It is running."""
        with suppress(psutil.Error):
            process = psutil.Process(self.pid)
            return abs(process.create_time() - self.created) < 1 and process.status() != psutil.STATUS_ZOMBIE
        return False


@dataclass
class StageProgress:
    """Progress of a stage: its jobs, and steps and time left of the running one."""

    planned: int = 0
    running: int = 0
    finished: int = 0
    failed: bool = False
    done: int = 0
    total: int = 0
    note: str = ""


def last_run(root: Path) -> Run | None:
    """The run that was started last."""
    with suppress(DataError, TypeError, OSError):
        return Run(**read_json(root / STATE))
    return None


def start(root: Path, voice: str, command: Sequence[str]) -> Run:
    """Start the workflow.

    Args:
        root: the working folder.
        voice: that it makes.
        command: program and arguments; no shell reads them.

    Raises:
        DataError: it is running.
    """
    if found := list(running_in(root)):
        raise DataError(f"the workflow is running (process {found[0]})", "wait for its end, or stop it")
    (root / LOG).parent.mkdir(parents=True, exist_ok=True)
    with (root / LOG).open("wb") as log:
        process = subprocess.Popen(
            command, cwd=root, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    threading.Thread(target=process.wait, daemon=True).start()  # or it would stay as a zombie
    run = Run(voice, list(command), process.pid, psutil.Process(process.pid).create_time())
    write_json(root / STATE, asdict(run))
    return run


def stop(root: Path) -> None:
    """What Ctrl-C does: every process of the run is asked to save and to end; a second time it ends at once.

    Raises:
        DataError: nothing is running.
    """
    run = last_run(root)
    if run is None or not run.alive:
        raise DataError("no run was started here, or it has ended")
    write_json(root / STATE, asdict(replace(run, stopped=True)))
    os.killpg(run.pid, signal.SIGINT)


def running_in(root: Path) -> Iterator[int]:
    """Processes of the workflow engine in a working folder, whoever started them."""
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            words = process.cmdline()[:3]
            engine = any(Path(word).name == "snakemake" for word in words)
            if engine and process.status() != psutil.STATUS_ZOMBIE and Path(process.cwd()) == root.resolve():
                yield process.pid


def read_progress(text: str) -> dict[str, StageProgress]:
    """How far each planned stage is, from what the workflow engine and the stages said."""
    stages: dict[str, StageProgress] = {}
    in_plan = False
    for line in text.splitlines():
        if line == "Job stats:":
            in_plan = True
        elif in_plan and (found := _PLANNED.fullmatch(line)):
            if in_plan := found[1] != "total":
                stages.setdefault(found[1], StageProgress()).planned = int(found[2])
        elif found := _STARTED.fullmatch(line):
            stage = stages.setdefault(found[1], StageProgress(1))
            stage.running, stage.done, stage.total, stage.note = stage.running + 1, 0, 0, ""
        elif found := _FINISHED.match(line) or _FAILED.match(line):
            stage = stages.setdefault(found[1], StageProgress(1))
            stage.running = max(0, stage.running - 1)
            if found.re is _FAILED:
                stage.failed = True
            else:
                stage.finished += 1
        elif found := _STEP.fullmatch(line):
            for name, stage in stages.items():
                if stage.running and found[1].lower() in name:
                    stage.done, stage.total = int(found[2]), int(found[3])
                    stage.note = found[4].split("  ")[-1]  # the time that is left
    return stages


def describe(root: Path, voice: str) -> dict[str, Any]:
    """The last run, and every stage of a voice with its state: finished, running, waiting, failed."""
    run = last_run(root)
    text = _read(root / LOG) if run else ""
    progress = read_progress(text)
    state = _state(run, text, progress)
    if run is None or run.voice != voice or state == "finished":
        progress = {}
    for stage in progress.values():
        stage.failed &= state in ("running", "failed")  # a person who stops a run makes none fail
        stage.running *= state in ("running", "stopping")
    stages = [
        _stage(root / "results", voice, name, progress.get(name))
        for name in STAGES
        if name in progress or list(_files(root / "results" / voice / "benchmarks", name, "tsv"))
    ]
    failed = any(stage["state"] == "failed" for stage in stages)
    return {
        "state": state,
        "voice": run.voice if run else "",
        "stages": stages,
        "locked": state == "failed" and _LOCKED in text,
        "said": _last_lines(text) if state == "failed" and not failed else "",
    }


def _state(run: Run | None, text: str, progress: Mapping[str, StageProgress]) -> str:
    if run is None:
        return "none"
    if run.alive:
        return "stopping" if run.stopped else "running"
    if _NOTHING.search(text) or (progress and all(one.finished >= one.planned for one in progress.values())):
        return "finished"
    return "stopped" if run.stopped else "failed"


def _stage(results: Path, voice: str, name: str, progress: StageProgress | None) -> dict[str, Any]:
    seconds = sum(_seconds(path) for path in _files(results / voice / "benchmarks", name, "tsv"))
    entry: dict[str, Any] = {"name": name, "state": "finished", "seconds": round(seconds), "log": ""}
    if progress is None:
        return entry
    shown = {key: getattr(progress, key) for key in ("planned", "finished", "done", "total", "note")}
    if progress.failed:
        logs = [*_files(results / voice / "logs", name, "log"), *_files(results / "logs", name, "log")]
        newest = max(logs, key=lambda path: path.stat().st_mtime, default=None)
        return {**entry, **shown, "state": "failed", "log": _last_lines(_read(newest)) if newest else ""}
    if progress.finished < progress.planned:
        entry["state"] = "running" if progress.running else "waiting"
    return {**entry, **shown}


def _files(folder: Path, stage: str, ending: str) -> Iterator[Path]:
    """Logs or benchmarks of a stage's jobs."""
    yield from folder.glob(f"{stage}.{ending}")
    yield from folder.glob(f"{stage}.*.{ending}")
    yield from folder.glob(f"{stage}/*.{ending}")


def _seconds(benchmark: Path) -> float:
    with suppress(DataError, OSError, KeyError, ValueError, IndexError):
        return float(read_tsv(benchmark)[-1]["s"])
    return 0.0


def _read(path: Path) -> str:
    with suppress(OSError):
        return path.read_text(encoding="utf-8", errors="replace")
    return ""


def _last_lines(text: str) -> str:
    return "\n".join([line for line in text.splitlines() if line.strip()][-LAST_LINES:])
