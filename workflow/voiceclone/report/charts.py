"""Pictures of the report: line charts, bars and timelines as inline SVG, spectrograms as small PNG.

Colours come from the page's style sheet (classes ``s1`` and ``s2`` for series), so that they follow light and dark.
"""

from __future__ import annotations

import base64
import math
import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from markupsafe import Markup, escape

from voiceclone.sound.io import Waveform, resample

Points = Sequence[tuple[float, float]]
MAX_POINTS = 160  # per line: more cannot be told apart at this size


def ticks(low: float, high: float, max_ticks: int = 4) -> list[float]:
    """Round numbers between two bounds, at most about ``max_ticks``."""
    if not high > low:
        return [low]
    rough = (high - low) / max_ticks
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(n * step, 10) for n in range(first, math.floor(high / step + 1e-9) + 1)]


def short(value: float) -> str:
    """A number for an axis: at most four characters where possible."""
    size = abs(value)
    if size >= 1e6:
        return f"{value / 1e6:g}M"
    if size >= 1e4:
        return f"{value / 1e3:g}k"
    return f"{value:.3g}" if size < 1000 else f"{value:.0f}"


def thin(points: Points, max_points: int = MAX_POINTS) -> list[tuple[float, float]]:
    """At most ``max_points`` points: means of equal runs, with the last point kept."""
    if len(points) <= max_points:
        return [(float(x), float(y)) for x, y in points]
    groups = np.array_split(np.asarray(points, dtype=np.float64), max_points)
    return [(float(group[-1, 0]), float(group[:, 1].mean())) for group in groups]


def line_chart(
    title: str, series: Mapping[str, Points], marks: Sequence[float] = (), width: int = 320, height: int = 168
) -> Markup:
    """Lines over steps; ``marks`` are steps at which a training was resumed, drawn as dashed verticals."""
    lines = {name: thin(points) for name, points in series.items() if points}
    if not lines:
        return Markup("")
    values = [y for points in lines.values() for _, y in points]
    steps = [x for points in lines.values() for x, _ in points] + list(marks)
    low, high = min(values), max(values)
    margin = (high - low) * 0.08 or abs(high) * 0.1 or 1.0
    low, high = low - margin, high + margin
    start, end = min(0.0, min(steps)), max(max(steps), 1.0)
    left, right, top, bottom = 44, width - 8, 12, height - 24

    def x_of(step: float) -> float:
        return left + (step - start) / (end - start) * (right - left)

    def y_of(value: float) -> float:
        return bottom - (value - low) / (high - low) * (bottom - top)

    parts = [f'<svg class="chart" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title)} over steps">']
    for value in ticks(low, high):
        y = y_of(value)
        parts.append(f'<line class="grid" x1="{left}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="tick" x="{left - 6}" y="{y + 3.5:.1f}" text-anchor="end">{short(value)}</text>')
    for step in ticks(start, end):
        anchor = "end" if x_of(step) > right - 8 else "middle"
        parts.append(
            f'<text class="tick" x="{x_of(step):.1f}" y="{height - 6}" text-anchor="{anchor}">{short(step)}</text>'
        )
    for step in marks:
        x = x_of(step)
        parts.append(
            f'<line class="mark" x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{bottom}">'
            f"<title>resumed at step {step:.0f}</title></line>"
        )
    for number, (name, points) in enumerate(lines.items(), start=1):
        if len(points) == 1:
            x, y = points[0]
            parts.append(f'<circle class="dot s{number}" cx="{x_of(x):.1f}" cy="{y_of(y):.1f}" r="2.5"/>')
            continue
        path = " ".join(f"{x_of(x):.1f},{y_of(y):.1f}" for x, y in points)
        parts.append(f'<polyline class="line s{number}" points="{path}"><title>{escape(name)}</title></polyline>')
    parts.append("</svg>")
    return Markup("".join(parts))


