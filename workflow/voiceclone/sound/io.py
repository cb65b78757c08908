"""Reading and writing sound: libsndfile first, ffmpeg for what it cannot read, FLAC between stages."""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from voiceclone import __version__
from voiceclone.errors import DataError
from voiceclone.files import atomic_path
from voiceclone.sound.headers import has_length_table, length_is_wrong, lost_seconds
from voiceclone.sound.spool import Samples, blocks

Waveform = npt.NDArray[np.float32]

# Containers that carry their own sound. Playlists and concatenation scripts are left out: they open other files.
_CONTAINERS = (
    "aac,ac3,adts,aiff,amr,amrnb,amrwb,ape,asf,au,avi,caf,dsf,dts,eac3,flac,flv,iff,loas,matroska,mov,mp3,mpc,mpc8,"
    "mpeg,mpegts,mxf,ogg,rm,tta,voc,w64,wav,wv"
)


MOST_FRAMES = 1 << 48  # more stand for a length that is not known
TRACK_BLOCKS = 12  # of 10 s, from which a track is judged


class NoAudioStreamError(DataError):
    """A media file without sound, such as a picture or a silent video."""


class TruncatedError(DataError):
    """A recording that ends before the length that its header declares."""


@dataclass(frozen=True)
class SoundInfo:
    """Header of a sound file: rate in Hz, channels, codec, frames (None: unknown), and who decodes it.

    Of several sound tracks ``track`` (from 0) is the one that speaks, of ``tracks``. ``to_end``: the header's length
    is wrong, the file is read to its end.
    """

    sample_rate: int
    channels: int
    codec: str
    frames: int | None
    decoder: str
    track: int = 0
    tracks: int = 1
    to_end: bool = False


def probe(path: Path) -> SoundInfo:
    """Read the header of a sound file.

    Raises:
        NoAudioStreamError: a media file without sound.
        DataError: neither libsndfile nor ffmpeg knows the format.
    """
    if length_is_wrong(path):
        with contextlib.suppress(DataError):  # what ffmpeg cannot read either is refused below
            return _probe_with_ffmpeg(path, to_end=True)
    try:
        info = soundfile.info(str(path))
    except (soundfile.LibsndfileError, RuntimeError) as first:
        try:
            return _probe_with_ffmpeg(path)
        except NoAudioStreamError:
            raise
        except DataError as second:
            raise DataError(
                f"{path}: cannot be decoded (libsndfile: {getattr(first, 'error_string', first)} {second.message})",
                second.hint,
            ) from first
    if info.frames > MOST_FRAMES:  # libsndfile reads no FLAC of unknown length, which a pipe leaves
        return _probe_with_ffmpeg(path)
    # The length of an MP3 is an estimate where the encoder left no table.
    frames = None if info.subtype.startswith("MPEG") else info.frames
    return SoundInfo(info.samplerate, info.channels, f"{info.format} {info.subtype}".lower(), frames, "libsndfile")


def header_seconds(path: Path) -> float:
    """Length in seconds by a sound file's header, for an estimate: nothing is decoded; 0: it has none.

    Raises:
        DataError: see :func:`probe`.
    """
    info = probe(path)
    if info.decoder == "libsndfile":
        return float(soundfile.info(str(path)).duration)
    return _duration(path, info.track)


def shortened(path: Path, info: SoundInfo, seconds: float) -> str:
    """What a file of which ``seconds`` could be read lacks of what its header promises, in words; empty: nothing."""
    frames: float | None = None
    if info.decoder == "ffmpeg":
        frames = 0.0 if info.codec in _ESTIMATED else _duration(path, info.track) * info.sample_rate
    elif info.codec.startswith("mp3") and has_length_table(path):
        frames = soundfile.info(str(path)).frames
    return "" if info.to_end else lost_seconds(path, info.sample_rate, seconds, frames)


#: Codecs of files without a header of the whole, whose length ffmpeg guesses.
_ESTIMATED = ("aac", "mp3", "mp2", "amr_nb", "amr_wb", "ac3", "eac3", "dts")


