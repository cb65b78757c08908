"""Stage transcribe: every utterance of a speaker to text, with words, times and probabilities.

Each utterance has its own cache entry, written as soon as its batch is recognised: a run that was killed loses one batch.
"""

from __future__ import annotations

import logging
import shutil
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from voiceclone.assets import Asset
from voiceclone.audio.io import Waveform, read_mono
from voiceclone.config.runtime import RuntimeSettings
from voiceclone.config.transcribe import TranscribeSettings
from voiceclone.corpus.recogniser import RATE, Recogniser
from voiceclone.errors import DataError
from voiceclone.files import Row, contained_path, read_tsv, sha256_file, write_jsonl, write_tsv
from voiceclone.lineage.cache import item_key, read_sidecar, write_sidecar
from voiceclone.progress import Progress

log = logging.getLogger(__name__)

COLUMNS = ("take", "path", "sha256", "utterances", "language", "seconds", "asr")
SLICE_COLUMNS = ("utterance", "take", "path", "sha256", "start_ms", "end_ms", "seconds")
BATCH = 8  # utterances per batch: changes the speed, not the texts


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

    def key(self, *content: str) -> str:
        """Cache key of a result of this job."""
        return item_key("transcribe", self.settings, self.asset.digest, *content)


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
    languages = detect_languages(job, utterances)
    total = sum(float(row["seconds"]) for rows in utterances.values() for row in rows)
    progress = Progress(label, sum(map(len, utterances.values())), runtime.progress_seconds)
    made, heard, manifest = 0, 0.0, []
    for take in takes:
        records = {}
        for row, record, fresh in _records(job, utterances[take], languages.get(take, ("", 0.0))):
            records[row["utterance"]] = record
            made, heard = made + fresh, heard + float(row["seconds"])
            progress.update(note=f"{heard:.0f}/{total:.0f} s of audio")
        path = output.parent / f"{take}.jsonl"
        write_jsonl(path, (records[row["utterance"]] for row in utterances[take]))
        manifest.append(_manifest_row(take, path, utterances[take], languages, asset))
    log.info("transcribe: %d made, %d from cache", made, progress.total - made)
    _remove_stale(output.parent, utterances)
    write_tsv(output, COLUMNS, manifest)


def _manifest_row(
    take: str, path: Path, rows: Sequence[Row], languages: Mapping[str, tuple[str, float]], asset: Asset
) -> dict[str, object]:
    return {
        "take": take,
        "path": path.name,
        "sha256": sha256_file(path),
        "utterances": len(rows),
        "language": languages.get(take, ("", 0.0))[0],
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


def _records(
    job: TranscribeJob, rows: Sequence[Row], spoken: tuple[str, float]
) -> Iterator[tuple[Row, dict[str, Any], bool]]:
    """Every utterance's record, in batches, and whether it was made now (True) or cached."""
    language, probability = spoken
    pending: list[Row] = []
    for row in rows:
        cached = read_sidecar(_sidecar(job, row), job.key("utterance", row["sha256"], language))
        if cached is not None:
            yield row, {**cached, "utterance": row["utterance"]}, False
        else:
            pending.append(row)
    for start in range(0, len(pending), BATCH):
        batch = pending[start : start + BATCH]
        results = job.recogniser.transcribe([job.clip(row) for row in batch], language)
        for row, result in zip(batch, results, strict=True):
            record = {"utterance": row["utterance"], "language": language, **result}
            write_sidecar(_sidecar(job, row), job.key("utterance", row["sha256"], language), record)
            log.debug("%s (%s %.2f): %s", row["utterance"], language, probability, result["text"])
            yield row, record, True


def _sidecar(job: TranscribeJob, row: Row) -> Path:
    return job.cache / row["take"] / f"{row['utterance']}.json"


def detect_languages(job: TranscribeJob, utterances: Mapping[str, Sequence[Row]]) -> dict[str, tuple[str, float]]:
    """Language of each take that has utterances, and its probability.

    A take's language is the most probable one over its longest utterances, weighted by their length. A take that leaves
    doubt gets the language that is most probable over all takes: one odd short recording is then not taken for Welsh.
    """
    spoken = {take: rows for take, rows in utterances.items() if rows}
    if len(job.settings.languages) == 1:
        return dict.fromkeys(spoken, (job.settings.languages[0], 1.0))
    seconds = {take: sum(float(row["seconds"]) for row in rows) for take, rows in spoken.items()}
    heard = {take: _detect_take(job, take, rows) for take, rows in spoken.items()}
    overall = _mean([(seconds[take], heard[take]) for take in heard])
    chosen = {}
    for take, probabilities in heard.items():
        language = _most_probable(probabilities)
        if probabilities[language] < job.settings.detection_probability:
            doubtful, language = language, _most_probable(overall)
            log.info("take %s: language %s is uncertain, %s is used", take, doubtful, language)
        chosen[take] = (language, probabilities.get(language, 0.0))
        log.info("take %s: language %s (%.2f)", take, *chosen[take])
    return chosen


def _detect_take(job: TranscribeJob, take: str, rows: Sequence[Row]) -> dict[str, float]:
    longest = sorted(rows, key=lambda row: (-float(row["seconds"]), row["utterance"]))
    sample = longest[: job.settings.detection_utterances]
    sidecar = job.cache / take / "language.json"
    key = job.key("language", *(row["sha256"] for row in sample))
    cached = read_sidecar(sidecar, key)
    if cached is not None:
        return {str(code): float(value) for code, value in cached.items()}
    heard: list[dict[str, float]] = []
    for start in range(0, len(sample), BATCH):
        heard += job.recogniser.language_probabilities([job.clip(row) for row in sample[start : start + BATCH]])
    mean = _mean([(float(row["seconds"]), probabilities) for row, probabilities in zip(sample, heard, strict=True)])
    write_sidecar(sidecar, key, mean)
    return mean


def _mean(weighted: Sequence[tuple[float, Mapping[str, float]]]) -> dict[str, float]:
    total: dict[str, float] = defaultdict(float)
    weight = sum(part for part, _ in weighted) or 1.0
    for part, probabilities in weighted:
        for code, value in probabilities.items():
            total[code] += part * value / weight
    return {code: round(value, 6) for code, value in sorted(total.items())}


def _most_probable(probabilities: Mapping[str, float]) -> str:
    return max(sorted(probabilities), key=lambda code: probabilities[code])


def _remove_stale(folder: Path, utterances: Mapping[str, Sequence[Row]]) -> None:
    """Remove transcripts and cache entries of takes and utterances that are no longer there."""
    for path in folder.glob("*.jsonl"):
        if path.stem not in utterances:
            path.unlink()
    for path in (folder / "cache").glob("*"):
        if path.name not in utterances:
            shutil.rmtree(path)
            continue
        current = {"language", *(row["utterance"] for row in utterances[path.name])}
        for entry in path.glob("*.json"):
            if entry.stem not in current:
                entry.unlink()
