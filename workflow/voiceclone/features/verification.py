"""Speaker vectors that condition v2Pro: ERes2NetV2 over a Kaldi filter bank, as the public voices were trained with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from voiceclone.audio.io import Waveform, resample
from voiceclone.errors import DataError
from voiceclone.features.campplus import RATE, kaldi_fbank, load_published, one_channel
from voiceclone.models.eres2netv2 import STYLE_SIZE, ERes2NetV2

if TYPE_CHECKING:
    from voiceclone.assets import Asset

WEIGHTS = "pretrained_eres2netv2w24s4ep4.ckpt"


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
        self.device = torch.device(device)
        self.network = ERes2NetV2()
        load_published(self.network, asset, WEIGHTS)
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
        samples = one_channel(samples, rate, "verification vector")
        wave = torch.from_numpy(resample(samples, rate, RATE)).to(self.device)
        vector = self.network(kaldi_fbank(wave).unsqueeze(0))[0]
        if not torch.isfinite(vector).all():
            raise DataError("verification vector: the sound or the network gives values that are not finite")
        return np.asarray(vector.float().cpu().numpy())
