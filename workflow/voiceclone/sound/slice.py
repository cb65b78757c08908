"""Cutting takes into utterances at their pauses, with an account of every millisecond.

Voice activity comes from WebRTC's detector (Gaussian mixtures on sub-band energies, through webrtcvad), widened to the
soft heads and tails that it misses by the level of 10 ms frames over the take's own noise floor.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from voiceclone.errors import DataError
from voiceclone.files import contained_path, digest, read_tsv, sha256_file, table_columns, write_tsv
from voiceclone.lineage.items import ItemCache
from voiceclone.progress import Progress, announce
from voiceclone.sound.io import Waveform, read_mono, resample, write_flac
from voiceclone.stages.slice import SliceSettings

log = logging.getLogger(__name__)

MANIFEST_COLUMNS = table_columns("slices")
TIMELINE_COLUMNS = table_columns("timeline")

FRAME_MS = 10
VAD_RATE = 16000
VAD_LEVEL_DBFS = -26.0  # the detector knows absolute levels, so quiet takes are raised to this for it
REACH_MS = 300  # how far soft sound next to detected speech may extend it
SOFT_DB = 8.0  # over the noise floor: sound that may extend speech ...
QUIET_DB = 4.0  # over the noise floor: below, what the detector calls speech is a pause ...
SPEECH_RANGE_DB = 40.0  # ... but only this far below loud speech; softest are the fricatives of "thin" and "fin"
MIN_SPEECH_MS = 60  # shorter bursts alone are clicks
HOLE_MS = 100  # shorter gaps are closures of stops, not pauses

Levels = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Span:
    """A stretch of a take in ms, end exclusive, and what becomes of it.

    Attributes:
        start_ms: first millisecond.
        end_ms: the one after the last.
        state: ``slice``, ``silence`` or ``rejected``.
        reason: code of a rejection.
        given: its bounds were given, whatever its length.
    """

    start_ms: int
    end_ms: int
    state: str = "slice"
    reason: str = ""
    given: bool = False

    @property
    def length_ms(self) -> int:
        """Length in ms."""
        return self.end_ms - self.start_ms


@dataclass(frozen=True)
class Cut:
    """A slice that a person divides, or the stretch of slices that one makes into one.

    Attributes:
        start_ms: of the slice, or of the first of several.
        end_ms: of it, or of the last.
        at_ms: where it is divided; None: from start to end becomes one.
    """

    start_ms: int
    end_ms: int
    at_ms: int | None = None


def frame_levels(samples: Waveform, rate: int) -> Levels:
    """Level in dBFS of every 10 ms, from the 20 ms RMS around it; the last frame may be partial."""
    if not len(samples):
        return np.zeros(0)
    count = -(-len(samples) * 1000 // (rate * FRAME_MS))
    starts = np.arange(count) * rate * FRAME_MS // 1000
    lengths = np.diff(np.append(starts, len(samples)))
    power = np.add.reduceat(samples.astype(np.float64) ** 2, starts) / lengths
    around = np.convolve(np.pad(power, 1, mode="edge"), [0.25, 0.5, 0.25], mode="valid")
    return 10 * np.log10(np.maximum(around, 1e-10))


def detect_speech(samples: Waveform, rate: int, levels: Levels, aggressiveness: int) -> Mask:
    """Mask of the 10 ms frames that hold speech.

    Args:
        samples: float32 (frames,).
        rate: in Hz.
        levels: as :func:`frame_levels` gives them.
        aggressiveness: 0 to 3, of the detector.
    """
    if not len(levels):
        return np.zeros(0, dtype=bool)
    voiced = _webrtc(resample(samples, rate, VAD_RATE), levels, aggressiveness)
    floor, high = noise_floor(levels)
    # In a take without pauses the floor is speech itself: with a small range little is taken from the detector's word.
    span = max(0.0, high - floor)
    voiced &= levels > max(floor + min(QUIET_DB, 0.15 * span), high - SPEECH_RANGE_DB - 5)
    soft = levels > max(floor + min(SOFT_DB, 0.3 * span), high - SPEECH_RANGE_DB)
    speech = _extend(voiced, soft, REACH_MS // FRAME_MS)
    speech = _close(speech, HOLE_MS // FRAME_MS)
    for start, end in _runs(speech):
        if (end - start) * FRAME_MS < MIN_SPEECH_MS:
            speech[start:end] = False
    return speech


def noise_floor(levels: Levels) -> tuple[float, float]:
    """Levels in dBFS of a take's pauses and of its loud speech; digital silence does not count as a pause."""
    sounding = levels[levels > -95.0]
    if not len(sounding):
        return -100.0, -100.0
    low, high = np.percentile(sounding, [5, 95])
    return float(low), float(high)


