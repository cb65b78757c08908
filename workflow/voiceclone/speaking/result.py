"""The result of speaking: samples, the time of each stage, the findings of each sentence; written as a sound file."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from voiceclone.backends.backend import Floats, Tokens
from voiceclone.backends.bundle import Reference
from voiceclone.errors import ConfigError
from voiceclone.lineage.rights import consent_of
from voiceclone.marks.labels import FORMATS, voice_id, write_generated, write_record
from voiceclone.marks.manifest import Certificate, sign_manifest
from voiceclone.speaking.detector import Finding
from voiceclone.text.frontend import Phones
from voiceclone.text.stopwatch import PARTS

#: Stages whose milliseconds are measured.
TIMINGS = ("text_ms", "gpt_ms", "decoder_ms", "post_ms")

#: Silence is what stays below this share of the peak (-46 dB); seconds of it that trimming leaves; dBTP of the limiter.
TRIM_LEVEL, TRIM_MARGIN, TRUE_PEAK = 0.005, 0.05, -1.0

#: Judges a sentence by its waveform: samples (n,), rate, the text, its language, the reference.
Listener = Callable[[Floats, int, str, str, Reference], list[Finding]]


@dataclass(frozen=True)
class Piece:
    """Result of one sentence, or another segment of a text.

    Attributes:
        text: the sentence.
        tokens: semantic tokens of the attempt that was kept.
        attempts: number of attempts.
        findings: of the detector in the attempt that was kept.
        phones: as they were spoken.
        codes: semantic tokens of the attempt that was kept, int64 (tokens,).
        spans: first token (40 ms at speed 1) and number of tokens of each phone, int64 (phones, 2); None: not guided.
        first: tokens of the first attempt.
        place: first sample in the speech.
        length: number of samples.
    """

    text: str
    tokens: int
    attempts: int
    findings: tuple[Finding, ...]
    phones: Phones = field(compare=False)
    codes: Tokens = field(compare=False)
    spans: Tokens | None = field(default=None, compare=False)
    first: Tokens | None = field(default=None, compare=False)
    place: int = field(default=0, compare=False)
    length: int = field(default=0, compare=False)


@dataclass
class Speech:
    """Result of a text.

    Attributes:
        samples: float32 (n,) within ±1.
        rate: sample rate in Hz.
        number: of the voice, for the watermark, which the samples do not have yet.
        timings: milliseconds of each stage of :data:`TIMINGS`.
        text_parts: of those of the text, milliseconds of each step of :data:`voiceclone.text.stopwatch.PARTS`.
        tokens: semantic tokens, over all pieces.
        truncated: pieces cut at the length limit.
        pieces: its sentences, in order.
    """

    samples: Floats
    rate: int
    number: int = 0
    timings: dict[str, float] = field(default_factory=lambda: dict.fromkeys(TIMINGS, 0.0))
    text_parts: dict[str, float] = field(default_factory=lambda: dict.fromkeys(PARTS, 0.0))
    tokens: int = 0
    truncated: int = 0
    pieces: list[Piece] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """Duration."""
        return len(self.samples) / self.rate

    def sounds(self) -> Iterator[tuple[Piece, Floats]]:
        """Each sentence with its samples."""
        return ((piece, self.samples[piece.place : piece.place + piece.length]) for piece in self.pieces)

    @property
    def attempts(self) -> int:
        """Attempts, over all pieces."""
        return sum(piece.attempts for piece in self.pieces)

    @property
    def findings(self) -> list[Finding]:
        """Findings of the detector, over all pieces."""
        return [finding for piece in self.pieces for finding in piece.findings]

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add the milliseconds of a block to those of a stage."""
        start = time.perf_counter()
        yield
        self.timings[stage] += (time.perf_counter() - start) * 1000


@dataclass(frozen=True)
class Finish:
    """What is done to speech when it is whole.

    Attributes:
        loudness: integrated loudness in LUFS, with the true peak under -1 dBTP; 0: as it is.
        trim: take silence from both ends.
    """

    loudness: float = 0.0
    trim: bool = False

    @property
    def key(self) -> list[float]:
        """Plain values for the key of a cache; nothing where nothing is done."""
        return [self.loudness, float(self.trim)] if self.loudness or self.trim else []

    def apply(self, samples: Floats, rate: int) -> tuple[Floats, float]:
        """The finished samples, and the seconds that were taken from their beginning.

        Raises:
            ConfigError: the libraries that measure loudness are missing.
            DataError: there is no sound whose loudness could be set.
        """
        first = 0
        if self.trim:
            loud = np.flatnonzero(np.abs(samples) > TRIM_LEVEL * np.abs(samples).max(initial=0.0))
            if len(loud):
                margin = int(TRIM_MARGIN * rate)
                first = max(0, int(loud[0]) - margin)
                samples = samples[first : loud[-1] + 1 + margin]
        if self.loudness:
            try:
                from voiceclone.sound.loudness import set_loudness

                samples = np.asarray(set_loudness(samples, rate, self.loudness, TRUE_PEAK)[0])
            except ModuleNotFoundError as error:
                raise ConfigError(
                    f"loudness: needs {error.name}", "pip install pyloudnorm scipy, or ask for the loudness 0"
                ) from error
        return samples, first / rate


def joined(waves: list[Floats], pause: int) -> Floats:
    """Pieces with ``pause`` samples of silence between them; a piece above full scale is scaled down, never clipped."""
    silence = np.zeros(pause, np.float32)
    parts: list[Floats] = []
    for wave in waves:
        parts += [silence] * bool(parts) + [wave / max(1.0, float(np.abs(wave).max(initial=0.0)))]
    return np.concatenate(parts)


def check_format(path: Path, name: str = "--output") -> Path:
    """Check the path of a sound file to write.

    Raises:
        ConfigError: unknown ending.
    """
    if path.suffix.lower() not in FORMATS:
        raise ConfigError(f"{name} {path}: unknown format {path.suffix!r}, expected {', '.join(FORMATS)}")
    return path


def write_speech(
    path: Path, speech: Speech, rights: Mapping[str, Any] | None = None, certificate: Certificate | None = None
) -> None:
    """Write speech by the file's ending, atomically, with watermark and tags, and its signed record beside it.

    Args:
        path: of the sound file.
        speech: to write.
        rights: of the voice, see :attr:`voiceclone.speaking.voices.Voice.rights`.
        certificate: signs a C2PA manifest in the file; None: there is none.
    """
    consent = consent_of(rights or {})
    write_generated(check_format(path), speech.samples, speech.rate, speech.number, consent)
    stated = {"consent_sha256": consent} if consent else {}
    if certificate is not None:
        sign_manifest(path, certificate, {"voice": voice_id(speech.number), **stated})
    write_record(path, speech.number, seconds=round(speech.seconds, 3), **stated)
