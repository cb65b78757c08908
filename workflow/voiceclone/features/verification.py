"""Speaker vectors that condition v2Pro: ERes2NetV2 over a Kaldi filter bank, as the public voices were trained with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from voiceclone.audio.io import Waveform, resample
from voiceclone.errors import AssetError, DataError
from voiceclone.features.campplus import RATE, kaldi_fbank
from voiceclone.models.eres2netv2 import STYLE_SIZE, ERes2NetV2

if TYPE_CHECKING:
    from voiceclone.assets import Asset

WEIGHTS = "pretrained_eres2netv2w24s4ep4.ckpt"
MINIMUM_SECONDS = 0.2


def vector_kind(size: int) -> str:
    """Store of the vectors that a SoVITS with this ``speaker_vector_size`` is conditioned on; empty: it needs none."""
    return {0: "", STYLE_SIZE: "verification"}.get(size, "speaker")


class VerificationEncoder:
    """Conditioning vectors of waveforms.

    Args:
        asset: the fetched ``eres2netv2`` model.
        device: where to compute.

    Raises:
        AssetError: the weights are not those of this network.
    """

    def __init__(self, asset: Asset, device: str | torch.device = "cpu") -> None:
        path = asset.file(WEIGHTS)
        self.device = torch.device(device)
        self.network = ERes2NetV2()
        try:
            self.network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True), strict=True)
        except (RuntimeError, OSError, ValueError) as error:
            raise AssetError(
                f"{path}: not the weights of ERes2NetV2 ({error})", "fetch the model eres2netv2 again"
            ) from error
        self.network.eval().to(self.device)

    @torch.inference_mode()
    def embed(self, samples: Waveform, rate: int) -> npt.NDArray[np.float32]:
        """Vector of one utterance.

        Args:
            samples: float32 (n,), full scale ±1, at least 0.2 s.
            rate: sample rate in Hz.

        Returns:
            float32 (20480,): the fused map averaged over time, not normalised.

        Raises:
            DataError: too short, or the result is not finite.
        """
        samples = np.asarray(samples, dtype=np.float32)
        if samples.ndim != 1 or len(samples) < MINIMUM_SECONDS * rate:
            raise DataError(
                f"verification vector: sound of shape {samples.shape} at {rate} Hz, expected one channel of at least "
                f"{MINIMUM_SECONDS} s"
            )
        wave = torch.from_numpy(resample(samples, rate, RATE)).to(self.device)
        vector = self.network(kaldi_fbank(wave).unsqueeze(0))[0]
        if not torch.isfinite(vector).all():
            raise DataError("verification vector: the sound or the network gives values that are not finite")
        return np.asarray(vector.float().cpu().numpy())
