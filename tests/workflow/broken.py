"""A folder of inputs as people hand them in: broken, odd, and a few good ones."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import soundfile

from voiceclone.sound.io import read_audio, resample

#: File name → reason expected in rejected.tsv; None: the recording is good and must come through.
EXPECTED: dict[str, str | None] = {
    "a good one.flac": None,
    "a name with spaces – ünïcode 声.wav": None,
    "eight channels.wav": None,
    "192 kHz.wav": None,
    "dc offset.wav": None,
    "hard clipping.wav": None,
    "empty.wav": "empty",
    "text.wav": "undecodable",
    "truncated.flac": "truncated",
    "nan.wav": "not-finite",
    "ten milliseconds.wav": "short",
    "an hour of silence.flac": "silent",
    "duplicate.flac": "duplicate",
    "link out of the folder.wav": "link-outside",
    "random bytes.mp3": "undecodable",
    "header only.wav": "short",
    "picture.flac": "undecodable",
    "zeros.wav": "silent",
    "half a header.ogg": "undecodable",
    "infinite.wav": "not-finite",
}


def make_broken_speaker(folder: Path, takes: list[Path]) -> None:
    """Fill ``folder`` from at least five good takes."""
    folder.mkdir(parents=True)
    voices = [read_audio(path) for path in takes]
    samples, rate = voices[0]
    soundfile.write(folder / "a good one.flac", samples, rate)
    shutil.copyfile(folder / "a good one.flac", folder / "duplicate.flac")
    second, second_rate = voices[1]
    soundfile.write(folder / "a name with spaces – ünïcode 声.wav", second, second_rate)
    third, third_rate = voices[2]
    soundfile.write(folder / "eight channels.wav", np.repeat(third[:, :1], 8, axis=1), third_rate)
    fourth, fourth_rate = voices[3]
    part = fourth[: 20 * fourth_rate, :1]
    soundfile.write(folder / "192 kHz.wav", resample(part, fourth_rate, 192000), 192000)
    fifth, fifth_rate = voices[4]
    half = len(fifth) // 2
    soundfile.write(folder / "dc offset.wav", fifth[:half, :1] * 0.5 + 0.2, fifth_rate)
    loud = fifth[half:, :1] / np.abs(fifth[half:, :1]).max() * 2.5
    soundfile.write(folder / "hard clipping.wav", np.clip(loud, -1, 1), fifth_rate)
    (folder / "empty.wav").write_bytes(b"")
    (folder / "text.wav").write_text("this is not sound\n" * 50, encoding="utf-8")
    whole = (folder / "a good one.flac").read_bytes()
    (folder / "truncated.flac").write_bytes(whole[: len(whole) // 2])
    broken = samples[: 3 * rate, 0].copy()
    broken[1000:1100] = np.nan
    soundfile.write(folder / "nan.wav", broken, rate, subtype="FLOAT")
    broken[1000:1100] = np.inf
    soundfile.write(folder / "infinite.wav", broken, rate, subtype="FLOAT")
    soundfile.write(folder / "ten milliseconds.wav", samples[: rate // 100], rate)
    soundfile.write(folder / "an hour of silence.flac", np.zeros(3600 * 8000, np.int16), 8000)
    soundfile.write(folder / "zeros.wav", np.zeros(5 * 16000, np.float32), 16000)
    (folder / "link out of the folder.wav").symlink_to(takes[0].resolve())
    noise = np.random.default_rng(7).integers(0, 256, 4000, dtype=np.uint8).tobytes()
    (folder / "random bytes.mp3").write_bytes(noise)
    soundfile.write(folder / "header only.wav", np.zeros((0, 1), np.float32), 16000)
    (folder / "picture.flac").write_bytes(b"\x89PNG\r\n\x1a\n" + noise)
    (folder / "half a header.ogg").write_bytes(b"OggS" + noise[:20])
