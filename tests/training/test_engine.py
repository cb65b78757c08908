"""The promise of the training engine, tested by breaking it: a stopped training ends as if it had never stopped."""

from __future__ import annotations

import json
import os
import random
import signal
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import soundfile
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tests.support import training_toy as toy

from voiceclone.errors import DataError, Interrupted
from voiceclone.files import read_json, read_jsonl
from voiceclone.lineage.rights import GENERATED_NOTICE
from voiceclone.training.checkpoints import CheckpointStore

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def straight_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("straight")


@pytest.fixture(scope="module")
def straight(straight_folder: Path) -> toy.Result:
    return toy.train(straight_folder)


def break_in_save(call: int, number: int) -> None:
    """Send this process a signal at one of the operations that make files durable or give them their name."""
    calls = 0

    def counted(real: Callable[..., object]) -> Callable[..., object]:
        def wrapper(*arguments: object, **options: object) -> object:
            nonlocal calls
            calls += 1
            if calls == call:
                os.kill(os.getpid(), number)
            return real(*arguments, **options)

        return wrapper

    for name in ("fsync", "rename", "replace"):
        setattr(os, name, counted(getattr(os, name)))


NUMBERS = st.sampled_from([signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
BREAKS = st.tuples(st.sampled_from(["step", "save", "time"]), st.integers(0, 40), NUMBERS)


@settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(BREAKS, min_size=1, max_size=4))
def test_broken_anywhere_by_any_signal_the_end_is_the_same_bit_for_bit(
    straight_folder: Path, straight: toy.Result, breaks: list[tuple[str, int, signal.Signals]]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for where, when, number in breaks:

            def attempt(where: str = where, when: int = when, number: int = number) -> None:
                signal.signal(signal.SIGHUP, signal.SIG_DFL)
                if where == "save":
                    break_in_save(when, number)
                if where == "time":  # between any two instructions, of any thread
                    signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), number))
                    signal.setitimer(signal.ITIMER_REAL, 0.004 * (when + 1))
                hit = toy.ToyRecipe(before=lambda step: os.kill(os.getpid(), number) if step == when else None)
                toy.train(root, hit if where == "step" else None)

            # before or after the training the signal finds no one who would save
            assert toy.in_child(attempt) in (0, 75, 99, -number)
        assert toy.same(straight, toy.train(root))
        assert toy.final_state(root) == toy.final_state(straight_folder)


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

    def attempt(fatal_call: int) -> None:
        break_in_save(fatal_call, signal.SIGKILL)
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


def test_a_save_that_is_slow_does_not_hold_up_the_training_and_none_is_lost(
    tmp_path: Path, straight: toy.Result, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk takes as long for a checkpoint as the training for many steps: the next save waits for it."""
    real, written = os.fsync, []

    def slow(descriptor: int) -> None:
        time.sleep(0.02)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", slow)
    monkeypatch.setattr(CheckpointStore, "prune", lambda self: written.append(self.steps()[-1]), raising=True)
    during: list[bool] = []
    result = toy.train(tmp_path, toy.ToyRecipe(before=lambda step: during.append(bool(written) or step < 5)))
    assert written == [4, 8, 12, 16, 20]
    assert not during[5]  # step 5 was trained before checkpoint 4 stood
    assert toy.same(result, straight)


def test_every_mth_and_the_best_checkpoints_are_kept(tmp_path: Path) -> None:
    result = toy.train(tmp_path, keep_every_steps=6, keep_best=2)
    heldout = {row["step"]: row["error"] for row in toy.losses(result) if row["split"] == "heldout"}
    best = sorted(heldout, key=lambda step: heldout[step])[:2]
    kept = {int(path.name[5:]) for path in tmp_path.glob("*/step-*")}
    assert kept == {6, 12, 18, 20, *best}
    for step in best:
        (record,) = tmp_path.glob(f"*/step-{step:08d}/checkpoint.json")
        assert read_json(record)["metric"] == heldout[step]


def test_early_stopping_ends_counts_as_complete_and_survives_a_kill(tmp_path: Path) -> None:
    def recipe(kill: int | None = None) -> toy.ToyRecipe:
        made = toy.ToyRecipe()
        done = [0]

        def before(step: int) -> None:
            done[0] = step
            if step == kill:
                os.kill(os.getpid(), signal.SIGKILL)

        made.before = before
        made.validate = lambda: {"error": float(done[0])}  # type: ignore[method-assign]  # worse and worse
        return made

    whole = toy.train(tmp_path / "whole", recipe(), patience=2)
    assert whole.step == 15 and whole.best.step == 5
    assert toy.in_child(lambda: toy.train(tmp_path / "killed", recipe(kill=13), patience=2)) == -signal.SIGKILL
    killed = toy.train(tmp_path / "killed", recipe(), patience=2)
    assert killed.resumes and toy.same(whole, killed)

    def no_step(step: int) -> None:
        raise AssertionError(f"step {step} was trained again")

    assert toy.train(tmp_path / "whole", toy.ToyRecipe(before=no_step), patience=2).step == 15
    more = toy.train(tmp_path / "whole", recipe(), patience=0)
    assert more.step == toy.STEPS and more.resumes[0]["step"] == 15


def test_the_curves_have_one_value_per_step_and_marks_where_it_resumed(tmp_path: Path, straight: toy.Result) -> None:
    for last in (7, 14):
        toy.in_child(
            lambda last=last: toy.train(  # type: ignore[misc]
                tmp_path, toy.ToyRecipe(before=lambda step: os.kill(os.getpid(), 9) if step == last else None)
            )
        )
        time.sleep(1)  # TensorBoard orders its files by the second
    finished = toy.train(tmp_path)
    curves = EventAccumulator(str(tmp_path / toy.fingerprint().key / "tensorboard"), {"scalars": 0, "tensors": 0})
    curves.Reload()
    for split, name in (("train", "loss_total"), ("heldout", "error")):
        drawn = [(event.step, round(event.value, 5)) for event in curves.Scalars(f"{split}/{name}")]
        rows = [row for row in toy.losses(finished) if row["split"] == split]
        assert drawn == [(row["step"], round(row[name], 5)) for row in rows]
    marks = [event.step for event in curves.Tensors("events/text_summary")]
    assert marks == [row["step"] for row in finished.history if "event" in row]


def test_a_person_can_hear_how_far_the_training_is(tmp_path: Path) -> None:
    toy.train(tmp_path, sample_every=2)
    folder = tmp_path / toy.fingerprint().key
    assert sorted(path.name for path in (folder / "samples").iterdir()) == [f"step-{step:08d}.flac" for step in (5, 15)]
    curves = EventAccumulator(str(folder / "tensorboard"), {"audio": 0})
    curves.Reload()
    assert [event.step for event in curves.Audio("sample")] == [5, 15]
    for path in (folder / "samples").iterdir():
        with soundfile.SoundFile(path) as sound:
            assert sound.comment.startswith(GENERATED_NOTICE)


def test_losses_of_the_utterances_are_those_of_the_best_weights(straight: toy.Result) -> None:
    recipe = toy.ToyRecipe()
    recipe.model.load_state_dict(straight.best.weights)
    recipe.model.eval()
    with torch.no_grad():
        assert straight.losses == dict(recipe.utterance_losses()) and len(straight.losses) == 7
