"""Denoisers with one face: mono samples in, mono samples of the same length out.

DeepFilterNet3 (H. Schröter et al., INTERSPEECH 2023) runs through the C interface of its Rust library. The functions
are declared in the public header of libDF: ``df_create(path, attenuation limit in dB, log level)``,
``df_get_frame_length``, ``df_process_frame(state, input, output)`` and ``df_free``. The network hears 48 kHz mono in
frames of 10 ms and answers later than it is asked; the delay is taken out here.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from voiceclone.errors import AssetError, DataError
from voiceclone.sound.io import Waveform
from voiceclone.sound.spool import Samples, Spool, blocks, fitted, joined, resampled
from voiceclone.stages.clean import CleanSettings

if TYPE_CHECKING:
    from voiceclone.assets import Asset

RATE = 48_000
DELAY = 1440  # samples: one 10 ms hop of the analysis window and two frames of look-ahead
CHUNK, CHUNKS = 600_000, 8  # samples that noisereduce works on at once; of these, in memory
_FLOATS = ctypes.POINTER(ctypes.c_float)


def _one(asset: Asset, pattern: str) -> Path:
    found = sorted(asset.folder.rglob(pattern))
    if not found:
        raise AssetError(f"{asset.name}: no {pattern} in {asset.folder}", "fetch the asset again")
    return found[0]


class DeepFilter:
    """Denoiser of speech.

    Args:
        asset: the shared library and the model archive.
        attenuation_db: most attenuation of noise; 100 means no limit.

    Raises:
        AssetError: the library does not run on this machine or the model cannot be read.
    """

    def __init__(self, asset: Asset, attenuation_db: float = 100.0) -> None:
        self.digest = asset.digest
        self.model = _one(asset, "*.tar.gz")
        self.attenuation_db = attenuation_db
        library = _one(asset, "libdeepfilter*")
        try:
            self.library = ctypes.CDLL(str(library))
        except OSError as error:
            raise AssetError(
                f"{library}: cannot be loaded on this machine ({error})", "set clean.method to noisereduce"
            ) from error
        self.library.df_create.restype = ctypes.c_void_p
        self.library.df_create.argtypes = [ctypes.c_char_p, ctypes.c_float, ctypes.c_char_p]
        self.library.df_get_frame_length.restype = ctypes.c_size_t
        self.library.df_get_frame_length.argtypes = [ctypes.c_void_p]
        self.library.df_process_frame.restype = ctypes.c_float
        self.library.df_process_frame.argtypes = [ctypes.c_void_p, _FLOATS, _FLOATS]
        self.library.df_free.argtypes = [ctypes.c_void_p]

    def denoise(self, samples: Samples, rate: int) -> Samples:
        """Denoise mono float32 (frames,); a fresh state each time, so equal input gives equal output."""
        state = self.library.df_create(str(self.model).encode(), self.attenuation_db, None)
        if not state:
            raise AssetError(f"{self.model}: DeepFilterNet cannot read it", "fetch the asset again")
        try:
            return self._run(state, samples, rate)
        finally:
            self.library.df_free(state)

    def _run(self, state: int, samples: Samples, rate: int) -> Samples:
        wide = resampled(samples, rate, RATE)
        clean = joined(fitted(self._frames(state, wide), DELAY, len(wide)), wide)
        back = resampled(clean, RATE, rate)
        return joined(fitted(blocks(back), 0, len(samples)), samples)

    def _frames(self, state: int, wide: Samples) -> Iterator[Waveform]:
        """What the network answers to 48 kHz (frames,) and the silence after it, some seconds at a time."""
        hop = int(self.library.df_get_frame_length(state))
        total, size = -(-(len(wide) + DELAY) // hop) * hop, 1000 * hop
        for first in range(0, total, size):
            noisy, given = np.zeros(min(size, total - first), np.float32), wide[first : first + size]
            noisy[: len(given)] = given
            clean = np.zeros_like(noisy)
            for start in range(0, len(noisy), hop):
                self.library.df_process_frame(
                    state, noisy[start:].ctypes.data_as(_FLOATS), clean[start:].ctypes.data_as(_FLOATS)
                )
            yield clean


class Denoiser(Protocol):
    """Interface of a denoiser."""

    digest: str

    def denoise(self, samples: Samples, rate: int) -> Samples:
        """Denoise float32 (frames,) at ``rate`` Hz."""


class SpectralGate:
    """noisereduce (T. Sainburg): masks time-frequency cells near the noise floor.

    Args:
        stationary: one floor per frequency from the whole take; else the floor follows the signal over 2 s.
        strength: share of the noise to remove, 0 to 1.
    """

    digest = ""

    def __init__(self, stationary: bool, strength: float) -> None:
        self.stationary, self.strength = stationary, strength

    def denoise(self, samples: Samples, rate: int) -> Samples:
        """Denoise float32 (frames,); silence and what is shorter than two windows is returned as it is."""
        size = 1024 if rate <= 24_000 else 2048
        if len(samples) < 2 * size or not any(block.any() for block in blocks(samples)):
            return samples
        return joined(self._parts(samples, rate, size), samples)

    def _parts(self, samples: Samples, rate: int, size: int) -> Iterator[Waveform]:
        """The take in parts of whole chunks of the library, which works on each by itself and its surroundings."""
        import noisereduce

        step = CHUNKS * CHUNK if isinstance(samples, Spool) else len(samples)
        for start in range(0, len(samples), step):
            low, stop = max(0, start - CHUNK), min(start + step, len(samples))
            reduced = noisereduce.reduce_noise(
                y=samples[low : stop + CHUNK], sr=rate, stationary=self.stationary, prop_decrease=self.strength,
                n_fft=size, n_jobs=1, chunk_size=CHUNK, y_noise=samples[:CHUNK] if self.stationary else None,
            )  # fmt: skip
            yield np.asarray(reduced, dtype=np.float32)[start - low : stop - low]


def make_denoiser(settings: CleanSettings, deepfilter: Asset | None) -> Denoiser:
    """The denoiser that the settings name.

    Raises:
        AssetError: DeepFilterNet3 is asked for without its asset.
    """
    if settings.method == "noisereduce":
        return SpectralGate(settings.stationary, settings.strength)
    if deepfilter is None:
        raise AssetError("clean.method is deepfilternet3, but its asset was not given", "pass --deepfilter")

    return DeepFilter(deepfilter, settings.attenuation_db)


def checked(denoiser: Denoiser, samples: Samples, rate: int) -> Samples:
    """Denoise, or take echoes out, and verify the result.

    Raises:
        DataError: the result has another length, holds values that are not numbers, or nothing is left of the signal.
    """
    result = denoiser.denoise(samples, rate)
    if result.shape != samples.shape:
        raise DataError(f"it changed the length from {len(samples)} to {len(result)} samples")
    if not all(np.isfinite(block).all() for block in blocks(result)):
        raise DataError("it gave values that are not numbers")
    before, after = (sum(float(np.square(block).sum()) for block in blocks(each)) for each in (samples, result))
    if after < 1e-4 * before:
        raise DataError("it left less than a hundredth of the signal's level")
    return result
