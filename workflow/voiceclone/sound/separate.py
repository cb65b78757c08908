"""The separation stage: one mono file per take, the voice freed from music where there is some."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from voiceclone.errors import AssetError, DataError
from voiceclone.files import Row, contained_path, digest, read_tsv, sha256_file, table_columns, unescape
from voiceclone.sound.accompaniment import Accompaniment, Splitter, in_segments, measure
from voiceclone.sound.channels import Mix, mix_of
from voiceclone.sound.each_take import each_take
from voiceclone.sound.io import Waveform
from voiceclone.sound.spool import Samples, blocks, mapped, read_take, resampled
from voiceclone.sound.verdict import Judge, verdict
from voiceclone.stages.separate import SeparateSettings

if TYPE_CHECKING:
    from voiceclone.assets import Asset

log = logging.getLogger(__name__)
COLUMNS = table_columns("separated")
EXCERPTS = 3  # of a take, on which the accompaniment is measured
LOWEST_RATE, HIGHEST_RATE = 16_000, 48_000


def centre(samples: Samples, work: Callable[[Waveform], Waveform] = lambda block: block) -> Samples:
    """Take the mean (DC offset) out of each channel; ``work`` gets what is left, block by block."""
    sums = [block.reshape(len(block), -1).sum(axis=0, dtype=np.float64) for block in blocks(samples)]
    offset = sum(sums, start=np.zeros(1)) / max(1, len(samples))
    return mapped(samples, lambda block: work((block - offset).astype(np.float32)))


def folded(block: Waveform) -> Waveform:
    """Float32 (frames, channels) with no more than two channels: the mean of more."""
    return block.mean(axis=1, keepdims=True, dtype=np.float32) if block.shape[1] > 2 else block


@dataclass(frozen=True)
class Toolbox:
    """The separators of a run.

    Attributes:
        chain: what a take goes through.
        gauge: measures accompaniment: Spleeter if given (fast), else the chain's first step.
    """

    chain: Sequence[Splitter]
    gauge: Splitter | None


def open_toolbox(
    settings: SeparateSettings, spleeter: Asset | None, separators: Mapping[str, Asset], device: str = "cpu"
) -> Toolbox:
    """Load the separators the settings ask for; none for ``mode: never``.

    Raises:
        AssetError: a step of the chain was not given.
    """
    if settings.mode == "never":
        return Toolbox((), None)
    loaded: dict[str, Splitter] = {}
    for name in settings.chain:
        if name == "spleeter" and spleeter is not None:
            loaded[name] = _spleeter(spleeter, device)
        elif name in separators:
            from voiceclone.sound.separators import SeparatorModel

            loaded[name] = SeparatorModel(separators[name])
        else:
            known = ", ".join([*(["spleeter"] if spleeter else []), *separators]) or "none"
            raise AssetError(
                f"separate.chain: {name!r} has no model here (given: {known})",
                "pass its asset by --spleeter or --separator, or set separate.mode to never",
            )
    chain = [loaded[name] for name in settings.chain]
    gauge = None
    if settings.mode == "auto":
        gauge = loaded.get("spleeter") or (_spleeter(spleeter, device) if spleeter is not None else chain[0])
    return Toolbox(chain, gauge)


def _spleeter(asset: Asset, device: str) -> Splitter:
    from voiceclone.sound.spleeter import Spleeter

    return Spleeter(asset, device)


def apply_chain(chain: Sequence[Splitter], samples: Samples, rate: int) -> Samples:
    """Run float32 (frames, channels) through the separators: float32 (frames,), the voice.

    Raises:
        DataError: a step gave values that are not numbers.
    """
    current = samples
    for step in chain:

        def voice_of(piece: Waveform, step: Splitter = step) -> Waveform:
            return step.split(piece.reshape(len(piece), -1), rate)[0]

        current = in_segments(current, rate, voice_of, step.seconds, step.overlap)
        if not all(np.isfinite(block).all() for block in blocks(current)):
            raise DataError(f"{step.name} gave values that are not numbers")
    return current


def judged(mono: Samples, voice: Samples, rate: int, settings: SeparateSettings, judge: Judge) -> tuple[str, str]:
    """Why a separated voice (frames,) is worse than the take it was in, empty if it is not; and the measures."""
    before, after, likeness = judge.quality(mono, rate), judge.quality(voice, rate), judge.similarity(mono, voice, rate)
    measures = [f"DNSMOS OVRL {before:.2f} to {after:.2f}"] if before is not None and after is not None else []
    measures += [f"speaker similarity {likeness:.2f}"] if likeness is not None else []
    return verdict(before, after, likeness, settings), ", ".join(measures)


def separate_take(
    samples: Samples,
    rate: int,
    settings: SeparateSettings,
    tools: Toolbox,
    mix: Mix | None = None,
    open_judge: Callable[[], Judge] = Judge,
) -> tuple[Samples, int, dict[str, Any]]:
    """Separate one take as the settings say; if a step fails or does harm, the take stays as it was, with a note.

    Args:
        samples: float32 (frames, channels), full scale ±1.
        rate: in Hz.
        mix: the channels that carry the voice, as the intake found them; left out: found here.
        open_judge: gives what compares a separated take with what it was; not called for others.

    Returns:
        float32 (frames,) within ±1 at the source's rate clamped to 16-48 kHz, that rate, and the row's cells
        ``accompaniment_db``, ``separated`` and ``note``.
    """
    chosen = mix or mix_of(centre(samples), rate)
    kept, notes = centre(samples, lambda block: folded(chosen.take(block))), [chosen.why]
    found: Accompaniment | None = None
    wanted = settings.mode == "always"
    if tools.gauge is not None:
        found = measure(tools.gauge, kept, rate, EXCERPTS)
        wanted = found.is_music(settings.threshold_db)
        notes.append(f"tonality {found.tonality:.2f}")
    mono = mapped(kept, lambda block: block.mean(axis=1, dtype=np.float32))
    if wanted:
        try:
            voice = apply_chain(tools.chain, kept, rate)
            fault, measures = judged(mono, voice, rate, settings, open_judge())
            wanted = not fault
            mono = mono if fault else voice
            notes.append(f"separation undone: {fault}" if fault else measures)
        except DataError as error:
            wanted = False
            notes.append(f"kept as it was: {error.message}")
    target = min(max(rate, LOWEST_RATE), HIGHEST_RATE)
    mono = centre(resampled(mono, rate, target))
    peak = max((float(np.abs(block).max()) for block in blocks(mono)), default=0.0)
    if peak > 1.0:
        mono = mapped(mono, lambda block: block / np.float32(peak))
        notes.append(f"scaled by {1 / peak:.3f}: peaks above full scale")
    cells = {
        "accompaniment_db": round(found.ratio_db, 2) if found else None,
        "separated": wanted,
        "note": "; ".join(part for part in notes if part),
    }
    return mono, target, cells


def separate_speaker(
    folder: Path,
    takes: Path,
    output: Path,
    settings: SeparateSettings,
    spleeter: Asset | None = None,
    separators: Mapping[str, Asset] | None = None,
    device: str = "cpu",
    label: str = "separate",
    open_judge: Callable[[], Judge] = Judge,
    judges: Sequence[Asset] = (),
) -> None:
    """Write ``{take}.flac`` beside ``output`` for every take and then ``output``, the manifest.

    Args:
        folder: the speaker's recordings.
        takes: table of takes (columns take, file, sha256).
        output: ``separated/manifest.tsv``.
        settings: of the stage.
        spleeter: asset ``spleeter-2stems``.
        separators: assets for audio-separator by name.
        device: of Spleeter's networks.
        label: for progress.
        open_judge: loads the judge; called once, when the first take was separated.
        judges: assets that it loads, part of every cache key.

    Raises:
        DataError: a recording is missing or no longer the one in the table.
        AssetError: a model the chain names was not given.
    """
    rows = read_tsv(takes, required=("take", "file", "sha256"))
    assets = digest(_asset_digests(settings, spleeter, separators or {}, judges))
    tools = cache(lambda: open_toolbox(settings, spleeter, separators or {}, device))
    judge = cache(open_judge)

    def make(row: Row) -> tuple[Samples, int, dict[str, Any]]:
        source = contained_path(folder, unescape(row["file"]))
        if not source.is_file():
            raise DataError(f"{row['file']}: not in {folder} any more", "run again: the table of takes is remade")
        if sha256_file(source) != row["sha256"]:
            raise DataError(f"{row['file']}: changed since the table of takes was made", "run again")
        samples, rate = read_take(source, output.parent)
        mix = replace(Mix.parse(row["mix"]), why=row.get("note", "")) if row.get("mix") else None
        mono, target_rate, cells = separate_take(samples, rate, settings, tools(), mix, judge)
        chain = " > ".join(settings.chain) if cells["separated"] else ""
        return mono, target_rate, {"mode": settings.mode, "chain": chain, **cells}

    each_take("separate", rows, output, COLUMNS, settings, assets, make, "separated", label)


def _asset_digests(
    settings: SeparateSettings, spleeter: Asset | None, separators: Mapping[str, Asset], judges: Sequence[Asset]
) -> list[str]:
    """Digests of the assets that this run may use, without loading a model."""
    if settings.mode == "never":
        return []
    used = [separators[name].digest for name in settings.chain if name in separators]
    gauges = settings.mode == "auto" or "spleeter" in settings.chain
    used += [spleeter.digest] if spleeter is not None and gauges else []
    return used + [asset.digest for asset in judges]
