"""Stage transcribe: every utterance of a speaker to text, with words, times and probabilities.

Each utterance has its own cache entry, written as soon as its batch is recognised: a run that was killed loses one
batch.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from voiceclone.assets import Asset
from voiceclone.errors import DataError
from voiceclone.files import Row, contained_path, read_tsv, sha256_file, table_columns, write_jsonl, write_tsv
from voiceclone.lineage.items import ItemCache
from voiceclone.listeners.recogniser import RATE, Recogniser, Sound
from voiceclone.progress import Progress
from voiceclone.sound.io import Waveform, read_mono
from voiceclone.stages.settings import RuntimeSettings
from voiceclone.stages.transcribe import TranscribeSettings

log = logging.getLogger(__name__)

COLUMNS = table_columns("transcripts")
SLICE_COLUMNS = table_columns("slices")
DETECTION_UTTERANCES = 5  # longest of a take, from which its language is detected
MIN_PROBABILITY = 0.6  # of the language; below it the take gets the speaker's main language
BATCH = 8  # utterances per batch: changes the speed, not the texts


@dataclass(frozen=True)
class Spoken:
    """Language of a take (empty: nothing is spoken), and the batch that was heard to find it."""

    language: str
    rows: Sequence[Row] = ()
    sound: Sound | None = None


class TranscribeJob:
    """The state that the steps of one speaker's transcription share.

    Args:
        slices: slices/manifest.tsv.
        asset: the recogniser.
        folder: where the transcripts go; caches live in its folder ``cache``.
        settings: decoding options, part of every cache key.
        runtime: device.
        threads: CPU threads; 0: what the library chooses.
    """

    def __init__(
        self,
        slices: Path,
        asset: Asset,
        folder: Path,
        settings: TranscribeSettings,
        runtime: RuntimeSettings,
        threads: int = 0,
    ) -> None:
        self.slices, self.asset, self.cache = slices, asset, folder / "cache"
        self.settings, self.runtime, self.threads = settings, runtime, threads
        self.utterances, self.languages = (ItemCache("transcribe", settings, self.cache) for _ in range(2))
        self._recogniser: Recogniser | None = None

    @property
    def recogniser(self) -> Recogniser:
        """The model, loaded when the first utterance needs it."""
        if self._recogniser is None:
            self._recogniser = Recogniser(self.asset.folder, self.settings, self.runtime.device, self.threads)
            log.info("recogniser %s loaded on %s", self.asset.name, self._recogniser.whisper.model.device)
        return self._recogniser

    def clip(self, row: Row) -> Waveform:
        """Samples of one utterance, float32 (samples,) at 16 kHz."""
        return read_mono(contained_path(self.slices.parent, row["path"]), RATE)[0]


def transcribe_speaker(
    clean: Path,
    slices: Path,
    asset: Asset,
    output: Path,
    settings: TranscribeSettings,
    runtime: RuntimeSettings,
    *,
    threads: int = 0,
    label: str = "transcribe",
) -> None:
    """Transcribe every utterance of a speaker.

    Args:
        clean: clean/manifest.tsv; each of its takes gets a transcript, empty where nothing was sliced.
        slices: slices/manifest.tsv.
        asset: a CTranslate2 Whisper asset.
        output: transcripts/manifest.tsv; ``{take}.jsonl`` goes beside it, one line per utterance.
        settings: decoding options.
        runtime: device and interval of progress lines.
        threads: CPU threads; 0: what the library chooses.
        label: who is working, for progress lines.

    Raises:
        DataError: an utterance names a take that clean/manifest.tsv lacks, or is longer than 30 s.
        ConfigError: the recogniser does not know a configured language.
    """
    takes = [row["take"] for row in read_tsv(clean, ("take",))]
    utterances = _by_take(takes, read_tsv(slices, SLICE_COLUMNS), slices)
    job = TranscribeJob(slices, asset, output.parent, settings, runtime, threads)
    total = sum(float(row["seconds"]) for rows in utterances.values() for row in rows)
    progress = Progress(label, sum(map(len, utterances.values())), runtime.progress_seconds)
    heard, manifest = 0.0, []
    for take, spoken in _with_languages(job, utterances):
        records = {}
        for row, record in _records(job, utterances[take], spoken):
            records[row["utterance"]] = record
            heard += float(row["seconds"])
            progress.update(note=f"{heard:.0f}/{total:.0f} s of audio")
        path = output.parent / f"{take}.jsonl"
        write_jsonl(path, (records[row["utterance"]] for row in utterances[take]))
        manifest.append(_manifest_row(take, path, utterances[take], spoken, asset))
    log.info("transcribe: %s", job.utterances.summary())
    _remove_stale(job, output.parent, utterances)
    write_tsv(output, COLUMNS, manifest)


def _manifest_row(take: str, path: Path, rows: Sequence[Row], spoken: Spoken, asset: Asset) -> dict[str, object]:
    return {
        "take": take,
        "path": path.name,
        "sha256": sha256_file(path),
        "utterances": len(rows),
        "language": spoken.language,
        "seconds": sum(float(row["seconds"]) for row in rows),
        "asr": asset.name,
    }


def _by_take(takes: Sequence[str], rows: Sequence[Row], source: Path) -> dict[str, list[Row]]:
    grouped: dict[str, list[Row]] = {take: [] for take in takes}
    for row in rows:
        if row["take"] not in grouped:
            raise DataError(
                f"{source}: utterance {row['utterance']} belongs to take {row['take']}, which the clean takes lack",
                "run the slice stage again",
            )
        grouped[row["take"]].append(row)
    return grouped


def _records(job: TranscribeJob, rows: Sequence[Row], spoken: Spoken) -> Iterator[tuple[Row, dict[str, Any]]]:
    """Every utterance's record: those that were kept, then the others in batches."""
    pending: list[Row] = []
    for row in rows:
        kept = job.utterances.find(*_item(job, row, spoken))
        if kept is not None:
            yield row, {**kept, "utterance": row["utterance"]}
        else:
            pending.append(row)
    for batch, sound in _batches(job, pending, spoken):
        for row, result in zip(batch, job.recogniser.transcribe(sound, spoken.language), strict=True):
            record = {"utterance": row["utterance"], "language": spoken.language, **result}
            yield row, job.utterances.put(*_item(job, row, spoken), record)


