"""Contextual vectors of Chinese text, one per phone, as the public text-to-semantic models read them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from voiceclone.errors import AssetError, DataError
from voiceclone.text.frontend import Phones
from voiceclone.text.languages import WITH_BERT

if TYPE_CHECKING:
    from voiceclone.assets import Asset


class BertEncoder:
    """A BERT of transformers (chinese-roberta-wwm-ext-large), third layer from the end.

    Args:
        asset: folder with ``config.json``, ``vocab.txt`` and the weights.
        device: ``cpu`` or ``cuda`` (then in half precision).
    """

    LONGEST = 510  # characters of one pass: 512 positions less the two special tokens

    def __init__(self, asset: Asset, device: str = "cpu") -> None:
        import torch
        from transformers import BertModel, BertTokenizer

        self.name, self.digest = asset.name, asset.digest
        try:
            self._tokenizer = BertTokenizer.from_pretrained(str(asset.folder), local_files_only=True)
            # The public file is in half precision, which a CPU must not compute in.
            model = BertModel.from_pretrained(str(asset.folder), local_files_only=True, dtype=torch.float32)
        except (OSError, ValueError, RuntimeError) as error:
            raise AssetError(f"{asset.folder}: not a BERT model ({error})", "fetch the model again") from error
        self._device = torch.device(device)
        self._model = model.eval().to(self._device)
        if self._device.type == "cuda":
            self._model = self._model.half()
        self.dimension = int(model.config.hidden_size)

    def encode(self, phones: Phones) -> npt.NDArray[np.float16]:
        """Vectors of a text: float16 (dimension, P); zeros for the phones of runs in other languages."""
        columns = []
        for segment in phones.segments:
            if segment.language in WITH_BERT and segment.word2ph is not None:
                characters = self._characters(segment.normalised)
                columns.append(np.repeat(characters, segment.word2ph, axis=1))
            else:
                columns.append(np.zeros((self.dimension, len(segment.symbols)), dtype=np.float16))
        vectors = np.concatenate(columns, axis=1)
        if not np.isfinite(vectors).all():
            raise DataError(f"{self.name}: returned values that are not finite")
        return vectors

    def _characters(self, text: str) -> npt.NDArray[np.float16]:
        """One vector per character, (dimension, len(text)); special tokens are dropped."""
        import torch

        parts = []
        for start in range(0, len(text), self.LONGEST):
            characters = list(text[start : start + self.LONGEST])
            tokens = self._tokenizer.convert_tokens_to_ids(["[CLS]", *characters, "[SEP]"])
            with torch.inference_mode():
                output = self._model(torch.tensor([tokens], device=self._device), output_hidden_states=True)
            parts.append(output.hidden_states[-3][0, 1:-1].T.half().cpu().numpy())
        return np.concatenate(parts, axis=1)
