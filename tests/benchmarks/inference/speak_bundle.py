"""Measure a bundle in a process of its own: ``python speak_bundle.py BUNDLE GREEDY_TOKENS``; prints a line of JSON."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
from workload import (
    CODES,
    MEAN_CONTEXT,
    NEW_TOKENS,
    REFERENCE_PHONES,
    SECONDS,
    THREADS,
    best,
    megabytes_on_disk,
    memory,
    phones_and_tokens,
    report,
    speed,
    timed,
)

from voiceclone.files import read_json
from voiceclone.inference.backend import OnnxBackend
from voiceclone.inference.sampling import SamplingSettings, sample

DRAWN, GREEDY = SamplingSettings(), SamplingSettings(temperature=0.0, top_k=1, repetition_penalty=1.0)


class Speaker:
    """One sentence, again and again."""

    def __init__(self, backend: OnnxBackend) -> None:
        self._backend = backend
        self._phones, self._prompt, self._codes = phones_and_tokens()
        self._rng = np.random.default_rng(0)
        self._style = self._rng.standard_normal((1, 512, 1)).astype(np.float32)
        self._noise = self._rng.standard_normal((1, 192, 2 * NEW_TOKENS)).astype(np.float32) / 2
        self.prefill = 0.0

    def generate(self, count: int = NEW_TOKENS, settings: SamplingSettings = DRAWN) -> list[int]:
        """Draw so many tokens; the end is impossible."""
        start = time.perf_counter()
        logits, cache = self._backend.start(self._phones, None, self._prompt)
        self.prefill = time.perf_counter() - start
        tokens = self._prompt.tolist()
        while True:
            logits[CODES] = -np.inf
            tokens.append(sample(logits, np.asarray(tokens), settings, self._rng)[0])
            if len(tokens) == len(self._prompt) + count:
                return tokens[len(self._prompt) :]
            logits, cache = self._backend.step(tokens[-1], len(tokens) - 1, cache)

    def sentence(self) -> tuple[float, ...]:
        """Seconds of first pass, all tokens with it, latent, vocoder."""
        tokens = timed(self.generate)
        text = self._phones[REFERENCE_PHONES:]
        start = time.perf_counter()
        latent = self._backend.latent(self._codes, text, self._style, self._noise)
        middle = time.perf_counter()
        self._backend.vocode(latent, self._style)
        return self.prefill, tokens, middle - start, time.perf_counter() - middle


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


def main(folder: Path, greedy: list[int]) -> None:
    description = read_json(folder / "bundle.json")
    start = time.perf_counter()
    backend = OnnxBackend(folder, description, THREADS)
    load, loaded = time.perf_counter() - start, memory("VmRSS")
    speaker = Speaker(backend)
    same = speaker.generate(len(greedy), GREEDY) == greedy
    prefill, tokens, latent, vocoder = best(speaker.sentence)
    report(
        **speed(prefill, tokens, latent + vocoder),
        load_s=load,
        latent_rtf=latent / SECONDS,
        vocoder_rtf=vocoder / SECONDS,
        loaded_mb=loaded,
        steady_mb=memory("VmRSS"),
        peak_mb=memory("VmHWM"),
        disk_mb=megabytes_on_disk(folder),
        bytes_per_token=bytes_per_token(
            folder / "text_to_semantic.onnx", description["cache"], description["target"] == "onnx-fp32"
        ),
        greedy_as_torch=same,
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), read_json(Path(sys.argv[2])))
