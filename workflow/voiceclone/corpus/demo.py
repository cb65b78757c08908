"""The demo speaker: a packaged Piper voice speaks our own sentences as somebody's mixed bag of recordings.

The takes differ as real ones do: formats, rates, channels, one with music under it and one with hiss and hum. Only
sound is written to the speaker's folder, so that transcripts can come from nowhere but speech recognition.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from voiceclone.errors import DataError
from voiceclone.files import atomic_folder, sha256_file, write_json, write_text
from voiceclone.lineage.rights import CONSENT_FILE, NONE_GIVEN, consent_text
from voiceclone.onnx_session import onnx_session
from voiceclone.progress import Progress
from voiceclone.sound.io import Waveform, resample, write_sound
from voiceclone.usertext import read_user_text

if TYPE_CHECKING:
    from piper import PiperVoice

log = logging.getLogger(__name__)

SEED = 7
NOISE_SCALE, RHYTHM_SCALE = 0.5, 0.6  # variation of the voice's sound and rhythm
PAUSE_SECONDS = (0.3, 0.9)  # between two sentences
MUSIC_DB, NOISE_DB = 5.0, 18.0  # level of the voice over the music of one take, over the hiss and hum of another

MADE_UP = "A packaged synthetic voice speaks sentences that were written for this demonstration."

Backdrop = Callable[[Waveform, int, np.random.Generator], Waveform]
Float = npt.NDArray[np.float64]


@dataclass(frozen=True)
class TakePlan:
    """File and manner of one take: name with format, rate in Hz, channels and what sounds under the voice."""

    file: str
    rate: int
    channels: int
    backdrop: Backdrop | None = None


def read_texts(path: Path) -> list[list[str]]:
    """Sentences per take: one a line, a blank line between takes, '#' begins a comment."""
    lines = [line.strip() for line in read_user_text(path).splitlines()]
    blocks = "\n".join(line for line in lines if not line.startswith("#")).strip()
    return [block.split("\n") for block in re.split(r"\n{2,}", blocks) if block]


def load_voice(model: Path, threads: int = 0) -> PiperVoice:
    """Load a Piper voice (``model`` and ``model.json``) whose random nodes are seeded."""
    import onnxruntime
    from piper import PiperConfig, PiperVoice

    # Each random node takes its seed from the process-wide one when the session is built.
    onnxruntime.set_seed(SEED)
    session = onnx_session(model, threads)
    config = json.loads(model.with_name(model.name + ".json").read_text(encoding="utf-8"))
    return PiperVoice(session=session, config=PiperConfig.from_dict(config))


def speak(voice: PiperVoice, sentences: Sequence[str], generator: np.random.Generator) -> tuple[Waveform, int]:
    """Speak sentences with pauses of random length between, before and after them: float32 (frames,), rate in Hz."""
    from piper import SynthesisConfig

    manner = SynthesisConfig(length_scale=1.0, noise_scale=NOISE_SCALE, noise_w_scale=RHYTHM_SCALE)
    rate = voice.config.sample_rate
    parts = [_pause(generator, rate)]
    for sentence in sentences:
        parts += [chunk.audio_float_array for chunk in voice.synthesize(sentence, manner)]
        parts.append(_pause(generator, rate))
    speech = np.concatenate(parts).astype(np.float32)
    room = generator.standard_normal(len(speech)) * 10 ** (-78 / 20)  # no room is digitally silent
    return (speech + room).astype(np.float32), rate


def _pause(generator: np.random.Generator, rate: int) -> Waveform:
    seconds = generator.uniform(*PAUSE_SECONDS)
    return np.zeros(round(seconds * rate), dtype=np.float32)


def music(voice: Waveform, rate: int, generator: np.random.Generator) -> Waveform:
    """Chords, bass and light percussion in four-four time under a voice: float32 (frames, 2)."""
    beat = 60 / 92
    left, right = np.zeros(len(voice)), np.zeros(len(voice))
    # Semitones over A: A minor, F, C, G, two bars each.
    chords = [(0, 3, 7, 12), (-4, 0, 3, 8), (3, 7, 10, 15), (-2, 2, 5, 10)]
    for number in range(int(len(voice) / rate / beat) + 1):
        chord = chords[number // 8 % len(chords)]
        start = round(number * beat * rate)
        if number % 4 == 0:
            for index, semitone in enumerate(chord):
                note = _tone(220 * 2 ** (semitone / 12), 4.2 * beat, rate, decay=1.4, partials=5)
                _mix(left if index % 2 else right, note, start, 0.5)
                _mix(right if index % 2 else left, note, start, 0.3)
        fifth = 7 if number % 4 == 3 else 0
        bass = _tone(55 * 2 ** ((chord[0] + fifth) / 12), 0.9 * beat, rate, decay=0.5, partials=3)
        kick = _tone(52, 0.16, rate, decay=0.05, partials=1)
        for side in (left, right):
            _mix(side, bass, start, 0.7)
            if number % 2 == 0:
                _mix(side, kick, start, 0.8)
        for half in (0, 1):
            hat = _hat(rate, generator)
            at = start + round(half * beat / 2 * rate)
            _mix(left, hat, at, 0.10)
            _mix(right, hat, at, 0.14)
    return _under(voice, np.stack([left, right], axis=1), MUSIC_DB)


def hiss_and_hum(voice: Waveform, rate: int, generator: np.random.Generator) -> Waveform:
    """Broadband hiss and the hum of a 60 Hz mains with harmonics under a voice: float32 (frames, 1)."""
    time = np.arange(len(voice)) / rate
    hum = sum(np.sin(2 * np.pi * 60 * k * time + k) / k for k in (1, 2, 3, 5))
    hiss = generator.standard_normal(len(voice))
    noise = hiss / hiss.std() + 0.7 * hum / np.std(hum)
    return _under(voice, noise[:, None], NOISE_DB)


def _tone(frequency: float, seconds: float, rate: int, decay: float, partials: int) -> Float:
    """A plucked tone of a few harmonics that dies away within ``decay`` seconds to 1/e."""
    time = np.arange(round(seconds * rate)) / rate
    tone = sum(np.sin(2 * np.pi * frequency * k * time) / k**1.5 for k in range(1, partials + 1))
    envelope = np.exp(-time / decay) * np.minimum(1, time / 0.01) * np.minimum(1, (seconds - time) / 0.02)
    return np.asarray(tone * np.maximum(envelope, 0))


def _hat(rate: int, generator: np.random.Generator) -> Float:
    """A closed hi-hat: differentiated noise of 50 ms."""
    noise = np.diff(generator.standard_normal(round(0.05 * rate) + 2), n=2)
    return noise * np.exp(-np.arange(len(noise)) / rate / 0.012)


def _mix(target: Float, sound: Float, start: int, gain: float) -> None:
    end = min(len(target), start + len(sound))
    if start < end:
        target[start:end] += gain * sound[: end - start]


def _under(voice: Waveform, backdrop: Float, ratio_db: float) -> Waveform:
    """Voice over a backdrop (frames, channels) at a ratio of RMS levels; pauses do not count in the voice's."""
    sounding = voice[np.abs(voice) > 0.01 * np.abs(voice).max()]
    gain = sounding.std() / backdrop.std() * 10 ** (-ratio_db / 20)
    return (voice[:, None] + gain * backdrop).astype(np.float32)


