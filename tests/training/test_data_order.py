from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from voiceclone.errors import DataError
from voiceclone.files import write_tsv
from voiceclone.training.data import (
    BatchOrder,
    FeatureStore,
    Joining,
    WeightedOrder,
    derive_seed,
    draw_shares,
    pad_last,
    read_manifest,
    seed_step,
)


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


def weighted(**more: Any) -> WeightedOrder:
    random = np.random.default_rng(5)
    groups = ["real"] * 60 + ["teacher"] * 440
    lengths = random.integers(30, 400, len(groups)).tolist()
    weights = [2.0 if index < 100 else 1.0 for index in range(500)]
    options = {"min_shares": {"real": 0.4}, "batch": 20, "seed": 1} | more
    return WeightedOrder(lengths, weights, groups, **options)


def test_items_come_as_often_as_their_weights_say() -> None:
    order = weighted(min_shares={})
    counts = Counter(item for step in range(1600) for item in order.batch(step))
    twice, once = (np.mean([counts[item] for item in part]) for part in (range(100), range(100, 500)))
    assert twice / once == pytest.approx(2, rel=0.02)
    assert min(counts[item] for item in range(500)) > 0.6 * once


def test_every_batch_has_the_least_share_of_a_group() -> None:
    order = weighted()
    shares = [np.mean(np.array(order.batch(step)) < 60) for step in range(320)]
    assert np.mean(shares) == pytest.approx(0.4, abs=0.005)
    assert min(shares) >= 0.35  # a batch of 20 may lack one to the next batch


def test_raising_one_group_may_ask_for_another() -> None:
    shares = draw_shares([1.0, 2.0, 7.0], ["a", "b", "c"], {"a": 0.5, "b": 0.2})
    assert shares == pytest.approx([0.5, 0.2, 0.3])
    with pytest.raises(DataError, match="more than 1"):
        draw_shares([1.0, 1.0], ["a", "b"], {"a": 0.6, "b": 0.6})


def test_weighted_batches_depend_on_seed_and_step_alone() -> None:
    one, other = weighted(), weighted()
    assert [one.batch(step) for step in range(40)] == [other.batch(step) for step in reversed(range(40))][::-1]
    assert one.batch(3) != weighted(seed=2).batch(3)


def test_a_budget_gives_batches_of_like_length() -> None:
    order = weighted(batch=0, budget=4000, min_shares={})
    totals = [order.lengths[order.batch(step)].sum() for step in range(160)]
    assert np.mean(totals) == pytest.approx(4000, rel=0.03)
    assert max(totals) < 5000
    assert order.padding_share() < 0.15


def test_a_budget_smaller_than_an_item_still_gives_one_item_to_each_step() -> None:
    order = WeightedOrder([1, 1, 5000], [1, 1, 1], ["", "", ""], 0, 1, budget=10)
    assert all(order.batch(step) for step in range(64))


def test_some_items_get_another_one_of_the_same_speaker_before_them() -> None:
    speakers = [str(index % 7) for index in range(500)]
    order = weighted(joining=Joining(speakers, 0.4, longest=600))
    pairs = [pair for step in range(160) for pair in zip(order.batch(step), order.partners(step), strict=True)]
    joined = [(item, other) for item, other in pairs if other >= 0]
    assert 0.25 < len(joined) / len(pairs) < 0.4  # some are too long together
    assert all(speakers[item] == speakers[other] for item, other in joined)
    assert max(order.lengths[[item, other]].sum() for item, other in joined) <= 600
    assert order.padding_share() < 0.2


def test_manifests_without_columns_about_speakers_are_of_one_person(tmp_path: Path) -> None:
    folder = tmp_path / "ann" / "features"
    columns = ["utterance", "split", "seconds", "language", "text", "frames", "audio_sha256"]
    plain = dict(zip(columns, ["u", "train", 1, "en", "t", 50, "0"], strict=True))
    write_tsv(folder / "manifest.tsv", columns, [plain])
    row = read_manifest(folder)[0]
    assert (row.speaker, row.source, row.bandwidth, row.weight) == ("ann", "recordings", 0.0, 1.0)
    assert row.use == {"gpt", "sovits"}
    more = plain | {"speaker": "bob", "source": "libri", "bandwidth": 8000, "weight": 0.5, "use": "gpt"}
    write_tsv(folder / "manifest.tsv", list(more), [more])
    row = read_manifest(folder)[0]
    assert (row.speaker, row.source, row.bandwidth, row.weight, row.use) == ("bob", "libri", 8000.0, 0.5, {"gpt"})
