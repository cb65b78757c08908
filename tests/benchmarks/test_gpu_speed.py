"""Speech by the trained modules in torch: a static cache and CUDA graphs beside plain loops, in one run.

With a GPU: models of the public size (random weights, which speed does not depend on), 250 tokens after a prompt of
5 s, in single and half precision, at 1, 8 and 32 sentences. Without one: a small model and fewer tokens on the CPU, so
that the same code runs. ``times``: how many times as fast as the loop without a cache a line makes tokens.
"""

from __future__ import annotations

import pytest
import torch
from tests.benchmarks.speaking_loops import (
    BATCHES,
    PHONES,
    PROMPT,
    TOKENS_PER_SECOND,
    first_sound,
    make_voice,
    plain_loops,
    seconds,
    sound,
    together,
)

from voiceclone.speaking.tokens import decode
from voiceclone.speaking.torch_backend import TorchBackend

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(1200)]


def test_more_tokens_per_second_than_without_a_cache() -> None:
    voice = make_voice("cuda" if torch.cuda.is_available() else "cpu")
    on_gpu = voice.device == "cuda"
    where = torch.cuda.get_device_name() if on_gpu else f"CPU, {torch.get_num_threads()} thread(s)"
    print(f"\n{where}: {voice.tokens} tokens after {PHONES} phones and {PROMPT} tokens, dim {voice.gpt.config.dim}")
    print(f"{'':<28}{'batch':>6}{'tokens/s':>10}{'times':>8}{'RTF':>9}{'first sound ms':>16}")
    base = 0.0
    for precision in (torch.float32, *((torch.float16, torch.bfloat16) if on_gpu else ())):
        for name, rate in plain_loops(voice, precision):
            base = base or rate
            print(f"{name:<28}{1:>6}{rate:>10.1f}{rate / base:>8.2f}")
    for precision_name in ("fp32", "fp16", "bf16") if on_gpu else ("fp32",):
        backend = TorchBackend(voice.gpt, voice.sovits, voice.device, precision_name)
        if not on_gpu:
            spent = seconds(lambda: list(decode(backend, voice.wanted(0), voice.gpt.config.codes)), voice.device)  # noqa: B023
            print(f"{'static cache, ' + precision_name:<28}{1:>6}{voice.tokens / spent:>10.1f}"
                  f"{voice.tokens / spent / base:>8.2f}")  # fmt: skip
        first = seconds(lambda: first_sound(backend, voice), voice.device) * 1000  # noqa: B023
        decoding = seconds(lambda: sound(backend, voice, [1] * voice.tokens), voice.device)  # noqa: B023
        for batch in BATCHES if on_gpu else (1, 8):
            draws = together(backend, [voice.wanted(seed) for seed in range(batch)])
            assert [len(tokens) for tokens in draws] == [voice.tokens] * batch
            spent = seconds(lambda: together(backend, [voice.wanted(seed) for seed in range(batch)]), voice.device)  # noqa: B023
            rate = batch * voice.tokens / spent
            assert rate > base, f"{precision_name}, batch {batch}"
            rtf = (spent + batch * decoding) / (batch * voice.tokens / TOKENS_PER_SECOND)
            name = ("CUDA graphs, " if on_gpu else "static cache, rows, ") + precision_name
            print(f"{name:<28}{batch:>6}{rate:>10.1f}{rate / base:>8.2f}{rtf:>9.4f}{first:>16.1f}")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device: nothing to compile for")
def test_compiled_layers_are_not_slower() -> None:
    """The same with the layers compiled by torch.compile; the first sentence, which compiles, is not counted."""
    voice = make_voice("cuda")
    print(f"\n{'':<28}{'batch':>6}{'tokens/s':>10}{'times':>8}")
    for precision in ("fp16", "bf16"):
        backend = TorchBackend(voice.gpt, voice.sovits, "cuda", precision, compiled=True)
        plain = TorchBackend(voice.gpt, voice.sovits, "cuda", precision)
        for batch in (1, 8):
            spent, usual = (
                seconds(lambda: together(each, [voice.wanted(seed) for seed in range(batch)]), "cuda")  # noqa: B023
                for each in (backend, plain)
            )
            print(f"{'compiled, ' + precision:<28}{batch:>6}{batch * voice.tokens / spent:>10.1f}{usual / spent:>8.2f}")
            assert spent < 1.05 * usual
