"""Measure a bundle of the architecture small: ``python speak_small.py BUNDLE``, in a process of its own; prints JSON.

Ten seconds of speech by the kernels, guided, and what its parts take; the waveform by numpy beside it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from workload import NEW_TOKENS, PHONES, RUNS, SECONDS, TEXT_PHONES, THREADS, megabytes_on_disk, memory, report, timed

from voiceclone.backends.bundle import Reference
from voiceclone.backends.waveform import Source
from voiceclone.files import read_json
from voiceclone.kernels.binding import load_kernels
from voiceclone.speaking.options import SpeechOptions
from voiceclone.speaking.runtimes import KernelBackend
from voiceclone.speaking.streaming import stream
from voiceclone.speaking.synthesizer import Synthesizer
from voiceclone.speaking.tokens import make_guide, sample

SENTENCE = "The birch canoe slid on the smooth planks while the old sailor told his story of the northern sea."
#: Of the style of this architecture.
STYLE_CHANNELS = 128
NOBODY = np.zeros(0, np.int64)


def draw(backend: KernelBackend, phones: Any, end_token: int) -> None:
    """As many tokens as ten seconds have, as :func:`voiceclone.speaking.tokens.decode` draws them; none is the end."""
    guide, rng, settings = make_guide(backend, phones, 0, None), np.random.default_rng(0), SpeechOptions().filled(True)
    assert guide is not None
    logits, cache = backend.start(phones, None, NOBODY)
    tokens: list[int] = []
    for _ in range(NEW_TOKENS):
        logits[end_token] = -np.inf
        bias = guide.bias(backend.point())
        token, _ = sample(logits, np.asarray(tokens, np.int64), settings, rng, np.where(np.isinf(bias), 0, bias))
        tokens.append(token)
        guide.take(token)
        logits, cache = backend.step(token, len(tokens) - 1, cache)


def least(run: Callable[[], Any], runs: int = RUNS) -> float:
    """Seconds of the fastest of some runs, after one to warm up."""
    run()
    return min(timed(run) for _ in range(runs))


def main(folder: Path) -> None:
    description = read_json(folder / "bundle.json")
    backend = KernelBackend(folder, description, THREADS)
    rng, channels, end = np.random.default_rng(0), description["prior_channels"], description["end_token"]
    phones, codes = rng.integers(0, PHONES, TEXT_PHONES), rng.integers(0, end, NEW_TOKENS)
    style = rng.standard_normal((1, STYLE_CHANNELS, 1)).astype(np.float32)
    noise = rng.standard_normal((1, channels, 2 * NEW_TOKENS)).astype(np.float32) / 2
    latent = backend.latent(codes, phones, style, noise)
    frames = backend.frames(latent, style)
    voice = Synthesizer(
        backend, Reference(NOBODY, NOBODY, style), sample_rate=description["sample_rate"], prior_channels=channels,
        end_token=end, language="en",
    )  # fmt: skip

    def first_sound() -> None:
        voice.forget_texts()
        assert next(stream(voice, SENTENCE)).size

    kernels = load_kernels()
    parts = {
        "tokens": least(lambda: draw(backend, phones, end)),
        "latent": least(lambda: backend.latent(codes, phones, style, noise)),
        "frames": least(lambda: backend.frames(latent, style)),
        "waveform": least(lambda: Source().wave(frames, voice.sample_rate, kernels), 8),
    }
    whole = sum(parts.values())
    report(
        whole_rtf=whole / SECONDS,
        **{f"{name}_rtf": seconds / SECONDS for name, seconds in parts.items()},
        **{f"{name}_share": seconds / whole for name, seconds in parts.items()},
        waveform_numpy_rtf=least(lambda: Source().wave(frames, voice.sample_rate), 8) / SECONDS,
        first_sound_s=least(first_sound),
        steady_mb=memory("VmRSS"),
        disk_mb=megabytes_on_disk(folder),
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
