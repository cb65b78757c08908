"""Disks that are full or read-only, folders that are taken, closed terminals: a training loses nothing by them."""

from __future__ import annotations

import contextlib
import os
import pty
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from tests.support import training_toy as toy

from voiceclone.errors import DataError
from voiceclone.files import read_jsonl
from voiceclone.training import checkpoints, state
from voiceclone.training.state import exclusive, holder

torch.set_num_threads(1)


def mount(*arguments: str) -> None:
    """Mount something, or skip the test where that is not allowed."""
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"needs the right to mount: {done.stderr.strip()}")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount("-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder))
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def straight(tmp_path_factory: pytest.TempPathFactory) -> toy.Result:
    return toy.train(tmp_path_factory.mktemp("straight"))


def fill(folder: Path) -> None:
    with (folder / "ballast").open("wb", buffering=0) as handle:
        try:
            while True:
                handle.write(bytes(4096))
        except OSError:
            return


def test_a_full_disk_does_not_end_the_training_and_is_forgotten_when_there_is_room_again(
    small_disk: Path, straight: toy.Result, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(checkpoints, "RETRY_SECONDS", 0.0)

    def weather(step: int) -> None:
        if step == 6:
            fill(small_disk)
        if step == 14:
            (small_disk / "ballast").unlink()

    result = toy.train(small_disk, toy.ToyRecipe(before=weather))
    out = capsys.readouterr().out
    assert "NOT SAVED" in out and "No space left on device" in out and "saving works again" in out
    assert "the one of step 4 is kept" in out
    assert toy.same(result, straight)
    folder = small_disk / toy.fingerprint().key
    assert read_jsonl(folder / "history.jsonl") == result.history
    assert toy.same(toy.train(small_disk), straight)  # complete, from the checkpoint
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]


def test_without_patience_a_full_disk_ends_it_and_the_same_command_continues(
    small_disk: Path, straight: toy.Result
) -> None:
    with pytest.raises(DataError, match=r"No space left on device.*the one of step 4 is kept"):
        toy.train(
            small_disk,
            toy.ToyRecipe(before=lambda step: fill(small_disk) if step == 6 else None),
            save_patience_minutes=0,
        )
    assert [path.name for path in small_disk.glob("*/step-*")] == ["step-00000004"]
    (small_disk / "ballast").unlink()
    result = toy.train(small_disk)
    assert [row["step"] for row in result.resumes] == [4] and toy.same(result, straight)


def test_a_stop_on_a_full_disk_tries_once_and_says_what_is_kept(small_disk: Path) -> None:
    def stop(step: int) -> None:
        if step == 6:
            while not list(small_disk.glob("*/step-00000004")):  # saved in the background
                time.sleep(0.01)
            fill(small_disk)
            os.kill(os.getpid(), signal.SIGTERM)

    began = time.monotonic()
    with pytest.raises(DataError, match="the one of step 4 is kept"):
        toy.train(small_disk, toy.ToyRecipe(before=stop))
    assert time.monotonic() - began < checkpoints.RETRY_SECONDS


def test_a_read_only_folder_says_so_before_the_first_step(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    toy.train(folder, steps=8)
    mount("--bind", str(folder), str(folder))
    try:
        mount("-o", "remount,ro,bind", str(folder))
        with pytest.raises(DataError, match=r"cannot be written \(Read-only file system\)"):
            toy.train(folder)
        with pytest.raises(DataError, match="cannot be written"):
            toy.train(folder, print_of=toy.fingerprint(new=1))
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
    assert toy.train(folder).resumes[0]["step"] == 8


def test_the_lock_tells_who_holds_it_and_whether_that_lives(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    assert holder(path) == ""
    with exclusive(path):
        assert holder(path).startswith(f"pid {os.getpid()} on {socket.gethostname()} since ")
        with (
            pytest.raises(DataError, match=r"another process is running here: pid \d+ on .* \(alive\)"),
            exclusive(path),
        ):
            pass
        path.write_text("pid 1 on elsewhere since 2026-01-01 00:00:00\n")
        assert "another machine: look there" in holder(path)
        gone = subprocess.Popen(["true"])
        gone.wait()
        path.write_text(f"pid {gone.pid} on {socket.gethostname()} since 2026-01-01 00:00:00\n")
        assert "that process is gone" in holder(path)
    assert holder(path) == ""


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    def hold() -> None:
        with exclusive(tmp_path / "lock"):
            os.kill(os.getpid(), signal.SIGKILL)

    assert toy.in_child(hold) == -signal.SIGKILL
    with exclusive(tmp_path / "lock"):
        pass


def test_a_lock_file_that_was_deleted_meanwhile_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, real = tmp_path / "lock", state.fcntl.flock
    calls = 0

    def flock(handle: object, operation: int) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            path.unlink()
        real(handle, operation)  # type: ignore[arg-type]

    monkeypatch.setattr(state.fcntl, "flock", flock)
    with exclusive(path):
        assert calls == 2 and path.exists()


def test_a_closed_terminal_saves_and_ends_with_75(tmp_path: Path, straight: toy.Result) -> None:
    """The terminal goes away: SIGHUP, and every line that is printed from then on fails."""
    pid, terminal = pty.fork()
    if pid == 0:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        sys.stdout = os.fdopen(1, "w")

        def slow(step: int) -> None:
            if step == 6:
                print("step 6", flush=True)
                with contextlib.suppress(OSError):
                    while True:  # until the terminal is gone
                        os.write(1, b".")
                        time.sleep(0.01)
                time.sleep(0.1)

        status = 99
        try:
            toy.train(tmp_path, toy.ToyRecipe(before=slow), progress_seconds=0.001)
        except BaseException as error:
            status = getattr(error, "exit_code", 98)
        os._exit(status)
    seen = b""
    while b"step 6" not in seen:
        seen += os.read(terminal, 1024)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 75
    result = toy.train(tmp_path)
    assert [row["step"] for row in result.resumes] == [7] and toy.same(result, straight)


def test_fewer_steps_than_were_trained_take_the_checkpoint_of_that_step_or_say_what_to_do(tmp_path: Path) -> None:
    toy.train(tmp_path, steps=12)  # keeps the checkpoints of steps 8 and 12
    shorter = toy.train(tmp_path, steps=8)
    assert shorter.step == 8
    fresh = toy.train(tmp_path / "fresh", steps=8)
    assert all(shorter.last[name].equal(fresh.last[name]) for name in fresh.last)
    with pytest.raises(DataError, match=r"12 steps were trained before, 5 are planned(?s:.)*8, 12\), or delete"):
        toy.train(tmp_path, steps=5)
    assert toy.train(tmp_path, steps=12).step == 12
