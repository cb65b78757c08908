"""All measures of one spoken sentence: words, voice, quality, pitch and pace."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from voiceclone.assets import Asset
from voiceclone.errors import ConfigError
from voiceclone.evaluation.prosody import pitch
from voiceclone.evaluation.similarity import Embedding, centroid, cosine
from voiceclone.evaluation.wer import normalise_for_scoring, word_errors
from voiceclone.sound.io import Waveform

#: What a target's table reports per sentence, beside the error rates (lower is better for none of them by itself).
MEASURES = (
    "similarity_campplus",
    "similarity_ge2e",
    "dnsmos_ovrl",
    "dnsmos_sig",
    "dnsmos_bak",
    "distillmos",
    "characters_per_second",
    "f0_median_hz",
    "f0_spread_semitones",
    "voiced_share",
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
    """Give the models their roles: four by their names, the one that remains is the recogniser.

    Raises:
        ConfigError: one is missing, or there are two recognisers.
    """
    by_name = {asset.name: asset for asset in assets}
    roles = {"speaker_encoder": "campplus", "ge2e": "ge2e", "dnsmos": "dnsmos", "distillmos": "distillmos"}
    missing = sorted(name for name in roles.values() if name not in by_name)
    rest = [asset for name, asset in by_name.items() if name not in roles.values()]
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
    """What a sentence counts as when nothing was spoken: every word and character wrong, nothing else known."""
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
        from voiceclone.listeners.recogniser import ScoringRecogniser as Recogniser

        return Recogniser(self.assets.asr, self.threads, self.beam_size)

    @cached_property
    def campplus(self) -> Any:
        """CAM++ speaker encoder."""
        from voiceclone.listeners.campplus import SpeakerEncoder

        return SpeakerEncoder(self.assets.speaker_encoder)

    @cached_property
    def ge2e(self) -> Any:
        """GE2E speaker encoder."""
        from voiceclone.evaluation.similarity import Ge2eEncoder

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
        """Mean embeddings of a speaker's recordings: ``campplus`` [192], ``ge2e`` [256], unit length."""
        return {
            "campplus": centroid([self.campplus.embed(samples, rate) for samples, rate in recordings]),
            "ge2e": centroid([self.ge2e.embed(samples, rate) for samples, rate in recordings]),
        }

    def measure(
        self, samples: Waveform, rate: int, text: str, language: str, speaker: dict[str, Embedding]
    ) -> dict[str, Any]:
        """All measures of samples float32 (frames,) that should say ``text`` in the voice of ``speaker``."""
        samples = np.asarray(samples, dtype=np.float32)
        hypothesis = self._recogniser.transcribe(samples, rate, language)
        words = text_measures(text, hypothesis, language)
        quality = self._dnsmos.score(samples, rate)
        tone = pitch(samples, rate)
        return {
            "hypothesis": hypothesis,
            **words,
            "similarity_campplus": cosine(self.campplus.embed(samples, rate), speaker["campplus"]),
            "similarity_ge2e": cosine(self.ge2e.embed(samples, rate), speaker["ge2e"]),
            **{f"dnsmos_{name}": value for name, value in quality.items()},
            "distillmos": self._distillmos.score(samples, rate),
            "characters_per_second": words["characters"] * rate / len(samples),
            "f0_median_hz": tone.median_hz,
            "f0_spread_semitones": tone.spread_semitones,
            "voiced_share": tone.voiced_share,
        }
