"""Measure a bundle: ``python speak_bundle.py BUNDLE GREEDY_TOKENS ENGINE``, in a process of its own; prints JSON."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from workload import (
    CODES,
    MEAN_CONTEXT,
    NEW_TOKENS,
    REFERENCE_PHONES,
    RUNS,
    SECONDS,
    THREADS,
    measure,
    phones_and_tokens,
    report,
    timed,
)
from workload import Speaker as Engine

from voiceclone.backends.backend import Backend
from voiceclone.backends.bundle import Reference
from voiceclone.files import read_json
from voiceclone.speaking.options import SpeechOptions
from voiceclone.speaking.runtimes import open_backend
from voiceclone.speaking.streaming import stream
from voiceclone.speaking.synthesizer import Synthesizer
from voiceclone.speaking.tokens import sample

#: Samples of a second.
SECOND = 32_000
SENTENCE = "The birch canoe slid on the smooth planks while the old sailor told his story of the northern sea."
DRAWN = SpeechOptions().filled(False)
GREEDY = SpeechOptions(temperature=0.0, top_k=1, repetition_penalty=1.0).filled(False)


class Speaker(Engine):
    """One sentence, again and again."""

    def __init__(self, backend: Backend, description: dict[str, Any]) -> None:
        self.backend = backend
        self._phones, self._prompt, self._codes = phones_and_tokens()
        self._rng = np.random.default_rng(0)
        channels = description.get("style_channels", 512), description.get("prior_channels", 192)
        self._style = self._rng.standard_normal((1, channels[0], 1)).astype(np.float32)
        self._noise = self._rng.standard_normal((1, channels[1], 2 * NEW_TOKENS)).astype(np.float32) / 2
        self._latent: np.ndarray | None = None

    def generate(self) -> int:
        return len(self.draw(NEW_TOKENS, DRAWN))

    def draw(self, count: int, settings: SpeechOptions) -> list[int]:
        """Draw so many tokens; the end is impossible."""
        start = time.perf_counter()
        logits, cache = self.backend.start(self._phones, None, self._prompt)
        self.prefill = time.perf_counter() - start
        tokens = self._prompt.tolist()
        while True:
            logits[CODES] = -np.inf
            tokens.append(sample(logits, np.asarray(tokens), settings, self._rng)[0])
            if len(tokens) == len(self._prompt) + count:
                return tokens[len(self._prompt) :]
            logits, cache = self.backend.step(tokens[-1], len(tokens) - 1, cache)

    def latent(self) -> None:
        text = self._phones[REFERENCE_PHONES:]
        self._latent = self.backend.latent(self._codes, text, self._style, self._noise)

    def vocode(self) -> int:
        assert self._latent is not None
        return self.backend.vocode(self._latent, self._style).size

    def decode(self) -> int:
        self.latent()
        return self.vocode()

    def sentence(self) -> tuple[float, ...]:
        tokens, latent, vocoder = timed(self.generate), timed(self.latent), timed(self.vocode)
        return self.prefill, tokens, latent, vocoder


def first_sound(backend: Backend, description: dict[str, Any]) -> float:
    """Seconds from a sentence of about as many phones to the first sound of a stream; the reference is known."""
    phones, prompt, _ = phones_and_tokens()
    channels = description.get("style_channels", 512), description.get("prior_channels", 192)
    style = np.random.default_rng(0).standard_normal((1, channels[0], 1)).astype(np.float32)
    synthesizer = Synthesizer(
        backend, Reference(prompt, phones[:REFERENCE_PHONES], style), sample_rate=SECOND, prior_channels=channels[1],
        end_token=CODES, language="en",
    )  # fmt: skip

    def wait() -> None:
        synthesizer.forget_texts()
        assert next(stream(synthesizer, SENTENCE)).size

    wait()
    return min(timed(wait) for _ in range(RUNS))


def bytes_per_token(path: Path, sizes: dict[str, int], full: bool) -> float:
    """Bytes that a step must read: all weights but the rows of tables, keys and values at the mean context.

    Keys and values are counted as float16 unless the weights are float32, whatever the bundle keeps them in.
    """
    import onnx

    tables = ("embedding", "bert", "position")
    stored = onnx.load(str(path)).graph.initializer
    weights = sum(item.ByteSize() for item in stored if not any(word in item.name for word in tables))
    numbers = 2 * sizes["layers"] * sizes["heads"] * sizes["head_width"] * MEAN_CONTEXT
    return weights + numbers * (4 if full else 2)


def main(folder: Path, greedy: list[int], engine: str) -> None:
    description = read_json(folder / "bundle.json")
    speaker, figures = measure(
        lambda: open_backend(folder, description, THREADS, engine=engine),
        lambda backend: Speaker(backend, description),
        folder,
    )
    latent, vocoder = figures["decoder_stages_s"]
    pairs = zip(speaker.draw(len(greedy), GREEDY), greedy, strict=True)
    report(
        **figures,
        first_sound_s=first_sound(speaker.backend, description),
        latent_rtf=latent / SECONDS,
        vocoder_rtf=vocoder / SECONDS,
        bytes_per_token=bytes_per_token(
            folder / "text_to_semantic.onnx", description["cache"], description["target"] == "onnx-fp32"
        ),
        greedy_as_torch=next((index for index, (ours, theirs) in enumerate(pairs) if ours != theirs), len(greedy)),
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), read_json(Path(sys.argv[2])), sys.argv[3])
