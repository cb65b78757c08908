"""Pieces of a take: overlapping ones that are processed and joined again, and a few excerpts that stand for it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from voiceclone.audio.io import Waveform


def segment_starts(frames: int, size: int, step: int) -> list[int]:
    """First frame of each piece: pieces of ``size`` frames every ``step`` frames that cover all ``frames``."""
    return [0, *range(step, max(frames - (size - step), 1), step)]


def in_segments(
    samples: Waveform, rate: int, work: Callable[[Waveform], Waveform], seconds: float, overlap: float
) -> Waveform:
    """Apply ``work`` to overlapping pieces and join the results with linear cross-fades.

    What ``work`` needs of memory is bounded by the piece, whatever the length of the take.

    Args:
        samples: float32 (frames, channels).
        rate: in Hz.
        work: maps (n, channels) to (n,) at the same rate.
        seconds: length of a piece.
        overlap: length of the cross-fade between neighbours in seconds, shorter than half a piece.

    Returns:
        float32 (frames,).
    """
    size, fade = int(seconds * rate), int(overlap * rate)
    step = size - fade
    result = np.zeros(len(samples), dtype=np.float32)
    ramp = np.linspace(0.0, 1.0, fade, endpoint=False, dtype=np.float32)
    for start in segment_starts(len(samples), size, step):
        piece = work(samples[start : start + size])
        if start:
            joint = min(fade, len(piece))
            piece[:joint] *= ramp[:joint]
            result[start : start + joint] *= 1.0 - ramp[:joint]
        result[start : start + len(piece)] += piece
    return result


def excerpt_slices(frames: int, rate: int, number: int, seconds: float) -> list[slice]:
    """At most ``number`` pieces spread evenly over a take; the whole take when it is not longer than they are."""
    size = int(seconds * rate)
    if frames <= size:
        return [slice(0, frames)]
    number = max(1, min(number, frames // size))
    starts = [round((frames - size) * (index + 0.5) / number) for index in range(number)]
    return [slice(start, start + size) for start in starts]
