"""The promise of the training engine, tested by breaking it: a stopped training ends as if it had never stopped."""

from __future__ import annotations

import json
import os
import random
import signal
from functools import partial
from pathlib import Path

import pytest
import torch

from voiceclone.errors import DataError, Interrupted
from voiceclone.files import read_json, read_jsonl

from . import training_toy as toy

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> toy.Result:
    return toy.train(tmp_path_factory.mktemp("straight"))


def test_uninterrupted_training_is_reproducible_and_logs_what_it_should(tmp_path: Path, straight: toy.Result) -> None:
    again = toy.train(tmp_path)
    assert toy.same(straight, again)
    assert [row["step"] for row in toy.losses(again) if row["split"] == "train"] == [3, 6, 9, 12, 15, 18, 20]
    assert [row["step"] for row in toy.losses(again) if row["split"] == "heldout"] == [5, 10, 15, 20]
    assert [row["epoch"] for row in toy.losses(again) if row["split"] == "heldout"] == [2, 3, 4, 5]
    heldout = {row["step"]: row["error"] for row in toy.losses(again) if row["split"] == "heldout"}
    assert heldout[again.best.step] == min(heldout.values()) == again.best.value
    folder = tmp_path / toy.fingerprint().key
    assert sorted(path.name for path in folder.glob("step-*")) == ["step-00000016", "step-00000020"]
    assert list((folder / "tensorboard").glob("events*"))


@pytest.mark.parametrize("seed", range(6))
def test_kill_at_random_steps_changes_nothing(tmp_path: Path, straight: toy.Result, seed: int) -> None:
    kills = sorted(random.Random(seed).sample(range(1, toy.STEPS), 3))

    def train_until(last: int) -> None:
        toy.train(
            tmp_path,
            toy.ToyRecipe(before=lambda step: os.kill(os.getpid(), signal.SIGKILL) if step == last else None),
        )

    for kill in kills:
        assert toy.in_child(partial(train_until, kill)) == -signal.SIGKILL
    finished = toy.train(tmp_path)
    assert toy.same(straight, finished)
    # the checkpoint that was being written at a kill may stand or not
    assert len(finished.resumes) <= len([kill for kill in kills if kill >= 4])
    assert all(row["step"] % 4 == 0 for row in finished.resumes)


def test_kill_in_the_middle_of_saves_changes_nothing(tmp_path: Path, straight: toy.Result) -> None:
    """Die at one after the other of the operations that make files durable or give them their name."""
    real = {name: getattr(os, name) for name in ("fsync", "rename", "replace")}

    def attempt(fatal_call: int) -> None:
        calls = 0

        def counted(name: str) -> object:
            def call(*arguments: object, **options: object) -> object:
                nonlocal calls
                calls += 1
                if calls == fatal_call:
                    os.kill(os.getpid(), signal.SIGKILL)
                return real[name](*arguments, **options)

            return call

        for name in real:
            setattr(os, name, counted(name))
        toy.train(tmp_path)

    endings = []
    for fatal_call in range(2, 60):
        endings.append(toy.in_child(partial(attempt, fatal_call)))
        if endings[-1] == 0:
            break
    assert endings.count(-signal.SIGKILL) > 10 and endings[-1] == 0
    assert toy.same(straight, toy.train(tmp_path))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_finishes_the_step_saves_and_ends_with_75(
    tmp_path: Path, straight: toy.Result, number: signal.Signals
) -> None:
    def stop(step: int) -> None:
        if step == 9:
            os.kill(os.getpid(), number)

    status = toy.in_child(lambda: toy.train(tmp_path, toy.ToyRecipe(before=stop)))
    assert status == 75
    folder = tmp_path / toy.fingerprint().key
    record = read_json(folder / "step-00000010" / "checkpoint.json")
    assert record["step"] == 10
    finished = toy.train(tmp_path)
    assert toy.same(straight, finished)
    assert [row["step"] for row in finished.resumes] == [10]


def test_the_time_budget_ends_a_slice_and_slices_add_up(tmp_path: Path, straight: toy.Result) -> None:
    stops = 0
    for _ in range(toy.STEPS + 1):
        try:
            finished = toy.train(tmp_path, max_seconds=1e-9)
        except Interrupted as error:
            assert "time budget" in str(error) and error.exit_code == 75
            stops += 1
            # a slice of no length does no step: give the next one a little
            try:
                toy.train(tmp_path, max_seconds=0.05)
            except Interrupted:
                continue
        else:
            assert toy.same(straight, finished)
            return
    pytest.fail(f"not finished after {stops} slices")


