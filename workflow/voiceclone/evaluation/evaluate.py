"""Speak the evaluation sentences with one target, measure them, summarise them.

First everything is spoken, then everything is measured: so memory and time of the synthesiser are its own, not those of
the recogniser beside it. A target that cannot run on this machine says so in its files.
"""

from __future__ import annotations

import logging
import resource
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from voiceclone.assets import Asset
from voiceclone.errors import DataError, Interrupted
from voiceclone.evaluation.comparison import TRAINED, WITHOUT_TEXT, check_losses, losses, unseen
from voiceclone.evaluation.measure import MeterAssets, Meters, failed_measures
from voiceclone.evaluation.sentences import FOREIGN, Item, by_hash, evaluation_items
from voiceclone.evaluation.summary import TIMINGS, floor, summarise_by, summarise_rows, variances
from voiceclone.evaluation.target import (
    TRAINING_RATE,
    Spoken,
    Voice,
    cache_gain,
    not_measured,
    open_target,
    recording,
    target_bytes,
    target_digest,
    trained_voice,
)
from voiceclone.features.store import Store, open_store
from voiceclone.files import (
    digest,
    read_json,
    read_tsv,
    sha256_file,
    table_columns,
    write_json,
    write_text,
    write_tsv,
)
from voiceclone.lineage.items import ItemCache
from voiceclone.marks.labels import write_generated
from voiceclone.progress import Progress, announce
from voiceclone.sound.io import read_mono, write_flac
from voiceclone.stages.evaluate import EvaluateSettings

if TYPE_CHECKING:
    from voiceclone.text.lexicon import Lexicon

log = logging.getLogger(__name__)


def write_not_measured(target: str, line: str, columns: Sequence[str], output_dir: Path, label: str) -> None:
    """The files of an evaluation without any sentence."""
    write_tsv(output_dir / "metrics.tsv", columns, [])
    write_json(output_dir / "summary.json", {"target": target, "not_measured": line})
    log.warning("%s", line)
    announce(f"{label}: {line}")


