"""Speak the evaluation sentences with one target, measure them, summarise them.

A target is ``recordings`` (the held-out recordings themselves: the ceiling), ``resynthesis`` (the acoustic model fed
with the recordings' own semantic tokens: what it could do behind a perfect text-to-semantic model), ``torch-fp32``
(the trained models) or a bundle such as ``onnx-fp32``. First everything is spoken, then everything is measured: so
memory and time of the synthesiser are its own, not those of the recogniser beside it. A target that cannot run on this
machine says so in its files. The gain of the KV cache is the time of the same tokens with it and without it.
"""

from __future__ import annotations

import logging
import resource
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from voiceclone.assets import Asset
from voiceclone.backends.backend import Floats, Tokens
from voiceclone.errors import ConfigError, DataError, Interrupted
from voiceclone.evaluation.comparison import TRAINED, check_losses, losses
from voiceclone.evaluation.measure import MEASURES, MeterAssets, Meters, failed_measures
from voiceclone.evaluation.sentences import FOREIGN, Item, by_hash, evaluation_items
from voiceclone.evaluation.statistics import Interval, bootstrap_median, bootstrap_ratio
from voiceclone.features.store import Store, open_store
from voiceclone.files import digest, read_json, read_tsv, sha256_file, table_columns, write_json, write_tsv
from voiceclone.languages import BY_CHARACTER
from voiceclone.lineage.items import ItemCache
from voiceclone.lineage.rights import GENERATED_NOTICE
from voiceclone.progress import Progress, announce
from voiceclone.sound.io import Waveform, read_mono, write_flac
from voiceclone.speaking.splitting import AUTO, pieces_of
from voiceclone.speaking.tokens import TokenRequest, decode, token_request
from voiceclone.stages.evaluate import EvaluateSettings
from voiceclone.targets import TENSORRT, runtime_of
from voiceclone.tensorrt.engines import Machine, why_not

if TYPE_CHECKING:
    from voiceclone.speaking.synthesizer import Synthesizer
    from voiceclone.speaking.torch_backend import TorchBackend

log = logging.getLogger(__name__)


def not_measured(target: str, bundle: Path | None) -> str:
    """Reason why a target is not evaluated here, in one line that names it; empty if it is."""
    reason = why_not() if runtime_of(target) == TENSORRT else ""
    if not reason:
        return ""
    place = bundle.parent if bundle else f"export/{target}"
    return f"{target}: not measured: {reason}; build with 'voiceclone bundle build {place}' on one that has it"


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


#: Tokens that are drawn: without a cache each costs as much as reading all that is before it.
TOKENS = 32
Everything = tuple[Tokens, Floats | None, Tokens]


class WithoutCache:
    """The text-to-semantic half of a backend that keeps nothing: every step reads all from the beginning."""

    def __init__(self, backend: TorchBackend) -> None:
        self._backend = backend

    def start(self, phones: Tokens, bert: Floats | None, prompt: Tokens) -> tuple[Floats, Everything]:
        """See :class:`voiceclone.backends.backend.Backend`; the cache is all that was read."""
        return self._backend.read(phones, bert, prompt), (phones, bert, prompt)

    def step(self, token: int, position: int, cache: Everything) -> tuple[Floats, Everything]:
        """See :class:`voiceclone.backends.backend.Backend`."""
        phones, bert, tokens = cache
        return self.start(phones, bert, np.append(tokens, token))


