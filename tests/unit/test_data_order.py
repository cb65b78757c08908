from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from voiceclone.errors import DataError
from voiceclone.training.data import BatchOrder, FeatureStore, derive_seed, pad_last, seed_step


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 400), min_size=1, max_size=60), st.integers(1, 9), st.integers(0, 5), st.integers(0, 3))
def test_every_epoch_has_each_item_once_in_batches_of_nearly_equal_size(
    lengths: list[int], batch_size: int, seed: int, epoch: int
) -> None:
    order = BatchOrder(lengths, batch_size, seed)
    steps = range(epoch * order.steps_per_epoch, (epoch + 1) * order.steps_per_epoch)
    batches = [order.batch(step) for step in steps]
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    sizes = [len(batch) for batch in batches]
    assert max(sizes) <= batch_size and max(sizes) - min(sizes) <= 1
    assert {order.epoch(step) for step in steps} == {epoch}


def test_the_order_depends_on_seed_and_step_alone() -> None:
    lengths = list(range(10, 50))
    order = BatchOrder(lengths, 4, 1)
    ahead = order.batch(77)
    assert [order.batch(step) for step in (3, 30, 77)][2] == ahead == BatchOrder(lengths, 4, 1).batch(77)
    assert any(BatchOrder(lengths, 4, 2).batch(step) != order.batch(step) for step in range(10))
    assert [order.batch(step) for step in range(10)] != [order.batch(step) for step in range(10, 20)]


def test_the_order_is_the_same_in_another_process() -> None:
    code = "from voiceclone.training.data import BatchOrder as B; print(B(list(range(10, 50)), 4, 1).batch(77))"
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": "7"}
    )
    assert out.stdout.strip() == str(BatchOrder(list(range(10, 50)), 4, 1).batch(77))


def test_bucketing_keeps_padding_under_15_percent() -> None:
    """Lengths spread from 1 to 12 s as slices are; without sorting about a third would be padding."""
    random = torch.Generator().manual_seed(0)
    lengths = (50 + 550 * torch.rand(400, generator=random)).long().tolist()
    order = BatchOrder(lengths, 8, 0)
    assert max(order.padding_share(epoch) for epoch in range(5)) < 0.15
    chopped = [lengths[start : start + 8] for start in range(0, 400, 8)]
    assert 1 - sum(lengths) / sum(8 * max(chunk) for chunk in chopped) > 0.3


def test_no_items_is_an_error_that_says_where_to_look() -> None:
    with pytest.raises(DataError, match="not one utterance"):
        BatchOrder([], 4, 0)


def test_step_seeds_make_randomness_a_function_of_the_step() -> None:
    seed_step(3, 10)
    first = torch.rand(4)
    torch.rand(100)
    seed_step(3, 10)
    assert torch.equal(torch.rand(4), first)
    values = {derive_seed("step", seed, step, rank) for seed in range(3) for step in range(20) for rank in range(2)}
    assert len(values) == 120 and all(0 <= value < 2**63 for value in values)


def test_padding_is_at_the_end() -> None:
    padded = pad_last([torch.ones(2, 3), torch.ones(2, 1)], value=7)
    assert padded.tolist() == [[[1, 1, 1], [1, 1, 1]], [[1, 7, 7], [1, 7, 7]]]
    assert pad_last([torch.ones(1, 2)], length=4).shape == (1, 1, 4)


def test_a_feature_that_is_missing_names_file_and_utterance(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(2, 5)}, tmp_path / "content.safetensors")
    store = FeatureStore(tmp_path / "content.safetensors")
    assert store.length("a") == 5 and store["a"].shape == (2, 5) and "b" not in store
    with pytest.raises(DataError, match=r"content\.safetensors: has no entry for utterance b"):
        store["b"]
    with pytest.raises(DataError, match="missing"):
        FeatureStore(tmp_path / "none.safetensors")
