"""Speak the evaluation sentences with one target, measure them, summarise them.

First everything is spoken, then everything is measured: so memory and time of the synthesiser are its own, not those of
the recogniser beside it. A target that cannot run on this machine says so in its files.
"""

from __future__ import annotations

import logging
import resource
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from voiceclone.errors import DataError, Interrupted
from voiceclone.evaluation.comparison import TRAINED, WITHOUT_TEXT, check_losses, losses, unseen
from voiceclone.evaluation.measure import MeterAssets, Meters, failed_measures
from voiceclone.evaluation.metrics import PARTS, timed
from voiceclone.evaluation.sentences import FOREIGN, Item, by_hash, evaluation_items, member_of
from voiceclone.evaluation.summary import TIMINGS, Rows, floor, summarise_by, summarise_rows, variances
from voiceclone.evaluation.target import TRAINING_RATE, Source, Spoken, Voice, cache_gain, open_voice, recording
from voiceclone.features.store import Store, open_store
from voiceclone.files import digest, read_json, read_tsv, sha256_file, table_columns, write_json, write_text, write_tsv
from voiceclone.lineage.items import ItemCache
from voiceclone.lineage.rights import consent_of
from voiceclone.marks.labels import write_generated
from voiceclone.progress import Progress, announce
from voiceclone.sound.io import read_mono, write_flac
from voiceclone.speaking.styles import own_clip
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
    items: Sequence[Item], source: Source, recordings: Mapping[str, str], lexicon: Lexicon | None
) -> dict[str, tuple[str, ...]]:
    """By name of item the digests of all that decides how it sounds; of the lexicon only what its text touches.

    Args:
        items: of the evaluation.
        source: what speaks.
        recordings: sha256 of the utterances of the corpus.
        lexicon: of :func:`target_lexicon`; None: the target reads no text.
    """

    def inputs(item: Item) -> tuple[str, ...]:
        used = lexicon.used_in(item.text) if lexicon else {}
        more = [digest([used])] * bool(used) + [f"seed {item.turn}"] * bool(item.turn)
        more += source.clip_of(item.member)
        return (source.digest, item.text, item.language, recordings.get(item.id, ""), *more)

    return {item.name: inputs(item) for item in items}


