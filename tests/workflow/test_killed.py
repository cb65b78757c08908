"""kill -9 of a whole run at random moments, again and again: what it ends with is what an undisturbed run makes."""

from __future__ import annotations

import os
import random
import shutil

import pytest
from tests.support.recordings import write_noise

from project import REPOSITORY, Project
from same_files import difference, files_in

#: Kills of the long form, and mean seconds from the start of a run to its death.
KILLS, MEAN_SECONDS = int(os.environ.get("KILLS", "1000")), float(os.environ.get("KILL_SECONDS", "15"))
FIRST_STAGES = ["results/anna/separated/manifest.tsv", "--config", "separate={mode: never}"]


def kill_at_random(project: Project, source: random.Random, mean: float, most: int, *arguments: str) -> int:
    """Run from nothing to the end, killed at random on the way, ``most`` times at most; how often it was."""
    shutil.rmtree(project.results, ignore_errors=True)
    shutil.rmtree(project.root / ".snakemake", ignore_errors=True)
    kills = 0
    # Without an upper bound for a single try, every stage is given the time that it needs sooner or later.
    while kills < most and project.killed_after(source.expovariate(1 / mean), *arguments):
        kills += 1
    if kills == most:
        project.run(*arguments)
    return kills


@pytest.mark.timeout(1800)
def test_a_few_kills_in_the_first_stages(new_project) -> None:
    project = new_project("killed")
    folder = project.root / "resources" / "speakers" / "anna"
    folder.mkdir()
    for number in range(3):
        write_noise(folder / f"{number}.wav", number)
    project.run(*FIRST_STAGES)
    expected = files_in(project.results)
    source, kills = random.Random(9), 0
    while kills < 4:
        kills += kill_at_random(project, source, 5.0, 4 - kills, *FIRST_STAGES)
        assert not (words := difference(files_in(project.results), expected)), words


@pytest.mark.kill
@pytest.mark.timeout(24 * 3600)
def test_kills_anywhere_in_whole_runs(new_project, asset) -> None:
    asset("piper-joe")  # skips where the models cannot be reached
    project = new_project("killed", "--configfile", str(REPOSITORY / "tests" / "workflow" / "killed.yaml"))
    project.run("demo_speaker")
    for path in sorted((project.root / "resources" / "demo" / "demo").glob("0*"))[1:]:
        path.unlink()
    project.run("demo")
    expected = files_in(project.results)
    source, kills, faults = random.Random(9), 0, []
    while kills < KILLS:
        more = kill_at_random(project, source, MEAN_SECONDS, KILLS - kills, "demo")
        kills += more
        if words := difference(files_in(project.results), expected):
            faults.append(f"after {more} kills: {words}")
        print(f"{kills} of {KILLS} kills, {len(faults)} runs that ended otherwise", flush=True)
    assert not faults, "\n".join(faults)