def cache_gain(synthesizer: Synthesizer, text: str, language: str, seed: int) -> dict[str, Any]:
    """Draw the first tokens of a text's first sentence with and without the cache.

    Args:
        synthesizer: over the trained models in torch.
        text: what is said.
        language: its language.
        seed: of the draws.

    Returns:
        ``tokens`` drawn after ``positions`` of phones and prompt, ``with_ms``, ``without_ms``, their ``ratio``, and
        whether both drew the ``same_tokens``.
    """
    from voiceclone.speaking.torch_backend import TorchBackend

    backend = synthesizer.backend
    assert isinstance(backend, TorchBackend)

    def timed(runner: Any) -> tuple[list[int], float]:
        request = _first_tokens(synthesizer, text, language, seed)
        began = time.perf_counter()
        tokens = list(decode(runner, request, synthesizer.end_token))
        return tokens, (time.perf_counter() - began) * 1000

    timed(backend)  # first calls cost more
    kept, with_ms = timed(backend)
    again, without_ms = timed(WithoutCache(backend))
    request = _first_tokens(synthesizer, text, language, seed)
    return {
        "tokens": len(kept),
        "positions": len(request.phones) + len(request.prompt),
        "with_ms": round(with_ms, 3),
        "without_ms": round(without_ms, 3),
        "ratio": round(without_ms / with_ms, 3),
        "same_tokens": kept == again,
    }


def _first_tokens(synthesizer: Synthesizer, text: str, language: str, seed: int) -> TokenRequest:
    sentence = synthesizer.sentence(pieces_of(text, AUTO, language)[0], language)
    request = token_request(sentence, np.random.Generator(np.random.Philox([seed, 0])))
    return replace(request, max_tokens=min(TOKENS, request.max_tokens))


TIMINGS = ("text_ms", "gpt_ms", "decoder_ms", "post_ms")
TRAINING_RATE = 32_000
CORPUS_COLUMNS = ("utterance", "split", "language", "text", "sha256")
SILENCE = 1e-4  # peak below which nothing was spoken
COLUMNS = table_columns("metrics")


@dataclass(frozen=True)
class Spoken:
    """Sound of one item: float32 (frames,), Hz, milliseconds per stage, pieces cut at the length limit, tokens made,
    milliseconds to the first sound of a stream, and what ran the models."""

    samples: Waveform
    rate: int
    timings: Mapping[str, float]
    truncated: int = 0
    tokens: int = 0
    first_audio_ms: float | None = None
    engine: str = ""


Voice = Callable[[Item], Spoken]


def recording(audio: Store, utterance: str) -> Waveform:
    """Recording of an utterance from the audio features: float32 at 32 kHz."""
    return np.asarray(audio[utterance], dtype=np.float32) / 32768.0


def open_target(
    target: str,
    features_dir: Path,
    models_dir: Path,
    bundle: Path | None,
    bert: Asset | None,
    settings: EvaluateSettings,
    threads: int,
) -> Voice:
    """Load what speaks for a target; returns a function from item to sound. ``bert`` serves the trained models."""
    if target == "recordings":
        audio = open_store(features_dir / "audio.safetensors")
        return lambda item: Spoken(recording(audio, item.id), TRAINING_RATE, {})

    if target == "resynthesis":
        return _resynthesis(trained_voice(features_dir, models_dir, bert), features_dir, settings.seed)
    if target == TRAINED:
        return _speaker(trained_voice(features_dir, models_dir, bert), settings.seed)
    if bundle is None:
        raise ConfigError(
            f"target {target!r}: needs --bundle", "targets without one: recordings, resynthesis, torch-fp32"
        )
    from voiceclone.speaking.synthesizer import Synthesizer
    from voiceclone.tensorrt.engines import build_engines

    if runtime_of(target) == TENSORRT:
        build_engines(bundle.parent, read_json(bundle))
    return _speaker(Synthesizer.from_bundle(bundle, threads), settings.seed)


def trained_voice(features_dir: Path, models_dir: Path, bert: Asset | None) -> Synthesizer:
    """The trained models, in torch on the CPU."""
    from voiceclone.speaking.synthesizer import Synthesizer
    from voiceclone.speaking.voices import with_trained_polyphones
    from voiceclone.text.lexicon import Lexicon

    lexicon = with_trained_polyphones(Lexicon(), features_dir, None)
    return Synthesizer.from_models(models_dir, features_dir, lexicon, bert)


