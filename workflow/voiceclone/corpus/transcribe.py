"""Stage transcribe: every utterance of a speaker to text, with words, times and probabilities.

An utterance whose text is given is not recognised, unless a second opinion is wanted; the parts of a long text are
found by what is recognised (:func:`voiceclone.corpus.given.share_out`). Each utterance has its own cache entry, written
as soon as its batch is recognised: a run that was killed loses one batch.
"""

from __future__ import annotations

import logging
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from voiceclone.assets import Asset
from voiceclone.corpus.given import Given, group, share_out
from voiceclone.errors import DataError
from voiceclone.files import Row, contained_path, read_tsv, sha256_file, table_columns, write_jsonl, write_tsv
from voiceclone.languages import HANGUL, SUPPORTED
from voiceclone.lineage.items import ItemCache
from voiceclone.listeners.recogniser import RATE, Recogniser, Sound
from voiceclone.progress import Progress
from voiceclone.sound.io import Waveform, read_mono
from voiceclone.stages.settings import RuntimeSettings
from voiceclone.stages.transcribe import TranscribeSettings
from voiceclone.text.segment import evidence
from voiceclone.text.wer import word_errors

log = logging.getLogger(__name__)

COLUMNS = table_columns("transcripts")
SLICE_COLUMNS = table_columns("slices")
DETECTION_UTTERANCES = 5  # longest of a take, from which its language is detected
MIN_PROBABILITY = 0.6  # of the language; below it the take gets the speaker's main language
SURE = 0.8  # probability from which an utterance is in another language than its take
TEXTS = "texts"  # cache entry of the language of given texts
Records = dict[str, dict[str, Any]]
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
        # Neither changes what is recognised in an utterance.
        self.decoding = settings.model_copy(update={"mixed": False, "second_opinion": False})
        self.utterances, self.languages = (ItemCache("transcribe", self.decoding, self.cache) for _ in range(2))
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
    given: Mapping[str, Sequence[Given]] | None = None,
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
        given: take to its stretches with a text.

    Raises:
        DataError: an utterance names a take that clean/manifest.tsv lacks, or is longer than 30 s.
        ConfigError: the recogniser does not know a configured language.
    """
    takes = [row["take"] for row in read_tsv(clean, ("take",))]
    utterances = _by_take(takes, read_tsv(slices, SLICE_COLUMNS), slices)
    job = TranscribeJob(slices, asset, output.parent, settings, runtime, threads)
    texts = {take: group(rows, (given or {}).get(take, ())) for take, rows in utterances.items()}
    unheard = _read_texts(job, texts)
    to_hear = {take: [row for row in rows if row["utterance"] not in unheard] for take, rows in utterances.items()}
    total = sum(float(row["seconds"]) for rows in to_hear.values() for row in rows)
    progress = Progress(label, sum(map(len, to_hear.values())), runtime.progress_seconds)
    heard, manifest = 0.0, []
    for take, spoken in _with_languages(job, to_hear, _told(texts)):
        names = [row["utterance"] for row in utterances[take]]
        records = {name: unheard[name] for name in names if name in unheard}
        for row, record in _records(job, to_hear[take], spoken):
            records[row["utterance"]] = record
            heard += float(row["seconds"])
            progress.update(note=f"{heard:.0f}/{total:.0f} s of audio")
        if settings.mixed:
            records |= _in_own_languages(job, to_hear[take], records, spoken)
        records |= _with_texts(texts[take], records)
        path = output.parent / f"{take}.jsonl"
        write_jsonl(path, (records[row["utterance"]] for row in utterances[take]))
        language = spoken.language or next((str(record["language"]) for record in records.values()), "")
        manifest.append(_manifest_row(take, path, utterances[take], language, asset))
    log.info("transcribe: %s", job.utterances.summary())
    _remove_stale(job, output.parent, utterances)
    write_tsv(output, COLUMNS, manifest)


def _manifest_row(take: str, path: Path, rows: Sequence[Row], language: str, asset: Asset) -> dict[str, object]:
    return {
        "take": take,
        "path": path.name,
        "sha256": sha256_file(path),
        "utterances": len(rows),
        "language": language,
        "seconds": sum(float(row["seconds"]) for row in rows),
        "asr": asset.name,
    }


def _read_texts(job: TranscribeJob, texts: Mapping[str, Sequence[tuple[Given | None, list[Row]]]]) -> Records:
    """Records of the utterances that are a stretch with a text, where no second opinion is wanted."""
    if job.settings.second_opinion:
        return {}
    alone = [
        (text, rows[0]) for parts in texts.values() for text, rows in parts if text and text.text and len(rows) == 1
    ]
    languages = {row["utterance"]: text.language or _of_script(text.text, job.settings) for text, row in alone}
    unknown = [row for _, row in alone if not languages[row["utterance"]]]
    if unknown:  # one answer for all of them: the recogniser listens to the longest few
        main = most_probable(_detect(job, TEXTS, unknown)[0])
        log.info("%d given texts tell no language: %s is heard", len(unknown), main)
        languages |= {row["utterance"]: main for row in unknown}
    return {
        row["utterance"]: {
            "utterance": row["utterance"], "language": languages[row["utterance"]], "text": "", "words": [],
            "avg_logprob": 0.0, "no_speech_prob": 0.0, "compression_ratio": 1.0,
            "given": {"text": text.text, "source": text.source, "agreement": None, "cut": False},
        }
        for text, row in alone
    }  # fmt: skip


def _told(texts: Mapping[str, Sequence[tuple[Given | None, list[Row]]]]) -> dict[str, str]:
    """Takes whose utterances all have a text of one language, which need not be detected."""
    told = {}
    for take, parts in texts.items():
        languages = {text.language if text else "" for text, rows in parts if rows}
        if len(languages) == 1 and languages <= SUPPORTED:
            told[take] = languages.pop()
    return told


def _of_script(text: str, settings: TranscribeSettings) -> str:
    """The language that was configured, or that the characters of a text leave no doubt of; else empty."""
    if len(settings.languages) == 1:
        return settings.languages[0]
    if re.search(f"[{HANGUL}]", text):
        return "ko"
    found = evidence(text)
    return found if not settings.languages or found in settings.languages else ""


def _with_texts(parts: Iterable[tuple[Given | None, list[Row]]], records: Records) -> Records:
    """The records of recognised utterances with the texts that are given for them, and how far the two agree."""
    result = {}
    for text, rows in parts:
        own = [records[row["utterance"]] for row in rows]
        if text is None or not text.text or any("given" in record for record in own):
            continue
        language = text.language or Counter(record["language"] for record in own).most_common(1)[0][0]
        shares = share_out(text.text, [record["text"] for record in own], language) if len(own) > 1 else [text.text]
        for record, share in zip(own, shares, strict=True):
            if share:
                errors = word_errors(share, record["text"], language)
                said = {"text": share, "source": text.source, "cut": len(own) > 1,
                        "agreement": round(max(0.0, 1 - errors.rate), 4)}  # fmt: skip
                result[record["utterance"]] = {**record, "language": language, "given": said}
    return result


def _in_own_languages(job: TranscribeJob, rows: Sequence[Row], records: Records, spoken: Spoken) -> Records:
    """Records of the utterances that are clearly in another language than their take, recognised in their own."""
    others: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        record = records[row["utterance"]]
        if record["heard"] != spoken.language and record["heard"] in SUPPORTED and record["heard_probability"] >= SURE:
            others[record["heard"]].append(row)
    return {
        row["utterance"]: record
        for language, own in others.items()
        for row, record in _records(job, own, Spoken(language), f".{language}")
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
    job: TranscribeJob, rows: Sequence[Row], spoken: Spoken, mark: str = ""
) -> Iterator[tuple[Row, dict[str, Any]]]:
    """Every utterance's record: those that were kept, then the others in batches; ``mark`` ends their names."""
    pending: list[Row] = []
    for row in rows:
        kept = job.utterances.find(*_item(job, row, spoken, mark))
        if kept is not None:
            yield row, {**kept, "utterance": row["utterance"]}
        else:
            pending.append(row)
    for batch, sound in _batches(job, pending, spoken):
        for row, result in zip(batch, job.recogniser.transcribe(sound, spoken.language), strict=True):
            record = {"utterance": row["utterance"], "language": spoken.language, **result}
            yield row, job.utterances.put(*_item(job, row, spoken, mark), record)


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


