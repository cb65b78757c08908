"""Intake: which files of a speaker's folder are recordings, what they measure, and why others are refused."""

from __future__ import annotations

import logging
import re
import unicodedata
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from voiceclone.corpus.inventory import Entry, Rejection, list_recordings, read_inventory
from voiceclone.errors import DataError
from voiceclone.files import check_speaker, sha256_file, table_columns, unescape, write_tsv
from voiceclone.lineage.items import ItemCache
from voiceclone.progress import Progress, announce
from voiceclone.sound.channels import ChannelMeter, Mix, TwoVoicesError
from voiceclone.sound.io import NoAudioStreamError, SoundInfo, TruncatedError, probe, shortened, stream
from voiceclone.sound.measure import Measures, Meter
from voiceclone.stages.takes import TakesSettings

log = logging.getLogger(__name__)

CLIPPING_SHARE = 0.0005  # of samples on flat tops, from which a recording is flagged clipped
DC_OFFSET = 0.005  # mean, as a share of full scale, from which it is flagged dc
TAKES_COLUMNS = table_columns("takes")
REJECTED_COLUMNS = table_columns("rejected_takes")


@dataclass(frozen=True)
class Intake:
    """One file after reading: its digest and either header and measures or the reason of refusal."""

    file: str
    sha256: str = ""
    info: SoundInfo | None = None
    measures: Measures | None = None
    rejection: Rejection | None = None
    mix: str = ""
    note: str = ""


def slug(stem: str) -> str:
    """A file's stem as lower-case ASCII letters and digits joined by '-', at most 40 characters."""
    plain = unicodedata.normalize("NFKD", stem).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:40].strip("-") or "take"


def take_id(file: str, sha256: str) -> str:
    """Id of a take: slug of the stem and the first 8 hexadecimal digits of the content's digest."""
    return f"{slug(Path(unescape(file)).stem)}-{sha256[:8]}"


def read_take(folder: Path, entry: Entry, cache: ItemCache, settings: TakesSettings) -> Intake:
    """Header and measures of one file, cached by content."""
    file = entry.file
    if entry.rejection:
        return Intake(file, rejection=entry.rejection)
    path = entry.path(folder)
    try:
        sha256 = sha256_file(path)  # of what is read now, which may be newer than the inventory
        found = cache.find(sha256, (sha256,))
        record = _decode(path) if found is None else found
    except OSError as error:
        return Intake(file, rejection=Rejection("unreadable", f"cannot be read ({error.strerror})"))
    if found is None:  # outside: a full disk is no fault of the recording
        cache.put(sha256, (sha256,), record)
    log.info("%s: %s", file, "read" if found is None else "cached")
    if "reason" in record:
        return Intake(file, sha256, rejection=Rejection(record["reason"], record["detail"]))
    info, measures = SoundInfo(**record["info"]), Measures(**record["measures"])
    refused = judge(info, measures, settings)
    return Intake(file, sha256, info, measures, refused, record["mix"], record["note"])


def _decode(path: Path) -> dict[str, Any]:
    """Header and measures of a sound file, or reason and detail, as plain types."""
    try:
        info = probe(path)
        mix = _mix(path, info)
        meter = Meter(info.sample_rate)
        for block in stream(path, info):
            meter.add(mix.take(block))
            if not meter.finite:
                break
        track = f"track {info.track + 1} of {info.tracks} taken" if info.tracks > 1 else ""
        length = "read to its end: its header tells another length" if info.to_end else ""
        measures = meter.result()
        lost = shortened(path, info, measures.seconds) if measures.finite else ""
        note = "; ".join(part for part in (track, length, lost, mix.why) if part)
        return {"info": asdict(info), "measures": asdict(measures), "mix": str(mix), "note": note}
    except TwoVoicesError as error:
        return {"reason": "two-voices", "detail": f"its {error}; export the channel of this speaker"}
    except NoAudioStreamError:
        return {"reason": "no-audio", "detail": "a media file without an audio stream; expected sound"}
    except TruncatedError as error:
        return {"reason": "truncated", "detail": f"{_without_path(error, path)}; copy it again from its source"}
    except DataError as error:
        return {"reason": "undecodable", "detail": f"{_without_path(error, path)}; expected a sound file"}


def _mix(path: Path, info: SoundInfo) -> Mix:
    """The channels that carry the voice."""
    if info.channels == 1:
        return Mix()
    meter = ChannelMeter(info.sample_rate)
    for block in stream(path, info):
        meter.add(block)
    return meter.result()


def _without_path(error: DataError, path: Path) -> str:
    return error.message.replace(f"{path}: ", "").strip().rstrip(".")


def judge(info: SoundInfo, measures: Measures, settings: TakesSettings) -> Rejection | None:
    """Reason to refuse a decoded recording, or None."""
    if not measures.finite:
        return Rejection("not-finite", "samples that are NaN or infinite; expected numbers, export it again")
    if measures.seconds < settings.min_seconds:
        return Rejection(
            "short", f"{measures.seconds:.3f} s long; expected at least {settings.min_seconds:g} s (takes.min_seconds)"
        )
    expected = f"expected speech above {settings.silence_dbfs:g} dBFS (takes.silence_dbfs)"
    if _below(measures.loudest_channel_dbfs, settings.silence_dbfs):
        return Rejection("silent", f"silence over its whole {measures.seconds:.1f} s; {expected}")
    if _below(measures.loudest_dbfs, settings.silence_dbfs):
        return Rejection(
            "cancelling", f"its {info.channels} channels cancel one another when averaged; export one of them"
        )
    return None