PLANS = (
    TakePlan("01_hello.wav", 44100, 2),
    TakePlan("02_bakery.flac", 48000, 1),
    TakePlan("03_coast_with_music.flac", 44100, 2, music),
    TakePlan("04_workshop_with_hiss.wav", 22050, 1, hiss_and_hum),
    TakePlan("05_facts.ogg", 22050, 1),
)


def write_take(path: Path, plan: TakePlan, samples: Waveform, rate: int) -> None:
    """Write samples (frames, channels) in the plan's rate, channels and format, peaks at -3 dBFS."""
    sound = resample(samples, rate, plan.rate)
    sound = sound * (10 ** (-3 / 20) / np.abs(sound).max())
    if plan.channels == 2 and sound.shape[1] == 1:
        sound = np.repeat(sound, 2, axis=1) * np.array([1.0, 0.8], dtype=np.float32)
    if path.suffix == ".ogg":
        write_sound(path, sound, plan.rate, "OGG", "VORBIS")
        fix_ogg_serial(path)
    else:
        write_sound(path, sound, plan.rate, path.suffix[1:].upper(), "PCM_16")


def fix_ogg_serial(path: Path, serial: int = 1) -> None:
    """Give an Ogg stream a fixed serial number in place of libsndfile's random one (RFC 3533, section 6)."""
    data = bytearray(path.read_bytes())
    start = 0
    while start < len(data):
        segments = data[start + 26]
        end = start + 27 + segments + sum(data[start + 27 : start + 27 + segments])
        data[start + 14 : start + 18] = serial.to_bytes(4, "little")
        data[start + 22 : start + 26] = bytes(4)
        data[start + 22 : start + 26] = _ogg_checksum(data[start:end]).to_bytes(4, "little")
        start = end
    path.write_bytes(data)