def _batches(job: TranscribeJob, pending: Sequence[Row], spoken: Spoken) -> Iterator[tuple[Sequence[Row], Sound]]:
    """Utterances in batches as heard, first the batch that was heard for the language if it is wanted as a whole."""
    wanted = {row["utterance"] for row in pending}
    first = {row["utterance"] for row in spoken.rows}
    if spoken.sound is not None and first <= wanted:
        yield spoken.rows, spoken.sound
        pending = [row for row in pending if row["utterance"] not in first]
    for start in range(0, len(pending), BATCH):
        batch = pending[start : start + BATCH]
        yield batch, job.recogniser.hear([job.clip(row) for row in batch])


def _item(job: TranscribeJob, row: Row, spoken: Spoken) -> tuple[str, tuple[str, ...]]:
    """Name and inputs of an utterance's record."""
    inputs = (job.asset.digest, "utterance", row["sha256"], spoken.language)
    return f"{row['take']}/{row['utterance']}", inputs


def _with_languages(job: TranscribeJob, utterances: Mapping[str, Sequence[Row]]) -> Iterator[tuple[str, Spoken]]:
    """Each take with its language; takes that leave doubt come last and get the speaker's main language.

    A take's language is the most probable one over its longest utterances, weighted by their length. In doubt it is the
    one that is most probable over all takes: one odd short recording is then not taken for Welsh.
    """
    weighted, doubtful = [], []
    for take, rows in utterances.items():
        if not rows:
            yield take, Spoken("")
            continue
        if len(job.settings.languages) == 1:
            yield take, Spoken(job.settings.languages[0])
            continue
        probabilities, sample, sound = _detect(job, take, rows)
        weighted.append((sum(float(row["seconds"]) for row in rows), probabilities))
        language = most_probable(probabilities)
        if probabilities[language] < MIN_PROBABILITY:
            doubtful.append((take, language, probabilities[language]))
            continue
        log.info("take %s: language %s (%.2f)", take, language, probabilities[language])
        yield take, Spoken(language, sample, sound)
    main = most_probable(weighted_mean(weighted)) if weighted else ""
    for take, language, probability in doubtful:
        log.info("take %s: language uncertain (%s %.2f), the speaker's is taken: %s", take, language, probability, main)
        yield take, Spoken(main)


def _detect(job: TranscribeJob, take: str, rows: Sequence[Row]) -> tuple[dict[str, float], Sequence[Row], Sound | None]:
    """Language probabilities of a take; the utterances that were listened to, and what was heard unless cached."""
    longest = sorted(rows, key=lambda row: (-float(row["seconds"]), row["utterance"]))
    sample = longest[:DETECTION_UTTERANCES]
    name, inputs = f"{take}/language", (job.asset.digest, "language", *(row["sha256"] for row in sample))
    if (cached := job.languages.find(name, inputs)) is not None:
        return {str(code): float(value) for code, value in cached.items()}, sample, None
    sound = job.recogniser.hear([job.clip(row) for row in sample])
    mean = weighted_mean([(float(row["seconds"]), heard) for row, heard in zip(sample, sound.languages, strict=True)])
    return job.languages.put(name, inputs, mean), sample, sound


def weighted_mean(weighted: Sequence[tuple[float, Mapping[str, float]]]) -> dict[str, float]:
    """Mean of language probabilities, each with its weight."""
    total: dict[str, float] = defaultdict(float)
    weight = sum(part for part, _ in weighted) or 1.0
    for part, probabilities in weighted:
        for code, value in probabilities.items():
            total[code] += part * value / weight
    return {code: round(value, 6) for code, value in sorted(total.items())}


def most_probable(probabilities: Mapping[str, float]) -> str:
    """The language with the highest probability; of equals the first in the alphabet."""
    return max(sorted(probabilities), key=lambda code: probabilities[code])


def _remove_stale(job: TranscribeJob, folder: Path, utterances: Mapping[str, Sequence[Row]]) -> None:
    """Remove transcripts and cache entries of takes and utterances that are no longer there."""
    for path in folder.glob("*.jsonl"):
        if path.stem not in utterances:
            path.unlink()
    job.utterances.prune(utterances)
    for take, rows in utterances.items():
        of_take = ItemCache("transcribe", job.settings, job.cache / take)
        of_take.prune({"language", *(row["utterance"] for row in rows)})
