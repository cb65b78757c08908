"""Snakemake's SLURM executor, with failures told apart: what can go on gets one new job, what cannot fails once.

The official plugin submits and cancels; this one watches. SLURM itself never requeues (``--no-requeue``), so that a new
job has one author. How a job ended follows from its state and from the exit status of the stage, which the job's log
names:

=========================================================  ===================================================
exit status 75 (saved), preempted, node failed             one new job with the same resources, up to
                                                           ``--slurm-resume-continuations`` times
out of memory, time limit without a save, killed           one new job with more (``attempt``), up to ``--retries``
any other exit status; cancelled by a person               fails at once
=========================================================  ===================================================

So ``attempt``, by which resources grow, counts only the failures that more resources help against.
"""

import asyncio
import getpass
import re
import subprocess
from collections import Counter
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from snakemake_executor_plugin_slurm import Executor as SlurmExecutor
from snakemake_executor_plugin_slurm import ExecutorSettings as SlurmSettings
from snakemake_executor_plugin_slurm import common_settings
from snakemake_executor_plugin_slurm.job_status_query import (
    is_query_tool_available,
    query_job_status,
    query_job_status_sacct,
    query_job_status_squeue,
)
from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo

__all__ = ["End", "Executor", "ExecutorSettings", "common_settings", "how_it_ended"]

SAVED = 75  # exit status of a stage that was interrupted and continues when it is run again
FORGOTTEN = "forgotten"
MAX_UNSEEN = 10  # queries without a job, after which it is taken for lost: accounting may be late
ACTIVE = {
    "PENDING", "RUNNING", "SUSPENDED", "COMPLETING", "CONFIGURING", "RESIZING", "SIGNALING", "STAGE_OUT", "STOPPED",
    "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "RESV_DEL_HOLD", "SPECIAL_EXIT",
}  # fmt: skip
LOST = {"PREEMPTED", "NODE_FAIL", "BOOT_FAIL", "REVOKED", FORGOTTEN}
TOO_LITTLE = {"TIMEOUT", "OUT_OF_MEMORY"}
_STATUS = re.compile(r"returned non-zero exit status (-?\d+)|died with <Signals\.(SIG\w+)")
_FINISHED = re.compile(r"steps \(100%\) done")


class End(Enum):
    """What follows the end of a job."""

    DONE = "done"
    CONTINUE = "continues in a new job"
    MORE = "is tried again with more memory and time"
    FAIL = "failed"


def how_it_ended(state: str, log: str) -> End:
    """What follows.

    Args:
        state: final state of the job, as SLURM names it.
        log: what the job wrote.
    """
    found = _STATUS.findall(log)
    status = int(found[-1][0]) if found and found[-1][0] else None
    if state == "COMPLETED" or (state == FORGOTTEN and not found and _FINISHED.search(log)):
        return End.DONE
    if state.startswith("CANCELLED"):
        return End.FAIL
    if status == SAVED or state in LOST:
        return End.CONTINUE
    killed = status is None or status < 0 or status > 128  # no word from the stage, or a shell's for a signal
    return End.MORE if state in TOO_LITTLE or killed else End.FAIL


@dataclass
class ExecutorSettings(SlurmSettings):
    """Settings of the official plugin, and how often a job may continue."""

    continuations: int = field(
        default=100,
        metadata={
            "help": "New jobs that may follow one that saved its state, was preempted or lost its node. Failures that "
            "more resources help against are counted apart, by --retries.",
            "env_var": False,
            "required": False,
        },
    )


class Executor(SlurmExecutor):
    """Submits as the official plugin does, tells failures apart, ends what a killed Snakemake left."""

    def __post_init__(self, test_mode: bool = False) -> None:
        self.workflow.executor_settings.requeue = False
        self.workflow.executor_settings.no_requeue = True
        super().__post_init__(test_mode)
        self._continued: Counter[Any] = Counter()
        self._unseen: Counter[str] = Counter()
        self._seen: set[str] = set()
        if self.workflow.execution_settings.lock:  # else another Snakemake may run here
            self._end_orphans()

    def _end_orphans(self) -> None:
        """Cancel the jobs of a Snakemake that was killed in this folder, and wait until they have saved and gone."""
        ids: list[str] = []
        while found := self._jobs_of_this_folder():
            if new := sorted(set(found) - set(ids)):
                self.logger.warning(f"ending jobs of an earlier run in this folder: {' '.join(new)}")
                subprocess.run(["scancel", *new], check=False)
                ids += new
            subprocess.run(["sleep", "1"], check=True)

    def _jobs_of_this_folder(self) -> list[str]:
        listing = subprocess.run(
            ["squeue", "--noheader", f"--user={getpass.getuser()}", "--format=%i\t%k\t%Z"],
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        rows = [line.split("\t") for line in listing.stdout.splitlines() if line.count("\t") == 2]
        here = Path(self.workflow.workdir_init).resolve()
        return [job for job, note, folder in rows if note.startswith(("rule_", "group_")) and Path(folder) == here]

    async def check_active_jobs(self, active_jobs: list[SubmittedJobInfo]) -> AsyncGenerator[SubmittedJobInfo, None]:
        """Report the jobs that have ended, yield those that have not."""
        states: dict[str, str] | None = {}
        if active_jobs:
            accounting = self.get_status_command() == "sacct" and is_query_tool_available("sacct")
            query = query_job_status_sacct if accounting else query_job_status_squeue
            async with self.status_rate_limiter:
                states, _ = await query_job_status(query(self.run_uuid), self.logger)
        for job in active_jobs:
            state = "PENDING" if states is None else self._state(job.external_jobid, states)
            if state in ACTIVE:
                yield job
            else:
                await self._report(job, state)

    def _state(self, job: str, states: dict[str, str]) -> str:
        """Of one job; a task of an array may be listed as the whole."""
        state = states.get(job) or states.get(job.partition("_")[0])
        if state is not None:
            self._seen.add(job)
            return state
        self._unseen[job] += 1
        return FORGOTTEN if job in self._seen or self._unseen[job] > MAX_UNSEEN else "PENDING"

    async def _report(self, job: SubmittedJobInfo, state: str) -> None:
        log = job.aux.get("slurm_logfile")
        end = how_it_ended(state, await self._read(log, state))
        if end is End.DONE:
            self.report_job_success(job)
            if log is not None and not self.workflow.executor_settings.keep_successful_logs:
                log.unlink(missing_ok=True)
            return
        unit = job.job
        if end is End.CONTINUE:
            self._continued[unit.jobid] += 1
            if self._continued[unit.jobid] > self.workflow.executor_settings.continuations:
                end = End.FAIL
            else:
                unit.attempt -= 1  # the scheduler adds one: this was no failure
        if end is End.FAIL:
            unit.attempt = unit.restart_times + 1  # the last: none follows
        self.report_job_error(
            job, msg=f"SLURM job {job.external_jobid} ended as {state} and {end.value}. ", aux_logs=[str(log)]
        )

    async def _read(self, log: Path | None, state: str) -> str:
        """The job's log; a file system of several machines may show its end late."""
        for _ in range(1 if state == "COMPLETED" else 5):
            text = log.read_text(encoding="utf-8", errors="replace") if log is not None and log.exists() else ""
            if _STATUS.search(text):
                break
            await asyncio.sleep(1)
        return text
