"""Every metric of the evaluation once: what it is called, in what unit, which direction is better, where it is from."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """A metric, which is a row of the report's table.

    Attributes:
        name: in ``summary.json``; that of a sentence's value is also a column of ``metrics.tsv``.
        title: for people.
        style: form of its numbers, see :func:`voiceclone.report.words.figure`.
        better: ``low``, ``high`` or empty where neither is better.
        unit: of the stored numbers.
        source: what computes it, with the paper.
        meaning: for people.
    """

    name: str
    title: str
    style: str
    better: str
    unit: str
    source: str
    meaning: str


_DETECTOR = "speaking/detector.py, limits of the voice's own recordings"


def _fault(name: str, title: str, meaning: str) -> tuple[Metric, Metric]:
    kept = Metric(name, title, "percent", "low", "share of sentences", _DETECTOR, meaning)
    first = f"{title}, first attempt"
    return kept, Metric(f"{name}_first", first, "percent", "low", kept.unit, _DETECTOR, "The same before re-rolls.")


#: Kinds of findings of the detector, by the metric that counts them.
FAULTS = {
    "repeats": ("loop", "stuck", "repeat"),
    "omissions": ("omission", "skip"),
    "leaks": ("leak",),
    "runaways": ("runaway",),
}

METRICS = (
    Metric(
        "wer", "Word error rate", "percent", "low", "errors per word", "word edit distance, over all words together",
        "Share of words that a speech recogniser gets wrong. It also errs on real speech: compare with the recordings.",
    ),
    Metric(
        "cer", "Character error rate", "percent", "low", "errors per character",
        "character edit distance, over all characters together",
        "The same by character; the fair measure for languages written without spaces.",
    ),
    Metric(
        "wer_macro", "Word error rate, mean of sentences", "percent", "low", "errors per word",
        "word edit distance, mean over sentences", "Short sentences count as much as long ones.",
    ),
    Metric(
        "cer_macro", "Character error rate, mean of sentences", "percent", "low", "errors per character",
        "character edit distance, mean over sentences", "The same by character.",
    ),
    Metric(
        "similarity_campplus", "Voice similarity (CAM++)", "score", "high", "cosine", "CAM++ (Wang et al. 2023)",
        "How close the voice is to the speaker's training recordings, for a speaker-recognition network. 1 is "
        "identical; different people score near 0. The speaker's own held-out recordings are the ceiling.",
    ),
    Metric(
        "similarity_relative", "Similarity beside the speaker's own", "score", "high", "ratio of cosines",
        "CAM++, over the mean of each training recording with the rest",
        "1: as close as the speaker's recordings are to each other.",
    ),
    Metric(
        "similarity_first", "Similarity, first third", "score", "high", "cosine", "CAM++ on the first third",
        "Sentences of 3 s and more.",
    ),
    Metric(
        "similarity_last", "Similarity, last third", "score", "high", "cosine", "CAM++ on the last third",
        "Far below the first third: the voice drifts within a sentence.",
    ),
    Metric(
        "similarity_ge2e", "Voice similarity (GE2E)", "score", "high", "cosine", "Resemblyzer (Wan et al. 2018)",
        "The same by a second, coarser network: different people still score about 0.5.",
    ),
    Metric(
        "distillmos", "Naturalness (DistillMOS)", "score", "high", "points, 1 to 5",
        "DistillMOS (Stahl and Gamper 2025)", "Predicted opinion of listeners, from 1 (bad) to 5 (excellent).",
    ),
    Metric(
        "dnsmos_ovrl", "Overall quality (DNSMOS)", "score", "high", "points, 1 to 5",
        "DNSMOS P.835 (Reddy et al. 2022)", "Predicted opinion of listeners on the sound as a whole, 1 to 5.",
    ),
    Metric(
        "dnsmos_sig", "Speech quality (DNSMOS)", "score", "high", "points, 1 to 5", "DNSMOS P.835",
        "The same on the speech alone.",
    ),
    Metric(
        "dnsmos_bak", "Background (DNSMOS)", "score", "high", "points, 1 to 5", "DNSMOS P.835",
        "The same on how quiet the background is.",
    ),
    *_fault("repeats", "Repeats", "Sentences in which something is said again and again, or one sound is held."),
    *_fault("omissions", "Omissions", "Sentences that are too short for their text, or skip a part of it."),
    *_fault("leaks", "Leaks of the prompt", "Sentences in which words of the reference clip are spoken."),
    *_fault("runaways", "Runaways", "Sentences without end, or far too long for their text."),
    Metric(
        "attempts", "Attempts", "score", "low", "attempts per sentence", "re-rolls of speaking/synthesizer.py",
        "1: no sentence looked suspicious.",
    ),
    Metric(
        "characters_per_second", "Pace, characters per second", "plain", "", "characters per second",
        "text over duration", "Should be near the recordings'.",
    ),
    Metric(
        "pause_share", "Pauses", "percent", "", "share of the time", "silences of 0.2 s and more inside a sentence",
        "Should be near the recordings'.",
    ),
    Metric(
        "f0_median_hz", "Pitch, median", "hz", "", "Hz", "autocorrelation (Boersma 1993)",
        "Should be near the recordings'.",
    ),
    Metric(
        "f0_spread_semitones", "Pitch range, semitones", "plain", "", "semitones", "10 % to 90 % quantile of the pitch",
        "Liveliness of the melody: far below the recordings' is monotonous.",
    ),
    Metric(
        "peak_dbfs", "Peak", "plain", "", "dBFS", "largest sample", "Near 0: at full scale.",
    ),
    Metric(
        "clicks", "Clicks", "score", "low", "clicks per sentence", "isolated peaks of the second difference",
        "Jumps of the waveform.",
    ),
    Metric(
        "rtf", "Real-time factor", "score", "low", "s per s", "measured on the machine of the run",
        "Seconds of computing per second of speech on the machine of this run; below 1 is faster than real time.",
    ),
    Metric(
        "tokens_per_second", "Tokens per second", "plain", "high", "tokens per second",
        "measured, sentences of one attempt",
        "Semantic tokens that the GPT makes per second; 25 are a second of speech.",
    ),
    Metric(
        "first_audio_ms", "Time to first sound", "ms", "low", "ms", "measured, first seed",
        "From the text to the first sound of a stream.",
    ),
    Metric("text_ms", "Time: text", "ms", "low", "ms", "measured", "Text to phones, per sentence."),
    Metric("gpt_ms", "Time: text to semantic", "ms", "low", "ms", "measured", "The first model, per sentence."),
    Metric("decoder_ms", "Time: decoder", "ms", "low", "ms", "measured", "The second model, per sentence."),
    Metric("post_ms", "Time: post-processing", "ms", "low", "ms", "measured", "Joining of the pieces, per sentence."),
)  # fmt: skip
BY_NAME = {metric.name: metric for metric in METRICS}

#: Columns of ``metrics.tsv`` that are rates of sentences or counts, whose mean is shown; of others it is the median.
MEANS = (*FAULTS, *(f"{name}_first" for name in FAULTS), "attempts", "clicks")

#: Parts of an evaluation whose seconds are measured, for people; models count where they are first needed.
PARTS = {
    "warm_up": "Loading and warm-up",
    "speaking": "Speaking",
    "detector": "Detector",
    "first_audio": "First sound of a stream",
    "cache_gain": "Gain of the KV cache",
    "speaker": "Recordings of the speaker",
    "recogniser": "Recogniser",
    "similarity": "Similarity",
    "mos": "DNSMOS, DistillMOS",
    "sound": "Pitch, pauses, clicks",
    "statistics": "Statistics",
}


@contextmanager
def timed(cost: dict[str, float], part: str) -> Iterator[None]:
    """Add the seconds of a block to those of a part of :data:`PARTS`."""
    began = time.perf_counter()
    yield
    cost[part] = cost.get(part, 0.0) + time.perf_counter() - began
