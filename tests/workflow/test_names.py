"""Names and values from people never become part of a command, whatever executor runs the jobs."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
import yaml
from tests.support.recordings import write_noise

from project import SLURM, need_slurm
from voiceclone.files import escape, read_tsv

pytestmark = pytest.mark.timeout(900)

CASES = Path(__file__).resolve().parents[3] / "shared" / "cases" / "B27_file_names.txt"
#: Read by a shell, these leave a file named ``executed``.
HOSTILE = (
    "{take}.wav", "{}.wav", "{{a}}.wav", "it's $5 `touch executed` take.wav", "mom's $5 bet.wav",
    "$(touch executed).wav", "a;touch executed;.wav", "a && touch executed.wav", "a|touch executed.wav",
    "--help.wav", "-n.wav", '"quoted".wav', "back\\slash.wav", "%s %d.wav", "a=b,c=d.wav", "star*?[x].wav",
    "~.wav", "#comment.wav", "!bang.wav", " leading blank.wav", "naïve 録音 тест.wav", "a:b.wav", "<in>out.wav",
    "{input.settings!r}.wav", "'.wav",
)  # fmt: skip
REFUSED = ("line\nbreak.wav", "tab\there.wav", "bell\x07.wav", os.fsdecode(b"latin \xe9.wav"))
FOLDER = "it's a `touch executed` folder $(touch executed) {speaker}"


def generated(count: int) -> list[str]:
    """File names of characters that shells, Python and Snakemake treat in a way of their own."""
    source = random.Random(27)
    characters = "'\"`$(){}[]\\;&|<>*?!#~%^=+,:@- .aZ9é録"
    return [
        "".join(source.choice(characters) for _ in range(source.randint(1, 24))).lstrip(".") + f"-{number}.wav"
        for number in range(count)
    ]


def listed_cases() -> list[str]:
    if not CASES.is_file():
        return []
    lines = CASES.read_text(encoding="utf-8").splitlines()
    return [line.split("\t")[0] for line in lines if line and not line.startswith("#")]


@pytest.fixture(params=["local", pytest.param("slurm", marks=pytest.mark.slurm)])
def options(request: pytest.FixtureRequest) -> list[str]:
    """Arguments of a run on this machine and of one through a cluster."""
    if request.param == "local":
        return []
    need_slurm()
    return [*SLURM, "--jobs", "2"]


def test_no_name_is_executed_and_every_name_is_accounted_for(new_project, options) -> None:
    project = new_project("names")
    speakers = project.root / FOLDER
    (speakers / "anna").mkdir(parents=True)
    good = list(dict.fromkeys([*HOSTILE, *listed_cases(), *generated(40)]))
    for number, name in enumerate([*good, *REFUSED]):
        write_noise(speakers / "anna" / name, number)
    (speakers / "anna" / "LICENSE").write_text("CC-BY; `touch executed`\n")
    wanted = "results/anna/separated/manifest.tsv"
    arguments = [wanted, *options, "--config", f"speakers_dir={FOLDER}",
                 "models_dir=it's $(touch executed)", "separate={mode: never}"]  # fmt: skip
    planned = project.run(*arguments, "-n", "-p")
    assert "scripts/takes.py" in planned.stdout
    for shown in (planned.stdout, planned.stderr):  # but for the banner, which repeats the user's own command
        assert "touch" not in shown.rpartition("Building DAG of jobs")[2]
    done = project.run(*arguments)
    assert not list(project.root.rglob("executed*")), done.stderr
    voice = project.results / "anna"
    accepted = {row["file"] for row in read_tsv(voice / "takes.tsv")}
    refused = {row["file"]: row["reason"] for row in read_tsv(voice / "rejected.tsv")}
    assert "`touch executed`" in (voice / "rights.json").read_text(encoding="utf-8")
    assert accepted == {escape(name) for name in good}
    assert refused == {escape(name): "name" for name in REFUSED}
    assert len(read_tsv(voice / "separated" / "manifest.tsv")) == len(good)
    assert "Nothing to be done" in (again := project.run(*arguments, "-n")).stdout + again.stderr


def test_new_changed_and_removed_recordings_rerun_the_intake(new_project) -> None:
    project = new_project("intake")
    folder = project.root / "resources" / "speakers" / "anna"
    folder.mkdir()
    wanted = ["results/anna/separated/manifest.tsv", "--config", "separate={mode: never}"]

    def files() -> list[str]:
        project.run(*wanted)
        return [row["file"] for row in read_tsv(project.results / "anna" / "takes.tsv")]

    def plan() -> str:
        done = project.run(*wanted, "-n")
        return done.stdout + done.stderr

    write_noise(folder / "one.wav", 1)
    assert files() == ["one.wav"]
    assert "Nothing to be done" in plan()
    (folder / "one.wav").touch()
    assert "Nothing to be done" in plan()
    (folder / "notes.txt").write_text("no recording")
    assert "Nothing to be done" in plan()
    write_noise(folder / "two.wav", 2)
    assert files() == ["one.wav", "two.wav"]
    before = (folder / "two.wav").stat()
    write_noise(folder / "two.wav", 3)  # other content, same size, and the time set back
    os.utime(folder / "two.wav", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert "rule takes" in plan()
    project.run(*wanted)
    (folder / "one.wav").unlink()
    assert files() == ["two.wav"]
    (folder / "two.wav").rename(folder / "three.wav")
    assert files() == ["three.wav"]


@pytest.mark.parametrize("name", ["all", "report", "clean", "logs", "config", "results", "fetch_asset", "settings"])
def test_a_speaker_called_like_a_stage_or_a_folder_is_refused(new_project, name) -> None:
    project = new_project("taken")
    folder = project.root / "resources" / "speakers" / name
    folder.mkdir()
    write_noise(folder / "one.wav", 1)
    done = project.run("-n", check=False)
    assert done.returncode != 0
    told = done.stdout + done.stderr  # a dry run speaks to standard output
    assert f"speaker folder '{name}'" in told and f"{name}-voice" in told
    assert "Traceback" not in done.stderr


def test_a_pronunciation_table_of_no_language_is_refused_by_name(new_project) -> None:
    project = new_project("lexicon")
    folder = project.root / "resources" / "speakers" / "anna"
    folder.mkdir()
    write_noise(folder / "one.wav", 1)
    (project.root / "config" / "lexicon" / "it's `touch executed`.tsv").write_text("word\tphones\n")
    done = project.run("-n", check=False)
    assert done.returncode != 0
    told = done.stdout + done.stderr
    assert "it's `touch executed`.tsv" in told and "rename" in told
    assert "Traceback" not in done.stderr


def name_files(project, folder: str) -> dict[str, dict]:
    """Settings that name files in this folder, which is made, by what asks for them."""
    place = project.root / folder
    place.mkdir(parents=True)
    (place / "en.tsv").write_text("word\tphones\nvoice\tV OY1 S\n")
    (place / "list.en.txt").write_text("A sentence that nobody has ever said.\n")
    (place / "set.list").write_text("one.wav|anna|EN|A sentence.\n")
    (speaker := project.root / "resources" / "speakers" / "anna").mkdir()
    write_noise(speaker / "take.wav", 1)
    list_file = f"{folder}/list.en.txt"
    return {
        "lexicon": {"lexicon": folder},
        "evaluate.sentences": {"evaluate": {"sentences": [list_file]}},
        "student.speech.texts": {"student": {"speech": {"texts": [list_file]}}},
        "teachers 'reader': texts": {
            "teachers": [{"name": "reader", "teacher": "piper", "texts": [list_file], "hours": 0.1}]
        },
        "corpora.sources 'set'": {
            "corpora": {"sources": [{"name": "set", "kind": "list", "path": f"{folder}/set.list", "licence": "CC0"}]}
        },
    }


TARGETS = ("anna", "anna-student", "teachers", "results/base/corpus/corpus.tsv")


def test_a_path_of_the_configuration_that_means_something_to_a_shell_is_refused(new_project) -> None:
    project = new_project("refused")
    for key, values in name_files(project, "it's a $(touch executed) {speaker} folder").items():
        (project.root / "own.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
        targets = TARGETS if "corpora" in key else TARGETS[: 3 if "teachers" in key else 2]
        done = project.run("-n", *targets, "--configfile", "own.yaml", check=False)
        assert done.returncode, key
        assert f"{key}: \"it's a" in done.stdout, done.stdout + done.stderr
        assert "rename or move it" in done.stdout


def test_paths_of_the_configuration_may_have_blanks_and_letters_of_any_script(new_project) -> None:
    project = new_project("plain")
    values = {key: value for one in name_files(project, "own 辞書").values() for key, value in one.items()}
    (project.root / "own.yaml").write_text(yaml.safe_dump(values, allow_unicode=True), encoding="utf-8")
    planned = project.run("-n", "-p", *TARGETS, "--configfile", "own.yaml").stdout
    for words in ("--lexicons 'own 辞書/en.tsv' ", "--texts 'own 辞書/list.en.txt' "):
        assert words in planned, words
