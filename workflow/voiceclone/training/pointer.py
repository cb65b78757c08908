"""A pointer for a GPT that has none: two matrices on its hidden states, trained on a voice's aligned corpus.

All else is frozen, so the hidden states are computed once; what is then trained takes seconds. Which layer knows best
where in the text it is differs from network to network: several are tried, and the held-out utterances choose.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from voiceclone.errors import DataError
from voiceclone.models.gpt import GPTConfig, Pointer, TextToSemantic
from voiceclone.models.losses import pointer_hits, pointer_loss
from voiceclone.progress import announce
from voiceclone.training.data import Utterance, derive_seed, pad_last, seed_step

if TYPE_CHECKING:
    from voiceclone.training.gpt import GPTData

log = logging.getLogger(__name__)
SHARES = (0.4, 0.6, 0.8)  # of the layers, after which a pointer is tried
MAX_UTTERANCES = 400  # utterances whose hidden states are held in memory
BATCH = 16
RATE, WARMUP = 2e-3, 20


@dataclass(frozen=True)
class Example:
    """A pointer's input from an utterance: hidden states (Y, dim) before its tokens and (X, dim) of its phones."""

    before: Tensor
    phones: Tensor
    aligned: Tensor


def add_pointer(
    config: GPTConfig,
    weights: Mapping[str, Tensor],
    data: GPTData,
    table: Path,
    steps: int,
    seed: int,
    label: str = "GPT",
) -> tuple[GPTConfig, dict[str, Tensor], dict[str, Any]]:
    """Train a pointer for frozen weights.

    Args:
        config: sizes of the network, without a pointer.
        weights: its own.
        data: of the voice, aligned.
        table: the alignment's table, which goes into the weights.
        steps: of each layer that is tried.
        seed: of the first matrices and the order of the utterances.
        label: for the progress lines.

    Returns:
        Sizes and weights with the pointer, and what the report says of it.

    Raises:
        DataError: no utterance is aligned.
    """
    random = np.random.default_rng(derive_seed("pointer", seed))
    train = _aligned(data, [data.train[index] for index in random.permutation(len(data.train))[:MAX_UTTERANCES]])
    judged = _aligned(data, data.heldout[:MAX_UTTERANCES]) or train
    if not train:
        raise DataError(f"{data.phones.path.parent}: no utterance is aligned", "look at the log of the stage align")
    network = TextToSemantic(config).eval().requires_grad_(False)
    network.load_state_dict(dict(weights))
    layers = sorted({max(1, round(config.layers * share)) for share in SHARES})
    sizes = replace(config, pointer_added=True)
    examples, heldout = _read(network, data, train, layers), _read(network, data, judged, layers)
    found = {layer: fit(replace(sizes, pointer_layer=layer), examples[layer], steps, seed) for layer in layers}
    accuracy = {layer: judge(pointer, heldout[layer]) for layer, pointer in found.items()}
    best = max(layers, key=lambda layer: (accuracy[layer], -layer))
    announce(
        f"{label}  pointer after layer {best} of {config.layers}: {accuracy[best]:.1%} of the tokens within one phone"
    )
    log.info("pointers by layer: %s", accuracy)
    pointer = found[best]
    pointer.emission.copy_(load_file(table)["emission"])
    named = {f"pointer.{name}": value for name, value in pointer.state_dict().items()}
    notes = {"pointer": {"layer": best, "accuracy": round(accuracy[best], 4), "heldout": judged is not train}}
    return replace(sizes, pointer_layer=best), {**weights, **named}, notes


def _aligned(data: GPTData, rows: Sequence[Utterance]) -> list[Utterance]:
    return [row for row in rows if data.align is not None and row.name in data.align]


@torch.no_grad()
def _read(
    network: TextToSemantic, data: GPTData, rows: Sequence[Utterance], layers: Sequence[int]
) -> dict[int, list[Example]]:
    """Hidden states of utterances after some layers, in rising order."""
    found: dict[int, list[Example]] = {layer: [] for layer in layers}
    for row in rows:
        batch = data.read([[row]])
        aligned = batch.pop("aligned")[0]
        for layer, hidden in zip(layers, network.hidden_after(layers, **batch), strict=True):
            width = batch["phones"].shape[1]
            found[layer].append(Example(hidden[0, width - 1 : -1], hidden[0, :width], aligned))
    return found


def fit(config: GPTConfig, examples: Sequence[Example], steps: int, seed: int) -> Pointer:
    """A pointer trained on hidden states."""
    seed_step(seed, "pointer")
    pointer = Pointer(config)
    optimizer = torch.optim.AdamW(pointer.parameters(), lr=RATE, weight_decay=0.01)
    random = np.random.default_rng(derive_seed("pointer batches", seed))
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1.0, (step + 1) / WARMUP) * (1 - step / steps)
        some = [examples[index] for index in random.permutation(len(examples))[:BATCH]]
        scores, aligned = _score(pointer, some)
        optimizer.zero_grad(set_to_none=True)
        (pointer_loss(scores, aligned) / (aligned >= 0).sum()).backward()
        optimizer.step()
    return pointer


@torch.no_grad()
def judge(pointer: Pointer, examples: Sequence[Example]) -> float:
    """Share of tokens that are pointed to their phone or to one beside it."""
    hits = [(pointer_hits(scores, aligned), (aligned >= 0).sum()) for scores, aligned in _batches(pointer, examples)]
    return float(sum(hit.item() for hit, _ in hits) / max(1, sum(count.item() for _, count in hits)))


def _batches(pointer: Pointer, examples: Sequence[Example]) -> Iterator[tuple[Tensor, Tensor]]:
    for start in range(0, len(examples), BATCH):
        yield _score(pointer, examples[start : start + BATCH])


def _score(pointer: Pointer, some: Sequence[Example]) -> tuple[Tensor, Tensor]:
    """Scores (B, Y, X) of a batch, -inf for padding, and the phones (B, Y) that are right, -1 for padding."""
    before, phones = (pad_last([part.T for part in parts]).transpose(1, 2) for parts in (
        [item.before for item in some], [item.phones for item in some]
    ))  # fmt: skip
    lengths = torch.tensor([len(item.phones) for item in some])
    outside = torch.arange(phones.shape[1]) >= lengths[:, None]
    scores = pointer(before, phones).masked_fill(outside[:, None], -torch.inf)
    return scores, pad_last([item.aligned for item in some], value=-1)