def _speaker(synthesizer: Synthesizer, seed: int) -> Voice:
    """Speaks whole sentences, then again as a stream, whose first sound is waited for."""
    from voiceclone.speaking.streaming import stream

    def say(item: Item) -> Spoken:
        synthesizer.forget_texts()  # that of the warm-up, or a sentence that comes twice
        speech = synthesizer.say(item.text, item.language, seed=seed, attempts=1)
        synthesizer.forget_texts()
        began = time.perf_counter()
        next(stream(synthesizer, item.text, item.language, seed=seed), None)
        first = (time.perf_counter() - began) * 1000
        engine = synthesizer.backend.name
        return Spoken(speech.samples, speech.rate, speech.timings, speech.truncated, speech.tokens, first, engine)

    return say


def _resynthesis(synthesizer: Synthesizer, features_dir: Path, seed: int) -> Voice:
    """Decode the recordings' own tokens, with the reference clip's style and the noise of synthesis from text."""
    semantic, phones = (open_store(features_dir / f"{kind}.safetensors") for kind in ("semantic", "phones"))

    def decode(item: Item) -> Spoken:
        codes, symbols = semantic[item.id].astype(np.int64), phones[item.id].astype(np.int64)
        noise = np.random.Generator(np.random.Philox([seed, 0])).standard_normal(
            (1, synthesizer.prior_channels, 2 * len(codes)), np.float32
        )
        start = time.perf_counter()
        samples = synthesizer.backend.decode(codes, symbols, synthesizer.reference.style, noise * np.float32(0.5))
        return Spoken(samples, synthesizer.sample_rate, {"decoder_ms": (time.perf_counter() - start) * 1000})

    return decode


def target_digest(target: str, features_dir: Path, models_dir: Path, bundle: Path | None) -> str:
    """Digest of everything that speaks for a target, for the cache."""
    names = {
        "recordings": [],
        "resynthesis": [models_dir / "sovits.safetensors", features_dir / "manifest.tsv"],
        "torch-fp32": [
            models_dir / "gpt.safetensors",
            models_dir / "sovits.safetensors",
            features_dir / "manifest.tsv",
        ],
    }.get(target, [bundle] if bundle else [])
    # Timings of one GPU do not hold for another.
    machine = [asdict(Machine.here())] if runtime_of(target) == TENSORRT else []
    return digest([target, *(sha256_file(path) for path in names), *machine])


def target_bytes(target: str, models_dir: Path, bundle: Path | None) -> int | None:
    """Size on disk of what a user must keep to speak: models or bundle; None for recordings."""
    if target == "recordings":
        return None
    if bundle is not None and target not in ("torch-fp32", "resynthesis"):
        return sum(path.stat().st_size for path in bundle.parent.iterdir() if path.is_file())
    names = ["sovits.safetensors"] if target == "resynthesis" else ["gpt.safetensors", "sovits.safetensors"]
    return sum((models_dir / name).stat().st_size for name in names)


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
    comment: str = GENERATED_NOTICE,
) -> dict[str, dict[str, Any]]:
    """Speak what is not in the cache. Per item id: seconds, timings, peak memory, or the reason of a failure.

    ``comment`` is written into the sound files. The first sentence of each language is spoken once before, so that
    loading and first-call costs are in no timing.
    """
    records: dict[str, dict[str, Any]] = {}
    voice: Voice | None = None
    warm: set[str] = set()
    for item in items:
        sound = cache.folder / f"{item.id}.flac"
        record = cache.find(item.id, inputs[item.id])
        if record is None:
            voice = voice or open_voice()
            if item.language not in warm:
                _warm_up(voice, item)
                warm.add(item.language)
            record = speak_item(voice, item, sound, comment)
            if "failure" not in record:
                cache.put(item.id, inputs[item.id], record, [sound])
        records[item.id] = record
        progress.update(note="speaking")
    return records


def _warm_up(voice: Voice, item: Item) -> None:
    try:
        voice(item)
    except Interrupted:
        raise
    except Exception as error:
        log.warning("%s: warm-up failed (%s)", item.id, error)


