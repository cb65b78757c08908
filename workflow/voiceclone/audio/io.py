"""Reading and writing sound: libsndfile first, ffmpeg for what it cannot read, FLAC between stages."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from voiceclone.errors import DataError
from voiceclone.files import atomic_path

Waveform = npt.NDArray[np.float32]


def read_audio(path: Path) -> tuple[Waveform, int]:
    """Samples of a file that libsndfile or ffmpeg reads.

    Returns:
        float32 array (frames, channels) with full scale ±1, and the sample rate in Hz.

    Raises:
        DataError: neither reads it, or it ends early.
    """
    try:
        with soundfile.SoundFile(str(path)) as sound:
            expected, rate = sound.frames, sound.samplerate
            samples = sound.read(dtype="float32", always_2d=True)
        if len(samples) < expected:
            raise DataError(
                f"{path}: truncated, {len(samples)} of {expected} frames could be read", "copy the file again"
            )
        return samples, rate
    except (soundfile.LibsndfileError, RuntimeError) as first:
        try:
            return _read_with_ffmpeg(path)
        except DataError as second:
            raise DataError(
                f"{path}: cannot be decoded (libsndfile: {first}; {second.message})", second.hint
            ) from first


def _read_with_ffmpeg(path: Path) -> tuple[Waveform, int]:
    ffprobe, ffmpeg = shutil.which("ffprobe"), shutil.which("ffmpeg")
    if not ffprobe or not ffmpeg:
        raise DataError("ffmpeg: not installed", "install ffmpeg, for example 'apt install ffmpeg'")
    # 'file:' keeps a name with a colon from being taken for a protocol, the whitelist keeps playlists from opening others.
    source = ["-protocol_whitelist", "file", "-i", f"file:{Path(path).resolve()}"]
    fields = "stream=sample_rate,channels"
    probe = subprocess.run(
        [ffprobe, "-v", "error", "-select_streams", "a:0", "-show_entries", fields, "-of", "csv=p=0", *source[:2], source[3]],
        capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    if probe.returncode or not probe.stdout.strip():
        raise DataError(
            f"ffmpeg: {probe.stderr.strip().splitlines()[-1] if probe.stderr.strip() else 'no audio stream'}"
        )
    rate, channels = (int(part) for part in probe.stdout.split()[0].split(",")[:2])
    command = [ffmpeg, "-v", "error", "-xerror", "-nostdin", *source, "-map", "0:a:0", "-f", "f32le", "-"]
    done = subprocess.run(command, capture_output=True, check=False, stdin=subprocess.DEVNULL)
    if done.returncode:
        message = done.stderr.decode(errors="replace").strip().splitlines()
        raise DataError(f"ffmpeg: {message[-1] if message else 'failed'}")
    return np.frombuffer(done.stdout, dtype="<f4").reshape(-1, channels).copy(), rate


def read_mono(path: Path, rate: int | None = None) -> tuple[Waveform, int]:
    """Samples of a file, channels averaged, resampled to ``rate`` if given: float32 (frames,), rate in Hz."""
    samples, source_rate = read_audio(path)
    mono = samples.mean(axis=1, dtype=np.float32)
    if rate is None or rate == source_rate:
        return mono, source_rate
    return resample(mono, source_rate, rate), rate


def resample(samples: Waveform, source_rate: int, target_rate: int) -> Waveform:
    """Resample along the first axis (soxr, quality HQ)."""
    if source_rate == target_rate:
        return samples
    return np.asarray(soxr.resample(samples, source_rate, target_rate, quality="HQ"), dtype=np.float32)


def write_flac(target: Path, samples: Waveform, rate: int) -> None:
    """Write FLAC (16 bit) atomically; samples float32 (frames,) or (frames, channels) within ±1."""
    with atomic_path(target) as temporary:
        soundfile.write(str(temporary), samples, rate, format="FLAC", subtype="PCM_16")
