"""Streaming encoders: sound files sent while they are written, with the tags of generated speech."""

from __future__ import annotations

import struct
from typing import cast

import numpy as np
import soundfile
import soxr

from voiceclone import __version__
from voiceclone.marks.labels import FORMATS, OPUS_RATE, OPUS_RATES, tag
from voiceclone.marks.watermark import Floats

#: Media type of each format.
MEDIA_TYPES = {
    "mp3": "audio/mpeg", "opus": "audio/ogg", "flac": "audio/flac", "wav": "audio/wav", "pcm": "audio/pcm",
}  # fmt: skip
#: Clients of OpenAI play samples without a header at this rate, in Hz.
PCM_RATE = 24_000
UNKNOWN = 0xFFFFFFFF
#: A stream has no header with its length; at a constant bit rate (96 kbit/s at 32 kHz) players compute it.
CONSTANT = {"bitrate_mode": "CONSTANT", "compression_level": 0.8}


class _Sink:
    """A file for libsndfile whose bytes are taken while it writes; later changes of bytes taken are dropped."""

    def __init__(self) -> None:
        self._gone, self._place, self._waiting = 0, 0, bytearray()

    def take(self) -> bytes:
        """The bytes since the last time."""
        taken = bytes(self._waiting)
        self._gone += len(taken)
        self._waiting.clear()
        return taken

    def write(self, data: bytes) -> int:
        start, data, count = self._place - self._gone, bytes(data), len(data)
        self._place += count
        if start < 0:
            start, data = 0, data[-start:]
        self._waiting[start : start + len(data)] = data
        return count

    def seek(self, offset: int, whence: int = 0) -> int:
        self._place = offset + (0, self._place, self._gone + len(self._waiting))[whence]
        return self._place

    def tell(self) -> int:
        return self._place

    def read(self, count: int = -1) -> bytes:  # libsndfile wants one, and does not use it
        return b""


class Encoder:
    """Encodes speech as it comes.

    The header of WAV states an unknown length. That of FLAC needs the length, so all of it comes at the end.

    Args:
        form: one of :data:`MEDIA_TYPES`; ``pcm``: 16 bits, little-endian, at :data:`PCM_RATE`, no header, no tags.
        rate: of the samples in Hz.
        number: of the voice, for the tags.
        consent: sha256 of its speaker's consent, for the tags; empty: none.
    """

    def __init__(self, form: str, rate: int, number: int, consent: str = "") -> None:
        self._form = form
        kind, subtype = ("RAW", "PCM_16") if form == "pcm" else FORMATS[f".{form}"]
        target = PCM_RATE if form == "pcm" else OPUS_RATE if subtype == "OPUS" and rate not in OPUS_RATES else rate
        self._resampler = soxr.ResampleStream(rate, target, 1, dtype="float32") if target != rate else None
        self._sink, self._begun = _Sink(), False
        more = CONSTANT if form == "mp3" else {}
        self._sound = soundfile.SoundFile(self._sink, "w", target, 1, format=kind, subtype=subtype, **more)
        if form != "pcm":
            self._sound.comment, self._sound.software = tag(number, consent), f"voiceclone {__version__}"

    def push(self, samples: Floats, last: bool = False) -> bytes:
        """What is encoded after more samples, float32 (n,) within ±1; nothing may follow the last ones."""
        if self._resampler is not None:
            samples = cast(Floats, self._resampler.resample_chunk(samples, last=last))
        if len(samples):
            self._sound.write(np.clip(samples, -1, 1))
        if last:
            self._sound.close()
        elif self._form == "flac":
            return b""
        return self._with_open_end(self._sink.take())

    def _with_open_end(self, data: bytes) -> bytes:
        if self._form != "wav" or self._begun or not data:
            return data
        self._begun, place = True, data.index(b"data") + 4
        unknown = struct.pack("<I", UNKNOWN)
        return data[:4] + unknown + data[8:place] + unknown + data[place + 4 :]
