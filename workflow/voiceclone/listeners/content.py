"""Encoders of speech content behind one interface, 50 vectors per second."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from voiceclone.errors import AssetError, DataError
from voiceclone.sound.io import Waveform

if TYPE_CHECKING:
    from voiceclone.assets import Asset

RATE = 16000
STEP = 320
WINDOW_SECONDS = 30
OVERLAP_SECONDS = 2
Vectors = npt.NDArray[np.float32]
log = logging.getLogger(__name__)


class ContentEncoder(Protocol):
    """An encoder of speech content.

    Attributes:
        name: of its asset.
        digest: of its files.
        dimension: of its vectors.
    """

    name: str
    digest: str
    dimension: int

    def encode(self, samples: Waveform) -> Vectors:
        """float32 (n,) at 16 kHz, full scale ±1, to float32 (dimension, n // 320)."""
        ...


def load_encoder(asset: Asset, device: str = "cpu", threads: int = 0) -> ContentEncoder:
    """The encoder that an asset holds: a Whisper model in CTranslate2's format, or a HuBERT model of transformers.

    Raises:
        AssetError: neither.
    """
    if (asset.folder / "model.bin").is_file():
        return WhisperContent(asset, device, threads)
    if (asset.folder / "config.json").is_file():
        return HubertContent(asset, device)
    raise AssetError(
        f"{asset.name}: neither a Whisper model (model.bin) nor a HuBERT model (config.json)",
        "choose whisper-base or chinese-hubert-base as features.content",
    )


def in_windows(encode: Callable[[Waveform], Vectors], samples: Waveform) -> Vectors:
    """Encode a sound of any length in windows of 30 s that overlap by 2 s; each gives the middle of the overlap."""
    window, overlap = WINDOW_SECONDS * RATE, OVERLAP_SECONDS * RATE
    if len(samples) <= window:
        return encode(samples)
    starts = range(0, len(samples) - overlap, window - overlap)
    half = overlap // STEP // 2
    parts = []
    for start in starts:
        vectors = encode(samples[start : start + window])
        first = half if start else 0
        last = vectors.shape[1] - half if start + window < len(samples) else vectors.shape[1]
        parts.append(vectors[:, first:last])
    return np.concatenate(parts, axis=1)


def fit_length(vectors: Vectors, frames: int) -> Vectors:
    """Cut to ``frames`` columns, or repeat the last column."""
    missing = frames - vectors.shape[1]
    return np.pad(vectors, ((0, 0), (0, missing)), mode="edge") if missing > 0 else vectors[:, :frames]


def check_finite(vectors: Vectors, name: str) -> Vectors:
    """Return the vectors.

    Raises:
        DataError: one of them is not finite.
    """
    if not np.isfinite(vectors).all():
        raise DataError(f"{name}: returned values that are not finite")
    return vectors


class WhisperContent:
    """Encoder of a Whisper model (Radford et al. 2022, arXiv:2212.04356), through CTranslate2, float32.

    Args:
        asset: folder with ``model.bin``.
        device: ``cpu`` or ``cuda``.
        threads: on the CPU; 0: the library's choice.
    """

    def __init__(self, asset: Asset, device: str = "cpu", threads: int = 0) -> None:
        import ctranslate2
        from faster_whisper.feature_extractor import FeatureExtractor

        self.name, self.digest = asset.name, asset.digest
        try:
            self._model = ctranslate2.models.Whisper(
                str(asset.folder), device=device, compute_type="float32", intra_threads=threads
            )
        except (RuntimeError, ValueError) as error:
            raise AssetError(f"{asset.folder}: not a Whisper model ({error})", "fetch the model again") from error
        self._features = FeatureExtractor(feature_size=self._model.n_mels)
        self.dimension = self._encode_window(np.zeros(STEP, dtype=np.float32)).shape[0]

    def encode(self, samples: Waveform) -> Vectors:
        """float32 (n,) at 16 kHz to float32 (512, n // 320) for the base size."""
        return check_finite(in_windows(self._encode_window, samples), self.name)

    def _encode_window(self, samples: Waveform) -> Vectors:
        """Encode at most 30 s. One to two seconds of silence follow the sound and are cut off again.

        Whisper was trained on sounds padded to 30 s; a short pad gives nearly the same vectors (mean cosine 0.96) in a
        quarter of the time.
        """
        from ctranslate2 import StorageView

        seconds = min(len(samples) // RATE + 2, WINDOW_SECONDS)
        padded = np.zeros(seconds * RATE, dtype=np.float32)
        padded[: len(samples)] = samples
        mel = self._features(padded, padding=0)[:, : seconds * 100]
        output = self._model.encode(StorageView.from_array(np.ascontiguousarray(mel[None])), to_cpu=True)
        return np.array(output, dtype=np.float32)[0, : max(1, len(samples) // STEP)].T.copy()


class HubertContent:
    """HuBERT (Hsu et al. 2021, arXiv:2106.07447) as the public GPT-SoVITS uses it: raw waveform in, last layer out.

    On a GPU it computes in half precision; an utterance whose values overflow is computed again in single precision.

    Args:
        asset: folder with ``config.json`` and the weights, as transformers saves them.
        device: ``cpu`` or ``cuda``.
    """

    SHORTEST = 400  # receptive field of the convolutions

    def __init__(self, asset: Asset, device: str = "cpu") -> None:
        import torch
        from transformers import HubertModel

        self.name, self.digest = asset.name, asset.digest
        try:
            # The public file is in half precision, which a CPU must not compute in.
            model = HubertModel.from_pretrained(str(asset.folder), local_files_only=True, dtype=torch.float32)
        except (OSError, ValueError, RuntimeError) as error:
            raise AssetError(f"{asset.folder}: not a HuBERT model ({error})", "fetch the model again") from error
        self._device = torch.device(device)
        self._half = self._device.type == "cuda"
        self.model = model.eval().to(self._device)
        if self._half:
            self.model = self.model.half()
        self.dimension = int(model.config.hidden_size)

    def encode(self, samples: Waveform) -> Vectors:
        """float32 (n,) at 16 kHz to float32 (768, n // 320) for the base size."""
        vectors = in_windows(self._encode_window, samples)
        if self._half and not np.isfinite(vectors).all():
            log.warning("%s: half precision overflowed, computed again in single precision", self.name)
            self.model.float()
            try:
                vectors = in_windows(self._encode_window, samples)
            finally:
                self.model.half()
        return check_finite(vectors, self.name)

    def _encode_window(self, samples: Waveform) -> Vectors:
        import torch

        wave = torch.from_numpy(np.ascontiguousarray(samples, dtype=np.float32))
        if len(samples) < self.SHORTEST:
            wave = torch.nn.functional.pad(wave, (0, self.SHORTEST - len(samples)))
        with torch.inference_mode():
            output = self.model(wave.unsqueeze(0).to(self._device, self.model.dtype)).last_hidden_state[0]
        return fit_length(output.T.float().cpu().numpy(), max(1, len(samples) // STEP))
