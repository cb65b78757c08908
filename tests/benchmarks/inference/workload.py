"""What every engine speaks, and how it is measured: numpy and the standard library alone, for any environment.

Ten seconds of speech with a reference of five: 60 + 80 phones, a prompt of 125 tokens, 250 tokens to make.
"""

from __future__ import annotations

import json
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

THREADS = 2
REFERENCE_PHONES, TEXT_PHONES = 60, 80
PROMPT_TOKENS, NEW_TOKENS = 125, 250
REFERENCE_SECONDS, SECONDS = 5, 10
CODES, PHONES = 1024, 732
#: The best of so many sentences, after one to warm up.
RUNS = 3
#: Positions that a step attends to, on average over the utterance.
MEAN_CONTEXT = REFERENCE_PHONES + TEXT_PHONES + PROMPT_TOKENS + NEW_TOKENS // 2


def phones_and_tokens() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Phones of reference and text (140,), prompt (125,), and tokens to decode (250,): int64, the same everywhere."""
    rng = np.random.default_rng(0)
    sizes = ((PHONES, REFERENCE_PHONES + TEXT_PHONES), (CODES, PROMPT_TOKENS), (CODES, NEW_TOKENS))
    phones, prompt, codes = (rng.integers(0, high, count) for high, count in sizes)
    return phones, prompt, codes


def timed(run: Callable[[], Any]) -> float:
    """Seconds that it takes."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def memory(field: str) -> float:
    """Megabytes of this process: ``VmRSS`` now, ``VmHWM`` at most since it was started.

    Unlike getrusage's maximum the latter does not count what the parent had before it started this process.
    """
    status = Path("/proc/self/status").read_text()
    return int(status.split(f"{field}:")[1].split()[0]) / 1024


def megabytes_on_disk(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


class Speaker(ABC):
    """An engine that speaks the sentence, again and again. What it counts is what it made, not what it was asked for.

    Attributes:
        prefill: seconds of the last first pass.
    """

    prefill = 0.0

    @abstractmethod
    def generate(self) -> int:
        """Draw tokens as long as it is let; how many came."""

    @abstractmethod
    def decode(self) -> int:
        """The waveform of the tokens of :func:`phones_and_tokens`; its samples."""

    def sentence(self) -> tuple[float, ...]:
        """Seconds of the first pass, of all tokens with it, of the waveform (in one or more stages)."""
        tokens, decoder = timed(self.generate), timed(self.decode)
        return self.prefill, tokens, decoder


def measure(load: Callable[[], Any], speaker_of: Callable[[Any], Speaker], folder: Path) -> tuple[Any, dict[str, Any]]:
    """Load an engine and let it speak.

    Args:
        load: loads its models.
        speaker_of: makes it speak the sentence.
        folder: of its files.

    Returns:
        The speaker, and its figures: least seconds of each stage over some sentences, after one to warm up.
    """
    start = time.perf_counter()
    engine = load()
    load_s, loaded = time.perf_counter() - start, memory("VmRSS")
    speaker = speaker_of(engine)
    made = speaker.generate(), speaker.decode()
    prefill, tokens, *decoder = (min(stage) for stage in zip(*(speaker.sentence() for _ in range(RUNS)), strict=True))
    return speaker, {
        "tokens": made[0],
        "samples": made[1],
        "prefill_s": prefill,
        "step_tokens_per_s": (NEW_TOKENS - 1) / (tokens - prefill),
        "tokens_per_s": NEW_TOKENS / tokens,
        "decoder_rtf": sum(decoder) / SECONDS,
        "decoder_stages_s": decoder,
        "whole_rtf": (tokens + sum(decoder)) / SECONDS,
        "load_s": load_s,
        "loaded_mb": loaded,
        "steady_mb": memory("VmRSS"),
        "peak_mb": memory("VmHWM"),
        "disk_mb": megabytes_on_disk(folder),
    }


def report(**figures: Any) -> None:
    """Print figures as the last line, which is all that :func:`last_line` reads."""
    print(json.dumps({key: round(value, 4) if isinstance(value, float) else value for key, value in figures.items()}))
