"""The interface of teachers, sound with phones and their times; opening a teacher from its files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from voiceclone.onnx_session import onnx_session
from voiceclone.sound.io import Waveform
from voiceclone.stages.teacher_speech import TeacherSettings
from voiceclone.teachers.speakers import Manner


@dataclass(frozen=True)
class Speech:
    """A spoken line.

    Attributes:
        samples: float32 (n,), at the teacher's rate, largest value 0.5.
        phones: the teacher's own symbols, marks and silences among them; empty if it reports none.
        seconds: float32, duration of each phone; they add up to the whole.
        pitch: float32, Hz at 80 a second, 0 where unvoiced; empty where the teacher does not know it.
    """

    samples: Waveform
    phones: tuple[str, ...]
    seconds: npt.NDArray[np.float32]
    pitch: npt.NDArray[np.float32]


class Teacher(Protocol):
    """A voice that speaks texts in pseudo-voices."""

    rate: int

    def speak(self, text: str, manners: Sequence[Manner], rng: np.random.Generator) -> list[Speech]:
        """Speak a line once for each manner, all in the durations of the first.

        Raises:
            DataError: the text cannot be read.
        """
        ...


def bandwidth(teacher: str, rate: int, manner: Manner) -> int:
    """Frequency in Hz where the sound ends: what plays slower ends lower; hibari's formants move in its band."""
    return rate // 2 if teacher == "hibari" else round(rate / 2 * min(1.0, manner.formants))


def level(samples: npt.NDArray[Any]) -> Waveform:
    """Samples with 0.5 as the largest value."""
    return (samples * (0.5 / max(float(np.abs(samples).max()), 1e-9))).astype(np.float32)


def session_with(model: Path, output: str) -> Any:
    """An onnxruntime session on one thread whose graph also gives an inner tensor, added to its outputs in memory."""
    import onnx

    graph = onnx.load(str(model))
    graph.graph.output.append(onnx.helper.make_tensor_value_info(output, onnx.TensorProto.FLOAT, None))
    return session(graph.SerializeToString())


def session(model: bytes) -> Any:
    """An onnxruntime session on one thread, whose results repeat bit for bit."""
    return onnx_session(model, threads=1, quiet=True)


def open_teacher(settings: TeacherSettings, folder: Path) -> Teacher:
    """Load a teacher from the folder of its model."""
    if settings.teacher == "hibari":
        from voiceclone.teachers.hibari import Hibari

        return Hibari(folder)
    if settings.teacher == "kokoro":
        from voiceclone.teachers.kokoro import Kokoro

        return Kokoro(folder, settings)
    from voiceclone.teachers.piper import Piper

    return Piper(folder)
