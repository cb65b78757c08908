"""What is measured of every utterance, and which of them are unlike the speaker's others.

No limit is a constant of all speakers: a measure counts by its distance from the speaker's median in robust standard
deviations: the largest of 1.4826 times the median absolute deviation (Rousseeuw and Croux 1993), of what the bad fifth
tells (where values scatter to the bad side alone, that is no fault), and of a least one, so that a very even speaker is
not judged by trifles. How many deviations are suspicious is set for each measure so that clean speech stays below: of
twenty measures one is always a little odd. The worst measure of an utterance is its suspicion; 1 is the limit.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from voiceclone.assets import Asset
from voiceclone.corpus.coverage import phones
from voiceclone.corpus.filters import Candidate
from voiceclone.files import digest, table_columns
from voiceclone.lineage.items import ItemCache
from voiceclone.sound.clips import envelope, event_seconds, measure_clip
from voiceclone.sound.io import Waveform, read_mono, resample
from voiceclone.stages.settings import RuntimeSettings
from voiceclone.text.wer import normalise_for_scoring, word_errors

log = logging.getLogger(__name__)

COLUMNS = table_columns("judgements")
SHORTEST = 0.5  # seconds that a network needs to judge by
FEWEST = 8  # utterances from which a speaker's spread is known
SIDE, SIDE_DEVIATIONS = 0.8, 0.8416  # quantile of the bad side, and how many standard deviations it lies out
FEW_PHONES = 2  # in which a recogniser's spelling differs from what was said
NUMBER_PHONES, HAN_FIGURES = 4, frozenset("零一二两三四五六七八九十百千万")  # what another number counts, at least
RATE = 16_000


@dataclass(frozen=True)
class Limit:
    """When a measure makes an utterance suspicious.

    Attributes:
        column: of the table.
        worse: 1: high values are bad; -1: low ones are.
        deviations: robust standard deviations from the speaker's median that are suspicious.
        least: smallest standard deviation that is counted with, in the unit of the column.
        says: what it means, for people.
        good: values that are better than this are all alike, in the unit of the column.
        amplitude: levels in dB are compared as amplitudes, of which deviations and ``least`` are then: among quiet ones
            no difference counts.
        unless_heard: does not count where another recognition has the phones of the text, but for :data:`FEW_PHONES`.
    """

    column: str
    worse: int
    deviations: float
    least: float
    says: str
    good: float | None = None
    amplitude: bool = False
    unless_heard: bool = False

    def badness(self, values: Sequence[float | None]) -> npt.NDArray[np.float64]:
        """Values as they are compared, the higher the worse; NaN where nothing was measured."""
        known = np.array([np.nan if value is None else value for value in values], np.float64)
        compared = 10 ** (known / 20) if self.amplitude else known
        return self.worse * compared if self.good is None else np.maximum(self.worse * compared, self.worse * self.good)


LIMITS = (
    Limit("snr_db", -1, 3.5, 2.5, "noise, music or echo"),
    Limit("floor_db", 1, 3.2, 2.0, "music, noise or echo in the pauses", -45.0),
    Limit("bandwidth_hz", -1, 5.0, 1000.0, "dull: high tones are missing"),
    Limit("treble_db", -1, 2.8, 4.0, "dull: no sharp sounds"),
    Limit("crest_db", -1, 4.0, 0.7, "overdriven"),
    Limit("flat_db", 1, 5.2, 0.5, "peaks are cut off"),
    Limit("silence_s", 1, 5.0, 0.02, "a hole of digital silence"),
    Limit("head_db", 1, 8.0, 0.02, "begins within a word", amplitude=True),
    Limit("tail_db", 1, 5.0, 0.022, "ends within a word", amplitude=True),
    Limit("overlap_share", 1, 2.9, 0.01, "two people at once"),
    Limit("rt60_s", 1, 4.2, 0.01, "much reverberation"),
    Limit("hum_db", 1, 3.2, 2.0, "hum"),
    Limit("buzz_db", 1, 4.0, 2.0, "hum"),
    Limit("tone_db", 1, 4.5, 2.0, "a tone"),
    Limit("event_s", 1, 4.0, 0.06, "a loud sound that is no word"),
    Limit("dnsmos", -1, 4.5, 0.2, "sounds bad (DNSMOS)"),
    Limit("distillmos", -1, 4.5, 0.25, "sounds bad (DistillMOS)"),
    Limit("similarity", -1, 5.0, 0.05, "another voice"),
    Limit("rate", 1, 4.0, 1.0, "too many words for its length"),
    Limit("rate", -1, 4.0, 1.0, "too few words for its length"),
    Limit("mismatch", 1, 3.5, 0.5, "another text is heard", 1.5),
    Limit("differing", 1, 7.0, 1.0, "another recognition differs"),
    Limit("alignment", -1, 4.5, 0.8, "a word that is not heard", unless_heard=True),
    Limit("other_language", 1, 5.0, 0.1, "another language"),
)  # fmt: skip


class ClipJudge:
    """Measures utterances; each model is loaded when the first utterance needs it.

    Args:
        assets: ``campplus``, ``dnsmos``, ``distillmos`` and one recogniser.
        cache: folder of the records.
        runtime: device.
        threads: CPU threads of each model.
    """

    def __init__(self, assets: Mapping[str, Asset], cache: Path, runtime: RuntimeSettings, threads: int = 1) -> None:
        self.assets, self.runtime, self.threads = assets, runtime, max(1, threads)
        self.cache = ItemCache("corpus", None, cache)

    @cached_property
    def _recogniser(self) -> Any:
        from voiceclone.listeners.recogniser import Recogniser
        from voiceclone.stages.transcribe import TranscribeSettings

        (asset,) = (asset for asset in self.assets.values() if asset.kind == "asr")
        return Recogniser(asset.folder, TranscribeSettings(), self.runtime.device, self.threads)

    @cached_property
    def _speaker(self) -> Any:
        from voiceclone.listeners.campplus import SpeakerEncoder

        return SpeakerEncoder(self.assets["campplus"])

    @cached_property
    def _dnsmos(self) -> Any:
        from voiceclone.listeners.mos import Dnsmos

        return Dnsmos(self.assets["dnsmos"], self.threads)

    @cached_property
    def _distillmos(self) -> Any:
        from voiceclone.listeners.mos import DistillMos

        return DistillMos(self.assets["distillmos"])

    def digests(self) -> list[str]:
        """Content of the models, for keys."""
        return [asset.digest for _, asset in sorted(self.assets.items())]

    def measure(self, item: Candidate, path: Path, record: Mapping[str, Any]) -> dict[str, Any]:
        """What is measured of one utterance, found or made: columns of the table, ``vector``, ``words``, ``envelope``.

        Args:
            item: the utterance; a text that is given for it is aligned with its sound.
            path: of its sound.
            record: of its transcript.
        """
        text = item.given.text if item.given else ""
        inputs = (*self.digests(), item.sha256, text, item.language if text else "", digest(record["words"]))
        name = f"{item.take}/{item.utterance}"
        return self.cache.get(name, inputs, lambda: self._measure(*read_mono(path), text, item.language, record))

    def prune(self, items: Sequence[Candidate]) -> None:
        """Forget utterances that are gone."""
        takes = {item.take for item in items}
        self.cache.prune(takes)
        for take in takes:
            ItemCache("corpus", None, self.cache.folder / take).prune({i.utterance for i in items if i.take == take})

    def _measure(
        self, samples: Waveform, rate: int, text: str, language: str, record: Mapping[str, Any]
    ) -> dict[str, Any]:
        from voiceclone.listeners.mos import WINDOW
        from voiceclone.listeners.recogniser import align_text

        wave = resample(samples, rate, RATE)
        words, other = record["words"], _other_language(record["language"], record)
        if text:
            words, heard = align_text(self._recogniser, wave, text, language)
            other = _other_language(language, {"heard": heard[0], "heard_probability": heard[1]})
        measures = {
            **measure_clip(samples, rate),
            "event_s": event_seconds(wave, words),
            "dnsmos": None,
            "distillmos": None,
            "alignment": least_sure(words),
            "other_language": other,
        }
        vector = []
        if len(wave) >= SHORTEST * RATE:
            once = np.resize(wave, WINDOW) if len(wave) < WINDOW else wave  # repeated no further than one window
            measures["dnsmos"] = self._dnsmos.score(once, RATE)["ovrl"]
            measures["distillmos"] = self._distillmos.score(wave, RATE)
            vector = [round(float(value), 5) for value in self._speaker.embed(wave, RATE)]
        return {
            **{name: None if value is None else round(value, 5) for name, value in measures.items()},
            "vector": vector,
            "words": words,
            "envelope": envelope(wave),
        }


def _other_language(language: str, record: Mapping[str, Any]) -> float:
    """Probability that another language is spoken than the one that was told or recognised."""
    return float(record["heard_probability"]) if record.get("heard", language) != language else 0.0


def least_sure(words: Sequence[Mapping[str, Any]]) -> float | None:
    """Lowest mean log probability of two neighbouring words in nats, marks left out; None without a word."""
    logs = np.log([max(float(word["probability"]), 1e-4) for word in words if any(map(str.isalnum, word["word"]))])
    if not len(logs):
        return None
    return float(logs.min() if len(logs) < 2 else ((logs[1:] + logs[:-1]) / 2).min())


def judge_all(candidates: Sequence[Candidate], measured: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Rows of the table of judgements, by utterance.

    Args:
        candidates: utterances of one speaker.
        measured: what :class:`ClipJudge` says of each.
    """
    names = [item.utterance for item in candidates]
    similar = similarities([measured[name]["vector"] for name in names])
    rows = []
    for item, similarity in zip(candidates, similar, strict=True):
        spoken = phones(item.text, item.language)
        agreement, differing = compare(item.text, item.heard.text if item.given else "", item.language)
        rows.append(
            {
                **measured[item.utterance],
                "utterance": item.utterance,
                "similarity": None if similarity is None else round(similarity, 5),
                "rate": round(len(spoken) / item.seconds, 3) if spoken else None,
                "agreement": None if agreement is None else round(agreement, 4),
                "differing": differing,
                "mismatch": mismatch(measured[item.utterance]["alignment"], differing),
            }
        )
    for row, found in zip(rows, suspicions(rows), strict=True):
        row["suspicion"] = round(combined(found), 3)
        row["reasons"] = "; ".join(limit.says for _, limit in worst_first(found))
    return {row["utterance"]: row for row in rows}