def _webrtc(samples: Waveform, levels: Levels, aggressiveness: int) -> Mask:
    import webrtcvad

    gain = 10 ** ((VAD_LEVEL_DBFS - noise_floor(levels)[1]) / 20)
    hop = VAD_RATE * FRAME_MS // 1000
    padded = np.zeros(len(levels) * hop, dtype=np.float32)
    padded[: min(len(samples), len(padded))] = samples[: len(padded)]
    pcm = np.clip(padded * gain * 32767, -32768, 32767).astype("<i2").reshape(-1, hop)
    detector = webrtcvad.Vad(aggressiveness)
    return np.array([detector.is_speech(frame.tobytes(), VAD_RATE) for frame in pcm], dtype=bool)


def _runs(mask: Mask) -> list[tuple[int, int]]:
    """Start and end (exclusive) of every run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))
    return [(int(start), int(end)) for start, end in edges.reshape(-1, 2)]


def _extend(core: Mask, soft: Mask, reach: int) -> Mask:
    """Widen every run of ``core`` through adjoining ``soft`` frames, at most ``reach`` frames each way."""
    result = core.copy()
    for start, end in _runs(core):
        first, last = start, end
        while first > 0 and start - first < reach and soft[first - 1]:
            first -= 1
        while last < len(soft) and last - end < reach and soft[last]:
            last += 1
        result[first:last] = True
    return result


def _close(mask: Mask, longest: int) -> Mask:
    """Fill holes shorter than ``longest`` frames between runs."""
    result = mask.copy()
    runs = _runs(mask)
    for (_, end), (start, _) in pairwise(runs):
        if start - end < longest:
            result[end:start] = True
    return result


def plan_slices(speech: Mask, levels: Levels, total_ms: int, settings: SliceSettings) -> list[Span]:
    """Divide a take into slices, silence and rejected speech.

    Args:
        speech: which 10 ms frames hold speech.
        levels: dBFS of the same frames.
        total_ms: length of the take.
        settings: lengths and pauses.

    Returns:
        Spans in order from 0 to ``total_ms`` without gap or overlap.
    """
    pause = settings.min_pause_ms // FRAME_MS
    phrases = [
        Span(start * FRAME_MS, min(end * FRAME_MS, total_ms)) for start, end in _runs(_close(speech, max(1, pause)))
    ]
    budget = round(settings.max_seconds * 1000) - 2 * settings.padding_ms
    pieces = [piece for phrase in phrases for piece in split_long(phrase, levels, budget, settings)]
    for wanted in (settings.prefer_seconds, settings.min_seconds):
        pieces = join_short(pieces, round(wanted * 1000) - 2 * settings.padding_ms, budget, settings.max_join_ms)
    padded = _pad(pieces, total_ms, settings.padding_ms)
    shortest = round(settings.min_seconds * 1000)
    judged = [
        span if span.length_ms >= shortest else replace(span, state="rejected", reason="short") for span in padded
    ]
    return _with_silence(judged, total_ms)


def split_long(phrase: Span, levels: Levels, budget: int, settings: SliceSettings) -> list[Span]:
    """Cut a phrase longer than ``budget`` ms at its quietest points into parts of nearly equal length."""
    parts: list[Span] = []
    rest = phrase
    shortest = round(settings.min_seconds * 1000)
    while rest.length_ms > budget:
        count = -(-rest.length_ms // budget)
        # Room to look for a pause: the rest must fit into the remaining parts, and neither side may be too short.
        low, high = max(shortest, rest.length_ms - (count - 1) * budget), min(budget, rest.length_ms - shortest)
        if high - low < 1000:
            low = max(shortest, rest.length_ms - count * budget)
        cut = quietest(levels, rest.start_ms + low, rest.start_ms + high, rest.start_ms + rest.length_ms // count)
        parts.append(Span(rest.start_ms, cut))
        rest = Span(cut, rest.end_ms)
    return [*parts, rest]


def quietest(levels: Levels, low_ms: int, high_ms: int, target_ms: int) -> int:
    """The quietest point between two times; of equally quiet ones that next to ``target_ms``.

    The 20 ms level is averaged over 100 ms, so that a short pause wins over the closure of a stop; then the quietest
    frame of that pause is taken. A second away from the target costs as much as 2 dB.
    """
    first = min(low_ms // FRAME_MS, len(levels) - 1)
    last = max(first + 1, min(high_ms // FRAME_MS, len(levels)))
    wide = np.convolve(np.pad(levels, 5, mode="edge"), np.full(11, 1 / 11), mode="valid")
    times = np.arange(first, last) * FRAME_MS
    centre = first + int(np.argmin(wide[first:last] + np.abs(times - target_ms) * 0.002))
    near = slice(max(first, centre - 5), min(last, centre + 6))
    frame = near.start + int(np.argmin(levels[near]))
    # The middle of the frame, unless that leaves the allowed range.
    return min(max(frame * FRAME_MS + FRAME_MS // 2, low_ms), high_ms)


def join_short(pieces: Sequence[Span], shortest: int, budget: int, max_gap: int) -> list[Span]:
    """Join pieces shorter than ``shortest`` ms with the neighbour across the smaller pause, where the sum fits."""
    joined = list(pieces)
    index = 0
    while index < len(joined):
        if joined[index].length_ms >= shortest:
            index += 1
            continue
        choices = []
        for left in (index - 1, index):
            if left >= 0 and left + 1 < len(joined):
                gap = joined[left + 1].start_ms - joined[left].end_ms
                length = joined[left + 1].end_ms - joined[left].start_ms
                if gap <= max_gap and length <= budget:
                    choices.append((gap, length, left))
        if not choices:
            index += 1
            continue
        left = min(choices)[2]
        joined[left : left + 2] = [Span(joined[left].start_ms, joined[left + 1].end_ms)]
        index = left
    return joined


def _pad(pieces: Sequence[Span], total_ms: int, padding: int) -> list[Span]:
    """Give every piece up to ``padding`` ms of the pause on each side; a shorter pause is shared in its middle."""
    padded = []
    for index, piece in enumerate(pieces):
        before = pieces[index - 1].end_ms if index else -total_ms
        after = pieces[index + 1].start_ms if index + 1 < len(pieces) else 2 * total_ms
        start = max(0, piece.start_ms - padding, (before + piece.start_ms) // 2)
        end = min(total_ms, piece.end_ms + padding, (piece.end_ms + after) // 2)
        padded.append(replace(piece, start_ms=start, end_ms=end))
    return padded


def _with_silence(spans: Sequence[Span], total_ms: int) -> list[Span]:
    """Fill what lies between the spans with silence."""
    result: list[Span] = []
    done = 0
    for span in spans:
        if span.start_ms > done:
            result.append(Span(done, span.start_ms, "silence"))
        result.append(span)
        done = span.end_ms
    if done < total_ms:
        result.append(Span(done, total_ms, "silence"))
    return result


def check_account(take: str, spans: Sequence[Span], total_ms: int, settings: SliceSettings) -> None:
    """Make sure that every millisecond of a take is in exactly one state and no slice has a forbidden length.

    Raises:
        DataError: naming the take and the place.
    """
    done = 0
    for span in spans:
        if span.start_ms != done or span.length_ms <= 0:
            raise DataError(f"take {take}: the timeline breaks at {done} ms (next span starts at {span.start_ms} ms)")
        if (
            span.state == "slice"
            and not span.given
            and not (settings.min_seconds * 1000 - 0.5 <= span.length_ms <= settings.max_seconds * 1000 + 0.5)
        ):
            raise DataError(
                f"take {take}: slice at {span.start_ms} ms is {span.length_ms} ms long, expected "
                f"{settings.min_seconds:g} to {settings.max_seconds:g} s"
            )
        done = span.end_ms
    if done != total_ms:
        raise DataError(f"take {take}: the timeline ends at {done} ms, the recording at {total_ms} ms")


def duration_ms(frames: int, rate: int) -> int:
    """Length in whole ms, a started one counted."""
    return -(-frames * 1000 // rate)


def plan_around(
    given: Sequence[Span], speech: Mask, levels: Levels, total_ms: int, settings: SliceSettings
) -> list[Span]:
    """Divide a take in which some spans are given, and keep those; see :func:`plan_slices`.

    Args:
        given: in order of time; what lies behind the end is cut off. A span without a state is divided by itself, so
            that no utterance reaches over its bounds.
        speech: which 10 ms frames hold speech.
        levels: dBFS of the same frames.
        total_ms: length of the take.
        settings: lengths and pauses.
    """

    def between(start: int, end: int) -> Iterator[Span]:
        frames = slice(start // FRAME_MS, -(-end // FRAME_MS))
        if end > start:
            for span in plan_slices(speech[frames], levels[frames], end - start, settings):
                yield replace(span, start_ms=span.start_ms + start, end_ms=span.end_ms + start)

    spans: list[Span] = []
    done = 0
    for span in given:
        start, end = min(span.start_ms, total_ms), min(span.end_ms, total_ms)
        if end > start:
            spans += between(done, start)
            spans += [replace(span, end_ms=end, given=True)] if span.state else between(start, end)
            done = end
    return [*spans, *between(done, total_ms)]


def recut(take: str, spans: Sequence[Span], cuts: Sequence[Cut]) -> list[Span]:
    """Spans in which the slices that people divided or joined are as they said.

    Raises:
        DataError: slices have changed, and a cut finds none with its bounds.
    """
    result = list(spans)
    for cut in cuts:
        starts = [at for at, span in enumerate(result) if span.state == "slice" and span.start_ms == cut.start_ms]
        ends = [at for at, span in enumerate(result) if span.state == "slice" and span.end_ms == cut.end_ms]
        if not starts or not ends or (cut.at_ms is not None and starts != ends):
            raise DataError(
                f"take {take}: no slice from {cut.start_ms} to {cut.end_ms} ms, as a correction that splits or merges "
                "says",
                "the slicing has changed since: delete the line, and look in corpus/proofread.html where the words are",
            )
        bounds = [cut.start_ms, cut.end_ms] if cut.at_ms is None else [cut.start_ms, cut.at_ms, cut.end_ms]
        result[starts[0] : ends[0] + 1] = [Span(start, end, given=True) for start, end in pairwise(bounds)]
    return result


def slice_samples(
    take: str,
    samples: Waveform,
    rate: int,
    settings: SliceSettings,
    given: Sequence[Span] = (),
    cuts: Sequence[Cut] = (),
) -> list[Span]:
    """Divide one take, samples float32 (frames,), into checked spans."""
    levels = frame_levels(samples - samples.mean(), rate) if len(samples) else np.zeros(0)
    speech = detect_speech(samples, rate, levels, settings.aggressiveness)
    total_ms = duration_ms(len(samples), rate)
    plan = plan_around(given, speech, levels, total_ms, settings) if given else None
    spans = recut(take, plan_slices(speech, levels, total_ms, settings) if plan is None else plan, cuts)
    check_account(take, spans, total_ms, settings)
    return spans


def utterance_id(take: str, span: Span) -> str:
    """Id of an utterance: its take and its interval in ms."""
    return f"{take}-{span.start_ms:07d}-{span.end_ms:07d}"


def slice_take(
    row: dict[str, str],
    source: Path,
    settings: SliceSettings,
    cache: ItemCache,
    given: Sequence[Span] = (),
    cuts: Sequence[Cut] = (),
) -> dict[str, Any]:
    """Cut one cleaned take; its slices go to the folder ``{take}`` of the cache's.

    Returns:
        ``{"utterances": manifest rows, "timeline": timeline rows}``.
    """
    take, folder = row["take"], cache.folder
    told = [digest([asdict(item) for item in items]) for items in (given, cuts) if items]
    inputs = (take, row["sha256"], *told)
    if (record := cache.find(take, inputs)) is not None:
        log.info("%s: cached", take)
        return record
    if sha256_file(source) != row["sha256"]:
        raise DataError(f"{source}: not the file that the manifest names", "delete it and run again")
    samples, rate = read_mono(source)
    spans = slice_samples(take, samples, rate, settings, given, cuts)
    shutil.rmtree(folder / take, ignore_errors=True)
    utterances: list[dict[str, Any]] = []
    timeline: list[dict[str, Any]] = []
    for span in spans:
        name = utterance_id(take, span) if span.state == "slice" else ""
        if name:
            utterances.append(_write_slice(name, take, samples, rate, span, folder))
        timeline.append(
            {"take": take, "start_ms": span.start_ms, "end_ms": span.end_ms, "state": span.state, "utterance": name,
             "reason": span.reason}
        )  # fmt: skip
    log.info("%s: made, %d utterances", take, len(utterances))
    record = {"utterances": utterances, "timeline": timeline}
    return cache.put(take, inputs, record, [folder / utterance["path"] for utterance in utterances])


def _write_slice(name: str, take: str, samples: Waveform, rate: int, span: Span, folder: Path) -> dict[str, Any]:
    cut = samples[span.start_ms * rate // 1000 : span.end_ms * rate // 1000]
    path = folder / take / f"{name}.flac"
    write_flac(path, cut, rate)
    return {
        "utterance": name,
        "take": take,
        "path": path.relative_to(folder).as_posix(),
        "sha256": sha256_file(path),
        "start_ms": span.start_ms,
        "end_ms": span.end_ms,
        "seconds": round(len(cut) / rate, 3),
    }


def slice_speaker(
    clean: Path,
    takes: Path,
    manifest: Path,
    timeline: Path,
    settings: SliceSettings,
    label: str = "slice",
    given: Mapping[str, Sequence[Span]] | None = None,
    cuts: Mapping[str, Sequence[Cut]] | None = None,
) -> None:
    """Cut all takes of a speaker into utterances.

    Args:
        clean: manifest of cleaned takes.
        takes: table of accepted takes; each must have been cleaned.
        manifest: table of utterances to write; slices and caches lie beside it.
        timeline: table to write that says what became of every millisecond.
        settings: lengths and pauses.
        label: head of the progress lines.
        given: take to spans that are given, see :func:`plan_around`.
        cuts: take to what people divide and join, see :func:`recut`.

    Raises:
        DataError: a take is missing, its account does not add up, or no take holds speech.
    """
    rows = read_tsv(clean, ["take", "path", "sha256"])
    lost = sorted({row["take"] for row in read_tsv(takes, ["take"])} - {row["take"] for row in rows})
    if lost:
        raise DataError(f"{clean}: takes {lost} of {takes} are missing", "run the stage 'clean' again")
    cache = ItemCache("slice", settings, manifest.parent)
    records = [
        slice_take(
            row,
            contained_path(clean.parent, row["path"]),
            settings,
            cache,
            (given or {}).get(row["take"], ()),
            (cuts or {}).get(row["take"], ()),
        )
        for row in Progress(label, len(rows)).track(rows)
    ]
    log.info("slice: %s", cache.summary())
    cache.prune({row["take"] for row in rows})
    utterances = [utterance for record in records for utterance in record["utterances"]]
    spans = [span for record in records for span in record["timeline"]]
    if not utterances:
        raise DataError(
            f"no speech of {settings.min_seconds:g} s or more in {len(rows)} takes:\n{_account(rows, spans)}",
            "listen to the cleaned takes; lower slice.aggressiveness or slice.min_seconds if they do hold speech",
        )
    log.info("what became of the takes:\n%s", _account(rows, spans))
    write_tsv(timeline, TIMELINE_COLUMNS, spans, sort_by=["take"])  # stable: within a take in order of time
    write_tsv(manifest, MANIFEST_COLUMNS, utterances)
    seconds = sum(float(utterance["seconds"]) for utterance in utterances)
    announce(f"{label}: {len(utterances)} utterances, {seconds / 60:.1f} minutes")


def _account(rows: Sequence[dict[str, str]], spans: Sequence[dict[str, Any]]) -> str:
    """Seconds of slices, silence and rejected speech per take, as lines for a terminal."""
    lines = []
    for row in rows:
        sums = dict.fromkeys(("slice", "silence", "rejected"), 0)
        for span in spans:
            if span["take"] == row["take"]:
                sums[span["state"]] += span["end_ms"] - span["start_ms"]
        lines.append(f"  {row['take']}: " + ", ".join(f"{name} {ms / 1000:.1f} s" for name, ms in sums.items()))
    return "\n".join(lines)