def peak_memory_mb() -> float:
    """Largest resident memory of this process so far, in MB of 10^6 bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


def gpu_memory_mb() -> float | None:
    """Largest memory that torch took on the GPU so far, in MB of 10^6 bytes; None where nothing runs in torch there."""
    torch = sys.modules.get("torch")  # importing it would add to the memory of what runs without
    return torch.cuda.max_memory_allocated() / 1e6 if torch and torch.cuda.is_initialized() else None


def check_sound(spoken: Spoken) -> None:
    """Raise a :class:`DataError` for sound that nobody can hear."""
    if not len(spoken.samples):
        raise DataError("nothing was spoken: no samples")
    if not np.all(np.isfinite(spoken.samples)):
        raise DataError("the samples are not numbers (NaN or infinite)")
    if float(np.abs(spoken.samples).max()) < SILENCE:
        raise DataError("nothing was spoken: only silence")


@dataclass(frozen=True)
class Plan:
    """What an evaluation speaks and measures.

    Attributes:
        items: sentences, those of the first seed before those of the second.
        seeds: with which each is spoken.
        left_out: a line for each sentence that is not spoken.
        recordings: sha256 of the corpus's utterances.
        training: of those that represent the speaker, by member of a group; an empty name: who speaks the voice's own
            clip.
        audio: the utterances' sound.
    """

    items: Sequence[Item]
    seeds: int
    left_out: Sequence[str]
    recordings: Mapping[str, str]
    training: Mapping[str, Mapping[str, str]]
    audio: Store


def speak_items(
    items: Sequence[Item],
    open_voice: Callable[[], Voice],
    cache: ItemCache,
    inputs: Mapping[str, Sequence[str]],
    progress: Progress,
    consent: str = "",
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
            begun: dict[str, float] = {}
            if item.language not in warm:
                with timed(begun, "warm_up"):
                    voice = voice or open_voice()
                    _warm_up(voice, item)
                warm.add(item.language)
            assert voice is not None
            record = speak_item(voice, item, sound, consent)
            if "failure" not in record:
                record["cost"] |= begun
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


def speak_item(voice: Voice, item: Item, sound: Path, consent: str = "") -> dict[str, Any]:
    """Speak one sentence into a FLAC file, marked as users hear it; what is known of it, or why it is a ``failure``.

    ``consent`` is the digest that the file states.
    """
    cost: dict[str, float] = {}
    try:
        with timed(cost, "speaking"):
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
        write_generated(sound, samples, spoken.rate, spoken.number, consent)
    return {
        "seconds": len(samples) / spoken.rate,
        "timings": {name: float(spoken.timings[name]) for name in TIMINGS if name in spoken.timings},
        "truncated": spoken.truncated,
        "tokens": spoken.tokens,
        "first_audio_ms": spoken.first_audio_ms,
        "engine": spoken.engine,
        "robustness": dict(spoken.robustness),
        "text_parts": dict(spoken.text_parts),
        "read": list(spoken.read),
        "cost": {"speaking": cost["speaking"] - sum(spoken.cost.values()), **spoken.cost},
        "peak_memory_mb": peak_memory_mb(),
        "gpu_memory_mb": gpu_memory_mb(),
    }


def measure_items(
    items: Sequence[Item],
    spoken: Mapping[str, Mapping[str, Any]],
    folder: Path,
    cache: ItemCache,
    meters: Meters,
    plan: Plan,
    progress: Progress,
) -> dict[str, dict[str, Any]]:
    """Measure what is not in the cache."""
    results: dict[str, dict[str, Any]] = {}
    speakers: dict[str, dict[str, Any]] = {}
    contexts = {
        member: digest([meters.beam_size, meters.assets.digests(), sorted(training.items())])
        for member, training in plan.training.items()
    }
    for item in items:
        if "failure" in spoken[item.name]:
            results[item.name] = failed_measures(item.text, item.language)
            progress.update(note="measuring")
            continue
        sound = folder / f"{item.name}.flac"
        context = contexts[item.member]
        inputs = (context, item.text, item.language, sha256_file(sound))
        record = cache.find(item.name, inputs)
        if record is None:
            begun: dict[str, float] = {}
            if item.member not in speakers:
                with timed(begun, "speaker"):
                    place = folder.parent.parent / ".speaker"
                    speakers[item.member] = speaker_of(plan, meters, context, place, item.member)
            samples, rate = read_mono(sound)
            record = meters.measure(samples, rate, item.text, item.language, speakers[item.member])
            record["cost"] |= begun
            cache.put(item.name, inputs, record)
        results[item.name] = record
        progress.update(note="measuring")
    log.info("evaluate: %d measured, %d from cache", cache.made, len(items) - cache.made)
    return results


def speaker_of(plan: Plan, meters: Meters, context: str, folder: Path, member: str = "") -> dict[str, Any]:
    """See :meth:`Meters.speaker`; embedded once for all targets of a voice, which keep it in ``folder``."""

    def embed() -> dict[str, Any]:
        real = [(recording(plan.audio, name), TRAINING_RATE) for name in plan.training.get(member, ())]
        return {name: vectors.tolist() for name, vectors in meters.speaker(real).items()}

    name = f"recordings-{member}" if member else "recordings"
    found = ItemCache("evaluate", None, folder).get(name, [context], embed)
    return {name: np.asarray(vectors, np.float32) for name, vectors in found.items()}


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
        "member": item.member,
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


def keep_earlier(output_dir: Path) -> None:
    """Move the last evaluation to ``earlier/SOURCE`` if another table is there now; the oldest beyond five go.

    Its copy in ``.last`` is moved: the workflow engine deletes a stage's outputs before it runs again. Of each source,
    which is what spoke, the newest is kept.
    """
    last, earlier = output_dir / LAST, output_dir / "earlier"
    files = [output_dir / name for name in ("metrics.tsv", "summary.json")]
    if (last / "summary.json").is_file() and sha256_file(last / "metrics.tsv") != sha256_file(files[0]):
        place = earlier / str(read_json(last / "summary.json")["source"])
        shutil.rmtree(place, ignore_errors=True)
        earlier.mkdir(exist_ok=True)
        last.rename(place)
        place.touch()
        for old in sorted(earlier.iterdir(), key=lambda folder: folder.stat().st_mtime)[:-MOST_EARLIER]:
            shutil.rmtree(old)
    for file in files:
        write_text(last / file.name, file.read_text(encoding="utf-8"))


def make_plan(source: Source, corpus: Path, sentences: Sequence[Path], settings: EvaluateSettings) -> Plan:
    """The sentences of a target, and what they are held against.

    Raises:
        DataError: the corpus has no training utterance, of each member of a group, or see :func:`evaluation_items`.
    """
    audio = open_store(source.features_dir / "audio.safetensors")
    rows = [row for row in read_tsv(corpus, CORPUS_COLUMNS) if row["utterance"] in audio]  # others have no features
    seeds = 1 if source.target == "recordings" else settings.seeds
    once, left_out = evaluation_items(rows, sentences, source.target, settings)
    for reason in left_out:
        log.warning("%s", reason)
    digests = {row["utterance"]: row["sha256"] for row in rows}
    items = [replace(item, turn=turn) for turn in range(seeds) for item in once]
    training: dict[str, dict[str, str]] = {}
    for member in sorted({member_of(row) for row in rows}) or [""]:
        trained = (row["utterance"] for row in rows if row["split"] == "train" and member_of(row) == member)
        training[member] = {name: digests[name] for name in by_hash(trained, settings.centroid_utterances)}
        if not training[member]:
            who = member or "the speaker"
            raise DataError(f"{corpus}: no training utterance with features, so nothing represents {who}")
    if "" not in training:
        training[""] = training[member_of(own_clip(source.features_dir, source.references))]
    return Plan(items, seeds, left_out, digests, training, audio)


def failures_of(target: str, items: Sequence[Item], spoken: Mapping[str, Mapping[str, Any]]) -> list[dict[str, str]]:
    """``item`` and ``reason`` of the sentences that could not be spoken.

    Raises:
        DataError: none could.
    """
    named = {item.name: spoken[item.name].get("failure") for item in items}
    failures = [{"item": name, "reason": reason} for name, reason in named.items() if reason is not None]
    if items and len(failures) == len(items):
        raise DataError(
            f"target {target}: none of {len(items)} sentences could be spoken; {items[0].id}: {failures[0]['reason']}",
            "the log has the full message; check the stage that made the models or the bundle",
        )
    return failures


def verdicts(table: Rows, baseline: Path | None, recordings: Path | None, settings: EvaluateSettings) -> dict[str, Any]:
    """What the sentences say together: figures over all and by kind, against the trained model, beside recordings.

    Args:
        table: rows of ``metrics.tsv``.
        baseline: that of the trained model; None: nothing is held against it.
        recordings: that of the speaker's recordings.
        settings: of the evaluation.
    """
    cost: dict[str, float] = {}
    with timed(cost, "statistics"):
        headline = [row for row in table if row["kind"] not in FOREIGN]
        against = losses(table, read_tsv(baseline), settings) if baseline else None
        beside = floor(table, read_tsv(recordings), settings) if recordings else None
        return {
            **summarise_rows(headline, settings),
            "by_kind": summarise_by("kind", table, settings),
            "by_stratum": summarise_by("stratum", table, settings),
            **({"by_member": members} if (members := summarise_by("member", table, settings)) else {}),
            "variance": variances(headline),
            **({"floor": beside} if beside else {}),
            **({"against_trained_model": against, "unseen": unseen(against)} if against else {}),
            "cost": cost,
        }


def of_speaking(spoken: Iterable[Mapping[str, Any]], memory: bool) -> dict[str, Any]:
    """Sums and extremes over the records of :func:`speak_items`; ``memory``: of what speaks, not of a recording."""
    records = list(spoken)

    def largest(name: str) -> float | None:
        return round(max(known), 1) if memory and (known := [r[name] for r in records if r.get(name)]) else None

    hits, asked = (sum(record.get("read", (0, 0))[place] for record in records) for place in (0, 1))
    return {
        "truncated": sum(record.get("truncated", 0) for record in records),
        "peak_memory_mb": largest("peak_memory_mb"),
        "gpu_memory_mb": largest("gpu_memory_mb"),
        "engines": sorted({record["engine"] for record in records if record.get("engine")}),
        **({"texts": {"found": hits, "asked": asked}} if asked else {}),
    }


def evaluate_target(
    source: Source,
    corpus: Path,
    sentences: Sequence[Path],
    assets: MeterAssets,
    output_dir: Path,
    settings: EvaluateSettings,
    label: str = "evaluate",
    baseline: Path | None = None,
    recordings: Path | None = None,
) -> None:
    """Evaluate one target; writes ``metrics.tsv``, ``samples/*.flac`` and, last, ``summary.json`` in ``output_dir``.

    Args:
        source: what speaks.
        corpus: ``corpus.tsv``.
        sentences: the fixed sets.
        assets: the models that measure.
        output_dir: to write in.
        settings: of the stage.
        label: of the progress lines.
        baseline: ``metrics.tsv`` of the trained model, which a bundle is held against.
        recordings: that of the speaker's recordings.

    Raises:
        VoiceCloneError: the bundle speaks worse than the settings allow.
        DataError: no item could be spoken at all, or the corpus has no training utterance.
    """
    if line := source.not_measured():
        return write_not_measured(source.target, line, COLUMNS, output_dir, label)
    plan = make_plan(source, corpus, sentences, settings)
    table, told = _table(source, plan, assets, output_dir, settings, label)
    write_tsv(output_dir / "metrics.tsv", COLUMNS, table)
    found = ItemCache("evaluate", settings, output_dir).get(  # drawn once: a summary has the same seconds again
        "statistics",
        [sha256_file(path) for path in (output_dir / "metrics.tsv", baseline, recordings) if path],
        lambda: verdicts(table, baseline, recordings, settings),
    )
    summary = {
        "target": source.target,
        "source": source.digest,
        **found,
        **told,
        "cost": {part: round((told["cost"] | found["cost"]).get(part, 0.0), 3) for part in PARTS},
        "left_out": plan.left_out,
        "seeds": plan.seeds,
        "size_bytes": source.size_bytes(),
        "assets": assets.names(),
        "settings": settings.model_dump(mode="json"),
        "threads": source.threads,
    }
    write_json(output_dir / "summary.json", summary)
    keep_earlier(output_dir)
    for line in found.get("unseen", ()):
        log.warning("%s", line)
    check_losses(source.target, found.get("against_trained_model", {}))
    if not plan.items:
        announce(f"{label}: no held-out utterance, nothing to evaluate")


def _table(
    source: Source, plan: Plan, assets: MeterAssets, output_dir: Path, settings: EvaluateSettings, label: str
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Speak and measure: the rows of ``metrics.tsv``, and what the summary tells of the speaking."""
    items, folder, recorded = plan.items, output_dir / "samples", source.target == "recordings"
    seed = {"seed": settings.seed, "attempts": settings.attempts}
    folder.mkdir(parents=True, exist_ok=True)
    samples, cache = ItemCache("evaluate", seed, folder), ItemCache("evaluate", None, output_dir / "cache")
    inputs = item_inputs(items, source, plan.recordings, None if source.target in WITHOUT_TEXT else source.lexicon)
    progress = Progress(label, 2 * len(items))
    consent = consent_of(read_json(source.models_dir / "gpt.json"))
    spoken = speak_items(items, lambda: open_voice(source, settings), samples, inputs, progress, consent)
    failures = failures_of(source.target, items, spoken)
    heard = next((item for item in items if "failure" not in spoken[item.name]), None)
    gain: dict[str, Any] = {}
    if source.target == TRAINED and heard is not None:
        gains = ItemCache("evaluate", seed, output_dir)  # measured once
        gain = gains.get("cache_gain", inputs[heard.name], partial(cache_gain, source, heard, settings.seed))
    meters = Meters(assets, settings.beam_size, source.threads)
    measures = measure_items(items, spoken, folder, cache, meters, plan, progress)
    first = None if recorded else settings.seed
    table = [metrics_row(item, spoken[item.name], measures[item.name], first) for item in items]
    for kept in (samples, cache):
        kept.prune({item.name for item, row in zip(items, table, strict=True) if row["audio"]})
    told = of_speaking(spoken.values(), memory=not recorded)
    costs = [record.get("cost", {}) for record in (*spoken.values(), *measures.values(), gain)]
    return table, told | {
        **({"cache": gain} if gain else {}),
        "failures": failures,
        "cost": {part: sum(cost.get(part, 0.0) for cost in costs) for part in PARTS},
    }