def speak_item(voice: Voice, item: Item, sound: Path, comment: str) -> dict[str, Any]:
    """Speak one sentence into a FLAC file; what is known of it, or the reason of a ``failure``."""
    try:
        spoken = voice(item)
        check_sound(spoken)
    except Interrupted:
        raise
    except Exception as error:  # whatever a model does with one sentence, the others are still evaluated
        log.exception("%s: not spoken", item.id)
        sound.unlink(missing_ok=True)
        return {"failure": f"{type(error).__name__}: {error}".splitlines()[0]}
    samples = np.clip(np.asarray(spoken.samples, dtype=np.float32), -1.0, 1.0)
    write_flac(sound, samples, spoken.rate, comment)
    return {
        "seconds": len(samples) / spoken.rate,
        "timings": {name: float(spoken.timings[name]) for name in TIMINGS if name in spoken.timings},
        "truncated": spoken.truncated,
        "tokens": spoken.tokens,
        "first_audio_ms": spoken.first_audio_ms,
        "engine": spoken.engine,
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
        if "failure" in spoken[item.id]:
            results[item.id] = failed_measures(item.text, item.language)
            progress.update(note="measuring")
            continue
        sound = folder / f"{item.id}.flac"
        inputs = (context, item.text, item.language, sha256_file(sound))
        record = cache.find(item.id, inputs)
        if record is None:
            if speaker is None:
                speaker = meters.speaker([(recording(audio, name), TRAINING_RATE) for name in training])
            samples, rate = read_mono(sound)
            record = cache.put(item.id, inputs, meters.measure(samples, rate, item.text, item.language, speaker))
        results[item.id] = record
        progress.update(note="measuring")
    log.info("evaluate: %d measured, %d from cache", cache.made, len(items) - cache.made)
    return results


def metrics_row(item: Item, spoken: Mapping[str, Any], measures: Mapping[str, Any]) -> dict[str, Any]:
    """One row of ``metrics.tsv``."""
    timings = spoken.get("timings", {})
    seconds, tokens = spoken.get("seconds"), spoken.get("tokens")
    row = {name: measures.get(name) for name in COLUMNS} | dict(timings)
    return row | {
        "item": item.id,
        "kind": item.kind,
        "stratum": item.stratum,
        "language": item.language,
        "text": item.text,
        "seconds": seconds,
        "rtf": sum(timings.values()) / 1000 / seconds if timings and seconds else None,
        "tokens_per_second": tokens / timings["gpt_ms"] * 1000 if tokens and timings.get("gpt_ms") else None,
        "first_audio_ms": spoken.get("first_audio_ms"),
        "truncated": spoken.get("truncated"),
        "failure": spoken.get("failure"),
        "audio": None if "failure" in spoken else f"samples/{item.id}.flac",
    }


def _as_dict(interval: Interval | None) -> dict[str, float] | None:
    return None if interval is None else interval.as_dict()


def summarise_rows(rows: Sequence[Mapping[str, Any]], settings: EvaluateSettings) -> dict[str, Any]:
    """Medians and corpus error rates of some rows, each with its interval."""
    medians = (*MEASURES, "seconds", "rtf", *TIMINGS, "tokens_per_second", "first_audio_ms")
    numbers = {
        name: _as_dict(bootstrap_median((row[name] for row in rows), settings.bootstrap, settings.seed))
        for name in medians
    }
    rates = {}
    for name, edits, units in (("wer", "word_errors", "words"), ("cer", "character_errors", "characters")):
        counted = [row for row in rows if name == "cer" or row["language"] not in BY_CHARACTER]
        above, below = [row[edits] for row in counted], [row[units] for row in counted]
        rates[name] = _as_dict(bootstrap_ratio(above, below, settings.bootstrap, settings.seed))
    return {"sentences": len(rows), **rates, "metrics": {name: value for name, value in numbers.items() if value}}


def summarise_by(column: str, rows: Sequence[Mapping[str, Any]], settings: EvaluateSettings) -> dict[str, Any]:
    """Summaries of the rows with each value of a column, but for those that have none."""
    return {
        value: summarise_rows([row for row in rows if row[column] == value], settings)
        for value in sorted({row[column] for row in rows} - {""})
    }


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
) -> None:
    """Evaluate one target; writes ``metrics.tsv``, ``samples/*.flac`` and, last, ``summary.json`` in ``output_dir``.

    ``bert`` is the encoder of Chinese text that the features were made with, for the target of the trained models; the
    other arguments are named as in the command. A bundle is held against ``baseline``, the ``metrics.tsv`` of the
    trained model.

    Raises:
        VoiceCloneError: the bundle speaks worse than the settings allow.
        DataError: no item could be spoken at all, or the corpus has no training utterance.
    """
    line = not_measured(target, bundle)
    if line:
        return write_not_measured(target, line, COLUMNS, output_dir, label)
    audio = open_store(features_dir / "audio.safetensors")
    rows = [row for row in read_tsv(corpus, CORPUS_COLUMNS) if row["utterance"] in audio]  # others have no features
    items, left_out = evaluation_items(rows, sentences, target, settings)
    for reason in left_out:
        log.warning("%s", reason)
    digests = {row["utterance"]: row["sha256"] for row in rows}
    training_names = by_hash((r["utterance"] for r in rows if r["split"] == "train"), settings.centroid_utterances)
    if not training_names:
        raise DataError(f"{corpus}: no training utterance with features, so nothing represents the speaker")
    folder, seed = output_dir / "samples", {"seed": settings.seed}
    folder.mkdir(parents=True, exist_ok=True)
    samples, cache = ItemCache("evaluate", seed, folder), ItemCache("evaluate", None, output_dir / "cache")
    source = target_digest(target, features_dir, models_dir, bundle)
    inputs = {item.id: (source, item.text, item.language, digests.get(item.id, "")) for item in items}
    progress = Progress(label, 2 * len(items))
    spoken = speak_items(
        items,
        lambda: open_target(target, features_dir, models_dir, bundle, bert, settings, threads),
        samples,
        inputs,
        progress,
        "" if target == "recordings" else GENERATED_NOTICE,
    )
    failures = [
        {"item": item.id, "reason": spoken[item.id]["failure"]} for item in items if "failure" in spoken[item.id]
    ]
    if items and len(failures) == len(items):
        raise DataError(
            f"target {target}: none of {len(items)} sentences could be spoken; {items[0].id}: {failures[0]['reason']}",
            "the log has the full message; check the stage that made the models or the bundle",
        )
    heard = next((item for item in items if "failure" not in spoken[item.id]), None)
    gain = None
    if target == TRAINED and heard is not None:
        text, language = heard.text, heard.language
        gain = ItemCache("evaluate", seed, output_dir).get(  # measured once
            "cache_gain",
            (source, text, language),
            lambda: cache_gain(trained_voice(features_dir, models_dir, bert), text, language, settings.seed),
        )
    meters = Meters(assets, settings.beam_size, max(1, threads))
    training = {name: digests[name] for name in training_names}
    measures = measure_items(items, spoken, folder, cache, meters, training, audio, progress)
    table = [metrics_row(item, spoken[item.id], measures[item.id]) for item in items]
    for kept in (samples, cache):
        kept.prune({row["item"] for row in table if row["audio"]})
    write_tsv(output_dir / "metrics.tsv", COLUMNS, table)
    against = losses(table, read_tsv(baseline), settings) if baseline else None
    peaks = [record["peak_memory_mb"] for record in spoken.values() if "peak_memory_mb" in record]
    summary = {
        "target": target,
        **summarise_rows([row for row in table if row["kind"] not in FOREIGN], settings),
        "by_kind": summarise_by("kind", table, settings),
        "by_stratum": summarise_by("stratum", table, settings),
        "left_out": left_out,
        **({"against_trained_model": against} if against else {}),
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
    if against:
        check_losses(target, against, settings)
    if not items:
        announce(f"{label}: no held-out utterance, nothing to evaluate")