def trend_chart(
    title: str,
    series: Mapping[str, Sequence[tuple[float, float, str, str]]],
    width: int = 260,
    height: int = 110,
) -> Markup:
    """Values from run to run, a dot for each. A point: number of the run, value, style class, words on hovering."""
    lines = {name: points for name, points in series.items() if points}
    if not lines:
        return Markup("")
    values = [point[1] for points in lines.values() for point in points]
    last = max(point[0] for points in lines.values() for point in points)
    low, high = min(values), max(values)
    margin = (high - low) * 0.15 or abs(high) * 0.1 or 1.0
    low, high = low - margin, high + margin
    left, right, top, bottom = 40, width - 10, 8, height - 8

    def place(point: tuple[float, float, str, str]) -> tuple[float, float]:
        x = left + 8 + point[0] / last * (right - left - 8) if last else (left + right) / 2
        return x, bottom - (point[1] - low) / (high - low) * (bottom - top)

    parts = [
        f'<svg class="chart" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title)} from run to run">'
    ]
    for value in ticks(low, high, 3):
        y = bottom - (value - low) / (high - low) * (bottom - top)
        parts.append(f'<line class="grid" x1="{left}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="tick" x="{left - 6}" y="{y + 3.5:.1f}" text-anchor="end">{short(value)}</text>')
    for number, (name, points) in enumerate(lines.items(), start=1):
        places = [place(point) for point in points]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts.append(f'<polyline class="line s{number}" points="{path}"/>')
        for (x, y), (_, _, state, words) in zip(places, points, strict=True):
            style, radius = f"dot s{number} {state}".strip(), 4 if state else 3
            parts.append(
                f'<circle class="{escape(style)}" cx="{x:.1f}" cy="{y:.1f}" r="{radius}">'
                f"<title>{escape(name)} · {escape(words)}</title></circle>"
            )
    parts.append("</svg>")
    return Markup("".join(parts))


@dataclass(frozen=True)
class Bubble:
    """A target in :func:`trade_off`: its name, seconds of computing per second of speech, quality, size in bytes."""

    name: str
    rtf: float
    quality: float
    size: float
    words: str


def trade_off(title: str, bubbles: Sequence[Bubble], width: int = 640, height: int = 300) -> Markup:
    """Quality upwards over computing time to the right, on a logarithmic axis; areas are proportional to size."""
    left, right, top, bottom = 52, width - 110, 26, height - 34
    quality = [bubble.quality for bubble in bubbles]
    margin = (max(quality) - min(quality)) * 0.2 or abs(quality[0]) * 0.1 or 1.0
    low, high = min(quality) - margin, max(quality) + margin
    times = [math.log10(max(bubble.rtf, 1e-4)) for bubble in bubbles]
    start, end = min(times) - 0.15, max(times) + 0.15
    largest = max(bubble.size for bubble in bubbles) or 1.0

    def x_of(time: float) -> float:
        return left + (time - start) / (end - start) * (right - left)

    def y_of(value: float) -> float:
        return bottom - (value - low) / (high - low) * (bottom - top)

    parts = [
        f'<svg class="chart" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title)} against speed">'
    ]
    for value in ticks(low, high):
        y = y_of(value)
        parts.append(f'<line class="grid" x1="{left}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="tick" x="{left - 6}" y="{y + 3.5:.1f}" text-anchor="end">{short(value)}</text>')
    steps = [math.log10(factor * 10.0**power) for power in range(-4, 4) for factor in (1, 2, 5)]
    for step in (step for step in steps if start <= step <= end):
        x = x_of(step)
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{bottom}"/>')
        parts.append(f'<text class="tick" x="{x:.1f}" y="{bottom + 15}" text-anchor="middle">{short(10**step)}</text>')
    parts.append(f'<text class="tick" x="{left}" y="{top - 12}">{escape(title)}</text>')
    parts.append(
        f'<text class="tick" x="{right}" y="{height - 4}" text-anchor="end">'
        "seconds of computing per second of speech (left is faster)</text>"
    )
    for bubble, time in sorted(zip(bubbles, times, strict=True), key=lambda pair: -pair[0].size):
        radius = 4 + 16 * math.sqrt(bubble.size / largest)
        x, y = x_of(time), y_of(bubble.quality)
        parts.append(
            f'<g class="bubble"><circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}"/>'
            f'<text x="{x + radius + 5:.1f}" y="{y + 4:.1f}">{escape(bubble.name)}</text>'
            f"<title>{escape(bubble.words)}</title></g>"
        )
    parts.append("</svg>")
    return Markup("".join(parts))


