from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from voiceclone.errors import DataError
from voiceclone.training.checkpoints import (
    CheckpointStore,
    DamagedCheckpointError,
    HostMemory,
    pack,
    take_snapshot,
    unpack,
)

KEY = "0123456789ab"
VERSIONS = {"torch": "x"}


def parts(value: float) -> dict[str, object]:
    """Parts as a training has them: a module's state, an optimiser's, plain counters."""
    return {
        "model": {"weight": torch.full((3, 2), value), "flag": torch.tensor(True)},
        "optimiser": {
            "state": {0: {"step": torch.tensor(value), "exp_avg": torch.ones(2, dtype=torch.float16)}},
            "param_groups": [{"lr": 1e-4, "betas": (0.8, 0.99), "params": [0], "fused": None}],
        },
        "counters": {"step": int(value), "seconds": 0.1 + value},
    }


def equal(a: object, b: object) -> bool:
    """Deep equality that tells dtypes, tuples and integer keys apart."""
    if type(a) is not type(b):
        return False
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(equal(x, y) for x, y in zip(a, b, strict=True))
    return a == b


@pytest.fixture
def store(tmp_path: Path) -> CheckpointStore:
    made = CheckpointStore(tmp_path / "state", KEY, keep=2)
    for step in (5, 10, 15):
        made.write(take_snapshot(step, parts(step), [{"step": step, "loss": 0.1}], VERSIONS))
    return made


leaves = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5)
)
nested = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=3) | st.integers(0, 9), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(nested)
def test_any_nested_plain_value_survives(value: object) -> None:
    import json

    assert equal(unpack(json.loads(json.dumps(pack(value, "", {}))), {}), value)


def test_pickle_bound_values_are_refused() -> None:
    with pytest.raises(TypeError, match=r"a\.b: PosixPath cannot be stored"):
        pack({"a": {"b": Path("x")}}, "", {})


def test_a_checkpoint_comes_back_exactly_and_only_the_newest_are_kept(store: CheckpointStore) -> None:
    found = store.newest()
    assert found is not None and found.record.step == 15 and found.record.versions == VERSIONS
    assert equal(found.parts, parts(15)) and found.history == [{"step": 15, "loss": 0.1}]
    assert store.steps() == [10, 15]
    assert sorted(path.name for path in found.folder.iterdir()) == [
        "checkpoint.json", "history.jsonl", "model.safetensors", "optimiser.safetensors", "state.json",
    ]  # fmt: skip
    assert all(path.name.startswith("step-") for path in store.folder.iterdir())


def test_tied_and_sliced_tensors_are_stored_whole(tmp_path: Path) -> None:
    base = torch.arange(12.0).view(3, 4)
    store = CheckpointStore(tmp_path, KEY)
    store.write(take_snapshot(1, {"model": {"a": base, "tied": base, "view": base.t()[1:]}}, [], VERSIONS))
    found = store.newest()
    assert found is not None
    assert torch.equal(found.parts["model"]["tied"], base) and torch.equal(found.parts["model"]["view"], base.t()[1:])


