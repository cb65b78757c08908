"""Order of the data and randomness as pure functions of (seed, step): neither needs to be stored or restored.

A thread reads and pads the next batch while the device works on this one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from safetensors import safe_open
from torch import Tensor

from voiceclone.errors import DataError
from voiceclone.files import read_tsv
from voiceclone.stages.gather import GROUP

LENGTH_JITTER = 0.1  # lengths vary by this share before sorting, so that neighbours differ from epoch to epoch
POOL = 16  # steps whose items are drawn together by weight, so that neighbours of similar length can be found
Indices = npt.NDArray[np.int64]


def derive_seed(*parts: object) -> int:
    """63-bit seed from any values, the same in every process and on every machine."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:8], "big") >> 1


def seed_step(seed: int, step: int | str, rank: int = 0) -> None:
    """Seed torch, on all devices, for one step: slices, noise and dropout then depend on nothing before it."""
    torch.manual_seed(derive_seed("step", seed, step, rank))


class Order(Protocol):
    """The items of each step's batch, a function of the step alone."""

    lengths: npt.NDArray[np.float64]  # of the items, in any unit
    steps_per_epoch: int

    def epoch(self, step: int) -> int:
        """Epoch, counted from 0, that step (counted from 0) belongs to."""

    def batch(self, step: int) -> list[int]:
        """Indices of the items of a step, counted from 0."""

    def partners(self, step: int) -> list[int]:
        """For each item of a step the one that is read before it, of the same speaker; -1: none."""

    def padding_share(self, epoch: int = 0) -> float:
        """Share of padding in the batches of an epoch, between 0 and 1."""


