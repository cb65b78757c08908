"""Content decides, not time: copies without time stamps plan nothing, a changed file plans what reads it."""

from __future__ import annotations

import pytest
from tests.support.recordings import write_noise

from project import planned, scrambled

pytestmark = pytest.mark.timeout(1800)

MINI = ["results/anna/separated/manifest.tsv", "--config", "separate={mode: never}"]


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


def test_files_that_the_configuration_names_are_known_by_content_too(new_project, tmp_path) -> None:
    project = new_project("named")
    (folder := project.root / "own data").mkdir()
    for number in range(4):
        write_noise(folder / f"{number}.wav", number)
    rows = [f"{number}.wav|anna|EN|A sentence of number {number}." for number in range(4)]
    (folder / "set.list").write_text("\n".join(rows), encoding="utf-8")
    source = "{name: set, kind: list, path: own data/set.list, licence: CC0}"
    gathered = ["results/base/corpus/corpus.tsv", "--config", f"corpora={{sources: [{source}], heldout_share: 0.3}}"]
    project.run(*gathered)
    twin = scrambled(project, tmp_path / "copy", keep_records=False)
    (twin.root / "own data" / "set.list").touch()
    assert planned(twin, *gathered) == []
    (twin.root / "own data" / "set.list").write_text("\n".join(rows[:3]), encoding="utf-8")
    assert planned(twin, *gathered) == ["gather"]


def test_a_killed_run_goes_on_from_what_was_made(mini, tmp_path) -> None:
    twin = mini.copy(tmp_path / "copy")
    write_noise(twin.root / "resources" / "speakers" / "anna" / "1.wav", 9)
    twin.run("results/anna/takes.tsv", *MINI[1:])
    (twin.root / "results" / "contents.tsv").write_bytes((mini.root / "results" / "contents.tsv").read_bytes())
    assert planned(twin, *MINI) == ["separate"]
