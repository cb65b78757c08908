"""Content decides, not time: copies without time stamps plan nothing, a changed file plans what reads it."""

from __future__ import annotations

import os
import random
import re
import shutil
import time
from pathlib import Path

import pytest
from tests.support.recordings import write_noise

pytestmark = pytest.mark.timeout(1800)

MINI = ["results/anna/separated/manifest.tsv", "--config", "separate={mode: never}"]


def scrambled(project, root: Path, keep_records: bool = True):
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


def planned(project, *arguments: str) -> list[str]:
    """Names of the stages that a run would work on."""
    done = project.run("-n", *arguments)
    found = re.findall(r"^(?:local)?rule (\w+):", done.stdout + done.stderr, re.MULTILINE)
    return sorted(set(found) - {"all", "demo"})


@pytest.fixture(scope="module")
def mini(new_project):
    """A project of which the first two stages are done."""
    project = new_project("mini")
    folder = project.root / "resources" / "speakers" / "anna"
    folder.mkdir()
    for number in range(3):
        write_noise(folder / f"{number}.wav", number)
    project.run(*MINI)
    return project


@pytest.mark.parametrize("records", [True, False], ids=["whole", "without .snakemake"])
def test_a_copy_without_times_plans_nothing(mini, tmp_path, records) -> None:
    twin = scrambled(mini, tmp_path / "copy", records)
    assert planned(twin, *MINI) == []
    write_noise(twin.root / "resources" / "speakers" / "anna" / "1.wav", 9)
    assert planned(twin, *MINI) == ["separate", "takes"]


@pytest.mark.parametrize("records", [True, False], ids=["whole", "without .snakemake"])
def test_other_settings_rerun_their_stage_in_a_copy(mini, tmp_path, records) -> None:
    twin = scrambled(mini, tmp_path / "copy", records)
    changed = [*MINI[:-1], "separate={mode: never, threshold_db: -17}"]
    assert planned(twin, *changed) == ["separate"]
    assert planned(twin, *MINI) == []
    twin.run(*changed)
    assert planned(twin, *changed) == []
    assert planned(twin, *MINI) == ["separate"]


def test_a_killed_run_goes_on_from_what_was_made(mini, tmp_path) -> None:
    twin = mini.copy(tmp_path / "copy")
    write_noise(twin.root / "resources" / "speakers" / "anna" / "1.wav", 9)
    twin.run("results/anna/takes.tsv", *MINI[1:])
    (twin.root / "results" / "contents.tsv").write_bytes((mini.root / "results" / "contents.tsv").read_bytes())
    assert planned(twin, *MINI) == ["separate"]


STAGES = (
    "takes separate clean slice transcribe corpus features fit_tokenizer tokenize train_gpt train_sovits export"
    " evaluate report"
)


@pytest.mark.parametrize("records", [True, False], ids=["whole", "without .snakemake"])
def test_a_copy_of_a_finished_voice_plans_nothing(demo, tmp_path, records) -> None:
    worked = {path.stem for path in (demo.results / "demo" / "logs").glob("*.log")}
    assert not [stage for stage in STAGES.split() if not any(name.startswith(stage) for name in worked)], worked
    twin = scrambled(demo, tmp_path / "copy", records)
    assert planned(twin) == []
    for path in (twin.root / "results").rglob("*"):  # as a checkout leaves them: all of one moment
        if path.is_file() and not path.is_symlink():
            os.utime(path, (0, 0))
    assert planned(twin) == []


def test_a_correction_in_a_copied_voice_plans_what_it_touches(demo, tmp_path) -> None:
    twin = scrambled(demo, tmp_path / "copy", keep_records=False)
    assert planned(twin) == []
    (twin.results / "demo" / "features" / "audio.safetensors").touch()
    assert planned(twin) == []
    first = (twin.results / "demo" / "corpus" / "corpus.tsv").read_text(encoding="utf-8").splitlines()[1].split("\t")[0]
    table = twin.root / "config" / "corrections" / "demo.tsv"
    table.write_text(f"utterance\taction\tvalue\n{first}\ttext\tOther words.\n", encoding="utf-8")
    stages = planned(twin)
    assert "corpus" in stages and "features" in stages
    assert not {"takes", "separate", "clean", "slice", "transcribe"} & set(stages)
    table.unlink()
    assert planned(twin) == []
