"""``runtime.micro_batch: auto``: what a step needs is measured, and the training is that of the number set by hand."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.support.small_training import Speaker, die_at, tensors

from voiceclone.errors import Interrupted
from voiceclone.files import read_json
from voiceclone.training import gpt, memory, sovits
from voiceclone.training.memory import SHARE, fitting_size, peak_bytes

pytestmark = pytest.mark.usefixtures("small_networks")

CPU = torch.device("cpu")
MB = 2**20
KINDS = ["gpt", "sovits"]


@given(st.integers(1, 10**6), st.integers(0, 10**5), st.integers(0, 10**7), st.integers(1, 64))
def test_the_largest_that_fits_is_taken(one: int, each: int, room: int, most: int) -> None:
    size = fitting_size(one, one + each, room, most) or most
    assert 1 <= size <= most
    assert size == 1 or one + (size - 1) * each <= room
    assert size == most or one + size * max(each, 1) > room


def test_bytes_are_counted_while_tensors_live() -> None:
    weight = torch.ones(MB, requires_grad=True)  # 4 MB, there before

    def work() -> None:
        first = torch.ones(2 * MB)
        first[:10].add_(1)  # a view, in place
        del first
        kept = (weight * 2).exp()  # two tensors; the backward pass needs the second, and makes gradients
        kept.sum().backward()

    assert peak_bytes(CPU, work) // MB in (12, 16)
    assert peak_bytes(CPU, lambda: torch.ones(MB)) == 4 * MB


def train(speaker: Speaker, kind: str, room: int, patch: pytest.MonkeyPatch, **settings: object) -> list[str]:
    """Train with so much free memory; what was found."""
    patch.setattr(memory, "free_bytes", lambda _: round(room / SHARE))
    speaker.train(kind, batch_size=4, micro_batch="auto", **settings)
    return [row["reason"] for row in speaker.history(kind) if row.get("event") == "memory"]


def room_of_two(folder: Path, kind: str, patch: pytest.MonkeyPatch) -> int:
    """Bytes that are enough for two utterances at a time, and for no three."""
    asked: list[tuple[int, int]] = []

    def noted(one: int, two: int, room: int, most: int) -> int:
        asked.append((one, two))
        return 1

    with patch.context() as inside:
        inside.setattr(memory, "fitting_size", noted)
        train(Speaker(folder), kind, 10**9, inside, steps=1)
    ((one, two),) = asked
    assert 0 < one < two < 2 * one
    return two + (two - one) // 2


@pytest.mark.parametrize("kind", KINDS)
def test_a_training_that_measures_is_the_one_that_was_told(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped on a machine with little memory, it goes on where there is more: no step changes."""
    told, found = Speaker(tmp_path / "told"), Speaker(tmp_path / "found")
    told.train(kind, batch_size=4, micro_batch=2)
    room = room_of_two(tmp_path / "measured", kind, monkeypatch)
    recipe = gpt.GPTRecipe if kind == "gpt" else sovits.SoVITSRecipe
    with monkeypatch.context() as patch:
        patch.setattr(recipe, "train_step", recipe.train_step)  # put back afterwards
        die_at(recipe, 3, signal.SIGTERM)
        with pytest.raises(Interrupted):
            train(found, kind, room, patch)
    assert train(found, kind, 10**12, monkeypatch)[0].startswith("micro-batch: 2 utterances; needs ")
    (newest,) = [max(found.folder.glob(f"state/{kind}/*/step-*"))]
    assert ["size", 2] in read_json(newest / "state.json")["micro_batch"]["$items"]
    assert len([row for row in found.history(kind) if row.get("event") == "memory"]) == 1  # not again
    assert found.weights(kind) == told.weights(kind) and found.losses(kind) == told.losses(kind)
    assert tensors(found, kind) == tensors(told, kind)


def test_where_all_fits_the_batch_stays_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told, found = Speaker(tmp_path / "told"), Speaker(tmp_path / "found")
    told.train("gpt", batch_size=4, steps=4)
    assert train(found, "gpt", 10**12, monkeypatch, steps=4)[0].startswith("micro-batch: the whole batch")
    assert found.weights("gpt") == told.weights("gpt") and tensors(found, "gpt") == tensors(told, "gpt")


def test_a_training_that_was_begun_without_is_measured_when_it_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trial steps on a state with moments of the optimiser leave nothing behind either."""
    told, found = Speaker(tmp_path / "told"), Speaker(tmp_path / "found")
    for speaker in (told, found):
        speaker.train("gpt", batch_size=4, steps=4, micro_batch=1)
    told.train("gpt", batch_size=4, steps=8)
    train(found, "gpt", 10**12, monkeypatch, steps=8)
    assert found.weights("gpt") == told.weights("gpt") and tensors(found, "gpt") == tensors(told, "gpt")
