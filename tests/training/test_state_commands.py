"""``voiceclone state`` and ``voiceclone gc`` on trainings of a toy."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from tests.support import training_toy as toy
from typer.testing import CliRunner

from voiceclone.cli import app
from voiceclone.errors import DataError
from voiceclone.files import write_json, write_tsv
from voiceclone.training.state import exclusive


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A speaker with three trainings: the first one's model stands, the last one was interrupted."""
    root = tmp_path / "anna" / "state" / "gpt"
    toy.train(root, steps=8, print_of=toy.fingerprint(run=1))
    toy.train(root, steps=8, print_of=toy.fingerprint(run=2))
    time.sleep(0.02)

    def kill(step: int) -> None:
        if step == 6:
            os.kill(os.getpid(), signal.SIGTERM)

    assert toy.in_child(lambda: toy.train(root, toy.ToyRecipe(before=kill), print_of=toy.fingerprint(run=3))) == 75
    (tmp_path / "anna" / "models").mkdir()
    write_json(tmp_path / "anna" / "models" / "gpt.json", {"fingerprint": toy.fingerprint(run=1).key})
    return tmp_path


def run(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, list(arguments))
    return done.exit_code, done.output


def key(number: int) -> str:
    return toy.fingerprint(run=number).key


def test_state_lists_every_training_and_what_changed(results: Path) -> None:
    status, out = run("state", "--results", str(results))
    lines = out.splitlines()
    assert status == 0 and lines[0] == "anna"
    assert [line.split()[1] for line in lines if line.startswith("gpt")] == [key(3), key(2), key(1)]
    assert "step 7" in lines[1] and "run 2 -> 3" in lines[2] and "its model is in models" in lines[5]


def test_state_says_who_is_at_work(results: Path) -> None:
    with exclusive(results / "anna" / "state" / "gpt" / key(2) / "lock"):
        _, out = run("state", "anna", "--results", str(results))
    assert f"{key(2)}  step 8" in out and f"RUNNING: pid {os.getpid()} on " in out


def test_a_failure_is_shown_and_cleared(results: Path) -> None:
    root = results / "anna" / "state" / "gpt"
    with pytest.raises(DataError, match="not finite"):
        toy.train(root, toy.ToyRecipe(fail_at={10, 11}), print_of=toy.fingerprint(run=3))
    assert "FAILED at step 12: loss_total not finite" in run("state", "anna", "--results", str(results))[1]
    with pytest.raises(DataError, match="voiceclone state NAME --clear"):
        toy.train(root, print_of=toy.fingerprint(run=3))
    assert f"gpt {key(3)}: cleared" in run("state", "anna", "--clear", "--results", str(results))[1]
    assert "no training has failed" in run("state", "anna", "--clear", "--results", str(results))[1]
    assert toy.train(root, print_of=toy.fingerprint(run=3)).step == toy.STEPS


def test_gc_shows_first_and_deletes_only_what_nothing_needs(results: Path) -> None:
    voice = results / "anna"
    unfinished = voice / "state" / "gpt" / key(3) / ".writing-00000008"
    unfinished.mkdir()
    left, young = voice / "clean" / ".take.x1.tmp.flac", voice / "clean" / ".take.x2.tmp.flac"
    left.parent.mkdir()
    for path in (left, young):
        path.write_bytes(b"half")
    os.utime(left, (1, 1))
    status, out = run("gc", "anna", "--results", str(results))
    assert status == 0 and "nothing was deleted" in out and "4 B" in out
    assert f"superseded by {key(3)}: run 2 -> 3" in out
    assert all(path.exists() for path in (unfinished, left))
    status, out = run("gc", "--delete", "--results", str(results))
    assert status == 0 and "deleted" in out
    assert sorted(path.name for path in (voice / "state" / "gpt").iterdir()) == sorted([key(1), key(3)])
    assert young.exists() and not unfinished.exists() and not left.exists()
    assert run("gc", "--results", str(results))[1] == "nothing to delete\n"
    continued = toy.train(voice / "state" / "gpt", print_of=toy.fingerprint(run=3))
    assert [row["step"] for row in continued.resumes] == [7]


def test_gc_leaves_a_training_that_is_at_work(results: Path) -> None:
    folder = results / "anna" / "state" / "gpt" / key(2)
    with exclusive(folder / "lock", sign=False):
        assert run("gc", "--delete", "--results", str(results))[1] == "nothing to delete\n"
    assert folder.is_dir()


def test_gc_finds_cached_features_that_no_manifest_names(tmp_path: Path) -> None:
    features = tmp_path / "anna" / "features"
    for name in ("content/k1", "content/k2", "content/new", "bert/b1"):
        path = features / "cache" / f"{name}.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
        os.utime(path, (1, 1))
    write_tsv(features / "manifest.tsv", ("utterance", "key_content"), [{"utterance": "u", "key_content": "k1"}])
    os.utime(features / "cache" / "content" / "new.safetensors", (time.time() + 9,) * 2)
    assert run("gc", "anna", "--delete", "--results", str(tmp_path))[0] == 0
    assert sorted(str(p.relative_to(features / "cache")) for p in features.rglob("*.safetensors")) == [
        "content/k1.safetensors", "content/new.safetensors",
    ]  # fmt: skip


def test_a_speaker_without_results_is_an_error(tmp_path: Path) -> None:
    for command in ("gc", "state"):
        status, out = run(command, "berta", "--results", str(tmp_path))
        assert status == 1 and "no results there" in out
