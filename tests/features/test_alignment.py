"""Alignment of tokens to phones on made-up speech whose alignment is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from voiceclone.features.alignment import Aligner, Utterance, align_features
from voiceclone.features.store import Entry, open_store, write_store
from voiceclone.files import write_tsv
from voiceclone.stages.align import AlignSettings
from voiceclone.text.symbols import SYMBOL_IDS, SYMBOLS

PHONES, CODES = 40, 64
COMMA = SYMBOL_IDS[","]


def spoken(seed: int, count: int) -> tuple[list[Utterance], list[np.ndarray]]:
    """Utterances in which each phone has three favourite tokens, 20 % of the tokens are noise, and one phone in fifteen
    is not spoken at all; and their true alignments."""
    random = np.random.default_rng(seed)
    favourites = np.random.default_rng(0).integers(0, CODES, (PHONES, 3))
    items, truths = [], []
    for _ in range(count):
        phones = random.integers(0, PHONES, random.integers(8, 40))
        spans = random.integers(1, 6, len(phones))
        spans[1:-1][random.random(len(phones) - 2) < 1 / 15] = 0
        spans[1:][(spans[1:] == 0) & (spans[:-1] == 0)] = 1  # no two in a row
        truth = np.repeat(np.arange(len(phones)), spans)
        codes = favourites[phones[truth], random.integers(0, 3, len(truth))]
        noisy = random.random(len(truth)) < 0.2
        items.append(Utterance(np.where(noisy, random.integers(0, CODES, len(truth)), codes), phones))
        truths.append(truth)
    return items, truths


def agreement(paths: list[np.ndarray | None], truths: list[np.ndarray]) -> float:
    return float(np.mean(np.concatenate([p == t for p, t in zip(paths, truths, strict=True) if p is not None])))


def test_phones_are_found_from_a_flat_start() -> None:
    items, truths = spoken(1, 150)
    aligner = Aligner(PHONES, CODES)
    scores = aligner.fit(items, 8)
    assert np.all(np.diff(scores) > -0.02) and scores[-1] > scores[0] + 0.5
    paths, _ = aligner.align(items)
    assert agreement(paths, truths) > 0.85
    np.testing.assert_allclose(aligner.emission.sum(1), 1, rtol=1e-5)


def test_an_utterance_is_aligned_as_it_is_alone() -> None:
    items, _ = spoken(1, 150)
    aligner = Aligner(PHONES, CODES)
    aligner.fit(items, 3)
    together, _ = aligner.align(items)
    for index in (0, 70, 149):
        (alone,), _ = aligner.align([items[index]])
        np.testing.assert_array_equal(alone, together[index])


def test_paths_go_forward_by_two_phones_at_most() -> None:
    items, _ = spoken(2, 60)
    aligner = Aligner(PHONES, CODES)
    aligner.fit(items, 3)
    for item, path in zip(items, aligner.align(items)[0], strict=True):
        assert path is not None and path.dtype == np.int16 and len(path) == len(item.codes)
        assert set(np.diff(path)) <= {0, 1, 2}
        assert path[0] <= 1 and path[-1] >= len(item.phones) - 2


def test_a_table_of_other_data_needs_few_utterances() -> None:
    other, _ = spoken(1, 150)
    known = Aligner(PHONES, CODES)
    known.fit(other, 8)
    few, truths = spoken(9, 3)
    alone, helped = Aligner(PHONES, CODES), Aligner(PHONES, CODES, known.emission)
    for aligner in (alone, helped):
        aligner.fit(few, 2)
    assert agreement(helped.align(few)[0], truths) > agreement(alone.align(few)[0], truths) + 0.1


def test_a_comma_may_be_silent() -> None:
    random = np.random.default_rng(3)
    phones = [np.array([1, 2, COMMA, 3, 4])] * 40
    codes = [np.repeat([1, 2, 3, 4], random.integers(2, 5, 4)) for _ in range(20)]
    codes += [np.repeat([1, 2, 9, 3, 4], random.integers(2, 5, 5)) for _ in range(20)]
    items = [Utterance(code, phone) for code, phone in zip(codes, phones, strict=True)]
    aligner = Aligner(len(SYMBOLS), 16)
    aligner.fit(items, 6)
    for code, path in zip(codes, aligner.align(items)[0], strict=True):
        assert path is not None
        expected = {1: 0, 2: 1, 9: 2, 3: 3, 4: 4}
        assert path.tolist() == [expected[token] for token in code]


def test_too_few_tokens_give_no_path() -> None:
    aligner = Aligner(PHONES, CODES)
    items = [Utterance(np.array([1, 2]), np.arange(12)), Utterance(np.array([1, 2, 3]), np.arange(3))]
    paths, _ = aligner.align([*items, Utterance(np.zeros(0, np.int64), np.arange(3))])
    assert paths[0] is None and paths[2] is None
    assert paths[1] is not None and paths[1].tolist() == [0, 1, 2]


def test_the_stage_writes_store_and_table_the_same_each_time(tmp_path: Path) -> None:
    items, truths = spoken(4, 60)
    names = [f"u{index:02d}" for index in range(60)]
    rows = [{"utterance": name, "split": "heldout" if index < 5 else "train"} for index, name in enumerate(names)]
    write_tsv(tmp_path / "manifest.tsv", ["utterance", "split"], rows)
    for kind, metadata in (("phones", {}), ("codes", {"codes": str(CODES)})):
        values = {name: getattr(item, kind) for name, item in zip(names, items, strict=True)}
        entries = {name: Entry(value.shape, lambda value=value: value) for name, value in values.items()}
        write_store(tmp_path / f"{kind}.safetensors", "int64", entries, metadata)

    def run(name: str) -> tuple[bytes, bytes]:
        output, table = tmp_path / f"{name}.safetensors", tmp_path / f"{name}-table.safetensors"
        inputs = (tmp_path / name for name in ("manifest.tsv", "phones.safetensors", "codes.safetensors"))
        align_features(*inputs, output, table, AlignSettings())
        return output.read_bytes(), table.read_bytes()

    assert run("first") == run("second")
    store = open_store(tmp_path / "first.safetensors")
    assert agreement([store[name] for name in names], truths) > 0.8
    assert load_file(tmp_path / "first-table.safetensors")["emission"].shape == (len(SYMBOLS), CODES)


@pytest.mark.parametrize("phones", [1, 2])
def test_very_short_texts(phones: int) -> None:
    aligner = Aligner(PHONES, CODES)
    (path,), _ = aligner.align([Utterance(np.array([5, 6, 7]), np.arange(phones))])
    assert path is not None and path.max() < phones
