"""Whether processing made a take better: separation, dereverberation and denoising are undone where it did not.

A take is compared with what it was, by predicted quality (DNSMOS OVRL: Reddy et al. 2022) and by the likeness of the
speaker to itself (CAM++: Wang et al. 2023), on pieces spread over it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from voiceclone.sound.accompaniment import excerpt_slices
from voiceclone.sound.io import Waveform
from voiceclone.sound.spool import Samples

if TYPE_CHECKING:
    from voiceclone.listeners.campplus import SpeakerEncoder
    from voiceclone.listeners.mos import Dnsmos

PIECE_SECONDS = 9.5  # a little more than the window of DNSMOS


@dataclass(frozen=True)
class Judge:
    """Compares a processed take with what it was; without models nothing is found worse."""

    dnsmos: Dnsmos | None = None
    encoder: SpeakerEncoder | None = None
    seconds: float = 20.0

    def quality(self, samples: Samples, rate: int) -> float | None:
        """DNSMOS OVRL over pieces spread over float32 (frames,), or None without the model."""
        if self.dnsmos is None:
            return None
        scores = [
            self.dnsmos.score(self._audible(samples[place]), rate)["ovrl"] for place in self._places(samples, rate)
        ]
        return float(np.mean(scores))

    def similarity(self, before: Samples, after: Samples, rate: int) -> float | None:
        """Cosine of the speaker embeddings of the same pieces before and after, or None without the model."""
        if self.encoder is None:
            return None
        places = self._places(before, rate)
        one, other = (
            self.encoder.embed(np.concatenate([samples[place] for place in places]), rate)
            for samples in (before, after)
        )
        return float(np.dot(one, other))

    def _places(self, samples: Samples, rate: int) -> list[slice]:
        return excerpt_slices(len(samples), rate, max(1, round(self.seconds / PIECE_SECONDS)), PIECE_SECONDS)

    @staticmethod
    def _audible(samples: Waveform) -> Waveform:
        """The piece at a root mean square of -26 dBFS: predictors of quality are not invariant to level."""
        level = float(np.sqrt(np.square(samples, dtype=np.float64).mean()))
        if level < 1e-7:
            return samples
        gain = min(10 ** (-26 / 20) / level, 1.0 / max(float(np.abs(samples).max()), 1e-9))
        return (samples * np.float32(gain)).astype(np.float32)


class Limits(Protocol):
    """The most that a processed take may lose."""

    @property
    def dnsmos_loss(self) -> float:
        """DNSMOS OVRL."""

    @property
    def similarity(self) -> float:
        """Least CAM++ cosine between before and after."""


def verdict(before: float | None, after: float | None, similarity: float | None, settings: Limits) -> str:
    """Why a processed take is worse than before; empty: it is not, or nothing was measured."""
    if before is not None and after is not None and after < before - settings.dnsmos_loss:
        return f"DNSMOS OVRL fell from {before:.2f} to {after:.2f}"
    if similarity is not None and similarity < settings.similarity:
        return f"speaker similarity {similarity:.2f} is below {settings.similarity:.2f}"
    return ""