def _below(level: float | None, limit: float) -> bool:
    return level is None or level < limit


def flags(info: SoundInfo, measures: Measures, settings: TakesSettings) -> list[str]:
    """Oddities of an accepted recording."""
    cancelling = (measures.loudest_channel_dbfs or 0.0) - (measures.loudest_dbfs or 0.0)
    found = {
        "narrowband": measures.bandwidth_hz is not None and measures.bandwidth_hz < settings.narrowband_hz,
        "clipped": measures.clipping > CLIPPING_SHARE,
        "dc": abs(measures.dc_offset) > DC_OFFSET,
        "stereo": info.channels == 2,
        "multichannel": info.channels > 2,
        # Uncorrelated or single-sided channels lose 10 log10(channels) to 20 log10(channels) dB in the average.
        "out-of-phase": info.channels == 2 and cancelling > 12,
    }
    return [name for name, present in found.items() if present]


def refuse_duplicates(intakes: Sequence[Intake]) -> list[Intake]:
    """Refuse every recording whose content, as bytes or as decoded samples, came before it."""
    known: dict[str, str] = {}
    result = []
    for intake in intakes:
        if intake.rejection or intake.measures is None:
            result.append(intake)
            continue
        samples = intake.measures.samples_digest
        first_bytes, first_samples = known.get(intake.sha256), known.get(samples)
        if first_bytes or first_samples:
            what = "the same bytes as" if first_bytes else "the same samples, in another format, as"
            detail = f"{what} {first_bytes or first_samples}; one copy is enough"
            intake = Intake(intake.file, intake.sha256, rejection=Rejection("duplicate", detail))
        else:
            known[intake.sha256] = known[samples] = intake.file
        result.append(intake)
    return result


def ingest(
    folder: Path,
    takes: Path,
    rejected: Path,
    settings: TakesSettings,
    threads: int = 1,
    label: str = "takes",
    inventory: Path | None = None,
) -> None:
    """Read a speaker's folder and write the tables of accepted and refused recordings.

    Args:
        folder: the speaker's folder; its name is the speaker's.
        takes: table of accepted takes to write; measures are cached beside it.
        rejected: table of refused files to write.
        settings: limits and flags.
        threads: files read at once.
        label: head of the progress lines.
        inventory: table of the folder's files; left out: the folder is looked through.

    Raises:
        DataError: the folder is missing or misnamed, or no recording in it can be used.
    """
    check_speaker(Path(folder).name)
    if not Path(folder).is_dir():
        raise DataError(f"{folder}: no such folder", "put the speaker's recordings there")
    entries = read_inventory(inventory) if inventory else [entry for entry, _ in list_recordings(folder)]
    # Measures do not depend on the settings, only the judgement does.
    cache, progress = ItemCache("takes", None, takes.parent / "takes"), Progress(label, len(entries))

    def read(entry: Entry) -> Intake:
        intake = read_take(folder, entry, cache, settings)
        progress.update()
        return intake

    with ThreadPoolExecutor(max(1, threads)) as pool:
        intakes = refuse_duplicates(list(pool.map(read, entries)))
    log.info("takes: %s", cache.summary())
    accepted = [_take_row(intake, settings) for intake in intakes if not intake.rejection]
    refused = [_rejected_row(intake) for intake in intakes if intake.rejection]
    for row in refused:
        log.warning("%s: rejected, %s: %s", row["file"], row["reason"], row["detail"])
    cache.prune({intake.sha256 for intake in intakes})
    write_tsv(rejected, REJECTED_COLUMNS, refused)
    write_tsv(takes, TAKES_COLUMNS, accepted)
    if not accepted:
        raise DataError(
            f"{folder}: no usable recording among {len(entries)} files\n{rejection_table(refused)}",
            "add recordings that can be played, or fix those in the table",
        )
    seconds = sum(float(row["seconds"]) for row in accepted)
    announce(f"{label}: {len(accepted)} recordings, {seconds / 60:.1f} minutes; {len(refused)} files rejected")


def _take_row(intake: Intake, settings: TakesSettings) -> dict[str, Any]:
    info, measures = intake.info, intake.measures
    assert info is not None and measures is not None
    return {
        "take": take_id(intake.file, intake.sha256),
        "file": intake.file,
        "sha256": intake.sha256,
        "seconds": round(measures.seconds, 3),
        "sample_rate": info.sample_rate,
        "channels": info.channels,
        "codec": info.codec,
        "peak_dbfs": _rounded(measures.peak_dbfs),
        "loudness_lufs": _rounded(measures.loudness_lufs),
        "bandwidth_hz": None if measures.bandwidth_hz is None else round(measures.bandwidth_hz),
        "clipping": measures.clipping,
        "dc_offset": measures.dc_offset,
        "snr_db": _rounded(measures.snr_db),
        "flags": ",".join(flags(info, measures, settings)),
        "mix": intake.mix,
        "note": intake.note,
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)


def _rejected_row(intake: Intake) -> dict[str, str]:
    assert intake.rejection is not None
    return {
        "file": intake.file,
        "sha256": intake.sha256,
        "stage": "takes",
        "reason": intake.rejection.reason,
        "detail": intake.rejection.detail,
    }


def rejection_table(rows: Sequence[dict[str, str]]) -> str:
    """Refused files as aligned lines for a terminal."""
    if not rows:
        return "  (the folder holds no file that could be a recording)"
    width = min(40, max(len(row["file"]) for row in rows))
    return "\n".join(f"  {row['file']:<{width}}  {row['reason']:<12}  {row['detail']}" for row in rows)