def measured(summaries: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """The summaries that have metrics."""
    return {target: summary for target, summary in summaries.items() if "not_measured" not in summary}


def lines_of(summaries: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The lines about targets that were not evaluated."""
    return [summary["not_measured"] for summary in summaries.values() if "not_measured" in summary]


LAST = ".last"  # copies of the tables, see keep_earlier
MOST_EARLIER = 5
CORPUS_COLUMNS = ("utterance", "split", "language", "text", "sha256")
SILENCE = 1e-4  # peak below which nothing was spoken
COLUMNS = table_columns("metrics")


def item_inputs(
    items: Sequence[Item], source: str, recordings: Mapping[str, str], lexicon: Lexicon | None
) -> dict[str, tuple[str, ...]]:
    """By name of item the digests of all that decides how it sounds; of the lexicon only what its text touches.

    Args:
        items: of the evaluation.
        source: :func:`target_digest`.
        recordings: sha256 of the utterances of the corpus.
        lexicon: of :func:`target_lexicon`; None: the target reads no text.
    """

    def inputs(item: Item) -> tuple[str, ...]:
        used = lexicon.used_in(item.text) if lexicon else {}
        more = [digest([used])] * bool(used) + [f"seed {item.turn}"] * bool(item.turn)
        return (source, item.text, item.language, recordings.get(item.id, ""), *more)

    return {item.name: inputs(item) for item in items}


def peak_memory_mb() -> float:
    """Largest resident memory of this process so far, in MB of 10^6 bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


def check_sound(spoken: Spoken) -> None:
    """Raise a :class:`DataError` for sound that nobody can hear."""
    if not len(spoken.samples):
        raise DataError("nothing was spoken: no samples")
    if not np.all(np.isfinite(spoken.samples)):
        raise DataError("the samples are not numbers (NaN or infinite)")
    if float(np.abs(spoken.samples).max()) < SILENCE:
        raise DataError("nothing was spoken: only silence")


def speak_items(
    items: Sequence[Item],
    open_voice: Callable[[], Voice],
    cache: ItemCache,
    inputs: Mapping[str, Sequence[str]],
    progress: Progress,
) -> dict[str, dict[str, Any]]:
    """Speak what is not in the cache. By name of item: seconds, timings, peak memory, or the reason of a failure.

    The first sentence of each language is spoken once before, so that
    loading and first-call costs are in no timing.
    """
    records: dict[str, dict[str, Any]] = {}
    voice: Voice | None = None
    warm: set[str] = set()
    for item in items:
        sound = cache.folder / f"{item.name}.flac"
        record = cache.find(item.name, inputs[item.name])
        if record is None:
            voice = voice or open_voice()
            if item.language not in warm:
                _warm_up(voice, item)
                warm.add(item.language)
            record = speak_item(voice, item, sound)
            if "failure" not in record:
                cache.put(item.name, inputs[item.name], record, [sound])
        records[item.name] = record
        progress.update(note="speaking")
    return records


def _warm_up(voice: Voice, item: Item) -> None:
    try:
        voice(item)
    except Interrupted:
        raise
    except Exception as error:
        log.warning("%s: warm-up failed (%s)", item.name, error)


def speak_item(voice: Voice, item: Item, sound: Path) -> dict[str, Any]:
    """Speak one sentence into a FLAC file, marked as users hear it; what is known of it, or why it is a ``failure``."""
    try:
        spoken = voice(item)
        check_sound(spoken)
    except Interrupted:
        raise
    except Exception as error:  # whatever a model does with one sentence, the others are still evaluated
        log.exception("%s: not spoken", item.name)
        sound.unlink(missing_ok=True)
        return {"failure": f"{type(error).__name__}: {error}".splitlines()[0]}
    samples = np.clip(np.asarray(spoken.samples, dtype=np.float32), -1.0, 1.0)
    if spoken.number is None:
        write_flac(sound, samples, spoken.rate)
    else:
        write_generated(sound, samples, spoken.rate, spoken.number)
    return {
        "seconds": len(samples) / spoken.rate,
        "timings": {name: float(spoken.timings[name]) for name in TIMINGS if name in spoken.timings},
        "truncated": spoken.truncated,
        "tokens": spoken.tokens,
        "first_audio_ms": spoken.first_audio_ms,
        "engine": spoken.engine,
        "robustness": dict(spoken.robustness),
        "text_parts": dict(spoken.text_parts),
        "peak_memory_mb": peak_memory_mb(),
    }


def measure_items(
    items: Sequence[Item],
    spoken: Mapping[str, Mapping[str, Any]],
    folder: Path,
    cache: ItemCache,
    meters: Meters,
    training: Mapping[str, str],
    audio: Store,
    progress: Progress,
) -> dict[str, dict[str, Any]]:
    """Measure what is not in the cache. ``training``: utterances of the centroid and their digests."""
    results: dict[str, dict[str, Any]] = {}
    speaker: dict[str, Any] | None = None
    context = digest([meters.beam_size, meters.assets.digests(), sorted(training.items())])
    for item in items:
        if "failure" in spoken[item.name]:
            results[item.name] = failed_measures(item.text, item.language)
            progress.update(note="measuring")
            continue
        sound = folder / f"{item.name}.flac"
        inputs = (context, item.text, item.language, sha256_file(sound))
        record = cache.find(item.name, inputs)
        if record is None:
            if speaker is None:
                speaker = meters.speaker([(recording(audio, name), TRAINING_RATE) for name in training])
            samples, rate = read_mono(sound)
            record = cache.put(item.name, inputs, meters.measure(samples, rate, item.text, item.language, speaker))
        results[item.name] = record
        progress.update(note="measuring")
    log.info("evaluate: %d measured, %d from cache", cache.made, len(items) - cache.made)
    return results


def metrics_row(
    item: Item, spoken: Mapping[str, Any], measures: Mapping[str, Any], seed: int | None = 0
) -> dict[str, Any]:
    """One row of ``metrics.tsv``; ``seed`` is the first one."""
    timings = spoken.get("timings", {})
    seconds, tokens = spoken.get("seconds"), spoken.get("tokens")
    once = spoken.get("robustness", {}).get("attempts", 1) == 1
    row = {name: measures.get(name) for name in COLUMNS} | dict(timings)
    row |= dict(spoken.get("robustness", {})) | dict(spoken.get("text_parts", {}))
    return row | {
        "item": item.id,
        "kind": item.kind,
        "stratum": item.stratum,
        "language": item.language,
        "text": item.text,
        "seed": None if seed is None else seed + item.turn,
        "seconds": seconds,
        "rtf": sum(timings.values()) / 1000 / seconds if timings and seconds else None,
        # The tokens are those of one attempt, the time is that of all.
        "tokens_per_second": tokens / timings["gpt_ms"] * 1000 if once and tokens and timings.get("gpt_ms") else None,
        "first_audio_ms": spoken.get("first_audio_ms"),
        "truncated": spoken.get("truncated"),
        "failure": spoken.get("failure"),
        "audio": None if "failure" in spoken else f"samples/{item.name}.flac",
    }


def keep_earlier(output_dir: Path, source: str) -> None:
    """Move the last evaluation to ``earlier/SOURCE``, if another source spoke there; the oldest beyond five go.

    The copy in ``.last`` is moved: the workflow engine deletes a stage's outputs before it runs again.
    """
    last, earlier = output_dir / LAST, output_dir / "earlier"
    if not (last / "summary.json").is_file():
        return
    before = str(read_json(last / "summary.json")["source"])
    if before == source:
        return
    earlier.mkdir(exist_ok=True)
    if (earlier / before).exists():
        shutil.rmtree(earlier / before)
    last.rename(earlier / before)
    (earlier / before).touch()
    for old in sorted(earlier.iterdir(), key=lambda folder: folder.stat().st_mtime)[:-MOST_EARLIER]:
        shutil.rmtree(old)


def evaluate_target(
    target: str,
    features_dir: Path,
    corpus: Path,
    models_dir: Path,
    bundle: Path | None,
    sentences: Sequence[Path],
    assets: MeterAssets,
    output_dir: Path,
    settings: EvaluateSettings,
    threads: int = 1,
    label: str = "evaluate",
    bert: Asset | None = None,
    baseline: Path | None = None,
    lexicon: Lexicon | None = None,
    recordings: Path | None = None,
) -> None:
    """Evaluate one target; writes ``metrics.tsv``, ``samples/*.flac`` and, last, ``summary.json`` in ``output_dir``.

    ``bert`` is the encoder of Chinese text that the features were made with, for the target of the trained models,
    ``lexicon`` that of :func:`target_lexicon`; the other arguments are named as in the command. A bundle is held
    against ``baseline``, the ``metrics.tsv`` of the trained model; ``recordings`` is that of the speaker's recordings.

    Raises:
        VoiceCloneError: the bundle speaks worse than the settings allow.
        DataError: no item could be spoken at all, or the corpus has no training utterance.
    """
    line = not_measured(target, bundle)
    if line:
        return write_not_measured(target, line, COLUMNS, output_dir, label)
    audio = open_store(features_dir / "audio.safetensors")
    rows = [row for row in read_tsv(corpus, CORPUS_COLUMNS) if row["utterance"] in audio]  # others have no features
    seeds = 1 if target == "recordings" else settings.seeds
    once, left_out = evaluation_items(rows, sentences, target, settings)
    for reason in left_out:
        log.warning("%s", reason)
    items = [replace(item, turn=turn) for turn in range(seeds) for item in once]
    digests = {row["utterance"]: row["sha256"] for row in rows}
    training_names = by_hash((r["utterance"] for r in rows if r["split"] == "train"), settings.centroid_utterances)
    if not training_names:
        raise DataError(f"{corpus}: no training utterance with features, so nothing represents the speaker")
    folder, seed = output_dir / "samples", {"seed": settings.seed, "attempts": settings.attempts}
    folder.mkdir(parents=True, exist_ok=True)
    samples, cache = ItemCache("evaluate", seed, folder), ItemCache("evaluate", None, output_dir / "cache")
    source = target_digest(target, features_dir, models_dir, bundle)
    keep_earlier(output_dir, source)
    inputs = item_inputs(items, source, digests, None if target in WITHOUT_TEXT else lexicon)
    progress = Progress(label, 2 * len(items))
    spoken = speak_items(
        items,
        lambda: open_target(target, features_dir, models_dir, bundle, bert, settings, threads, lexicon),
        samples,
        inputs,
        progress,
    )
    failures = [
        {"item": item.name, "reason": spoken[item.name]["failure"]} for item in items if "failure" in spoken[item.name]
    ]
    if items and len(failures) == len(items):
        raise DataError(
            f"target {target}: none of {len(items)} sentences could be spoken; {items[0].id}: {failures[0]['reason']}",
            "the log has the full message; check the stage that made the models or the bundle",
        )
    heard = next((item for item in items if "failure" not in spoken[item.name]), None)
    gain = None
    if target == TRAINED and heard is not None:
        text, language = heard.text, heard.language
        gain = ItemCache("evaluate", seed, output_dir).get(  # measured once
            "cache_gain",
            inputs[heard.name],
            lambda: cache_gain(trained_voice(features_dir, models_dir, bert, lexicon), text, language, settings.seed),
        )
    meters = Meters(assets, settings.beam_size, max(1, threads))
    training = {name: digests[name] for name in training_names}
    measures = measure_items(items, spoken, folder, cache, meters, training, audio, progress)
    first = None if target == "recordings" else settings.seed
    table = [metrics_row(item, spoken[item.name], measures[item.name], first) for item in items]
    for kept in (samples, cache):
        kept.prune({item.name for item, row in zip(items, table, strict=True) if row["audio"]})
    write_tsv(output_dir / "metrics.tsv", COLUMNS, table)
    against = losses(table, read_tsv(baseline), settings) if baseline else None
    beside = floor(table, read_tsv(recordings), settings) if recordings else None
    peaks = [record["peak_memory_mb"] for record in spoken.values() if "peak_memory_mb" in record]
    headline = [row for row in table if row["kind"] not in FOREIGN]
    summary = {
        "target": target,
        "source": source,
        **summarise_rows(headline, settings),
        "by_kind": summarise_by("kind", table, settings),
        "by_stratum": summarise_by("stratum", table, settings),
        "left_out": left_out,
        "seeds": seeds,
        "variance": variances(headline),
        **({"floor": beside} if beside else {}),
        **({"against_trained_model": against, "unseen": unseen(against)} if against else {}),
        **({"cache": gain} if gain else {}),
        "failures": failures,
        "truncated": sum(record.get("truncated", 0) for record in spoken.values()),
        "size_bytes": target_bytes(target, models_dir, bundle),
        "peak_memory_mb": round(max(peaks), 1) if peaks and target != "recordings" else None,
        "assets": assets.names(),
        "settings": settings.model_dump(mode="json"),
        "threads": max(1, threads),
        "engines": sorted({record["engine"] for record in spoken.values() if record.get("engine")}),
    }
    write_json(output_dir / "summary.json", summary)
    shutil.rmtree(output_dir / LAST, ignore_errors=True)
    for name in ("metrics.tsv", "summary.json"):
        write_text(output_dir / LAST / name, (output_dir / name).read_text(encoding="utf-8"))
    if against:
        for line in unseen(against):
            log.warning("%s", line)
        check_losses(target, against)
    if not items:
        announce(f"{label}: no held-out utterance, nothing to evaluate")