def histogram(title: str, values: Sequence[float], bins: int = 12, width: int = 420, height: int = 150) -> Markup:
    """Counts of values in whole-second bins (or wider ones where the range is long)."""
    if not values:
        return Markup("")
    step = max(1, math.ceil((math.ceil(max(values)) or 1) / bins))
    edges = list(range(0, math.ceil(max(values) / step) * step + step, step))
    counts = np.histogram(values, bins=edges)[0]
    left, right, top, bottom = 30, width - 8, 14, height - 24
    tallest = max(int(counts.max()), 1)
    slot = (right - left) / len(counts)
    parts = [f'<svg class="chart" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title)}">']
    for value in sorted({0, *(int(tick) for tick in ticks(0, tallest, 3) if tick == int(tick))}):
        y = bottom - value / tallest * (bottom - top)
        parts.append(f'<line class="grid" x1="{left}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="tick" x="{left - 6}" y="{y + 3.5:.1f}" text-anchor="end">{value}</text>')
    for index, count in enumerate(counts):
        tall = count / tallest * (bottom - top)
        x = left + index * slot
        note = f"{edges[index]} to {edges[index + 1]} s: {count}"
        parts.append(
            f'<rect class="column" x="{x + slot * 0.09:.1f}" y="{bottom - tall:.1f}" width="{slot * 0.82:.1f}" '
            f'height="{tall:.1f}" rx="1.5"><title>{note}</title></rect>'
        )
    for index, edge in enumerate(edges):
        if len(edges) <= 14 or index % 2 == 0:
            parts.append(
                f'<text class="tick" x="{left + index * slot:.1f}" y="{height - 6}" text-anchor="middle">{edge}</text>'
            )
    parts.append("</svg>")
    return Markup("".join(parts))


def timeline(spans: Sequence[tuple[float, float, str, str]], seconds: float) -> Markup:
    """A take as one strip. ``spans``: start and end in seconds, state (a style class), words on hovering."""
    if seconds <= 0:
        return Markup("")
    scale = 1000 / seconds
    parts = ['<svg class="strip" viewBox="0 0 1000 16" preserveAspectRatio="none" role="img" aria-label="timeline">']
    for start, end, state, words in spans:
        parts.append(
            f'<rect class="state-{escape(state)}" x="{start * scale:.2f}" y="0" height="16" '
            f'width="{max((end - start) * scale, 0.4):.2f}"><title>{escape(words)}</title></rect>'
        )
    parts.append("</svg>")
    return Markup("".join(parts))


# Stops of a perceptually even map from near black over violet and orange to pale yellow.
_STOPS = ((0, (8, 7, 22)), (0.25, (64, 18, 96)), (0.5, (158, 42, 99)), (0.75, (236, 105, 56)), (1, (252, 244, 176)))


def _palette() -> bytes:
    positions = np.array([stop for stop, _ in _STOPS])
    colours = np.array([colour for _, colour in _STOPS], dtype=np.float64)
    along = np.linspace(0, 1, 256)
    table = np.stack([np.interp(along, positions, colours[:, channel]) for channel in range(3)], axis=1)
    return table.round().astype(np.uint8).tobytes()


def indexed_png(pixels: npt.NDArray[np.uint8], palette: bytes) -> bytes:
    """PNG of palette indices uint8 (height, width) with 256 RGB colours (W3C PNG specification, colour type 3)."""
    height, width = pixels.shape

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    lines = np.concatenate([np.zeros((height, 1), np.uint8), pixels], axis=1)  # filter type 0 before each line
    header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"PLTE", palette)
        + chunk(b"IDAT", zlib.compress(lines.tobytes(), 9))
        + chunk(b"IEND", b"")
    )


def spectrogram_png(samples: Waveform, rate: int, width: int = 360, height: int = 72, range_db: float = 70.0) -> bytes:
    """Spectrogram on a mel axis up to 10 kHz, ``range_db`` below its loudest point, as PNG.

    Colours are quantised to 32 levels: the eye does not see more here, and the file is half as large.
    """
    signal = resample(np.asarray(samples, dtype=np.float32), rate, 20_000)
    size = 1024
    signal = np.pad(signal, (size // 2, size // 2 + max(0, size - len(signal))))
    hop = max(1, (len(signal) - size) // width)
    frames = np.lib.stride_tricks.sliding_window_view(signal, size)[::hop][:width]
    power = np.abs(np.fft.rfft(frames * np.hanning(size), axis=1)) ** 2
    mel = np.linspace(0.0, 2595 * np.log10(1 + 10_000 / 700), height + 1)
    bins = 700 * (10 ** (mel / 2595) - 1) / 20_000 * size
    floors = np.clip(np.floor(bins).astype(int), 0, size // 2 - 1)
    ends = np.maximum(floors[1:], floors[:-1] + 1)
    bands = np.stack([power[:, a:b].mean(axis=1) for a, b in zip(floors[:-1], ends, strict=True)], axis=1)
    level = 10 * np.log10(np.maximum(bands, 1e-10))
    shade = np.clip((level - level.max()) / range_db + 1, 0, 1)
    pixels = (np.round(shade * 31) * 255 / 31).astype(np.uint8)
    return indexed_png(np.ascontiguousarray(pixels.T[::-1]), _palette())


def data_uri(kind: str, content: bytes) -> str:
    """``data:`` address that carries the content itself."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