def _duration(path: Path, track: int) -> float:
    """Seconds of a sound track by the header; of the file where it holds nothing else; 0: unknown."""
    entries = "stream=duration:format=duration,nb_streams"
    command = [_program("ffprobe"), "-v", "error", "-select_streams", f"a:{track}", "-show_entries", entries]
    done = subprocess.run(
        [*command, "-of", "json", *_source(path)], capture_output=True, text=True, errors="replace", check=False,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        found = json.loads(done.stdout)
        alone = found["format"] if found["format"]["nb_streams"] == 1 else {}
        return float((found.get("streams") or [{}])[0].get("duration") or alone.get("duration") or 0.0)
    except (ValueError, KeyError, TypeError):
        return 0.0


def stream(path: Path, info: SoundInfo | None = None, block_seconds: float = 10.0) -> Iterator[Waveform]:
    """Decode a file block by block, so that an hour needs no more memory than a minute.

    Args:
        path: the sound file.
        info: its header, if it was read before.
        block_seconds: greatest length of a block.

    Yields:
        float32 arrays (frames, channels) with full scale ±1.

    Raises:
        TruncatedError: the file ends before its declared length.
        DataError: it cannot be decoded.
    """
    info = info or probe(path)
    block = max(1, int(block_seconds * info.sample_rate))
    if info.decoder == "ffmpeg":
        yield from _stream_with_ffmpeg(path, info, block)
        return
    done = 0
    try:
        with soundfile.SoundFile(str(path)) as sound:
            while len(samples := sound.read(block, dtype="float32", always_2d=True)):
                done += len(samples)
                yield samples
    except (soundfile.LibsndfileError, RuntimeError) as error:
        detail = getattr(error, "error_string", str(error)).rstrip(".")
        if info.frames is None or done >= info.frames:
            raise DataError(
                f"{path}: cannot be decoded after {done} frames ({detail})", "copy the file again"
            ) from error
    if info.frames is not None and done < info.frames:
        promised, read = info.frames / info.sample_rate, done / info.sample_rate
        raise TruncatedError(
            f"{path}: truncated or damaged, its header promises {promised:.1f} s, reading fails after {read:.1f} s",
            "copy the file again",
        )


def read_audio(path: Path) -> tuple[Waveform, int]:
    """Samples of a file that libsndfile or ffmpeg reads.

    Returns:
        float32 array (frames, channels) with full scale ±1, and the sample rate in Hz.

    Raises:
        DataError: neither reads it, or it ends early.
    """
    info = probe(path)
    blocks = list(stream(path, info, block_seconds=60.0))
    return np.concatenate(blocks) if blocks else np.zeros((0, info.channels), np.float32), info.sample_rate


def _source(path: Path, to_end: bool = False) -> list[str]:
    """Input arguments of ffmpeg and ffprobe: only this local file, only containers of sound."""
    wav = ["-f", "wav", "-ignore_length", "1"] if to_end and _is_wav(path) else []
    # 'file:' keeps a name with a colon from being taken for a protocol.
    return [*wav, "-protocol_whitelist", "file", "-format_whitelist", _CONTAINERS, "-i", f"file:{Path(path).resolve()}"]


def _is_wav(path: Path) -> bool:
    with Path(path).open("rb") as handle:
        return handle.read(12)[8:] == b"WAVE"


def _program(name: str) -> str:
    found = shutil.which(name)
    if not found:
        raise DataError(f"{name}: not installed", "install ffmpeg, for example 'apt install ffmpeg'")
    return found


def _last_line(text: str, path: Path) -> str:
    """Last line of ffmpeg's complaint, without the path that the caller names anyway."""
    lines = text.replace(f"file:{Path(path).resolve()}: ", "").strip().splitlines()
    return lines[-1] if lines else "failed"


def _probe_with_ffmpeg(path: Path, to_end: bool = False) -> SoundInfo:
    entries = "stream=codec_name,sample_rate,channels"
    command = [_program("ffprobe"), "-v", "error", "-select_streams", "a", "-show_entries", entries, "-of", "json"]
    done = subprocess.run(
        [*command, *_source(path, to_end)], capture_output=True, text=True, errors="replace", check=False,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    if done.returncode:
        raise DataError(f"ffmpeg: {_last_line(done.stderr, path)}")
    streams = json.loads(done.stdout).get("streams", [])
    if not streams:
        raise NoAudioStreamError(f"{path}: holds no audio stream", "export the sound of this file, or remove it")
    tracks = []
    for number, found in enumerate(streams):
        rate, channels = int(found.get("sample_rate", 0)), int(found.get("channels", 0))
        if rate > 0 and channels > 0:
            codec = found.get("codec_name", "unknown")
            tracks.append(SoundInfo(rate, channels, codec, None, "ffmpeg", number, len(streams), to_end))
    if not tracks:
        raise DataError(f"ffmpeg: the audio stream has rate {rate} Hz and {channels} channels")
    return tracks[0] if len(tracks) == 1 else _speaking(path, tracks)


def _speaking(path: Path, tracks: list[SoundInfo]) -> SoundInfo:
    """The track with a voice in it; of several the cleanest of those that sound for most of the time."""
    from voiceclone.sound.channels import Channel, ChannelMeter

    measured: list[tuple[SoundInfo, Channel, int]] = []
    for track in tracks:
        meter = ChannelMeter(track.sample_rate)
        with contextlib.suppress(DataError):
            for block in itertools.islice(stream(path, track), TRACK_BLOCKS):
                meter.add(block.mean(axis=1, dtype=np.float32, keepdims=True))
        measured += [(track, channel, len(channel.powers)) for channel in meter.channels()]
    measured = [item for item in measured if item[1].voiced] or measured
    longest = max((length for _, _, length in measured), default=0)
    measured = [item for item in measured if item[2] > longest / 2]
    return max(measured, key=lambda item: item[1].snr_db)[0] if measured else tracks[0]


def _stream_with_ffmpeg(path: Path, info: SoundInfo, block: int) -> Iterator[Waveform]:
    # Rate and channels are forced: a stream that changes them midway must not change the layout of the samples.
    layout = ["-map", f"0:a:{info.track}", "-ar", str(info.sample_rate), "-ac", str(info.channels), "-f", "f32le", "-"]
    # Where the length is wrong the last packet ends early, which is no error then.
    strict = [] if info.to_end else ["-xerror"]
    command = [_program("ffmpeg"), "-v", "error", *strict, "-nostdin", *_source(path, info.to_end), *layout]
    frame_bytes = 4 * info.channels
    with tempfile.TemporaryFile() as complaints:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=complaints, bufsize=1 << 20
        )
        assert process.stdout is not None
        try:
            while data := process.stdout.read(block * frame_bytes):
                usable = len(data) - len(data) % frame_bytes
                yield np.frombuffer(data[:usable], dtype="<f4").reshape(-1, info.channels).copy()
            status = process.wait()
        finally:
            process.stdout.close()
            if process.poll() is None:
                process.kill()
                process.wait()
        if status:
            complaints.seek(0)
            reason = _last_line(complaints.read().decode(errors="replace"), path)
            raise DataError(f"{path}: cannot be decoded (ffmpeg: {reason})", "copy the file again")


def read_comment(path: Path) -> str:
    """The comment among the tags of a sound file; empty: there is none, or they cannot be read."""
    entries = "format_tags=comment:stream_tags=comment"
    command = [_program("ffprobe"), "-v", "error", "-show_entries", entries, "-of", "default=nk=1:nw=1"]
    done = subprocess.run(
        [*command, *_source(path)], capture_output=True, text=True, errors="replace", check=False,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    return done.stdout.strip().split("\n")[0]


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


def write_flac(target: Path, samples: Samples, rate: int, comment: str = "") -> None:
    """Write FLAC (16 bit) atomically; samples float32 (frames,) or (frames, channels) within ±1."""
    write_sound(target, samples, rate, "FLAC", "PCM_16", comment)


def write_sound(
    target: Path, samples: Samples, rate: int, kind: str, subtype: str | None = None, comment: str = ""
) -> None:
    """Write a sound file of a format of libsndfile atomically; samples float32 (frames,) or (frames, channels).

    It is encoded in memory: libsndfile does not tell what the system says of a disk, nor whether its last bytes fit.
    """
    encoded = io.BytesIO()
    channels = samples.shape[1] if len(samples.shape) > 1 else 1
    with soundfile.SoundFile(encoded, "w", rate, channels, format=kind, subtype=subtype) as sound:
        if comment:
            sound.comment, sound.software = comment, f"voiceclone {__version__}"
        for block in blocks(samples):
            sound.write(block)
    with atomic_path(target) as temporary:
        temporary.write_bytes(encoded.getbuffer())
