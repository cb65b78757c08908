"""Predicted mean opinion scores: DNSMOS P.835 (Reddy et al. 2022) and DistillMOS (Stahl & Gamper 2025)."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from voiceclone.assets import Asset
from voiceclone.errors import AssetError
from voiceclone.onnx_session import onnx_session
from voiceclone.sound.io import Waveform, resample

RATE = 16_000
WINDOW = int(9.01 * RATE)  # the network's fixed input
_SCALE = {
    "sig": (-0.08397278, 1.22083953, 0.0052439),
    "bak": (-0.13166888, 1.60915514, -0.39604546),
    "ovrl": (-0.06766283, 1.11546468, 0.04602535),
}


def listening_signal(samples: Waveform, rate: int) -> npt.NDArray[np.float32]:
    """Mono signal at 16 kHz within ±1, as the predictors expect it."""
    signal = resample(np.asarray(samples, dtype=np.float32), rate, RATE)
    peak = float(np.abs(signal).max(initial=0.0))
    return signal / peak if peak > 1.0 else signal


class Dnsmos:
    """Overall quality, signal quality and background quality from 1 to 5 (DNSMOS P.835).

    The polynomial that maps the network's output to the scale of the listeners is the one of the public
    implementation (microsoft/DNS-Challenge, dnsmos_local).

    Args:
        asset: the ``dnsmos`` asset with ``sig_bak_ovr.onnx``.
        threads: CPU threads of the network.
    """

    def __init__(self, asset: Asset, threads: int = 1) -> None:
        self._session = onnx_session(asset.file("sig_bak_ovr.onnx"), max(1, threads))

    def score(self, samples: Waveform, rate: int) -> dict[str, float]:
        """Mean over 9 s windows, one per second; a shorter signal is repeated.

        Args:
            samples: float32 (frames,).
            rate: sample rate in Hz.

        Returns:
            ``ovrl``, ``sig``, ``bak``.
        """
        signal = listening_signal(samples, rate)
        if not len(signal):
            raise ValueError("DNSMOS of an empty signal")
        while len(signal) < WINDOW:
            signal = np.concatenate([signal, signal])
        starts = [start for start in range(0, len(signal), RATE) if start + WINDOW <= len(signal)]
        raw = np.array(
            [self._session.run(None, {"input_1": signal[None, start : start + WINDOW]})[0][0] for start in starts]
        )
        columns = dict(zip(("sig", "bak", "ovrl"), raw.T, strict=True))
        return {name: float(np.mean(np.polyval(_SCALE[name], columns[name]))) for name in ("ovrl", "sig", "bak")}


class DistillMos:
    """Naturalness from 1 to 5 predicted by a small distilled network.

    Args:
        asset: the ``distillmos`` asset with ``distill_mos_v7.pt``.
    """

    def __init__(self, asset: Asset) -> None:
        import torch
        from distillmos import ConvTransformerSQAModel

        # The asset's checksum was verified when it was opened, and only tensors are unpickled.
        state: dict[str, Any] = torch.load(asset.file("distill_mos_v7.pt"), map_location="cpu", weights_only=True)
        if "model" not in state:
            raise AssetError(f"{asset.name}: no 'model' in its checkpoint", "fetch the asset again")
        self._model = ConvTransformerSQAModel(load_weights=False)
        self._model.load_state_dict(state["model"])
        self._model.eval()

    def score(self, samples: Waveform, rate: int) -> float:
        """Score of samples float32 (frames,) at ``rate`` Hz."""
        import torch

        signal = torch.from_numpy(np.ascontiguousarray(listening_signal(samples, rate)))
        with torch.inference_mode():
            return float(self._model(signal[None])[0])
