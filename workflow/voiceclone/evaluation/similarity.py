"""Speaker similarity: cosine between an utterance's embedding and the mean of the speaker's training utterances."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from voiceclone.assets import Asset
from voiceclone.sound.io import Waveform, resample

Embedding = npt.NDArray[np.float32]
_GE2E_RATE = 16_000
_GE2E_SHORTEST = 0.5  # seconds of voice; below, silences are kept


def unit(vector: Embedding) -> Embedding:
    """The vector at length 1 (a zero vector stays zero)."""
    length = float(np.linalg.norm(vector))
    return np.asarray(vector / length if length > 0 else vector, dtype=np.float32)


def centroid(embeddings: Sequence[Embedding]) -> Embedding:
    """Unit-length mean of unit-length embeddings."""
    return unit(np.mean([unit(embedding) for embedding in embeddings], axis=0))


def cosine(first: Embedding, second: Embedding) -> float:
    """Cosine similarity in -1..1."""
    return float(np.dot(unit(first), unit(second)))


class Ge2eEncoder:
    """Speaker embedding of Wan et al. (2018), "Generalized end-to-end loss for speaker verification" (Resemblyzer).

    Args:
        asset: the ``ge2e`` asset with ``pretrained.pt``.
    """

    def __init__(self, asset: Asset) -> None:
        from resemblyzer import VoiceEncoder

        self._encoder = VoiceEncoder(device="cpu", verbose=False, weights_fpath=asset.file("pretrained.pt"))

    def embed(self, samples: Waveform, rate: int) -> Embedding:
        """Embedding float32 [256] of unit length of samples float32 (frames,); long silences are cut out first."""
        from resemblyzer import preprocess_wav

        signal = resample(np.asarray(samples, dtype=np.float32), rate, _GE2E_RATE)
        voiced = preprocess_wav(signal.copy()) if len(signal) and np.any(signal) else signal
        if len(voiced) < _GE2E_SHORTEST * _GE2E_RATE:
            voiced = signal
        return np.asarray(self._encoder.embed_utterance(voiced), dtype=np.float32)
