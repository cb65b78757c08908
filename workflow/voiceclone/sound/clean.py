"""The cleaning stage: echoes and noise out where that helps, at one loudness, at the training rate."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from voiceclone.errors import DataError
from voiceclone.files import Row, contained_path, digest, read_tsv, sha256_file, table_columns
from voiceclone.sound.denoisers import Denoiser, checked, make_denoiser
from voiceclone.sound.dereverb import WeightedPrediction, reverberation_time
from voiceclone.sound.each_take import each_take
from voiceclone.sound.loudness import loudness, set_loudness, true_peak_dbtp
from voiceclone.sound.snr import estimate_snr
from voiceclone.sound.spool import Samples, mapped, read_take, resampled
from voiceclone.sound.verdict import Judge, verdict
from voiceclone.stages.clean import CleanSettings

if TYPE_CHECKING:
    from voiceclone.assets import Asset

log = logging.getLogger(__name__)
TRAINING_RATE = 32_000
COLUMNS = table_columns("clean")
DEREVERBERATION, DENOISING = "dereverberation", "denoising"  # what is done to a take, in this order


def clean_take(
    samples: Samples, rate: int, settings: CleanSettings, denoiser: Denoiser | None, judge: Judge
) -> tuple[Samples, dict[str, Any]]:
    """Clean one take: echoes out, then noise (each kept only if the judge agrees); resample, set loudness and peak.

    Args:
        samples: float32 (frames,).
        rate: in Hz.
        denoiser: None: no denoising.
        judge: scores before and after.

    Returns:
        float32 (frames at 32 kHz,) and the row's cells from ``rt60_s`` to ``note``.
    """
    snr_before, quality_before = estimate_snr(samples, rate), judge.quality(samples, rate)
    echo = None if settings.dereverb == "never" else reverberation_time(samples, rate)
    wanted: dict[str, Denoiser] = {}
    if settings.dereverb == "always" or (echo is not None and echo >= settings.dereverb_rt60_s):
        wanted[DEREVERBERATION] = WeightedPrediction()
    notes: list[str] = []
    if denoiser is not None and settings.denoise == "auto" and snr_before >= settings.clean_snr_db:
        notes.append(f"not denoised: signal-to-noise ratio {snr_before:.0f} dB")
    elif denoiser is not None:
        wanted[DENOISING] = denoiser
    current, quality, similarity, kept = samples, quality_before, None, set[str]()
    for name, processor in wanted.items():
        try:
            result = checked(processor, current, rate)
            found, similarity = judge.quality(result, rate), judge.similarity(samples, result, rate)
            if fault := verdict(quality, found, similarity, settings):
                notes.append(f"{name} undone: {fault}")
            elif result is not current:
                current, quality = result, found
                kept.add(name)
        except DataError as error:
            notes.append(f"{name} undone: {error.message}")
    final = resampled(current, rate, TRAINING_RATE)
    try:
        final, note = set_loudness(final, TRAINING_RATE, settings.target_lufs, settings.true_peak_dbtp)
        notes.append(note)
    except DataError as error:
        notes.append(f"loudness left as it was: {error.message}")
        final = mapped(final, lambda block: np.clip(np.nan_to_num(block), -1.0, 1.0).astype(np.float32))
    return final, {
        "rt60_s": _rounded(echo, 3),
        "lufs_before": _rounded(loudness(samples, rate)),
        "lufs_after": _rounded(loudness(final, TRAINING_RATE)),
        "true_peak_dbtp": _rounded(true_peak_dbtp(final, TRAINING_RATE)),
        "snr_before": _rounded(snr_before),
        "snr_after": _rounded(estimate_snr(final, TRAINING_RATE)),
        "dnsmos_before": _rounded(quality_before),
        "dnsmos_after": _rounded(quality),
        "similarity": _rounded(similarity, 3),
        "dereverberated": DEREVERBERATION in kept,
        "denoised": DENOISING in kept,
        "note": "; ".join(note for note in notes if note),
    }


def _rounded(value: float | None, digits: int = 2) -> float | None:
    return None if value is None or not math.isfinite(value) else round(value, digits)


def clean_speaker(
    separated: Path,
    output: Path,
    settings: CleanSettings,
    open_judge: Callable[[], Judge] = Judge,
    judges: Sequence[Asset] = (),
    deepfilter: Asset | None = None,
    label: str = "clean",
) -> None:
    """Write ``{take}.flac`` (32 kHz mono) and ``{take}.json`` beside ``output`` and then ``output``, the manifest.

    Args:
        separated: manifest of the separation stage.
        output: ``clean/manifest.tsv``.
        settings: of the stage.
        open_judge: loads the judge; called once, when the first take is cleaned.
        judges: assets that it loads, part of every cache key.
        deepfilter: asset ``deepfilternet3``, needed where the settings name it.
        label: for progress.

    Raises:
        DataError: a separated take is missing or not the one in the manifest.
        AssetError: the denoiser that the settings name was not given or cannot run here.
    """
    rows = read_tsv(separated, required=("take", "path", "sha256"))
    used = [*judges, *([deepfilter] if deepfilter is not None and settings.method == "deepfilternet3" else [])]
    assets = digest([asset.digest for asset in used])
    denoiser = None if settings.denoise == "never" else make_denoiser(settings, deepfilter)
    judge = cache(open_judge)

    def make(row: Row) -> tuple[Samples, int, dict[str, Any]]:
        source = contained_path(separated.parent, row["path"])
        if not source.is_file() or sha256_file(source) != row["sha256"]:
            raise DataError(
                f"{source}: missing or changed since the separation stage", f"delete {separated} and run again"
            )
        channels, rate = read_take(source, output.parent)
        samples = mapped(channels, lambda block: block.mean(axis=1, dtype=np.float32))
        final, cells = clean_take(samples, rate, settings, denoiser, judge())
        return final, TRAINING_RATE, cells

    each_take("clean", rows, output, COLUMNS, settings, assets, make, "denoised", label)
