"""All measures of one spoken sentence: words, voice, quality, pitch and pace.

Pitch is by autocorrelation: that of each windowed frame is divided by that of the window, as in Boersma (1993),
"Accurate short-term analysis of the fundamental frequency"; the path search of that paper is left out, since medians
need no smooth track. Speaker similarity is the cosine between an utterance's embedding and the mean of the speaker's
training utterances.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from voiceclone.assets import Asset
from voiceclone.errors import ConfigError
from voiceclone.evaluation.metrics import timed
from voiceclone.sound.io import Waveform, resample
from voiceclone.text.wer import normalise_for_scoring, word_errors

RATE = 16_000
FRAME, HOP = 640, 160  # 40 ms hold two periods down to 60 Hz; a step of 10 ms
LOWEST_HZ, HIGHEST_HZ = 60.0, 500.0
VOICED_STRENGTH = 0.6
SILENCE_DB = -35.0  # frames that far below the loudest are not speech


@dataclass(frozen=True)
class Pitch:
    """Pitch of one utterance; all None if no frame is voiced."""

    median_hz: float | None
    spread_semitones: float | None
    voiced_share: float | None


def pitch_track(samples: Waveform, rate: int) -> npt.NDArray[np.float64]:
    """Fundamental frequency in Hz per 10 ms, NaN where the frame is unvoiced or silent."""
    mono = resample(np.asarray(samples, dtype=np.float32), rate, RATE).astype(np.float64)
    if len(mono) < FRAME:
        return np.empty(0)
    frames = np.lib.stride_tricks.sliding_window_view(mono, FRAME)[::HOP]
    frames = frames - frames.mean(axis=1, keepdims=True)
    window = np.hanning(FRAME)
    size = 2 * FRAME
    power = np.abs(np.fft.rfft(frames * window, size)) ** 2
    correlation = np.fft.irfft(power, size)[:, :FRAME]
    shape = np.fft.irfft(np.abs(np.fft.rfft(window, size)) ** 2, size)[:FRAME]
    energy = correlation[:, :1]
    first, last = int(RATE / HIGHEST_HZ), int(RATE / LOWEST_HZ)
    strength = correlation[:, : last + 2] / np.maximum(energy, 1e-12) / (shape[: last + 2] / shape[0])
    inner = strength[:, first : last + 1]
    # A period's multiples are as strong as the period itself; a small price per octave prefers the shortest.
    lags = np.arange(first, last + 1)
    best = first + np.argmax(inner - 0.02 * np.log2(lags / first), axis=1)
    rows = np.arange(len(frames))
    left, peak, right = strength[rows, best - 1], strength[rows, best], strength[rows, best + 1]
    curvature = left - 2 * peak + right
    shift = np.where(curvature < -1e-9, 0.5 * (left - right) / np.minimum(curvature, -1e-9), 0.0)
    level = 10 * np.log10(np.maximum(energy[:, 0], 1e-12) / max(float(energy.max()), 1e-12))
    voiced = (peak > VOICED_STRENGTH) & (level > SILENCE_DB) & (energy[:, 0] > 1e-6)
    return np.where(voiced, RATE / (best + np.clip(shift, -0.5, 0.5)), np.nan)


def pitch(samples: Waveform, rate: int) -> Pitch:
    """Median in Hz, distance of the 10 % and 90 % quantiles in semitones, and share of voiced frames."""
    track = pitch_track(samples, rate)
    voiced = track[np.isfinite(track)]
    if not len(voiced):
        return Pitch(None, None, None if not len(track) else 0.0)
    median = float(np.median(voiced))
    low, high = np.quantile(voiced, [0.1, 0.9])  # quantiles, since single frames err by an octave
    spread = float(12 * np.log2(high / low))
    return Pitch(median, spread, len(voiced) / len(track))


PAUSE_SECONDS = 0.2  # shorter silences are parts of sounds
CLICK_SECONDS = 0.015  # around a click, which is alone there: glottal pulses come in rows
CLICK_FACTOR, CLICK_FLOOR = 6.0, 0.05  # 4 found in 8 minutes of four speakers


def pause_share(samples: Waveform, rate: int) -> float | None:
    """Share of the time from the first to the last speech that is silent for 0.2 s or more; None without speech."""
    hop = rate // 100
    frames = np.asarray(samples[: len(samples) // hop * hop], np.float64).reshape(-1, hop)
    power = np.square(frames).mean(axis=1)
    loud = np.flatnonzero(power > max(power.max(initial=0.0), 1e-12) * 10 ** (SILENCE_DB / 10))
    if not len(loud):
        return None
    gaps = np.diff(loud) - 1
    return float(gaps[gaps >= PAUSE_SECONDS * 100].sum() / (loud[-1] - loud[0] + 1))


def peak_dbfs(samples: Waveform) -> float:
    """Largest sample in dB of full scale, -120 at least."""
    return float(20 * np.log10(max(float(np.abs(samples).max(initial=0.0)), 1e-6)))


def clicks(samples: Waveform, rate: int) -> int:
    """Number of jumps of the waveform: peaks of its second difference that are at least six times all others near."""
    from scipy.ndimage import maximum_filter1d

    bend = np.abs(np.diff(np.asarray(samples, np.float64), 2))
    edge, reach = max(2, round(0.001 * rate)), round(CLICK_SECONDS * rate)
    if len(bend) <= 2 * reach:
        return 0
    largest = maximum_filter1d(bend, reach - edge, mode="constant")
    shift = edge + (reach - edge) // 2
    before, after = np.full_like(bend, np.inf), np.full_like(bend, np.inf)  # at the ends nothing is known
    before[shift:], after[:-shift] = largest[:-shift], largest[shift:]
    found = np.flatnonzero((bend > CLICK_FLOOR) & (bend > CLICK_FACTOR * np.maximum(before, after)))
    return int(np.count_nonzero(np.diff(found, prepend=-rate) > edge))


Embedding = npt.NDArray[np.float32]
_GE2E_RATE = 16_000
_GE2E_SHORTEST = 0.5  # seconds of voice; below, silences are kept


def unit(vector: Embedding) -> Embedding:
    """The vector at length 1 (a zero vector stays zero)."""
    length = float(np.linalg.norm(vector))
    return np.asarray(vector / length if length > 0 else vector, dtype=np.float32)


def centroid(embeddings: Sequence[Embedding]) -> Embedding:
    """Unit-length mean of unit-length embeddings."""
    return unit(np.mean([unit(embedding) for embedding in embeddings], axis=0))


def own_similarity(embeddings: Embedding) -> float | None:
    """Mean cosine of each of a speaker's embeddings (N, D) to the mean of the rest; None for fewer than two.

    The rest alone, since an embedding is close to a mean that it is part of.
    """
    if len(embeddings) < 2:
        return None
    units = np.stack([unit(embedding) for embedding in embeddings])
    total = units.sum(axis=0)
    return float(np.mean([cosine(each, total - each) for each in units]))


def cosine(first: Embedding, second: Embedding) -> float:
    """Cosine similarity in -1..1."""
    return float(np.dot(unit(first), unit(second)))


class Ge2eEncoder:
    """Speaker embedding of Wan et al. (2018), "Generalized end-to-end loss for speaker verification" (Resemblyzer).

    Args:
        asset: the ``ge2e`` asset with ``pretrained.pt``.
    """

    def __init__(self, asset: Asset) -> None:
        from resemblyzer import VoiceEncoder

        self._encoder = VoiceEncoder(device="cpu", verbose=False, weights_fpath=asset.file("pretrained.pt"))

    def embed(self, samples: Waveform, rate: int) -> Embedding:
        """Embedding float32 [256] of unit length of samples float32 (frames,); long silences are cut out first."""
        from resemblyzer import preprocess_wav

        signal = resample(np.asarray(samples, dtype=np.float32), rate, _GE2E_RATE)
        voiced = preprocess_wav(signal.copy()) if len(signal) and np.any(signal) else signal
        if len(voiced) < _GE2E_SHORTEST * _GE2E_RATE:
            voiced = signal
        return np.asarray(self._encoder.embed_utterance(voiced), dtype=np.float32)


#: Measures per sentence beside the error rates; for none of them is lower better in itself.
MEASURES = (
    "similarity_campplus",
    "similarity_relative",
    "similarity_first",
    "similarity_last",
    "similarity_ge2e",
    "dnsmos_ovrl",
    "dnsmos_sig",
    "dnsmos_bak",
    "distillmos",
    "characters_per_second",
    "pause_share",
    "f0_median_hz",
    "f0_spread_semitones",
    "voiced_share",
    "peak_dbfs",
)


@dataclass(frozen=True)
class MeterAssets:
    """The models that measure."""

    asr: Asset
    speaker_encoder: Asset
    ge2e: Asset
    dnsmos: Asset
    distillmos: Asset

    def digests(self) -> list[str]:
        """Content digests, for cache keys."""
        return [asset.digest for asset in vars(self).values()]

    def names(self) -> dict[str, dict[str, str]]:
        """Role to name and digest, for provenance."""
        return {role: {"name": asset.name, "digest": asset.digest} for role, asset in vars(self).items()}


def meter_assets(assets: Sequence[Asset]) -> MeterAssets:
    """Give the models their roles: four by their names, the recogniser by its kind; others do not count.

    Raises:
        ConfigError: one is missing, or there are two recognisers.
    """
    by_name = {asset.name: asset for asset in assets}
    roles = {"speaker_encoder": "campplus", "ge2e": "ge2e", "dnsmos": "dnsmos", "distillmos": "distillmos"}
    missing = sorted(name for name in roles.values() if name not in by_name)
    others = [asset for name, asset in by_name.items() if name not in roles.values()]
    rest = [asset for asset in others if asset.kind == "asr"]
    if missing or len(rest) != 1:
        raise ConfigError(
            f"models to measure with: {sorted(by_name)}; expected {sorted(roles.values())} and one recogniser",
            "name them in the configuration's evaluate block",
        )
    return MeterAssets(asr=rest[0], **{role: by_name[name] for role, name in roles.items()})


def character_errors(reference: str, hypothesis: str, language: str) -> tuple[int, int]:
    """Edits between the normalised texts without spaces, and characters of the reference."""
    import jiwer

    wanted, heard = (normalise_for_scoring(text, language).replace(" ", "") for text in (reference, hypothesis))
    if not wanted:
        return len(heard), 0
    counts = jiwer.process_characters(wanted, heard)
    return counts.substitutions + counts.deletions + counts.insertions, len(wanted)


def text_measures(text: str, hypothesis: str, language: str) -> dict[str, Any]:
    """Word and character error rates (fractions) with the counts they are made of."""
    words = word_errors(text, hypothesis, language)
    edits, characters = character_errors(text, hypothesis, language)
    return {
        "word_errors": words.errors,
        "words": words.words,
        "wer": words.errors / words.words if words.words else None,
        "character_errors": edits,
        "characters": characters,
        "cer": edits / characters if characters else None,
    }


def failed_measures(text: str, language: str) -> dict[str, Any]:
    """Measures of a sentence that was not spoken: every word and character wrong, nothing else known."""
    return {"hypothesis": "", **text_measures(text, "", language)}


class Meters:
    """Loads each model when it is first needed, so that a run from the cache loads none.

    Args:
        assets: the models.
        beam_size: of the recogniser.
        threads: CPU threads of each model.
    """

    def __init__(self, assets: MeterAssets, beam_size: int, threads: int = 1) -> None:
        self.assets, self.beam_size, self.threads = assets, beam_size, threads

    @cached_property
    def _recogniser(self) -> Any:
        from voiceclone.listeners.recogniser import ScoringRecogniser

        return ScoringRecogniser(self.assets.asr, self.threads, self.beam_size)

    @cached_property
    def campplus(self) -> Any:
        """CAM++ speaker encoder."""
        from voiceclone.listeners.campplus import SpeakerEncoder

        return SpeakerEncoder(self.assets.speaker_encoder)

    @cached_property
    def ge2e(self) -> Any:
        """GE2E speaker encoder."""

        return Ge2eEncoder(self.assets.ge2e)

    @cached_property
    def _dnsmos(self) -> Any:
        from voiceclone.listeners.mos import Dnsmos

        return Dnsmos(self.assets.dnsmos, self.threads)

    @cached_property
    def _distillmos(self) -> Any:
        from voiceclone.listeners.mos import DistillMos

        return DistillMos(self.assets.distillmos)

    def speaker(self, recordings: list[tuple[Waveform, int]]) -> dict[str, Embedding]:
        """Mean embeddings of a speaker's recordings: ``campplus`` [192], ``ge2e`` [256], unit length; ``recordings``
        [N, 192] are CAM++'s of each."""
        each = [self.campplus.embed(samples, rate) for samples, rate in recordings]
        return {
            "campplus": centroid(each),
            "recordings": np.stack(each),
            "ge2e": centroid([self.ge2e.embed(samples, rate) for samples, rate in recordings]),
        }

    def measure(
        self, samples: Waveform, rate: int, text: str, language: str, speaker: dict[str, Embedding]
    ) -> dict[str, Any]:
        """All measures of samples float32 (frames,) that should say ``text`` in the voice of ``speaker``; ``cost`` has
        the seconds that each part took."""
        samples = np.asarray(samples, dtype=np.float32)
        cost: dict[str, float] = {}
        with timed(cost, "recogniser"):
            hypothesis = self._recogniser.transcribe(samples, rate, language)
            words = text_measures(text, hypothesis, language)
        with timed(cost, "similarity"):
            likeness = self._similarity(samples, rate, speaker)
            likeness["similarity_ge2e"] = cosine(self.ge2e.embed(samples, rate), speaker["ge2e"])
        with timed(cost, "mos"):
            quality = {f"dnsmos_{name}": value for name, value in self._dnsmos.score(samples, rate).items()}
            quality["distillmos"] = self._distillmos.score(samples, rate)
        with timed(cost, "sound"):
            tone = pitch(samples, rate)
            heard = {
                "characters_per_second": words["characters"] * rate / len(samples),
                "f0_median_hz": tone.median_hz,
                "f0_spread_semitones": tone.spread_semitones,
                "voiced_share": tone.voiced_share,
                "pause_share": pause_share(samples, rate),
                "peak_dbfs": peak_dbfs(samples),
                "clicks": clicks(samples, rate),
            }
        return {"hypothesis": hypothesis, **words, **likeness, **quality, **heard, "cost": cost}

    def _similarity(self, samples: Waveform, rate: int, speaker: dict[str, Embedding]) -> dict[str, float | None]:
        """Cosines of CAM++ to the speaker: of the whole, beside the speaker's own, of the first and the last third."""

        def to_speaker(part: Waveform) -> float | None:
            return cosine(self.campplus.embed(part, rate), speaker["campplus"]) if len(part) >= rate else None

        whole = cosine(self.campplus.embed(samples, rate), speaker["campplus"])
        own = own_similarity(speaker["recordings"])
        third = len(samples) // 3
        return {
            "similarity_campplus": whole,
            "similarity_relative": whole / own if own and own > 0 else None,
            "similarity_first": to_speaker(samples[:third]),
            "similarity_last": to_speaker(samples[len(samples) - third :]),
        }