def test_a_damaged_newest_checkpoint_falls_back_with_a_warning(
    tmp_path: Path, straight: toy.Result, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(Interrupted):
        toy.train(tmp_path, toy.ToyRecipe(before=lambda step: os.kill(os.getpid(), 15) if step == 13 else None))
    folder = tmp_path / toy.fingerprint().key
    victim = folder / "step-00000014" / "model.safetensors"
    data = bytearray(victim.read_bytes())
    data[-3] ^= 4
    victim.write_bytes(data)
    finished = toy.train(tmp_path)
    assert str(victim) in caplog.text and "step 12" in caplog.text
    assert [row["step"] for row in finished.resumes] == [12]
    assert toy.same(straight, finished)


def test_without_a_whole_checkpoint_it_never_starts_from_scratch(tmp_path: Path) -> None:
    toy.train(tmp_path)
    folder = tmp_path / toy.fingerprint().key
    for marker in folder.glob("step-*/checkpoint.json"):
        marker.write_text(marker.read_text()[:40])
    with pytest.raises(DataError, match="none of its 2 checkpoints can be used"):
        toy.train(tmp_path)
    assert len(list(folder.glob("step-*"))) == 2


def test_more_steps_continue_and_a_complete_training_writes_again_in_no_step(tmp_path: Path) -> None:
    def no_step(step: int) -> None:
        raise AssertionError(f"step {step} was trained again")

    short = toy.train(tmp_path, steps=12)
    again = toy.train(tmp_path, toy.ToyRecipe(before=no_step), steps=12)
    assert toy.same(short, again) and not again.resumes
    steps: list[int] = []
    longer = toy.train(tmp_path, toy.ToyRecipe(before=steps.append), steps=20)
    assert steps == list(range(12, 20)) and longer.step == 20


def test_lock_refuses_a_second_trainer_and_names_the_first(tmp_path: Path) -> None:
    errors: list[DataError] = []

    def second(step: int) -> None:
        if step == 2:
            with pytest.raises(DataError) as caught:
                toy.train(tmp_path)
            errors.append(caught.value)

    toy.train(tmp_path, toy.ToyRecipe(before=second), steps=4)
    assert f"pid {os.getpid()}" in str(errors[0])


def test_nan_in_too_many_steps_is_fatal_until_cleared(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="loss_total not finite in 2 steps in a row"):
        toy.train(tmp_path, toy.ToyRecipe(fail_at={9, 10}))
    folder = tmp_path / toy.fingerprint().key
    assert read_json(folder / "FATAL.json")["step"] == 11
    assert [path.name for path in sorted(folder.glob("step-*"))] == ["step-00000004", "step-00000008"]
    with pytest.raises(DataError, match="failed before at step 11"):
        toy.train(tmp_path)
    (folder / "FATAL.json").unlink()
    assert [row["step"] for row in toy.train(tmp_path).resumes] == [8]


def test_a_single_nan_step_is_left_out_and_the_training_goes_on(tmp_path: Path) -> None:
    result = toy.train(tmp_path, toy.ToyRecipe(fail_at={9}))
    assert result.step == toy.STEPS
    assert all(torch.isfinite(tensor).all() for tensor in result.last.values())


def test_changed_settings_start_anew_say_why_and_find_their_state_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    toy.train(tmp_path, steps=8)
    changed = toy.fingerprint(learning_rate=2)
    result = toy.train(tmp_path, steps=8, print_of=changed)
    assert "learning_rate none -> 2" in capsys.readouterr().out
    assert "learning_rate none -> 2" in result.history[0]["reason"]
    back = toy.train(tmp_path, steps=12)
    assert back.resumes[0]["step"] == 8
    assert f"back from training {changed.key}: learning_rate 2 -> none" in back.resumes[0]["reason"]


def test_warm_start_takes_the_last_weights_and_stays_exact_when_killed(tmp_path: Path) -> None:
    first = toy.train(tmp_path, steps=8)
    changed = toy.fingerprint(learning_rate=2)
    seen: list[torch.Tensor] = []
    recipe = toy.ToyRecipe(seed=3)
    recipe.before = lambda step: seen.append(recipe.model[0].weight.detach().clone()) if step == 0 else None
    result = toy.train(tmp_path, recipe, print_of=changed, warm_start=True, save_every_steps=100)
    assert torch.equal(seen[0], first.last["0.weight"])
    assert "starts from the weights of" in json.dumps(result.history[0])


def test_history_file_equals_memory_after_a_fallback(tmp_path: Path) -> None:
    def die(step: int) -> None:
        if step == 11:
            os.kill(os.getpid(), signal.SIGKILL)

    toy.in_child(lambda: toy.train(tmp_path, toy.ToyRecipe(before=die)))
    finished = toy.train(tmp_path)
    assert read_jsonl(tmp_path / toy.fingerprint().key / "history.jsonl") == finished.history
    assert [row["event"] for row in finished.history if "event" in row] == ["started", "resumed"]