def _ogg_checksum(page: bytearray) -> int:
    register = 0
    for byte in page:
        register = (register << 8) & 0xFFFFFFFF ^ _CRC_TABLE[(register >> 24) ^ byte]
    return register


def _crc_entry(value: int) -> int:
    value <<= 24
    for _ in range(8):
        value = (value << 1) ^ (0x104C11DB7 if value & 0x80000000 else 0)
    return value & 0xFFFFFFFF


_CRC_TABLE = [_crc_entry(value) for value in range(256)]


def make_demo_speaker(
    model: Path,
    texts: Path,
    folder: Path,
    stamp: Path,
    threads: int = 0,
    label: str = "demo speaker",
    licence: str = NONE_GIVEN,
) -> None:
    """Speak all takes into ``folder`` and list them, with digests, in ``stamp`` outside of it.

    Args:
        model: ONNX file of the Piper voice, its configuration beside it.
        texts: sentences, see :func:`read_texts`.
        folder: the speaker's folder; replaced as a whole.
        stamp: JSON file to write.
        threads: of the voice's network; 0 lets onnxruntime choose.
        label: head of the progress lines.
        licence: of the voice.

    Raises:
        DataError: the texts do not have as many takes as there are recordings to make.
    """
    takes = read_texts(texts)
    if len(takes) != len(PLANS):
        raise DataError(f"{texts}: {len(takes)} takes, expected {len(PLANS)}", "put one blank line between two takes")
    voice = load_voice(model, threads)
    progress = Progress(label, len(PLANS))
    files = {}
    with atomic_folder(folder) as temporary:
        for number, (plan, sentences) in enumerate(zip(PLANS, takes, strict=True)):
            generator = np.random.default_rng([SEED, number])
            speech, rate = speak(voice, sentences, generator)
            mixed = plan.backdrop(speech, rate, generator) if plan.backdrop else speech[:, None]
            write_take(temporary / plan.file, plan, mixed, rate)
            seconds = round(len(speech) / rate, 3)
            files[plan.file] = {"sha256": sha256_file(temporary / plan.file), "seconds": seconds}
            log.info("%s: %.1f s", plan.file, seconds)
            progress.update(note=plan.file)
        write_text(temporary / "LICENCE.txt", f"{licence}\n\n{MADE_UP}\n")
        who = {"who": "nobody: a packaged voice", "scope": "release", "purposes": ["demonstration"]}
        write_text(temporary / CONSENT_FILE, consent_text(temporary, **who))
    write_json(stamp, {"folder": folder.name, "files": files})
