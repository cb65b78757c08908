"""Checks a sentence with a recogniser: wrong words, and words of the prompt at its start."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from voiceclone.backends.backend import Floats
from voiceclone.backends.bundle import Reference
from voiceclone.languages import BY_CHARACTER
from voiceclone.speaking.detector import WORST, Finding
from voiceclone.speaking.options import DetectorSettings
from voiceclone.speaking.result import Listener

if TYPE_CHECKING:
    from voiceclone.assets import Asset

#: Recognisers, the best first; the first that was fetched is used.
RECOGNISERS = ("faster-whisper-large-v3", "whisper-base")
#: Units (words, or characters in Chinese, Japanese, Korean) of the prompt at the start that count as a leak.
LEAKED = {"words": 2, "characters": 4}


def best_recogniser(root: Path) -> str:
    """Name of the best recogniser that was fetched; the best of all if none was."""
    from voiceclone.assets.preflight import MODELS

    there = (name for name in RECOGNISERS if (root / MODELS / name / "asset.json").is_file())
    return next(there, RECOGNISERS[0])


def open_listener(asset: Asset, settings: DetectorSettings, threads: int = 0) -> Listener:
    """A listener with a recogniser."""
    from voiceclone.listeners.recogniser import ScoringRecogniser

    recogniser = ScoringRecogniser(asset, threads)

    def listen(samples: Floats, rate: int, text: str, language: str, reference: Reference) -> list[Finding]:
        return compare(text, recogniser.transcribe(samples, rate, language), language, reference.text, settings)

    return listen


def compare(text: str, heard: str, language: str, prompt: str, settings: DetectorSettings) -> list[Finding]:
    """Findings from a transcript.

    Args:
        text: the text to be spoken.
        heard: the recogniser's transcript.
        language: ISO code of the text.
        prompt: words of the reference clip; empty: unknown, or no prompt.
        settings: limits.
    """
    from voiceclone.text.wer import normalise_for_scoring, word_errors

    errors = word_errors(text, heard, language)
    findings = []
    if errors.rate > settings.most_errors:
        excess = min(WORST, max(1.0, errors.rate / max(settings.most_errors, 0.01)))
        detail = f"{errors.errors} of {errors.words} wrong, heard {heard[:60]!r}"
        findings.append(Finding("words", round(excess, 4), detail))
    said, wanted, before = (normalise_for_scoring(each, language).split() for each in (heard, text, prompt))
    length = LEAKED["characters" if language in BY_CHARACTER else "words"]
    start = said[:length]
    if len(start) == length and _within(start, before) and not _within(start, wanted):
        findings.append(Finding("leak", 2.0, f"begins with {' '.join(start)!r} of the prompt"))
    return findings


def _within(part: list[str], words: list[str]) -> bool:
    return any(words[index : index + len(part)] == part for index in range(len(words) - len(part) + 1))
