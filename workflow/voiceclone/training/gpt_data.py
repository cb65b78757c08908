"""What the training of the GPT reads of the utterances."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from voiceclone.training.data import FeatureStore, Utterance, pad_last, read_manifest
from voiceclone.training.fingerprint import tensor_digest

log = logging.getLogger(__name__)

BERT_SIZE = 1024


class GPTData:
    """Phones, semantic tokens and, where there are any, BERT features and alignments of the utterances.

    Args:
        features_dir: folder with ``manifest.tsv``, ``phones``, ``semantic`` and, for Chinese, ``bert.safetensors``.
        aligned: also read ``align.safetensors``, the phone that each token speaks.
    """

    def __init__(self, features_dir: Path, aligned: bool = False) -> None:
        self.phones = FeatureStore(features_dir / "phones.safetensors")
        self.semantic = FeatureStore(features_dir / "semantic.safetensors")
        self.codes = int(self.semantic.metadata["codes"])
        bert = features_dir / "bert.safetensors"
        self.bert = FeatureStore(bert) if bert.is_file() else None
        self.align = FeatureStore(features_dir / "align.safetensors") if aligned else None
        rows = [row for row in read_manifest(features_dir) if "gpt" in row.use]
        usable = [row for row in rows if self.phones.length(row.name) and self.semantic.length(row.name)]
        for name in {row.name for row in rows} - {row.name for row in usable}:
            log.warning("%s has no phones or no tokens and is left out", name)
        self.train = [row for row in usable if row.split == "train"]
        self.heldout = [row for row in usable if row.split == "heldout"]

    def digests(self) -> dict[str, list[str]]:
        """Utterance -> digests of what the training reads of it."""
        stores = [store for store in (self.phones, self.semantic, self.bert, self.align) if store is not None]
        return {
            row.name: [tensor_digest(store[row.name]) for store in stores if row.name in store]
            for row in [*self.train, *self.heldout]
        }

    def batch(self, rows: Sequence[Utterance], device: torch.device) -> dict[str, Tensor]:
        """Right-padded batch of utterances, see :meth:`read`."""
        return {name: tensor.to(device) for name, tensor in self.read([[row] for row in rows]).items()}

    def read(self, items: Sequence[Sequence[Utterance]]) -> dict[str, Tensor]:
        """Right-padded batch on the CPU, named as :meth:`TextToSemantic.forward` names its arguments.

        Args:
            items: one or more utterances each, read one after the other as if they were one.

        Returns:
            With alignments also ``aligned`` int64 (B, Y), the index of each token's phone, -1 where it is not known.
        """
        phones = [torch.cat([self.phones[row.name] for row in item]) for item in items]
        tokens = [torch.cat([self.semantic[row.name] for row in item]) for item in items]
        batch = {
            "phones": pad_last(phones),
            "phone_lengths": torch.tensor([len(item) for item in phones]),
            "tokens": pad_last(tokens),
            "token_lengths": torch.tensor([len(item) for item in tokens]),
        }
        if self.align is not None:
            batch["aligned"] = pad_last([self._aligned(item) for item in items], value=-1)
        bert = self.bert
        if bert is not None and any(row.name in bert for item in items for row in item):
            features = [torch.cat([self._bert(row, bert) for row in item], dim=1) for item in items]
            batch["bert"] = pad_last(features, length=batch["phones"].shape[1]).float()
        return batch

    def _bert(self, row: Utterance, store: FeatureStore) -> Tensor:
        """BERT features (1024, X) of an utterance, zeros where it has none."""
        if row.name in store:
            return store[row.name]
        return torch.zeros(BERT_SIZE, self.phones.length(row.name), dtype=torch.float16)

    def _aligned(self, item: Sequence[Utterance]) -> Tensor:
        """Index (Y,) of each token's phone among the phones of all utterances of an item."""
        assert self.align is not None
        parts, before = [], 0
        for row in item:
            unknown = torch.full((self.semantic.length(row.name),), -1)
            parts.append(self.align[row.name].long() + before if row.name in self.align else unknown)
            before += self.phones.length(row.name)
        return torch.cat(parts)
