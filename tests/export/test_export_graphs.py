"""The written graphs compute what the modules compute, in every format, and are what was asked for."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from tests.support.voice_fixture import random_gpt

from voiceclone.backends.backend import MARGIN_FRAMES, KVCache, in_parts
from voiceclone.evaluation.comparison import unseen
from voiceclone.export.graphs import input_moments
from voiceclone.export.lint import lint, not_for_tensorrt
from voiceclone.export.parity import gates
from voiceclone.export.vocoder_graph import head_graph, latent_graph, tail_graph
from voiceclone.graphs.quantize import blockwise, columnwise, half, restore
from voiceclone.models.gpt import GPTConfig, TextToSemantic
from voiceclone.models.sovits import SoVITS, SoVITSConfig
from voiceclone.stages.export import ExportSettings
from voiceclone.targets import TARGETS, TargetName
from voiceclone.text_to_semantic.graph import TextToSemanticGraph
from voiceclone.text_to_semantic.standard_graph import within_int32


def open_session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


TOLERANCE = {"fp32": 1e-5, "fp16": 5e-3, "int8": 5e-2, "int4": 0.5}


@pytest.fixture(scope="module")
def gpt() -> TextToSemantic:
    return random_gpt()


def graph_of(gpt: TextToSemantic, form: Any) -> onnx.ModelProto:
    return TextToSemanticGraph(
        gpt.config, {name: value.numpy() for name, value in gpt.state_dict().items()}, form
    ).build()


def relative(left: np.ndarray, right: np.ndarray) -> float:
    return float(np.abs(left - right).max() / np.abs(right).max())


@pytest.mark.parametrize("form", ["fp32", "fp16", "int8", "int4"])
@pytest.mark.parametrize(("phones", "prompt"), [(9, 6), (5, 0), (1, 1)])
def test_first_pass_and_steps_follow_the_module(gpt: TextToSemantic, form: Any, phones: int, prompt: int) -> None:
    kind = np.float16 if form == "fp16" else np.float32
    session = open_session(graph_of(gpt, form))
    cache = KVCache(session, {"layers": 2, "heads": 4, "head_width": 16}, kind, "cpu")
    rng = np.random.default_rng(0)
    ids, tokens = rng.integers(0, 732, (1, phones)), rng.integers(0, 32, (1, prompt + 4))
    bert = rng.standard_normal((1, 1024, phones)).astype(np.float32)

    def run(ids: np.ndarray, bert: np.ndarray, tokens: np.ndarray, position: int, past: int) -> np.ndarray:
        binding = cache.binding(past + ids.shape[1] + tokens.shape[1], past)
        values = {
            "phones": ids,
            "bert": bert.astype(kind),
            "tokens": tokens,
            "position": np.array(position),
            "past_length": np.array(past),
        }
        for name, value in values.items():
            binding.bind_cpu_input(name, value)
        binding.bind_output("logits", "cpu")
        session.run_with_iobinding(binding)
        return np.asarray(binding.get_outputs()[-1].numpy())

    with torch.inference_mode():
        true, past = gpt.prefill(*(torch.from_numpy(x) for x in (ids, tokens[:, :prompt], bert)))
        assert relative(run(ids, bert, tokens[:, :prompt], 0, 0), true.numpy()) < TOLERANCE[form]
        for index in range(prompt, prompt + 4):
            token = tokens[:, index : index + 1]
            true, past = gpt.decode(torch.from_numpy(token), index, past)
            got = run(ids[:, :0], bert[:, :, :0], token, index, phones + index)
            assert relative(got, true.numpy()) < TOLERANCE[form]


def test_buffers_grow_and_keep_what_they_hold(gpt: TextToSemantic, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("voiceclone.backends.backend.CACHE_STEP", 4)
    test_first_pass_and_steps_follow_the_module(gpt, "fp32", 3, 2)


def test_every_target_has_a_row_with_a_limit() -> None:
    assert list(TARGETS) == list(get_args(TargetName))
    for target in TARGETS.values():
        assert getattr(ExportSettings(), target.max_error or target.min_agreement) > 0


def test_gates_say_what_few_sentences_would_not_have_shown() -> None:
    def found(sentences: int, other: int, target: str = "onnx-int8") -> dict[str, dict[str, Any]]:
        spectra = {"loss": [0.3 + 0.01 * number for number in range(sentences)], "units": [1] * sentences}
        tokens = {"loss": [other] * sentences, "units": [100] * sentences}
        counted = {"by_sentence": {"other_tokens": tokens, "spectral_distance_db": spectra}}
        return gates(counted, TARGETS[target], ExportSettings())

    assert unseen(found(8, 2)) == [] and found(8, 2)["other_tokens"]["value"] == 0.02
    assert found(8, 30)["other_tokens"]["significant"] and not found(3, 30)["other_tokens"]["significant"]
    line = "other_tokens: no evidence: 3 sentences would show a loss from 0.037 on, the limit is 0.1"
    assert unseen(found(3, 2))[0] == line
    assert found(8, 30, "onnx-fp32") == {}  # its limit is on the largest error, not on a mean


@pytest.mark.parametrize("form", ["fp32", "fp16", "int8", "int4"])
def test_graphs_are_as_asked(gpt: TextToSemantic, form: Any) -> None:
    assert lint({"text_to_semantic": graph_of(gpt, form)}, TARGETS[f"onnx-{form}"]) == []


def test_lint_names_faults(gpt: TextToSemantic) -> None:
    model = graph_of(gpt, "fp32")
    assert any("expected FLOAT16" in str(fault) for fault in lint({"gpt": model}, TARGETS["onnx-fp16"]))
    twin = max((numpy_helper.to_array(tensor) for tensor in model.graph.initializer), key=lambda array: array.nbytes)
    model.graph.initializer.append(numpy_helper.from_array(twin, "twin"))
    assert any("twin is stored twice" in str(fault) for fault in lint({"gpt": model}, TARGETS["onnx-fp32"]))
    assert any("GroupQueryAttention" in fault for fault in not_for_tensorrt(model))


def test_decoder_graphs_follow_the_module_at_any_speed() -> None:
    torch.manual_seed(0)
    sovits = SoVITS(SoVITSConfig.nano()).eval()
    sovits.remove_weight_norm()
    graphs = latent_graph(sovits, 17), head_graph(sovits, 17), tail_graph(sovits, 17)
    latent, head, tail = (open_session(g) for g in graphs)
    assert [not_for_tensorrt(within_int32(graph)) for graph in graphs] == [[], [], []]
    codes, phones, style = torch.randint(256, (1, 1, 20)), torch.randint(732, (1, 11)), torch.randn(1, 128, 1)
    for speed, frames in ((1.0, 40), (1.3, 31), (0.6, 67)):
        noise = torch.randn(1, 96, frames) * 0.5
        with torch.inference_mode():
            true = sovits.decode(codes, phones, style, noise=noise, speed=speed).numpy()
        inputs = {"codes": codes, "phones": phones, "style": style, "noise": noise}
        middle = latent.run(None, {name: value.numpy() for name, value in inputs.items()})[0]
        upsampled = head.run(None, {"latent": middle, "style": style.numpy()})[0]
        assert relative(tail.run(None, {"upsampled": upsampled})[0], true) < 1e-4
        steps = sovits.config.upsample_rates[0]
        parts = in_parts(
            lambda part: tail.run(None, {"upsampled": part})[0].reshape(-1), upsampled, 7 * steps, 2 * steps
        )
        assert relative(parts, true.reshape(-1)) < 1e-4


@pytest.mark.parametrize("make", [SoVITSConfig.v2, SoVITSConfig.v2pro, SoVITSConfig.nano])
def test_the_margin_covers_what_the_tail_looks_at(make: Any) -> None:
    config = make()
    rate, reach = config.upsample_rates[0], 0.0  # in steps of the head
    for stride, kernel in list(zip(config.upsample_rates, config.upsample_kernels, strict=True))[1:]:
        reach += ((kernel - stride) // 2 / stride + 1) * config.upsample_rates[0] / rate
        rate *= stride
        widest = max(
            sum((size - 1) // 2 * (dilation + 1) for dilation in dilations)
            for size, dilations in zip(config.resblock_kernels, config.resblock_dilations, strict=True)
        )
        reach += widest * config.upsample_rates[0] / rate
    reach += 3 * config.upsample_rates[0] / rate
    assert reach <= MARGIN_FRAMES * config.upsample_rates[0]


def test_half_keeps_norms_whole() -> None:
    torch.manual_seed(0)
    sovits = SoVITS(SoVITSConfig.nano()).eval()
    sovits.remove_weight_norm()
    model = half(latent_graph(sovits, 17))
    assert {value.type.tensor_type.elem_type for value in model.graph.input if value.name in ("style", "noise")} == {
        TensorProto.FLOAT16
    }
    assert lint({"latent": model}, TARGETS["onnx-fp16"]) == []


@given(
    st.sampled_from([(8, 64), (4, 32)]),
    st.integers(1, 5),
    st.integers(1, 3),
    st.floats(1e-4, 1e3),
    st.integers(0, 2**32),
)
def test_blocks_lose_no_more_than_by_the_scale_of_their_largest_number(
    shape: tuple[int, int], rows: int, blocks: int, size: float, seed: int
) -> None:
    bits, block = shape
    weight = (np.random.default_rng(seed).standard_normal((rows, blocks * block)) * size).astype(np.float32)
    packed, scales = blockwise(weight, bits, block)
    parts = weight.reshape(rows, blocks, block)
    steps = np.abs(parts).max(-1, keepdims=True) / (2 ** (bits - 1) - 1)
    plain = np.square(np.rint(parts / steps) * steps - parts).sum(-1)
    lost = np.square(restore(packed, scales, bits).reshape(parts.shape) - parts).sum(-1)
    assert np.all(lost <= 1.001 * plain)


@pytest.mark.parametrize(("bits", "lost"), [(4, 0.7), (7, 0.6)])
def test_columns_make_up_for_what_others_lose_on_the_inputs_there_are(bits: int, lost: float) -> None:
    rng = np.random.default_rng(3)
    inputs = (rng.standard_normal((400, 24)) @ rng.standard_normal((24, 64)) + 0.3 * rng.standard_normal((400, 64))).T
    weight = rng.standard_normal((48, 64)).astype(np.float32)
    moments = (inputs @ inputs.T).astype(np.float32)

    def error(known: Any) -> float:
        if bits == 4:
            restored = restore(*blockwise(weight, 4, 32, known), 4)
        else:
            numbers, scales = columnwise(weight, known)
            restored = numbers.T * scales[:, None]
        return float(np.square((restored - weight) @ inputs).sum())

    assert error(moments) < lost * error(None)


def test_moments_are_those_of_what_each_matrix_is_multiplied_with() -> None:
    torch.manual_seed(0)
    gpt = TextToSemantic(GPTConfig.nano()).eval()
    phones, codes = np.arange(1, 8)[None], np.arange(11)[None, None]
    moments = input_moments(gpt, [{"phones": phones, "codes": codes}, {"phones": phones, "codes": codes}])
    matrices = {name for name, weight in gpt.state_dict().items() if name.startswith("h.") and weight.ndim == 2}
    assert matrices <= set(moments)
    with torch.inference_mode():
        read = torch.cat([gpt.embed_text(torch.from_numpy(phones)), gpt.embed_audio(torch.from_numpy(codes[0]))], dim=1)
    expected = 2 * (read[0].T @ read[0]).numpy()
    np.testing.assert_allclose(moments["h.layers.0.self_attn.in_proj_weight"], expected, rtol=1e-4, atol=1e-4)
    assert not gpt.h.layers[0].linear1._forward_pre_hooks


@given(st.integers(1, 6), st.integers(1, 40), st.floats(1e-4, 1e3), st.integers(0, 2**32))
def test_columnwise_restores_within_half_a_step(rows: int, columns: int, size: float, seed: int) -> None:
    weight = (np.random.default_rng(seed).standard_normal((rows, columns)) * size).astype(np.float32)
    numbers, scales = columnwise(weight)
    assert np.abs(numbers).max() <= 63
    assert np.all(np.abs(numbers.T * scales[:, None] - weight) <= 0.5001 * scales[:, None])


def test_blocks_must_fit() -> None:
    with pytest.raises(ValueError, match="not a multiple"):
        blockwise(np.zeros((2, 33), np.float32), 4, 32)


def test_runtime_reads_the_blocks_as_written() -> None:
    weight = np.random.default_rng(0).standard_normal((16, 64)).astype(np.float32)
    x = np.random.default_rng(1).standard_normal((1, 64)).astype(np.float32)
    for bits, block in ((8, 64), (4, 32)):
        packed, scales = blockwise(weight, bits, block)
        node = helper.make_node(
            "MatMulNBits", ["x", "w", "s"], ["y"], domain="com.microsoft", K=64, N=16, bits=bits, block_size=block,
            accuracy_level=1,
        )  # fmt: skip
        graph = helper.make_graph(
            [node], "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 64])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 16])],
            [numpy_helper.from_array(packed, "w"), numpy_helper.from_array(scales, "s")],
        )  # fmt: skip
        opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
        session = open_session(model)
        np.testing.assert_allclose(
            session.run(None, {"x": x})[0], x @ restore(packed, scales, bits).T, rtol=1e-4, atol=1e-4
        )