@pytest.mark.parametrize(
    "name", ["checkpoint.json", "history.jsonl", "model.safetensors", "optimiser.safetensors", "state.json"]
)
@pytest.mark.parametrize("damage", ["flip", "truncate", "remove", "empty"])
def test_any_damage_is_found_and_the_one_before_is_used(
    store: CheckpointStore, name: str, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    victim = store.path(15) / name
    content = bytearray(victim.read_bytes())
    if damage == "flip":
        content[len(content) // 2] ^= 1
    if damage == "remove":
        victim.unlink()
    else:
        victim.write_bytes({"flip": content, "truncate": content[:-7], "empty": b""}[damage])
    if damage == "flip" and name == "checkpoint.json":
        victim.write_text(victim.read_text().replace('"step": 15', '"step": 14'))
    found = store.newest()
    assert found is not None and found.record.step == 10 and equal(found.parts, parts(10))
    assert str(victim) in caplog.text and "step 15 is damaged" in caplog.text


def test_damaged_ones_never_push_out_the_last_whole_one(store: CheckpointStore) -> None:
    for step in (20, 25):
        store.path(step).mkdir()
    again = CheckpointStore(store.folder, KEY, keep=2)
    found = again.newest()
    assert found is not None and found.record.step == 15
    for step in (16, 17):
        again.write(take_snapshot(step, parts(step), [], VERSIONS))
    found = again.newest()
    assert found is not None and found.record.step == 17
    assert again.steps() == [16, 17, 20, 25]


def test_a_checkpoint_of_another_training_is_not_used(store: CheckpointStore) -> None:
    with pytest.raises(DamagedCheckpointError, match=f"belongs to training {KEY}, expected other"):
        CheckpointStore(store.folder, "other").load(15)


def test_nothing_there_is_a_fresh_start(tmp_path: Path) -> None:
    assert CheckpointStore(tmp_path / "none", KEY).newest() is None


def test_remains_of_a_killed_save_are_swept(store: CheckpointStore) -> None:
    remains = store.folder / ".writing-00000020"
    remains.mkdir()
    (remains / "model.safetensors").write_bytes(b"half")
    assert store.steps() == [10, 15]
    store.sweep()
    assert not remains.exists() and store.newest() is not None


def test_a_full_disk_says_so_and_keeps_what_is_there(store: CheckpointStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataError, match=r"No space left on device.*the one of step 15 is kept"):
        store.write(take_snapshot(20, parts(20), [], VERSIONS))
    monkeypatch.undo()
    assert store.steps() == [10, 15]
    assert sorted(path.name for path in store.folder.iterdir()) == ["step-00000010", "step-00000015"]


def test_saving_a_step_again_replaces_it(store: CheckpointStore) -> None:
    (store.path(15) / "state.json").write_text("{}")
    store.write(take_snapshot(15, parts(7), [], VERSIONS))
    found = store.newest()
    assert found is not None and equal(found.parts, parts(7))


def test_killed_while_it_replaces_the_only_checkpoint_the_old_one_is_put_back(tmp_path: Path) -> None:
    """Between the two renames: the old one has a name that is no checkpoint's, the new one is not there yet."""
    store = CheckpointStore(tmp_path, KEY)
    store.write(take_snapshot(5, parts(5), [], VERSIONS))
    store.path(5).rename(tmp_path / ".replaced-00000005")
    (tmp_path / ".writing-00000005").mkdir()
    again = CheckpointStore(tmp_path, KEY)
    again.sweep()
    found = again.newest()
    assert found is not None and equal(found.parts, parts(5))
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000005"]


def test_a_checkpoint_half_removed_is_taken_for_none(store: CheckpointStore) -> None:
    removing = store.folder / ".removing-00000010"
    store.path(10).rename(removing)
    (removing / "checkpoint.json").unlink()
    store.sweep()
    assert store.steps() == [15] and not removing.exists()


def test_those_with_the_lowest_figure_and_every_mth_are_kept(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, KEY, keep=2, keep_every=40, keep_best=1)
    figures = {10: None, 20: 0.3, 30: 0.5, 40: None, 50: 0.4, 60: 0.9, 70: None}
    for step, figure in figures.items():
        store.write(take_snapshot(step, parts(step), [], VERSIONS, figure))
    assert store.steps() == [20, 40, 60, 70]
    store.write(take_snapshot(80, parts(80), [], VERSIONS, 0.1))
    assert store.steps() == [40, 70, 80]


def test_host_memory_is_used_again_and_copies_are_apart_from_what_trains_on() -> None:
    memory, trained = HostMemory(), torch.arange(6.0).view(2, 3)
    first = memory.copy("a", trained.t())
    memory.settle()
    trained += 1
    assert torch.equal(first, torch.arange(6.0).view(2, 3).t()) and first.is_contiguous()
    assert memory.copy("a", trained.t()).data_ptr() == first.data_ptr()
    assert memory.copy("a", torch.zeros(7)).shape == (7,)