def similarities(vectors: Sequence[Sequence[float]]) -> list[float | None]:
    """Cosine similarity of each speaker vector to the mean of those that are most alike; None without a vector.

    The mean is that of the half nearest to the mean of all, without the vector itself: other voices do not move it.
    """
    known = [index for index, vector in enumerate(vectors) if len(vector)]
    result: list[float | None] = [None] * len(vectors)
    if len(known) < 3:
        return result
    units = np.asarray([vectors[index] for index in known], dtype=np.float64)
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    near = units @ units.mean(axis=0)
    core = near >= np.median(near)
    for index, own in enumerate(units):
        others = core.copy()
        others[index] = False
        centre = units[others].mean(axis=0)
        result[known[index]] = float(own @ centre / np.linalg.norm(centre))
    return result


def compare(text: str, heard: str, language: str) -> tuple[float | None, int | None]:
    """How far a text agrees with what a recogniser heard: share of its units, and phones of the longest difference.

    A recogniser's own mistakes differ in a phone or two; another word differs in a whole stretch of them. Another
    number counts as such a stretch, however alike it sounds.
    """
    if not heard:
        return None, None
    from rapidfuzz.distance import Levenshtein

    share = max(0.0, 1 - word_errors(text, heard, language).rate)
    if share == 1:  # but for how numbers are written
        return share, 0
    units = [normalise_for_scoring(part, language).split() for part in (text, heard)]
    other = any(
        step.tag == "replace"
        and _numbers(units[0][step.src_start : step.src_end])
        and _numbers(units[1][step.dest_start : step.dest_end])
        for step in Levenshtein.opcodes(*units)
    )
    steps = Levenshtein.opcodes(*(_bare(phones(part, language)) for part in (text, heard)))
    longest, run = NUMBER_PHONES if other else 0, 0
    for step in steps:
        wide = max(step.src_end - step.src_start, step.dest_end - step.dest_start)
        if step.tag != "equal":
            run += wide
        elif wide > 1:  # one phone alike between two differences parts nothing
            run = 0
        longest = max(longest, run)
    return share, longest


