"""Contextual vectors of Chinese text, one per phone, as the public text-to-semantic models read them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from voiceclone.errors import AssetError, DataError
from voiceclone.languages import WITH_BERT
from voiceclone.text.frontend import Phones

if TYPE_CHECKING:
    from voiceclone.assets import Asset

Vectors = npt.NDArray[np.float16]


class CharacterEncoder(ABC):
    """Vectors per phone of a network that reads Chinese characters, whatever runs it.

    Args:
        name: of the model, for messages.
        digest: of its files.
        dimension: of its vectors.
        batch_characters: characters of one padded batch at most; one longer text is a batch of its own.
    """

    LONGEST = 510  # characters of one pass: 512 positions less the two special tokens

    def __init__(self, name: str, digest: str, dimension: int, batch_characters: int = 4096) -> None:
        self.name, self.digest, self.dimension, self.batch_characters = name, digest, dimension, batch_characters

    def encode(self, phones: Phones) -> Vectors:
        """Vectors of a text: float16 (dimension, P); zeros for the phones of runs in other languages.

        Raises:
            DataError: the network returned values that are not finite.
        """
        return check_finite(self.encode_all([phones])[0], self.name)

    def encode_all(self, texts: Sequence[Phones]) -> list[Vectors]:
        """Vectors of several texts, each as :meth:`encode` gives it but not checked, in padded batches."""
        chunks = [chunk for text in texts for chunk in self._chunks(text)]
        encoded = dict(zip(chunks, self.hidden(chunks), strict=True))
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

    def hidden(self, chunks: Sequence[str]) -> list[npt.NDArray[np.float32]]:
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
        tokens = [self._ids(["[CLS]", *text, "[SEP]"]) for text in texts]
        length = max(map(len, tokens))
        padded = np.array([row + [0] * (length - len(row)) for row in tokens], np.int64)
        mask = np.array([[1] * len(row) + [0] * (length - len(row)) for row in tokens], np.int64)
        return self._network(padded, mask)

    @abstractmethod
    def _ids(self, tokens: list[str]) -> list[int]:
        """Places of tokens in the vocabulary."""

    @abstractmethod
    def _network(self, ids: npt.NDArray[np.int64], mask: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """Vectors (N, L, dimension) of token ids (N, L) where the mask (N, L) is 1."""


class BertEncoder(CharacterEncoder):
    """A BERT of transformers (chinese-roberta-wwm-ext-large), third layer from the end.

    Args:
        asset: folder with ``config.json``, ``vocab.txt`` and the weights.
        device: ``cpu`` or ``cuda`` (then in half precision).
        batch_characters: see :class:`CharacterEncoder`.
    """

    def __init__(self, asset: Asset, device: str = "cpu", batch_characters: int = 4096) -> None:
        import torch
        from transformers import BertModel, BertTokenizer

        try:
            self.tokenizer = BertTokenizer.from_pretrained(str(asset.folder), local_files_only=True)
            # The public file is in half precision, which a CPU must not compute in.
            model = BertModel.from_pretrained(str(asset.folder), local_files_only=True, dtype=torch.float32)
        except (OSError, ValueError, RuntimeError) as error:
            raise AssetError(f"{asset.folder}: not a BERT model ({error})", "fetch the model again") from error
        # What lies behind the third layer from the end is never read.
        model.encoder.layer = model.encoder.layer[: max(1, len(model.encoder.layer) - 2)]
        self._device = torch.device(device)
        self.model = model.eval().to(self._device)
        if self._device.type == "cuda":
            self.model = self.model.half()
        super().__init__(asset.name, asset.digest, int(model.config.hidden_size), batch_characters)

    def _ids(self, tokens: list[str]) -> list[int]:
        ids: list[int] = self.tokenizer.convert_tokens_to_ids(tokens)
        return ids

    def _network(self, ids: npt.NDArray[np.int64], mask: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        import torch

        padded, kept = (torch.from_numpy(array).to(self._device) for array in (ids, mask))
        with torch.inference_mode():
            output = self.model(padded, attention_mask=kept).last_hidden_state
        hidden: npt.NDArray[np.float32] = output.float().cpu().numpy()
        return hidden


class LazyEncoder:
    """An encoder of Chinese text that is loaded at the first such text.

    Args:
        load: loads it.
        digest: of the model.
    """

    def __init__(self, load: Callable[[], CharacterEncoder], digest: str) -> None:
        self._load, self.digest = load, digest

    @cached_property
    def encoder(self) -> CharacterEncoder:
        """The network."""
        return self._load()

    def __call__(self, phones: Phones) -> Vectors:
        """Vectors of one text."""
        return self.encoder.encode(phones)

    def encode_all(self, texts: Sequence[Phones]) -> list[Vectors]:
        """Vectors of several texts; loads nothing for none.

        Raises:
            DataError: the network returned values that are not finite.
        """
        return [check_finite(values, self.encoder.name) for values in self.encoder.encode_all(texts)] if texts else []


class LazyBert(LazyEncoder):
    """A :class:`BertEncoder` that is loaded at the first Chinese text.

    Args:
        asset: as there.
        device: as there.
    """

    def __init__(self, asset: Asset, device: str = "cpu") -> None:
        super().__init__(lambda: BertEncoder(asset, device), asset.digest)


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
