"""What the benchmarks of speech by the trained modules in torch run: plain loops, static cache, CUDA graphs.

With a GPU: models of the public size (random weights, which speed does not depend on), 250 tokens after a prompt of
5 s, in single and half precision, at 1, 8 and 32 sentences. Without one: a small model and fewer tokens on the CPU, so
that the same code runs.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch

from voiceclone.models.gpt import GPTConfig, TextToSemantic
from voiceclone.models.sovits import SoVITS, SoVITSConfig
from voiceclone.speaking.options import SpeechOptions
from voiceclone.speaking.tokens import TokenRequest, decode, sample
from voiceclone.speaking.torch_backend import TorchBackend

PHONES, PROMPT = 140, 125
FIRST_TOKENS = 15  # of a stream, before its first sound
TOKENS_PER_SECOND = 25
BATCHES = (1, 8, 32)
RUNS = 3
#: Tokens of the loop without a cache, whose time per token grows: those in the middle of the sentence.
NAIVE_TOKENS = 20


@dataclass(frozen=True)
class Voice:
    """Models with random weights that never end a sentence by themselves."""

    gpt: TextToSemantic
    sovits: SoVITS
    device: str
    tokens: int

    def wanted(self, seed: int) -> TokenRequest:
        rng = np.random.default_rng(seed)
        phones, prompt = rng.integers(0, 732, PHONES), rng.integers(0, self.gpt.config.codes, PROMPT)
        noise = np.random.Generator(np.random.Philox(seed))
        return TokenRequest(phones, None, prompt, SpeechOptions().filled(False), self.tokens, noise)


def make_voice(device: str) -> Voice:
    torch.manual_seed(0)
    full = device == "cuda"
    gpt = TextToSemantic(GPTConfig() if full else GPTConfig.nano()).eval()
    with torch.no_grad():  # one channel is the same everywhere, and only the end token reads it
        gpt.h.layers[-1].norm2.bias[0] = 10.0
        gpt.ar_predict_layer.weight[:, 0] = 0.0
        gpt.ar_predict_layer.weight[-1, 0] = -100.0
    sovits = SoVITS(SoVITSConfig.v2() if full else SoVITSConfig.nano()).eval()
    sovits.remove_weight_norm()
    return Voice(gpt.to(device), sovits.to(device), device, 250 if full else 40)


def seconds(run: Callable[[], object], device: str, runs: int = RUNS) -> float:
    """Least time of some runs, after one to warm up."""
    run()
    best = float("inf")
    for _ in range(runs):
        began = time.perf_counter()
        run()
        if device == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - began)
    return best


def without_cache(gpt: TextToSemantic, wanted: TokenRequest, count: int, begin: int) -> None:
    """Some tokens from the middle of a sentence on, each from all that is before it."""
    device = gpt.ar_predict_layer.weight.device
    phones = torch.from_numpy(wanted.phones)[None].to(device)
    tokens = np.concatenate([wanted.prompt, np.zeros(begin, np.int64)])
    with torch.inference_mode():
        for _ in range(count):
            logits, _ = gpt.prefill(phones, torch.from_numpy(tokens)[None].to(device))
            token, _ = sample(logits[0].float().cpu().numpy(), tokens, wanted.sampling, wanted.rng)
            tokens = np.append(tokens, token)


def with_joined_cache(gpt: TextToSemantic, wanted: TokenRequest) -> list[int]:
    """A sentence with keys and values that are joined with the new ones in every step."""
    device = gpt.ar_predict_layer.weight.device
    phones, prompt = (torch.from_numpy(part)[None].to(device) for part in (wanted.phones, wanted.prompt))
    tokens = wanted.prompt.tolist()
    with torch.inference_mode():
        logits, cache = gpt.prefill(phones, prompt)
        for index in range(wanted.max_tokens):
            if index:
                logits, cache = gpt.decode(torch.tensor([tokens[-1:]], device=device), len(tokens) - 1, cache)
            token, _ = sample(logits[0].float().cpu().numpy(), np.asarray(tokens), wanted.sampling, wanted.rng)
            tokens.append(token)
    return tokens[len(wanted.prompt) :]


def together(backend: TorchBackend, draws: list[TokenRequest]) -> list[list[int]]:
    """All sentences at once."""
    loop = backend.loop(len(draws))
    loop.clear()
    rows = {loop.add(wanted): [] for wanted in draws}
    while loop.free < len(draws):
        for row, (new, _) in loop.advance().items():
            rows[row] += new
    return list(rows.values())


def sound(backend: TorchBackend, voice: Voice, codes: list[int]) -> None:
    """The waveform of some tokens."""
    config, rng = voice.sovits.config, np.random.default_rng(0)
    style = rng.standard_normal((1, config.gin_channels, 1)).astype(np.float32)
    noise = rng.standard_normal((1, config.inter_channels, 2 * len(codes))).astype(np.float32)
    backend.decode(np.array(codes), voice.wanted(0).phones, style, noise)


def first_sound(backend: TorchBackend, voice: Voice) -> None:
    """The tokens before the first sound of a stream, and that sound."""
    tokens = decode(backend, voice.wanted(0), voice.gpt.config.codes)
    sound(backend, voice, list(islice(tokens, FIRST_TOKENS)))
    tokens.close()  # type: ignore[attr-defined]


def plain_loops(voice: Voice, precision: torch.dtype) -> Iterator[tuple[str, float]]:
    """Name and tokens per second of the loops that ours is held against."""
    gpt = copy.deepcopy(voice.gpt).to(precision)
    name = str(precision).removeprefix("torch.")
    if precision == torch.float32:
        spent = seconds(
            lambda: without_cache(gpt, voice.wanted(0), NAIVE_TOKENS, (voice.tokens - NAIVE_TOKENS) // 2), voice.device
        )
        yield "no cache, float32", NAIVE_TOKENS / spent
    yield f"joined cache, {name}", voice.tokens / seconds(lambda: with_joined_cache(gpt, voice.wanted(0)), voice.device)
