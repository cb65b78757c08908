"""Contextual vectors of Chinese text, one per phone, as the public text-to-semantic models read them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from voiceclone.errors import AssetError, DataError
from voiceclone.text.frontend import Phones
from voiceclone.text.languages import WITH_BERT

if TYPE_CHECKING:
    from voiceclone.assets import Asset

Vectors = npt.NDArray[np.float16]


class BertEncoder:
    """A BERT of transformers (chinese-roberta-wwm-ext-large), third layer from the end.

    Args:
        asset: folder with ``config.json``, ``vocab.txt`` and the weights.
        device: ``cpu`` or ``cuda`` (then in half precision).
        batch_characters: characters of one padded batch at most; one longer text is a batch of its own.
    """

    LONGEST = 510  # characters of one pass: 512 positions less the two special tokens

    def __init__(self, asset: Asset, device: str = "cpu", batch_characters: int = 4096) -> None:
        import torch
        from transformers import BertModel, BertTokenizer

        self.name, self.digest, self.batch_characters = asset.name, asset.digest, batch_characters
        try:
            self._tokenizer = BertTokenizer.from_pretrained(str(asset.folder), local_files_only=True)
            # The public file is in half precision, which a CPU must not compute in.
            model = BertModel.from_pretrained(str(asset.folder), local_files_only=True, dtype=torch.float32)
        except (OSError, ValueError, RuntimeError) as error:
            raise AssetError(f"{asset.folder}: not a BERT model ({error})", "fetch the model again") from error
        # What lies behind the third layer from the end is never read.
        model.encoder.layer = model.encoder.layer[: max(1, len(model.encoder.layer) - 2)]
        self._device = torch.device(device)
        self._model = model.eval().to(self._device)
        if self._device.type == "cuda":
            self._model = self._model.half()
        self.dimension = int(model.config.hidden_size)

    def encode(self, phones: Phones) -> Vectors:
        """Vectors of a text: float16 (dimension, P); zeros for the phones of runs in other languages.

        Raises:
            DataError: the network returned values that are not finite.
        """
        return check_finite(self.encode_all([phones])[0], self.name)

    def encode_all(self, texts: Sequence[Phones]) -> list[Vectors]:
        """Vectors of several texts, each as :meth:`encode` gives it but not checked, in padded batches."""
        chunks = [chunk for text in texts for chunk in self._chunks(text)]
        encoded = dict(zip(chunks, self._hidden(chunks), strict=True))
        return [self._spread(text, encoded) for text in texts]

    def _chunks(self, phones: Phones) -> list[str]:
        """The Chinese runs of a text, in pieces that the network can read."""
        runs = [segment.normalised for segment in phones.segments if _has_vectors(segment)]
        return list(dict.fromkeys(piece for run in runs for piece in _pieces(run, self.LONGEST)))

    def _spread(self, phones: Phones, encoded: dict[str, npt.NDArray[np.float32]]) -> Vectors:
        columns = []
        for segment in phones.segments:
            if _has_vectors(segment):
                pieces = _pieces(segment.normalised, self.LONGEST)
                characters = np.concatenate([encoded[piece] for piece in pieces], axis=1).astype(np.float16)
                columns.append(np.repeat(characters, segment.word2ph or (), axis=1))
            else:
                columns.append(np.zeros((self.dimension, len(segment.symbols)), dtype=np.float16))
        return np.concatenate(columns, axis=1)

    def _hidden(self, chunks: Sequence[str]) -> list[npt.NDArray[np.float32]]:
        """One vector per character of each chunk, (dimension, characters); special tokens are dropped."""
        found: list[npt.NDArray[np.float32] | None] = [None] * len(chunks)
        for batch in self._batches(chunks):
            hidden = self._forward([chunks[index] for index in batch])
            for row, index in enumerate(batch):
                found[index] = hidden[row, 1 : 1 + len(chunks[index])].T
        return [values for values in found if values is not None]

    def _batches(self, chunks: Sequence[str]) -> Iterator[list[int]]:
        """Positions of chunks of like length, so that little is padded and no batch is too large."""
        batch: list[int] = []
        for index in sorted(range(len(chunks)), key=lambda index: len(chunks[index])):
            if batch and (len(batch) + 1) * len(chunks[index]) > self.batch_characters:
                yield batch
                batch = []
            batch.append(index)
        if batch:
            yield batch

    def _forward(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        import torch

        tokens = [self._tokenizer.convert_tokens_to_ids(["[CLS]", *text, "[SEP]"]) for text in texts]
        length = max(map(len, tokens))
        padded = torch.tensor([row + [0] * (length - len(row)) for row in tokens], device=self._device)
        mask = torch.tensor([[1] * len(row) + [0] * (length - len(row)) for row in tokens], device=self._device)
        with torch.inference_mode():
            output = self._model(padded, attention_mask=mask).last_hidden_state
        hidden: npt.NDArray[np.float32] = output.float().cpu().numpy()
        return hidden


class LazyBert:
    """A :class:`BertEncoder` that is loaded at the first Chinese text.

    Args:
        asset: as there.
        device: as there.
    """

    def __init__(self, asset: Asset, device: str = "cpu") -> None:
        self._asset, self._device = asset, device

    @cached_property
    def encoder(self) -> BertEncoder:
        """The network."""
        return BertEncoder(self._asset, self._device)

    def __call__(self, phones: Phones) -> Vectors:
        """Vectors of one text."""
        return self.encoder.encode(phones)

    def encode_all(self, texts: Sequence[Phones]) -> list[Vectors]:
        """Vectors of several texts; loads nothing for none.

        Raises:
            DataError: the network returned values that are not finite.
        """
        return [check_finite(values, self.encoder.name) for values in self.encoder.encode_all(texts)] if texts else []


def check_finite(vectors: Vectors, name: str) -> Vectors:
    """The vectors, if all of them are numbers.

    Raises:
        DataError: some are not.
    """
    if not np.isfinite(vectors).all():
        raise DataError(f"{name}: returned values that are not finite")
    return vectors


def _has_vectors(segment: Any) -> bool:
    return segment.language in WITH_BERT and segment.word2ph is not None


def _pieces(text: str, longest: int) -> list[str]:
    return [text[start : start + longest] for start in range(0, len(text), longest)]
