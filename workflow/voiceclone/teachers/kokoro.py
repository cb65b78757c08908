"""Kokoro-82M (hexgrad, Apache-2.0; int8): English, Japanese and Mandarin, in mixtures of its packaged voices.

A voice is a table of styles, one for each number of phones; the first 128 numbers of a style are the timbre, the last
128 the prosody, from which durations and pitch come. So a mixture of timbres speaks in the durations of any prosody.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from voiceclone.errors import DataError
from voiceclone.stages.teacher_speech import TeacherSettings
from voiceclone.teachers import kokoro_phones
from voiceclone.teachers.speakers import Manner, resized, tilted
from voiceclone.teachers.teacher import Speech, level, session_with

_DURATIONS = "/encoder/Clip_output_0"  # frames of 25 ms for each phone
_TIMBRE = 128
_LONGEST = 500  # phones of one call


class Kokoro:
    """All packaged voices and their mixtures."""

    rate = 24000

    def __init__(self, folder: Path, settings: TeacherSettings) -> None:
        self._settings = settings
        self._session = session_with(folder / "kokoro.onnx", _DURATIONS)
        self._ids: dict[str, int] = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))["vocab"]
        with np.load(folder / "voices.npz", allow_pickle=False) as packs:
            self._packs = np.stack([packs[name][:, 0] for name in sorted(packs.files)])  # (voices, phones, 256)

    def speak(self, text: str, manners: Sequence[Manner], rng: np.random.Generator) -> list[Speech]:
        """Speak a line once for each manner, all in prosody, size and tempo of the first; see :class:`Teacher`."""
        phones = [phone for phone in kokoro_phones.read(text, self._settings.language) if phone in self._ids]
        if not 0 < len(phones) <= _LONGEST:
            raise DataError(f"{text!r}: {len(phones)} phones for Kokoro, expected 1 to {_LONGEST}")
        first = manners[0]
        ids = np.asarray([[0, *(self._ids[phone] for phone in phones), 0]], np.int64)
        speed = np.asarray([first.tempo / first.formants], np.float32)
        _, prosody = self.mixture(first.speaker)
        spoken = []
        for manner in manners:
            timbre, _ = self.mixture(manner.speaker)
            styles = self._packs[:, len(phones) - 1]
            style = np.concatenate([timbre @ styles[:, :_TIMBRE], prosody @ styles[:, _TIMBRE:]])[None]
            sound, frames = self._session.run(None, {"tokens": ids, "style": style.astype(np.float32), "speed": speed})
            samples = level(tilted(resized(sound.reshape(-1), self.rate, first.formants), self.rate, manner.tilt))
            seconds = np.round(frames.reshape(-1)) / 40 / first.formants
            none = np.zeros(0, np.float32)
            spoken.append(Speech(samples, ("_", *phones, "_"), seconds.astype(np.float32), none))
        return spoken

    def mixture(self, speaker: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Shares of the packaged voices in the timbre and in the prosody of a pseudo-speaker.

        The first ones are the packaged voices as they are.
        """
        voices = len(self._packs)
        if speaker < voices:
            return np.eye(voices)[speaker], np.eye(voices)[speaker]
        rng = np.random.default_rng([self._settings.seed, 2, speaker])
        return rng.dirichlet(np.full(voices, 0.6)), np.eye(voices)[rng.integers(voices)]