class BatchOrder:
    """The items of each step's batch.

    In every epoch each item comes once. Items are sorted by length with some jitter and cut into batches of nearly
    equal size, so that a batch holds similar lengths and little padding; then the batches are shuffled.

    Args:
        lengths: length of each item, in any unit.
        batch_size: max. items in a batch.
        seed: seed of jitter and shuffling.
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int) -> None:
        if not lengths:
            raise DataError("there is not one utterance to train on", "look at corpus/rejected.tsv of the speaker")
        self.lengths = np.asarray(lengths, dtype=np.float64)
        self.seed = seed
        self.steps_per_epoch = -(-len(lengths) // batch_size)
        self._epoch = lru_cache(maxsize=2)(self._make_epoch)

    def _make_epoch(self, epoch: int) -> list[list[int]]:
        random = np.random.default_rng(derive_seed("order", self.seed, epoch))
        jittered = self.lengths * (1 + LENGTH_JITTER * random.random(len(self.lengths)))
        batches = np.array_split(np.argsort(jittered, kind="stable"), self.steps_per_epoch)
        return [batches[index].tolist() for index in random.permutation(len(batches))]

    def epoch(self, step: int) -> int:
        """Epoch, counted from 0, that step (counted from 0) belongs to."""
        return step // self.steps_per_epoch

    def batch(self, step: int) -> list[int]:
        """Indices of the items of a step, counted from 0."""
        epoch, position = divmod(step, self.steps_per_epoch)
        return self._epoch(epoch)[position]

    def partners(self, step: int) -> list[int]:
        """No item has one."""
        return [-1] * len(self.batch(step))

    def padding_share(self, epoch: int = 0) -> float:
        """Share of padding in the batches of an epoch, between 0 and 1."""
        batches = self._epoch(epoch)
        padded = sum(len(batch) * self.lengths[batch].max() for batch in batches)
        return float(1 - self.lengths.sum() / padded) if padded else 0.0


@dataclass(frozen=True)
class Joining:
    """Pairs of utterances of one speaker that are read as one: what prompts and long texts look like to a model.

    Attributes:
        speakers: of each item.
        share: of the drawn items that get another one before them.
        longest: together; an item gets none where the one that was drawn for it makes it longer.
    """

    speakers: Sequence[str]
    share: float
    longest: float


class WeightedOrder:
    """Items drawn by weight, in batches of similar lengths; see :class:`Order`.

    The items of some steps are drawn together: systematic sampling over a shuffled list, so that an item comes as
    often as its weight says, within one. They are sorted by length with some jitter, cut into batches, and the batches
    are shuffled. Each batch has its share of every group with a minimum share.

    Args:
        lengths: of each item, in any unit.
        weights: how often an item is drawn, relative to the others; 0: never.
        groups: of each item.
        batch: items in a batch; 0 with a budget.
        seed: of everything that is drawn.
        min_shares: group -> smallest share of the drawn items; its weights are raised where they give less.
        budget: lengths that a batch adds up to, about; 0: batches are counted in items.
        joining: items that get another one of the same speaker before them.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        weights: Sequence[float],
        groups: Sequence[str],
        batch: int,
        seed: int,
        *,
        min_shares: Mapping[str, float] | None = None,
        budget: float = 0,
        joining: Joining | None = None,
    ) -> None:
        if not len(lengths) or not max(weights) > 0:
            raise DataError("there is not one utterance to train on", "look at corpus/rejected.tsv and the weights")
        self.lengths, self.seed, self.budget, self.joining = np.asarray(lengths, np.float64), seed, budget, joining
        self.shares = draw_shares(weights, groups, min_shares or {})
        self._strata = np.array([group if group in (min_shares or {}) else "" for group in groups])
        self._same_speaker = _by_name(joining.speakers) if joining else {}
        self._pool = lru_cache(maxsize=2)(self._make_pool)
        mean = float(self.shares @ self.lengths) * (1 + (joining.share if joining else 0))
        self._count = max(POOL, round(POOL * (budget / mean if budget else batch)))
        self.steps_per_epoch = max(1, round(POOL * len(lengths) / self._count))

    def epoch(self, step: int) -> int:
        """Number of times, counted from 0, that as many items were drawn as there are."""
        return step // self.steps_per_epoch

    def batch(self, step: int) -> list[int]:
        """Indices of the items of a step, counted from 0; an item may occur more than once."""
        return self._at(step)[0].tolist()

    def partners(self, step: int) -> list[int]:
        """For each item of a step the one that is read before it, of the same speaker; -1: none."""
        return self._at(step)[1].tolist()

    def padding_share(self, epoch: int = 0) -> float:
        """Share of padding in the batches of the first steps of an epoch, between 0 and 1."""
        first = epoch * self.steps_per_epoch
        lengths = [self._total(*self._at(step)) for step in range(first, first + min(POOL, self.steps_per_epoch))]
        return float(1 - sum(item.sum() for item in lengths) / sum(len(item) * item.max() for item in lengths))

    def _at(self, step: int) -> tuple[Indices, Indices]:
        return self._pool(step // POOL)[step % POOL]

    def _make_pool(self, number: int) -> list[tuple[Indices, Indices]]:
        """Items and partners of POOL steps."""
        random = np.random.default_rng(derive_seed("weighted order", self.seed, number))
        shuffled = random.permutation(len(self.shares))
        shuffled = shuffled[np.argsort(self._strata[shuffled], kind="stable")]
        edges = np.cumsum(self.shares[shuffled])
        places = (np.arange(self._count) + random.random()) / self._count * edges[-1]
        items = shuffled[np.searchsorted(edges, places, side="right").clip(max=len(edges) - 1)]
        partners = self._join(items, random)
        lengths = self._total(items, partners) * (1 + LENGTH_JITTER * random.random(len(items)))
        order = np.argsort(self._ranks(items, lengths), kind="stable")
        cuts = self._cuts(lengths[order])
        pool = list(zip(np.split(items[order], cuts), np.split(partners[order], cuts), strict=True))
        return [pool[index] for index in random.permutation(POOL)]

    def _join(self, items: Indices, random: np.random.Generator) -> Indices:
        """The partners of drawn items."""
        partners = np.full(len(items), -1)
        if self.joining is None:
            return partners
        for place in np.flatnonzero(random.random(len(items)) < self.joining.share):
            others = self._same_speaker[self.joining.speakers[items[place]]]
            other = others[random.integers(len(others))]
            if self.lengths[items[place]] + self.lengths[other] <= self.joining.longest:
                partners[place] = other
        return partners

    def _total(self, items: Indices, partners: Indices) -> npt.NDArray[np.float64]:
        return self.lengths[items] + np.where(partners >= 0, self.lengths[partners], 0)

    def _ranks(self, items: Indices, lengths: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Place of each item among those of its stratum, by length, between 0 and 1."""
        ranks = np.empty(len(items))
        strata = self._strata[items]
        for stratum in np.unique(strata):
            inside = np.flatnonzero(strata == stratum)
            ranks[inside[np.argsort(lengths[inside], kind="stable")]] = (np.arange(len(inside)) + 0.5) / len(inside)
        return ranks

    def _cuts(self, lengths: npt.NDArray[np.float64]) -> Indices:
        """Cuts of sorted items into POOL batches of equal number, or with a budget of equal length."""
        parts = np.arange(1, POOL)
        if not self.budget:
            return parts * len(lengths) // POOL
        total = np.cumsum(lengths)
        cuts = np.searchsorted(total, total[-1] * parts / POOL)
        cuts = np.maximum.accumulate(np.maximum(cuts, 1) - parts) + parts  # each batch has an item
        return np.minimum(cuts, len(lengths) - POOL + parts)


def draw_shares(
    weights: Sequence[float], groups: Sequence[str], min_shares: Mapping[str, float]
) -> npt.NDArray[np.float64]:
    """Frequency of each item among the drawn ones, as shares that add up to 1.

    Args:
        weights: relative to each other.
        groups: of each item.
        min_shares: group -> smallest share; groups without items or weight are passed over.

    Raises:
        DataError: the smallest shares add up to more than 1.
    """
    if sum(min_shares.values()) > 1 + 1e-9:
        raise DataError(f"the smallest shares of {', '.join(sorted(min_shares))} add up to more than 1")
    shares = np.asarray(weights, np.float64) / np.sum(weights)
    names, raised = np.asarray(groups), np.zeros(len(weights), bool)
    while True:
        members = {group: names == group for group in min_shares}
        low = [
            group for group, inside in members.items()
            if not raised[inside].any() and 0 < shares[inside].sum() < min_shares[group] - 1e-12
        ]  # fmt: skip
        if not low:
            return shares
        for group in low:
            shares[members[group]] *= min_shares[group] / shares[members[group]].sum()
            raised |= members[group]
        rest = shares[~raised].sum()
        if rest > 0:  # others give way, which may bring one of them below its own smallest share
            shares[~raised] *= max(0.0, 1 - shares[raised].sum()) / rest
        shares /= shares.sum()


def _by_name(names: Sequence[str]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for index, name in enumerate(names):
        found.setdefault(name, []).append(index)
    return found


@dataclass(frozen=True)
class Utterance:
    """Row of ``features/manifest.tsv``.

    Attributes:
        speaker: who speaks; a voice's folder where the manifest does not say.
        source: corpus that it comes from.
        bandwidth: Hz above which the recording holds nothing; 0: it is full.
        weight: how often it is drawn, relative to the others.
        use: trainings that it serves, "gpt" and "sovits".
    """

    name: str
    split: str
    seconds: float
    language: str
    text: str
    frames: int
    keys: dict[str, str]
    speaker: str = ""
    source: str = "recordings"
    bandwidth: float = 0.0
    weight: float = 1.0
    use: frozenset[str] = frozenset({"gpt", "sovits"})

    def drawn_by(self) -> list[object]:
        """What else affects how a training draws it; empty for a recording of the voice itself."""
        values = [self.source, self.bandwidth, self.weight, sorted(self.use)]
        return [] if values == ["recordings", 0.0, 1.0, ["gpt", "sovits"]] else [self.speaker, *values]

    def describe(self) -> str:
        """Name and length, for messages."""
        return f"{self.name} ({self.seconds:.1f} s)"


def read_manifest(features_dir: Path) -> list[Utterance]:
    """Utterances of ``features/manifest.tsv``, in its order; those of one person need no columns about speakers."""
    path = features_dir / "manifest.tsv"
    alone = features_dir.resolve().parent.name
    rows = read_tsv(path, required=("utterance", "split", "seconds", "language", "text", "frames", "audio_sha256"))
    return [
        Utterance(
            name=row["utterance"],
            split=row["split"],
            seconds=float(row["seconds"]),
            language=row["language"],
            text=row["text"],
            frames=int(row["frames"]),
            keys={name: value for name, value in row.items() if name.startswith("key_") or name == "audio_sha256"},
            speaker=row.get("speaker") or alone,
            source=row.get("source") or "recordings",
            bandwidth=float(row.get("bandwidth") or 0),
            weight=float(row.get("weight") or 1),
            use=frozenset((row.get("use") or "gpt sovits").split()),
        )
        for row in rows
    ]


def epochs(rows: Sequence[Utterance], lengths: Sequence[int], batch: int, seed: int) -> Order:
    """Epochs over the utterances; those of a group of people are drawn by weight, each person's alike in a batch.

    Args:
        rows: of the training split.
        lengths: of each, in any unit.
        batch: max. utterances in a batch.
        seed: of the order.
    """
    people = sorted({row.speaker for row in rows if row.source == GROUP})
    if len(people) < 2:
        return BatchOrder(lengths, batch, seed)
    alike = dict.fromkeys(people, 1 / len(people))
    return WeightedOrder(
        lengths, [row.weight for row in rows], [row.speaker for row in rows], batch, seed, min_shares=alike
    )


class FeatureStore:
    """One safetensors file of features, memory-mapped; the key is the utterance."""

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise DataError(f"{path}: missing", "run the workflow again; it makes the features first")
        self.path = path
        self._file = safe_open(str(path), framework="pt")
        self._names = frozenset(self._file.keys())
        self.metadata: dict[str, str] = dict(self._file.metadata() or {})

    def __contains__(self, utterance: str) -> bool:
        return utterance in self._names

    def __getitem__(self, utterance: str) -> torch.Tensor:
        if utterance not in self._names:
            raise DataError(f"{self.path}: has no entry for utterance {utterance}", "delete the file and run again")
        return self._file.get_tensor(utterance)

    def length(self, utterance: str) -> int:
        """Size of the last axis, without reading the tensor."""
        return int(self._slice(utterance).get_shape()[-1])

    def stretch(self, utterance: str, start: int, end: int) -> torch.Tensor:
        """The last axis from ``start`` to ``end``, or to its own end if that comes first; no more of it is read."""
        values: torch.Tensor = self._slice(utterance)[..., start:end]
        return values

    def _slice(self, utterance: str) -> Any:
        if utterance not in self._names:
            raise DataError(f"{self.path}: has no entry for utterance {utterance}", "delete the file and run again")
        return self._file.get_slice(utterance)


def pad_last(tensors: Sequence[torch.Tensor], value: float = 0, length: int | None = None) -> torch.Tensor:
    """Stack tensors ``[..., T_i]`` to ``[B, ..., max T]``, padded at the end of the last axis."""
    longest = max(tensor.shape[-1] for tensor in tensors) if length is None else length
    padded = tensors[0].new_full((len(tensors), *tensors[0].shape[:-1], longest), value)
    for row, tensor in zip(padded, tensors, strict=True):
        row[..., : tensor.shape[-1]] = tensor
    return padded


Key = TypeVar("Key")


class Loader(Generic[Key]):
    """Makes batches from keys, one ahead. A batch depends on its key alone.

    Args:
        read: makes the batch of a key, on the CPU.
        device: where batches are used; those for a GPU go through pinned memory, beside its work.
    """

    def __init__(self, read: Callable[[Key], dict[str, Tensor]], device: torch.device) -> None:
        self._read, self._device = read, device
        self._thread: ThreadPoolExecutor | None = None
        self._ahead: tuple[Key, Future[dict[str, Tensor]]] | None = None

    def get(self, key: Key, following: Key | None = None) -> dict[str, Tensor]:
        """The batch of ``key``, on the device; ``following`` is the next key, if it is known."""
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="loader")
        ahead, self._ahead = self._ahead, None
        batch = ahead[1].result() if ahead is not None and ahead[0] == key else self._prepare(key)
        if following is not None:
            self._ahead = (following, self._thread.submit(self._prepare, following))
        return {name: tensor.to(self._device, non_blocking=True) for name, tensor in batch.items()}

    def _prepare(self, key: Key) -> dict[str, Tensor]:
        batch = self._read(key)
        if self._device.type == "cuda":
            return {name: tensor.pin_memory() for name, tensor in batch.items()}
        return batch
