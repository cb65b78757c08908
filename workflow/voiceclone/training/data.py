"""Order of the data and randomness as pure functions of (seed, step): nothing of them has to be stored or restored."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open

from voiceclone.errors import DataError
from voiceclone.files import read_tsv

LENGTH_JITTER = 0.1  # lengths vary by this share before sorting, so that neighbours differ from epoch to epoch


def derive_seed(*parts: object) -> int:
    """63-bit seed from any values, the same in every process and on every machine."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:8], "big") >> 1


def seed_step(seed: int, step: int | str, rank: int = 0) -> None:
    """Seed torch, on all devices, for one step: slices, noise and dropout then depend on nothing before it."""
    torch.manual_seed(derive_seed("step", seed, step, rank))


class BatchOrder:
    """Which items form the batch of a step.

    In every epoch each item comes once. Items are sorted by length with some jitter and cut into batches of nearly
    equal size, so that a batch holds similar lengths and little padding; then the batches are shuffled.

    Args:
        lengths: length of each item, in any unit.
        batch_size: most items in a batch.
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

    def padding_share(self, epoch: int = 0) -> float:
        """Share of padding in the batches of an epoch, between 0 and 1."""
        batches = self._epoch(epoch)
        padded = sum(len(batch) * self.lengths[batch].max() for batch in batches)
        return float(1 - self.lengths.sum() / padded) if padded else 0.0


@dataclass(frozen=True)
class Utterance:
    """Row of ``features/manifest.tsv``."""

    name: str
    split: str
    seconds: float
    language: str
    text: str
    frames: int
    keys: dict[str, str]

    def describe(self) -> str:
        """Name and length, for messages."""
        return f"{self.name} ({self.seconds:.1f} s)"


def read_manifest(features_dir: Path) -> list[Utterance]:
    """Utterances of ``features/manifest.tsv``, in its order."""
    path = features_dir / "manifest.tsv"
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
        )
        for row in rows
    ]


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
        if utterance not in self._names:
            raise DataError(f"{self.path}: has no entry for utterance {utterance}", "delete the file and run again")
        return int(self._file.get_slice(utterance).get_shape()[-1])


def pad_last(tensors: Sequence[torch.Tensor], value: float = 0, length: int | None = None) -> torch.Tensor:
    """Stack tensors ``[..., T_i]`` to ``[B, ..., max T]``, padded at the end of the last axis."""
    longest = max(tensor.shape[-1] for tensor in tensors) if length is None else length
    padded = tensors[0].new_full((len(tensors), *tensors[0].shape[:-1], longest), value)
    for row, tensor in zip(padded, tensors, strict=True):
        row[..., : tensor.shape[-1]] = tensor
    return padded
