"""Takes of any length in bounded memory: samples on disk, read by slices as those of an array are.

What a stage does to a take it does to its :func:`blocks`: a short take is an array and one block, a long one a
:class:`Spool` and many. The results are the same bit for bit, but for the rounding of a mean.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
#: Samples of all channels from which a take is kept on disk: 2 minutes of stereo at 48 kHz.
LONG = 12_000_000
BLOCK = 1 << 20  # frames that are worked on at once


class Spool:
    """Samples in a file without a name, which ends with the process.

    Args:
        parts: arrays (frames,) or (frames, channels), in order.
        folder: where the file is; None: where temporary files are.
        dtype: of the samples.
    """

    def __init__(self, parts: Iterable[Array], folder: Path | None = None, dtype: npt.DTypeLike = np.float32) -> None:
        self.folder, self.dtype = folder, np.dtype(dtype)
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        self._row: tuple[int, ...] = ()
        self._frames, self._file = 0, tempfile.TemporaryFile(dir=folder)  # noqa: SIM115
        for part in parts:
            self._row, self._frames = part.shape[1:], self._frames + len(part)
            self._file.write(np.ascontiguousarray(part, self.dtype).data)
        self._file.flush()

    def __len__(self) -> int:
        return self._frames

    @property
    def _row_bytes(self) -> int:
        return self.dtype.itemsize * int(np.prod(self._row))

    @property
    def shape(self) -> tuple[int, ...]:
        """As of an array."""
        return self._frames, *self._row

    def __getitem__(self, place: slice) -> Array:
        start, stop, _ = place.indices(self._frames)
        found = np.empty((max(0, stop - start), *self._row), self.dtype)
        left, at = found.data.cast("B") if found.size else memoryview(b""), start * self._row_bytes
        while left:  # one call reads 2 GB at most
            count = os.preadv(self._file.fileno(), [left], at)
            if not count:
                raise OSError(f"the file of a long take ends after {at} bytes")
            left, at = left[count:], at + count
        return found


Samples = Array | Spool


def spans(samples: Samples) -> Iterator[tuple[int, int]]:
    """First frame of each block, and the one after its last."""
    size = BLOCK if isinstance(samples, Spool) else max(1, len(samples))
    for start in range(0, len(samples), size):
        yield start, min(start + size, len(samples))


def blocks(samples: Samples) -> Iterator[Array]:
    """The samples, in parts that fit into memory; an array is one."""
    for start, stop in spans(samples):
        yield samples[start:stop]


def joined(parts: Iterable[Array], like: Samples, dtype: npt.DTypeLike = np.float32) -> Samples:
    """Parts of a result, kept as ``like`` is: on disk or in memory."""
    if isinstance(like, Spool):
        return Spool(parts, like.folder, dtype)
    found = list(parts)
    return found[0] if len(found) == 1 else np.concatenate([np.zeros(0, dtype)] * (not found) + found)


def mapped(samples: Samples, work: Callable[[Array], Array], dtype: npt.DTypeLike = np.float32) -> Samples:
    """What ``work`` makes of the samples, block by block."""
    return joined(map(work, blocks(samples)), samples, dtype) if len(samples) else work(samples[:])


def fitted(parts: Iterable[Array], start: int, frames: int) -> Iterator[Array]:
    """A stretch of a sound that comes in parts; zeros where it ends early."""
    at, missing = 0, frames
    for part in parts:
        inside = part[max(0, start - at) : max(0, start + frames - at)]
        at, missing = at + len(part), missing - len(inside)
        yield inside
    yield np.zeros(missing, np.float32)


def resampled(samples: Samples, source_rate: int, target_rate: int) -> Samples:
    """Mono samples at another rate (soxr, quality HQ)."""
    import soxr

    from voiceclone.sound.io import resample

    if not isinstance(samples, Spool) or source_rate == target_rate:
        return samples if source_rate == target_rate else resample(np.asarray(samples), source_rate, target_rate)
    stream = soxr.ResampleStream(source_rate, target_rate, 1, dtype="float32", quality="HQ")
    parts = (stream.resample_chunk(samples[a:b], last=b == len(samples)) for a, b in spans(samples))
    return joined(parts, samples)


def read_take(path: Path, folder: Path | None = None) -> tuple[Samples, int]:
    """Samples of a sound file, float32 (frames, channels), and its rate in Hz; a long one stays on disk.

    Args:
        path: the file.
        folder: of what stays on disk.

    Raises:
        DataError: see :func:`voiceclone.sound.io.read_audio`.
    """
    from voiceclone.sound.io import probe, stream

    info, held = probe(path), list[Array]()
    parts = stream(path, info)
    for part in parts:
        held.append(part)
        if sum(block.size for block in held) > LONG:
            return Spool(_after(held, parts), folder), info.sample_rate
    return np.concatenate(held) if held else np.zeros((0, info.channels), np.float32), info.sample_rate


def _after(held: list[Array], parts: Iterable[Array]) -> Iterator[Array]:
    """What was read before, let go part by part, and what comes after it."""
    while held:
        yield held.pop(0)
    yield from parts
