"""Torch with a static cache: the same logits and tokens as with one that grows, alone and with others."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.voice_fixture import together

from voiceclone.backends.backend import CACHE_STEP
from voiceclone.errors import ConfigError
from voiceclone.models.gpt import GPTConfig, TextToSemantic
from voiceclone.speaking.options import SpeechOptions
from voiceclone.speaking.tokens import TokenRequest, decode, sample
from voiceclone.speaking.torch_backend import RowSettings, TokenLoop, TorchBackend, sample_rows
from voiceclone.text_to_semantic.torch_static import StaticDecoder

CODES = 48


@pytest.fixture(scope="module")
def gpt() -> TextToSemantic:
    torch.manual_seed(0)
    return TextToSemantic(GPTConfig(dim=64, layers=3, heads=4, feed_forward=128, phones=40, codes=CODES)).eval()


def wanted(seed: int, phones: int = 12, prompt: int = 9, limit: int = 40, bert: bool = False) -> TokenRequest:
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((1024, phones)).astype(np.float32) if bert else None
    options = SpeechOptions(
        top_k=(0, 5, 15)[seed % 3], top_p=(1.0, 0.9)[seed % 2], temperature=(1.0, 0.7, 1.3)[seed % 3]
    ).filled(False)
    noise = np.random.Generator(np.random.Philox([seed, 1]))
    return TokenRequest(rng.integers(0, 40, phones), features, rng.integers(0, CODES, prompt), options, limit, noise)


@pytest.mark.parametrize("prompt", [0, 7])
def test_same_logits_as_with_a_cache_that_grows(gpt: TextToSemantic, prompt: int) -> None:
    phones, tokens = torch.randint(0, 40, (1, CACHE_STEP - 20)), torch.randint(0, CODES, (1, prompt))
    bert = torch.randn(1, 1024, phones.shape[1])
    static = StaticDecoder(gpt)
    with torch.inference_mode():
        expected, cache = gpt.prefill(phones, tokens, bert)
        torch.testing.assert_close(static.prefill(phones, bert, tokens), expected[0], atol=1e-5, rtol=0)
        for index in range(prompt, prompt + 40):  # past the end of the first buffers
            token = int(expected.argmax())
            expected, cache = gpt.decode(torch.tensor([[token]]), index, cache)
            logits = static.step_one(token, index, phones.shape[1] + index)
            torch.testing.assert_close(logits, expected[0], atol=1e-5, rtol=0)
            assert int(logits.argmax()) == int(expected.argmax())
    assert static.kv_cache.capacity == 2 * CACHE_STEP


def test_rows_of_different_length_do_not_see_each_other(gpt: TextToSemantic) -> None:
    static, alone = StaticDecoder(gpt, rows=3), StaticDecoder(gpt)
    lengths = [(5, 0), (31, 12), (17, 3)]
    with torch.inference_mode():
        inputs = [(torch.randint(0, 40, (1, x)), torch.randint(0, CODES, (1, p))) for x, p in lengths]
        static.kv_cache.reserve(64)
        for row, (phones, prompt) in enumerate(inputs):
            static.prefill(phones, None, prompt, row)
        positions = torch.tensor([prompt for _, prompt in lengths])
        filled = torch.tensor([sum(length) for length in lengths])
        for step in range(4):
            logits = static.step(torch.tensor([step, 7, 9]), positions + step, filled + step, 64)
        for row, (phones, prompt) in enumerate(inputs):
            alone.prefill(phones, None, prompt)
            for step in range(4):
                expected = alone.step_one([step, 7, 9][row], lengths[row][1] + step, sum(lengths[row]) + step)
            torch.testing.assert_close(logits[row], expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("rows", "steps"), [(1, 1), (3, 1), (8, 1), (1, 5), (3, 4), (8, 5)])
def test_tokens_together_are_those_alone(gpt: TextToSemantic, rows: int, steps: int) -> None:
    backend = TorchBackend(gpt, None)

    def draws() -> list[TokenRequest]:
        return [wanted(seed, 3 + 5 * (seed % 4), seed % 5, 5 + 9 * (seed % 6), bert=seed == 4) for seed in range(12)]

    alone, mine = draws(), draws()
    expected = [list(decode(backend, each, CODES)) for each in alone]
    lengths = {len(tokens) == each.max_tokens for tokens, each in zip(expected, alone, strict=True)}
    assert lengths == {True, False}  # some end by themselves, some at their limit
    assert together(TokenLoop(StaticDecoder(gpt, rows), steps), mine) == expected
    for left, right in zip(alone, mine, strict=True):  # what is drawn next, the noise of the sound, is the same too
        assert left.rng.standard_normal() == right.rng.standard_normal()


def test_an_abandoned_sentence_leaves_no_trace(gpt: TextToSemantic) -> None:
    compiled = TorchBackend(gpt, None)
    compiled.decodes_alone = True
    expected = list(decode(compiled, wanted(3), CODES))
    broken = decode(compiled, wanted(5, phones=30), CODES)
    next(broken)
    assert list(decode(compiled, wanted(3), CODES)) == expected


def test_nothing_is_drawn_where_nothing_is_wanted(gpt: TextToSemantic) -> None:
    assert together(TokenLoop(StaticDecoder(gpt, 2)), [wanted(1, limit=0), wanted(2, limit=1)])[0] == []


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    top_k=st.sampled_from([0, 1, 5, 100]),
    top_p=st.sampled_from([0.05, 0.5, 0.95, 1.0]),
    temperature=st.sampled_from([0.0, 0.6, 1.0, 3.0]),
    penalty=st.sampled_from([1.0, 1.35]),
)
def test_rows_are_drawn_as_one_alone(seed: int, top_k: int, top_p: float, temperature: float, penalty: float) -> None:
    rng = np.random.default_rng(seed)
    logits = (4 * rng.standard_normal((3, 40))).astype(np.float32)
    logits[1, 39] = -np.inf
    previous = rng.integers(0, 39, 10)
    options = SpeechOptions(top_k=top_k, top_p=top_p, temperature=temperature, repetition_penalty=penalty)
    noise = np.random.Generator(np.random.Philox(seed))
    expected = [sample(row, previous, options, noise) for row in logits]
    noise = np.random.Generator(np.random.Philox(seed))
    exponential = torch.from_numpy(noise.standard_exponential((3, 40), np.float32))
    used = torch.zeros(3, 40, dtype=torch.bool)
    used[:, previous] = True
    rows = RowSettings.empty(3, torch.device("cpu"))
    for row in range(3):
        rows.set(row, options, 40)
    drawn, likely = sample_rows(torch.from_numpy(logits), used, rows, exponential)
    assert list(zip(drawn.tolist(), likely.tolist(), strict=True)) == expected


def test_half_precision_needs_a_gpu(gpt: TextToSemantic) -> None:
    with pytest.raises(ConfigError, match="bf16: needs a CUDA device"):
        TorchBackend(gpt, None, "cpu", "bf16")
    with pytest.raises(ConfigError, match="expected one of fp32, fp16, bf16"):
        TorchBackend(gpt, None, "cpu", "int4")


def test_half_precision_stays_near(gpt: TextToSemantic) -> None:
    """The sums themselves, which a CPU can do too."""
    phones, prompt = torch.randint(0, 40, (1, 30)), torch.randint(0, CODES, (1, 10))
    exact, half = StaticDecoder(gpt), StaticDecoder(gpt, dtype=torch.bfloat16)
    with torch.inference_mode():
        expected, logits = exact.prefill(phones, None, prompt), half.prefill(phones, None, prompt)
        assert logits.dtype == torch.float32 and (logits - expected).abs().max() < 0.1 * expected.abs().max()
        step = half.step(torch.tensor([3]), torch.tensor([10]), torch.tensor([40]), 41)[0]
        expected = exact.step_one(3, 10, 40)
        assert (step - expected).abs().max() < 0.1 * expected.abs().max()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="no g++: torch.compile has nothing to compile with")
def test_compiled_layers_draw_the_same(gpt: TextToSemantic) -> None:
    plain, compiled = TorchBackend(gpt, None), TorchBackend(gpt, None, compiled=True)
    assert compiled.decodes_alone and not plain.decodes_alone
    expected = [list(decode(plain, wanted(seed), CODES)) for seed in range(4)]
    assert [list(decode(compiled, wanted(seed), CODES)) for seed in range(4)] == expected
    assert together(compiled.loop(3), [wanted(seed) for seed in range(4)]) == expected


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device: graphs are captured there only")
@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_captured_graphs_draw_what_the_processor_draws(gpt: TextToSemantic, precision: str) -> None:
    import copy

    backend = TorchBackend(copy.deepcopy(gpt).cuda(), None, "cuda", precision)
    draws = [wanted(seed, limit=30) for seed in range(10)]
    tokens = together(backend.loop(4), draws)
    assert all(len(each) <= 30 for each in tokens) and any(tokens)
    if precision == "fp32":
        expected = [list(decode(TorchBackend(gpt, None), wanted(seed, limit=30), CODES)) for seed in range(10)]
        agreeing = sum(mine == theirs for mine, theirs in zip(tokens, expected, strict=True))
        assert agreeing >= 9  # sums in another order may tip one draw, and with it all that follow
