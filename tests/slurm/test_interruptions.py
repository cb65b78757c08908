"""Trainings on a real SLURM: whatever ends their jobs, the models are those of a run that nothing interrupted.

No accounting runs here, as on many clusters: states come from the controller.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.cluster_run import CLUSTER, Run, kill, slurm

from project import REPOSITORY

pytestmark = pytest.mark.timeout(1800)


def test_the_time_limit_ends_a_training_which_goes_on_in_new_jobs(project: Run, expected) -> None:
    longer = ("--config", "sovits={steps: 90}")  # than a minute, the least that SLURM allows
    limits = ("--set-resources", "train_sovits:runtime=1", "train_sovits:slurm_extra=")
    project.finish(project.begin("sovits", *limits, *longer))
    *ended, last = project.states()
    assert ended and last == "COMPLETED"
    log = project.log("anna", "train_sovits")
    assert "resumed at step" in log or "complete: checkpoint of step" in log  # all steps, but no model yet
    assert project.digests("sovits") == expected("sovits", options=longer)


def test_a_warning_signal_saves_and_one_new_job_goes_on(project: Run, expected) -> None:
    run = project.begin("gpt")
    job, _ = project.half_way(run)
    slurm("scancel", "--signal=TERM", job)
    project.finish(run)
    assert project.states() == ["FAILED", "COMPLETED"]
    assert project.digests("gpt") == expected("gpt")


def test_slurm_is_not_to_requeue_what_snakemake_follows(project: Run, expected) -> None:
    run = project.begin("gpt")
    job, _ = project.half_way(run)
    assert "disabled" in slurm("scontrol", "requeue", job, check=False)
    project.finish(run)
    assert project.states() == ["COMPLETED"]
    assert project.digests("gpt") == expected("gpt")


def test_what_a_person_cancels_is_not_submitted_again_until_the_next_run(project: Run, expected) -> None:
    run = project.begin("gpt")
    job, _ = project.half_way(run)
    slurm("scancel", job)
    project.finish(run, status=1)
    assert project.states() == ["CANCELLED"]
    project.finish(project.begin("gpt"))
    assert project.states() == ["CANCELLED", "COMPLETED"]
    assert project.digests("gpt") == expected("gpt")


def test_a_lost_node_is_followed_by_one_job_elsewhere(project: Run, expected) -> None:
    run = project.begin("sovits")
    _, node = project.half_way(run, "sovits")
    slurm("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=test")
    try:
        project.finish(run)
    finally:
        slurm("scontrol", "update", f"NodeName={node}", "State=RESUME")
    (_, _, lost, first), (_, _, done, second) = project.jobs()
    assert (lost, done) == ("NODE_FAIL", "COMPLETED") and first == node != second
    assert project.digests("sovits") == expected("sovits")


def test_preemption_is_followed_by_one_job(project: Run, expected) -> None:
    run = project.begin("gpt")
    _, node = project.half_way(run)
    slurm("sbatch", "--partition=urgent", f"--nodelist={node}", "--exclusive", "--output=/dev/null", "--wrap=sleep 5")
    project.finish(run)
    first, second = project.states()  # FAILED: it saved and left within the time of grace
    assert first in ("PREEMPTED", "FAILED") and second == "COMPLETED"
    assert project.digests("gpt") == expected("gpt")


def test_a_killed_snakemake_leaves_a_job_that_the_next_run_ends_first(project: Run, expected) -> None:
    run = project.begin("gpt")
    job, _ = project.half_way(run)
    kill(run)
    project.run("--unlock")
    project.finish(project.begin("gpt"))
    assert f"ending jobs of an earlier run in this folder: {job}" in project.said()
    first, *after = project.states()
    assert first == "CANCELLED" and after in (["COMPLETED"], [])  # none where it had just written the model
    assert project.digests("gpt") == expected("gpt")


def test_a_second_snakemake_is_refused_and_leaves_the_first_alone(project: Run, expected) -> None:
    run = project.begin("gpt")
    project.half_way(run)
    second = subprocess.run(
        project.through_slurm("gpt"), cwd=project.root, capture_output=True, text=True, check=False, timeout=200
    )
    assert second.returncode and "Lock" in second.stderr, second.stderr
    project.finish(run)
    assert project.states() == ["COMPLETED"]
    assert project.digests("gpt") == expected("gpt")


def test_jobs_do_not_see_the_temporary_folder_of_the_machine_that_submits(
    project: Run, expected, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if the nodes were other machines: what the submitting one has in its own /tmp is nowhere else."""
    own = tmp_path / "own"
    own.mkdir()
    monkeypatch.setenv("TMPDIR", str(own / "tmp"))
    mounted = f'mount -t tmpfs own {own} && mkdir {own}/tmp && exec "$@"'
    run = project.begin("gpt", before=("unshare", "--mount", "sh", "-c", mounted, "sh"))
    project.finish(run)
    assert project.states() == ["COMPLETED"]
    assert not [path for path in own.rglob("*") if path.is_file()]  # SLURM makes the folder, torch one for its cache
    assert project.digests("gpt") == expected("gpt")


STARTS = {
    "saved": ["500"] * 4,  # continues as often as it takes, with the same memory
    "never": ["500"] * 6,  # and no more often than is allowed
    "wrong": ["500"], "usage": ["500"],  # fail once
    "killed": ["500", "1000"], "memory": ["500", "1000"], "slow": ["500", "1000"],  # get more
}  # fmt: skip


def test_every_kind_of_end_is_followed_by_as_many_jobs_as_can_help(tmp_path: Path, monkeypatch) -> None:
    for name in ("Snakefile", "ends.py"):
        shutil.copy(Path(__file__).with_name(name), tmp_path / name)
    (tmp_path / "profiles").symlink_to(REPOSITORY / "profiles")
    command = [sys.executable, "-m", "snakemake", *CLUSTER[:8], "--slurm-resume-continuations", "5",
               "--default-resources", "slurm_partition=cpu", "--config", f"kinds={' '.join(STARTS)}"]  # fmt: skip
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=800)
    assert done.returncode == 1
    starts = {kind: (tmp_path / f"{kind}.starts").read_text().split() for kind in STARTS}
    assert starts == STARTS, done.stderr[-6000:]
    assert {path.stem for path in tmp_path.glob("*.out")} == {"saved", "killed", "memory", "slow"}
