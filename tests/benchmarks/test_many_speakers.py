"""Planning and waiting with 10, 100 and 1,000 speakers: time and memory of the plan, jobs, simulated makespan.

The plan is Snakemake's, of the SLURM profile. The makespan is simulated: jobs start in the order of the plan as soon as
what they need is done and a slot (``jobs`` of the profile) and, where they use one, a GPU is free. ``MINUTES`` are
assumed times of half an hour of speech, so figures compare ways of running the workflow, not machines.
"""

from __future__ import annotations

import heapq
import os
import re
import resource
import subprocess
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

from project import REPOSITORY, Project

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(3600)]

SPEAKERS = [int(count) for count in os.environ.get("SPEAKERS", "10 100 1000").split()]
GPUS = (1, 4, 16)
LOCAL = {"all", "fetch_asset", "consent", "base_voice", "teachers", "report", "collect_report", "evaluate_all"}
ON_GPU = {"separate", "transcribe", "features", "train_gpt", "train_sovits"}
START = 0.5  # of any job: queue, Python, imports
MINUTES = {
    "takes": 1, "separate": 3, "clean": 3, "slice": 1, "transcribe": 4, "corpus": 1, "features": 4, "fit_tokenizer": 1,
    "tokenize": 0.5, "align": 1, "train_gpt": 15, "train_sovits": 30, "select": 10, "export": 3, "evaluate": 5,
}  # fmt: skip
MOST_JOBS = 20  # of a speaker


@dataclass
class Job:
    """A planned job, alone or a group."""

    minutes: float = START
    gpu: bool = False
    needs: set[int] = field(default_factory=set)


@dataclass(frozen=True)
class Plan:
    """Nodes of the plan: rule and speaker of each, what each needs; seconds and megabytes that planning took."""

    rules: dict[int, str]
    edges: list[tuple[int, int]]
    seconds: float
    cpu_seconds: float
    megabytes: float


def make_plan(root: Path, count: int) -> Plan:
    """Plan all stages of so many speakers, of one recording each."""
    project = Project(root)
    for number in range(count):
        folder = root / "resources" / "speakers" / f"s{number:04d}"
        folder.mkdir()
        (folder / "take.wav").write_bytes(number.to_bytes(8))
        (folder / "consent.yaml").write_text("myself: true\n")
    command = project.command("-n", "--quiet", "all", "--workflow-profile", "profiles/slurm", "--dag", "dot")
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    seconds, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stderr[-3000:]
    rules = {int(number): rule for number, rule in re.findall(r'^\s*(\d+)\[label = "(\w+)', done.stdout, re.MULTILINE)}
    edges = [(int(first), int(then)) for first, then in re.findall(r"^\s*(\d+) -> (\d+)", done.stdout, re.MULTILINE)]
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Plan(rules, edges, seconds, cpu, after.ru_maxrss / 1024)


def jobs_of(plan: Plan, groups: dict[str, str]) -> dict[int, Job]:
    """Jobs of the cluster: connected nodes of a group are one; what runs where Snakemake runs takes no time."""
    home = {node: node for node in plan.rules}

    def found(node: int) -> int:
        while home[node] != node:
            node = home[node]
        return node

    group = {node: groups.get(rule, "") for node, rule in plan.rules.items()}
    for first, then in plan.edges:
        if group[first] and group[first] == group[then]:
            home[found(first)] = found(then)
    jobs: dict[int, Job] = defaultdict(Job)
    for node, rule in plan.rules.items():
        job = jobs[found(node)]
        job.minutes = 0.0 if rule in LOCAL else job.minutes + MINUTES.get(rule, 1)
        job.gpu = job.gpu or rule in ON_GPU
    for first, then in plan.edges:
        if found(first) != found(then):
            jobs[found(then)].needs.add(found(first))
    return jobs


def makespan(jobs: dict[int, Job], gpus: int, slots: int) -> float:
    """Minutes until all jobs are done, started in order as soon as they can be."""
    waiting, followers = {node: len(job.needs) for node, job in jobs.items()}, defaultdict(list)
    for node, job in jobs.items():
        for needed in job.needs:
            followers[needed].append(node)
    ready = {True: sorted(node for node in jobs if not waiting[node] and jobs[node].gpu),
             False: sorted(node for node in jobs if not waiting[node] and not jobs[node].gpu)}  # fmt: skip
    free, running, now = {"slot": slots, "gpu": gpus}, [], 0.0
    while ready[True] or ready[False] or running:
        for on_gpu in (True, False):
            while ready[on_gpu] and free["slot"] and (free["gpu"] or not on_gpu):
                node = heapq.heappop(ready[on_gpu])
                free["slot"] -= 1
                free["gpu"] -= on_gpu
                heapq.heappush(running, (now + jobs[node].minutes, node))
        now, node = heapq.heappop(running)
        free["slot"] += 1
        free["gpu"] += jobs[node].gpu
        for follower in followers[node]:
            waiting[follower] -= 1
            if not waiting[follower]:
                heapq.heappush(ready[jobs[follower].gpu], follower)
    return now


def test_plans_of_many_speakers(tmp_path: Path) -> None:
    profile = yaml.safe_load((REPOSITORY / "profiles" / "slurm" / "profile.yaml").read_text())
    print(f"\n{'speakers':>8}{'plan s':>8}{'CPU s':>8}{'MB':>7}{'jobs':>8}{'each':>6}{'ungrouped':>10}  hours on GPUs")
    for count in SPEAKERS:
        plan = make_plan(tmp_path / str(count), count)
        jobs = jobs_of(plan, profile["groups"])
        submitted = [job for job in jobs.values() if job.minutes]
        alone = sum(rule not in LOCAL for rule in plan.rules.values())
        hours = ", ".join(f"{gpus}: {makespan(jobs, gpus, profile['jobs']) / 60:.1f}" for gpus in GPUS)
        print(f"{count:>8}{plan.seconds:>8.1f}{plan.cpu_seconds:>8.1f}{plan.megabytes:>7.0f}{len(submitted):>8}"
              f"{len(submitted) / count:>6.1f}{alone:>10}  {hours}", flush=True)  # fmt: skip
        assert len(submitted) <= MOST_JOBS * count + 5
        assert plan.megabytes < 2000