def _item(job: TranscribeJob, row: Row, spoken: Spoken, mark: str) -> tuple[str, tuple[str, ...]]:
    """Name and inputs of an utterance's record."""
    inputs = (job.asset.digest, "utterance", row["sha256"], spoken.language)
    return f"{row['take']}/{row['utterance']}{mark}", inputs


def _with_languages(
    job: TranscribeJob, utterances: Mapping[str, Sequence[Row]], told: Mapping[str, str]
) -> Iterator[tuple[str, Spoken]]:
    """Each take with its language; takes that leave doubt come last and get the speaker's main language.

    A take's language is the most probable one over its longest utterances, weighted by their length. In doubt it is the
    one that is most probable over all takes: one odd short recording is then not taken for Welsh.
    """
    weighted, doubtful = [], []
    for take, rows in utterances.items():
        if not rows:
            yield take, Spoken("")
            continue
        if len(job.settings.languages) == 1 or take in told:
            yield take, Spoken(told.get(take) or job.settings.languages[0])
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
    job.utterances.prune({*utterances, TEXTS})
    for take, rows in utterances.items():
        of_take = ItemCache("transcribe", job.decoding, job.cache / take)
        names = [row["utterance"] for row in rows]
        marked = [name + "." + code for name in names for code in SUPPORTED] if job.settings.mixed else []
        of_take.prune({"language", *names, *marked})
