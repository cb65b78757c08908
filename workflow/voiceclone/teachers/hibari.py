"""hibari (Maureese Williams, Apache-2.0): English whose durations, pitch and spectrum come apart and can be changed.

Its network gives, 80 times a second, magnitude and phase of harmonics, magnitude of noise, a free part and F0; the
package makes sound of them. Formants are moved by stretching the magnitudes along frequency.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from voiceclone.errors import DataError
from voiceclone.teachers.speakers import Manner, tilted, warp
from voiceclone.teachers.teacher import Speech, level, session_with

_DURATIONS = "/Clip_output_0"  # frames of 25 ms for each phone, 40 a second
_VOICED = 40.0  # Hz; below, hibari means unvoiced


class Hibari:
    """The voice ``heart``."""

    rate = 24000

    def __init__(self, folder: Path) -> None:
        from hibari import Hibari as Package

        model = folder / "hibari.onnx"
        self._package = Package(model=str(model), threads=1)
        self._session = session_with(model, _DURATIONS)
        self._symbols = {number: symbol for symbol, number in self._package.vocab.items()}

    def speak(self, text: str, manners: Sequence[Manner], rng: np.random.Generator) -> list[Speech]:
        """Speak a line once for each manner, all in the tempo of the first; see :class:`Teacher`."""
        read = [ids for phonemes in self._package.phonemize(text) if len(ids := self._package.ids(phonemes)) > 2]
        if not read:
            raise DataError(f"{text!r}: hibari finds nothing to pronounce")
        tempo = np.asarray([manners[0].tempo], np.float32)
        sentences = [self._session.run(None, {"ids": np.asarray([ids], np.int64), "speed": tempo}) for ids in read]
        phones = tuple(self._symbols.get(number, "_") for ids in read for number in ids)
        frames = np.concatenate([np.round(outputs[6]).reshape(-1) for outputs in sentences])
        noise = int(rng.integers(2**31))  # the same for all manners
        return [self._render(sentences, phones, frames, manner, noise) for manner in manners]

    def _render(
        self, sentences: list[Any], phones: tuple[str, ...], frames: npt.NDArray[np.float32], manner: Manner, noise: int
    ) -> Speech:
        rng = np.random.default_rng(noise)
        sounds, pitches = [], []
        for outputs in sentences:
            pitch = _moved(outputs[5][0], manner)
            sounds.append(_synthesise([part[0] for part in outputs[:5]], pitch, manner, rng))
            pitches.append(np.where(pitch > _VOICED, pitch, 0).astype(np.float32))
        samples = level(tilted(np.concatenate(sounds), self.rate, manner.tilt))
        return Speech(samples, phones, (frames / 40).astype(np.float32), np.concatenate(pitches))


def _moved(pitch: npt.NDArray[np.float32], manner: Manner) -> npt.NDArray[np.float32]:
    """F0 with its geometric mean and its range around it scaled; unvoiced frames as they are."""
    voiced = pitch > _VOICED
    if not voiced.any():
        return pitch
    mean = np.exp(np.log(pitch[voiced]).mean())
    moved = pitch.copy()
    moved[voiced] = np.maximum(mean * manner.pitch * (pitch[voiced] / mean) ** manner.pitch_range, _VOICED + 1)
    return moved.astype(np.float32)


def _synthesise(
    parts: list[npt.NDArray[np.float32]], pitch: npt.NDArray[np.float32], manner: Manner, rng: np.random.Generator
) -> npt.NDArray[np.float32]:
    """Sound of one sentence from its spectra (601, frames) and F0 (frames,)."""
    from hibari import dsp

    harmonics, phase, noise, free, free_phase = parts
    if manner.formants != 1.0:
        harmonics, phase, noise, free = (warp(part, manner.formants) for part in (harmonics, phase, noise, free))
    # A higher pitch has fewer harmonics: each is made louder, so that the level stays.
    harmonics = harmonics + np.float32(0.5 * np.log(manner.pitch))
    return np.asarray(dsp.synth(harmonics, phase, noise, free, free_phase, pitch, rng), dtype=np.float32)