def _numbers(units: Sequence[str]) -> bool:
    """Whether some of normalised words or characters are figures."""
    return any(char.isdigit() or char in HAN_FIGURES for unit in units for char in unit)


def mismatch(alignment: float | None, differing: int | None) -> float | None:
    """Geometric mean of the phones that differ and the nats by which the least sure words are unlikely.

    A name is spelt otherwise, but it is as likely as what was heard; a short word may be unlikely, but is heard.
    """
    if alignment is None or differing is None:
        return None
    return round(float(np.sqrt(max(0.0, -alignment) * differing)), 3)


def _bare(symbols: Sequence[str]) -> list[str]:
    """Phones without stress or tone."""
    return [symbol.rstrip("0123456789") for symbol in symbols]


Suspicions = list[tuple[float, Limit]]


def suspicions(rows: Sequence[Mapping[str, Any]], limits: Sequence[Limit] = LIMITS) -> list[Suspicions]:
    """How far each row is on the bad side of every limit; 1: at the limit."""
    found: list[Suspicions] = [[] for _ in rows]
    for limit in limits:
        values = limit.badness([row.get(limit.column) for row in rows])
        if np.isfinite(values).sum() < FEWEST:
            continue
        median, high = np.nanquantile(values, [0.5, SIDE])
        both = 1.4826 * np.nanmedian(np.abs(values - median))
        spread = max(float(both), float(high - median) / SIDE_DEVIATIONS, limit.least)
        for own, row, value in zip(found, rows, (values - median) / (spread * limit.deviations), strict=True):
            if value > 0 and not (limit.unless_heard and _is_heard(row)):
                own.append((float(value), limit))
    return found


def _is_heard(row: Mapping[str, Any]) -> bool:
    """Whether another recognition has the phones of the text: a name that it spells otherwise is heard."""
    differing = row.get("differing")
    return differing is not None and differing <= FEW_PHONES


def combined(found: Suspicions) -> float:
    """One figure of several: the worst counts most, others beside it a little."""
    return float(np.sum(np.array([value for value, _ in found] or [0.0]) ** 4) ** 0.25)


def worst_first(found: Suspicions) -> Suspicions:
    """Those beyond their limit."""
    return sorted((pair for pair in found if pair[0] >= 1), key=lambda pair: -pair[0])
