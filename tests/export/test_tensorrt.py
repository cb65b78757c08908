"""Bundles for TensorRT: what can be checked of them without TensorRT and without a GPU."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from tests.support.voice_fixture import make_voice, random_gpt
from typer.testing import CliRunner

from voiceclone.backends.backend import CACHE_STEP
from voiceclone.backends.bundle import Reference, read_bundle, verify_bundle
from voiceclone.cli import app
from voiceclone.errors import ConfigError, VoiceCloneError
from voiceclone.evaluation.evaluate import evaluate_target
from voiceclone.evaluation.measure import MeterAssets
from voiceclone.evaluation.target import Source
from voiceclone.export import bundle as bundles
from voiceclone.export.bundle import export_voice
from voiceclone.export.lint import lint, not_for_tensorrt
from voiceclone.export.tensorrt import Sizes, build_script, not_covered, profiles, ranges
from voiceclone.files import read_json, read_tsv
from voiceclone.models.gpt import TextToSemantic
from voiceclone.stages.evaluate import EvaluateSettings
from voiceclone.stages.export import ExportSettings
from voiceclone.targets import TARGETS
from voiceclone.tensorrt.engines import (
    Engine,
    Machine,
    build_engines,
    engines_of,
    read_recorded,
    remove_outdated,
    why_not,
    write_recorded,
)
from voiceclone.tensorrt.standard import HIDDEN_SCORE, StandardOnnxBackend
from voiceclone.text_to_semantic.standard_graph import StandardTextToSemanticGraph, within_int32

HERE = Machine("Some GPU", "9.0", "10.13.0")
without_tensorrt = pytest.mark.skipif(not why_not(), reason="TensorRT and a GPU are here")


@pytest.fixture(scope="module")
def gpt() -> TextToSemantic:
    return random_gpt()


@pytest.fixture(scope="module")
def voice(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A voice with the bundles of both targets."""
    root = make_voice(tmp_path_factory.mktemp("voice"))
    settings = ExportSettings()
    for target in ("trt-fp16", "trt-int8"):
        export_voice(root / "models", root / "features", target, root / "export" / target, settings, "anna")
    return root


def graph_of(gpt: TextToSemantic, form: Any) -> onnx.ModelProto:
    weights = {name: value.numpy() for name, value in gpt.state_dict().items()}
    return StandardTextToSemanticGraph(gpt.config, weights, form).build()


def relative(left: np.ndarray, right: np.ndarray) -> float:
    return float(np.abs(left - right).max() / np.abs(right).max())


@pytest.mark.parametrize(("form", "tolerance"), [("fp32", 1e-5), ("fp16", 5e-3)])
@pytest.mark.parametrize(("phones", "prompt"), [(9, 6), (5, 0), (1, 1)])
def test_one_graph_of_standard_operators_follows_the_module(
    gpt: TextToSemantic, form: str, tolerance: float, phones: int, prompt: int
) -> None:
    model, kind, offset = graph_of(gpt, form), np.float16 if form == "fp16" else np.float32, gpt.config.phones
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [f"{part}_{index}" for index in range(2) for part in ("key", "value")]
    buffers, mask = np.zeros((4, 1, 4, 32, 16), kind), np.full((1, 1, 1, 32), HIDDEN_SCORE, kind)
    rng = np.random.default_rng(0)
    ids, tokens = rng.integers(0, offset, (1, phones)), rng.integers(0, 32, (1, prompt + 3))
    bert = rng.standard_normal((1, 1024, phones)).astype(np.float32)

    def run(rows: np.ndarray, positions: np.ndarray, features: np.ndarray, past: int) -> np.ndarray:
        kept = {"past_mask": mask, **dict(zip(names, buffers, strict=True))}
        if not past:
            nothing = np.zeros((1, 4, 1, 16), kind)
            kept = {"past_mask": np.full((1, 1, 1, 1), HIDDEN_SCORE, kind), **dict.fromkeys(names, nothing)}
        feed = {"ids": rows, "positions": positions, "bert": features.astype(kind), **kept}
        logits, *new = session.run(None, feed)
        buffers[:, :, :, past : past + rows.shape[1]] = new
        mask[..., past : past + rows.shape[1]] = 0
        return np.asarray(logits)

    with torch.inference_mode():
        true, cache = gpt.prefill(*(torch.from_numpy(x) for x in (ids, tokens[:, :prompt], bert)))
        features = np.concatenate([bert.transpose(0, 2, 1), np.zeros((1, prompt, 1024), np.float32)], axis=1)
        rows = np.concatenate([ids, tokens[:, :prompt] + offset], axis=1)
        places = np.concatenate([np.arange(phones), np.arange(prompt)])[None]
        assert relative(run(rows, places, features, 0), true.numpy()) < tolerance
        for index in range(prompt, prompt + 3):
            token = tokens[:, index : index + 1]
            true, cache = gpt.decode(torch.from_numpy(token), index, cache)
            got = run(token + offset, np.array([[index]]), np.zeros((1, 1, 1024)), phones + index)
            assert relative(got, true.numpy()) < tolerance


@pytest.mark.parametrize("target", ["trt-fp16", "trt-int8"])
def test_graphs_of_a_bundle_are_read_and_checked(voice: Path, target: str) -> None:
    description, folder = read_bundle(voice / "export" / target)
    graphs = {name: onnx.load(folder / f"{name}.onnx") for name in description["profiles"]}
    for model in graphs.values():
        onnx.checker.check_model(model, full_check=True)
        assert {entry.domain for entry in model.opset_import} == {""}
    assert lint(graphs, TARGETS[target], description["profiles"]) == []
    assert sorted(graphs) == ["head", "latent", "tail", "text_to_semantic"]


@pytest.mark.parametrize("target", ["trt-fp16", "trt-int8"])
def test_parity_is_measured_where_there_is_no_gpu(voice: Path, target: str) -> None:
    parity = read_json(voice / "export" / target / "parity.json")
    assert max(parity["max_error"].values()) < 2e-2
    assert parity["greedy_equal"] and parity["token_agreement"] > 0.98


def test_vocoder_is_quantised_as_tensorrt_asks(voice: Path) -> None:
    model = onnx.load(voice / "export" / "trt-int8" / "tail.onnx")
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    pairs = [node for node in model.graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    assert len(pairs) >= 10
    for node in pairs:
        scale, zero = stored[node.input[1]], stored[node.input[2]]
        assert zero.dtype == np.int8 and not zero.any() and scale.dtype == np.float16 and (scale > 0).all()
    weights = [
        stored[node.input[0]] for node in pairs if node.op_type == "DequantizeLinear" and node.input[0] in stored
    ]
    assert weights and all(array.dtype == np.int8 and np.abs(array.astype(int)).max() > 63 for array in weights)
    sizes = {target: (voice / "export" / target / "head.onnx").stat().st_size for target in ("trt-fp16", "trt-int8")}
    assert sizes["trt-int8"] < 0.85 * sizes["trt-fp16"]


def test_calibration_is_the_one_of_the_other_8_bit_target(voice: Path) -> None:
    """Ranges that trt-int8 measured first are those that onnx-int8 finds, not symmetric ones."""
    files = sorted((voice / "export" / "calibration").glob("*.json"))
    assert len(files) == 2  # head and tail
    settings = ExportSettings()
    before = {path.name: path.read_bytes() for path in files}
    export_voice(voice / "models", voice / "features", "onnx-int8", voice / "export" / "onnx-int8", settings, "anna")
    after = {path.name: path.read_bytes() for path in (voice / "export" / "calibration").glob("*.json")}
    assert len(after) == 3 and {name: after[name] for name in before} == before
    measured = [entry for path in files for entry in read_json(path)["data"].values()]
    assert any(entry["lowest"]["data"][0] != -entry["highest"]["data"][0] for entry in measured)


# -- lint ----------------------------------------------------------------------------------------------------------


def small(nodes: list[onnx.NodeProto], stored: dict[str, np.ndarray] | None = None, opset: int = 17) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, "n"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in (stored or {}).items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


@pytest.mark.parametrize(
    ("node", "stored", "words"),
    [
        (helper.make_node("Unique", ["x"], ["y"], name="twice"), {}, ["Unique twice", "does not read"]),
        (helper.make_node("Gelu", ["x"], ["y"], name="g", domain="com.microsoft"), {}, ["com.microsoft.Gelu"]),
        (helper.make_node("Slice", ["x", "a", "a", "free"], ["y"], name="cut"), {}, ["Slice cut", "free"]),
        (
            helper.make_node("QuantizeLinear", ["x", "s", "z"], ["y"], name="q"),
            {"s": np.float32(0.1), "z": np.uint8(128)},
            ["QuantizeLinear q", "int8 0"],
        ),
        (
            helper.make_node("QuantizeLinear", ["x", "s", "z"], ["y"], name="q"),
            {"s": np.float32(0), "z": np.int8(0)},
            ["QuantizeLinear q", "positive"],
        ),
        (helper.make_node("Resize", ["x", "", "", "z"], ["y"], name="r", mode="cubic"), {}, ["Resize r", "cubic"]),
        (helper.make_node("Add", ["x", "w"], ["y"]), {"w": np.float64([1.0])}, ["value w", "DOUBLE"]),
        (helper.make_node("Add", ["x", "w"], ["y"]), {"w": np.array([2**40])}, ["value w", "32 bits"]),
    ],
)
def test_lint_names_node_and_operator(node: onnx.NodeProto, stored: dict[str, np.ndarray], words: list[str]) -> None:
    faults = not_for_tensorrt(small([node], {name: np.asarray(value) for name, value in stored.items()}))
    assert any(all(word in fault for word in words) for fault in faults), faults


def test_lint_names_branches_and_late_operator_sets(gpt: TextToSemantic) -> None:
    inner = helper.make_graph([helper.make_node("Bernoulli", ["x"], ["b"], name="coin")], "inner", [], [])
    node = helper.make_node("If", ["x"], ["y"], name="fork", then_branch=inner, else_branch=inner)
    late = small([node], opset=21)
    late.ir_version = 11
    faults = not_for_tensorrt(late)
    assert any("If fork" in fault for fault in faults) and any("Bernoulli coin" in fault for fault in faults)
    assert any("operator set 21" in fault for fault in faults) and any("version 11" in fault for fault in faults)
    assert not_for_tensorrt(graph_of(gpt, "fp16")) == []


def test_slices_to_the_end_stay_within_32_bits() -> None:
    model = small([helper.make_node("Slice", ["x", "s", "e", "a"], ["y"])], {
        "s": np.array([1]), "e": np.array([np.iinfo(np.int64).max]), "a": np.array([1]),
    })  # fmt: skip
    assert not_for_tensorrt(model) != [] and not_for_tensorrt(within_int32(model)) == []
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    assert session.run(None, {"x": np.zeros((1, 5), np.float32)})[0].shape == (1, 4)


def test_a_fault_stops_the_export(voice: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = bundles.tensorrt_graphs

    def spoilt(*arguments: Any) -> dict[str, onnx.ModelProto]:
        graphs = made(*arguments)
        graphs["head"].graph.node.append(helper.make_node("Unique", ["latent"], ["values"], name="stray"))
        return graphs

    monkeypatch.setattr(bundles, "tensorrt_graphs", spoilt)
    with pytest.raises(VoiceCloneError, match="head: Unique stray: TensorRT does not read"):
        export_voice(voice / "models", voice / "features", "trt-fp16", tmp_path / "b", ExportSettings(), "anna")
    assert not (tmp_path / "b" / "bundle.json").exists()


# -- profiles ------------------------------------------------------------------------------------------------------


@given(
    st.dictionaries(st.sampled_from(["en", "zh", "ja"]), st.floats(0.3, 9.0)), st.integers(1, 200), st.integers(0, 250)
)
def test_profiles_cover_long_pieces(rates: dict[str, float], phones: int, tokens: int) -> None:
    clip = Reference(np.zeros(tokens, np.int64), np.zeros(phones, np.int64), np.zeros((1, 4, 1), np.float32))
    sizes = Sizes.of(rates, clip)
    found = ranges(sizes, 10)
    for profile in (profile for entry in found.values() for profile in entry):
        assert all(1 <= low <= usual <= high for low, usual, high in profile.values())
    first, step = found["text_to_semantic"]
    assert first["rows"][2] >= 1500 / max(0.5, min(rates.values(), default=2.0))
    assert step["past"][2] >= first["rows"][2] + 1500 and step["past"][0] == CACHE_STEP
    assert step["past"][2] % CACHE_STEP == 0 and found["latent"][0]["codes"][2] == 1500
    assert found["latent"][0]["frames"][2] >= 2 * 1500 and found["latent"][0]["frames"] == found["head"][0]["frames"]


def test_lint_wants_every_free_dimension_in_a_profile(gpt: TextToSemantic) -> None:
    model = graph_of(gpt, "fp16")
    sizes = Sizes(100, 20, 50, 30)
    found = profiles({"text_to_semantic": model}, sizes, 10)["text_to_semantic"]
    assert not_covered(model, found) == []
    del found[1]["bert"]
    found[0]["key_1"]["max"][1] = 5
    faults = not_covered(model, found)
    assert len(faults) == 2 and "profile 1: input bert" in faults[1] and "profile 0: input key_1" in faults[0]
    assert not_covered(model, []) == ["no profile"]


def test_script_lists_every_dynamic_input(voice: Path, tmp_path: Path) -> None:
    """The script is run with a ``trtexec`` that writes down its arguments."""
    description, folder = read_bundle(voice / "export" / "trt-fp16")
    (tmp_path / "build_engines.sh").write_bytes((folder / "build_engines.sh").read_bytes())
    program = tmp_path / "bin" / "trtexec"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\nfor a in "$@"; do echo "$a"; done >> calls\necho END >> calls\n')
    program.chmod(0o755)
    environment = {**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}"}
    subprocess.run(["sh", str(tmp_path / "build_engines.sh")], check=True, env=environment, timeout=60)
    calls = [call.split("\n") for call in (tmp_path / "calls").read_text().split("END\n")[:-1]]
    assert len(calls) == len(description["profiles"]) == 4 and (tmp_path / "engines").is_dir()
    for name, entry in description["profiles"].items():
        (call,) = (call for call in calls if f"--onnx={name}.onnx" in call)
        assert "--stronglyTyped" in call and f"--saveEngine=engines/{name}.engine" in call
        assert [argument for argument in call if argument.startswith("--profile=")] == (
            ["--profile=0", "--profile=1"] if len(entry) == 2 else []
        )
        model = onnx.load(folder / f"{name}.onnx")
        free = {v.name for v in model.graph.input if any(d.dim_param for d in v.type.tensor_type.shape.dim)}
        for which in ("min", "opt", "max"):
            shapes = [argument.split("=", 1)[1] for argument in call if argument.startswith(f"--{which}Shapes=")]
            assert len(shapes) == len(entry)
            for profile, listed in zip(entry, shapes, strict=True):
                given = dict(part.split(":") for part in listed.split(","))
                assert set(given) == free
                assert given == {key: "x".join(map(str, shape[which])) for key, shape in profile.items()}
    assert shlex.split(build_script(description["profiles"]).splitlines()[-1])[0] == "trtexec"


# -- engines -------------------------------------------------------------------------------------------------------


def test_engines_are_tied_to_graph_profiles_and_machine(voice: Path) -> None:
    description, folder = read_bundle(voice / "export" / "trt-fp16")
    engines = engines_of(folder, description, HERE)
    others = [
        engine
        for machine in (Machine("B", "9.0", "10.13.0"), Machine("Some GPU", "8.9", "10.13.0"),
                        Machine("Some GPU", "9.0", "10.14.0"))
        for engine in engines_of(folder, description, machine)
    ]  # fmt: skip
    description["profiles"]["head"][0]["latent"]["max"][2] += 1
    others.append(Engine.of("head", folder, description, HERE))
    paths = [engine.path for engine in engines + others]
    assert len(set(paths)) == len(paths) == 17
    assert {path.parent for path in paths} == {folder / "engines"}


def test_an_engine_is_read_only_as_it_was_recorded(tmp_path: Path) -> None:
    path, identity = tmp_path / "engines" / "head-1.engine", {"gpu": "Some GPU"}
    assert read_recorded(path, identity) is None
    write_recorded(path, b"plan", identity)
    assert read_recorded(path, identity) == b"plan"
    assert read_recorded(path, {"gpu": "Another"}) is None
    path.write_bytes(b"Plan")
    assert read_recorded(path, identity) is None
    path.with_suffix(".engine.json").unlink()
    assert read_recorded(path, identity) is None


def test_engines_of_an_earlier_export_are_removed(voice: Path) -> None:
    description, folder = read_bundle(voice / "export" / "trt-fp16")
    there = Machine("Another GPU", "8.9", "10.13.0")
    mine, theirs = (engines_of(folder, description, machine) for machine in (HERE, there))
    earlier = [Engine(engine.name, folder, {**engine.identity, "graph": "earlier"}) for engine in (mine[0], theirs[0])]
    for engine in [*mine, *theirs, *earlier]:
        write_recorded(engine.path, b"plan", engine.identity)
    remove_outdated(mine, HERE)
    left = {path for path in (folder / "engines").iterdir() if path.suffix == ".engine"}
    assert left == {engine.path for engine in [*mine, *theirs, earlier[1]]}
    assert not earlier[0].path.with_suffix(".engine.json").exists()


@without_tensorrt
def test_without_tensorrt_everything_says_so(voice: Path, tmp_path: Path) -> None:
    folder = voice / "export" / "trt-fp16"
    description = verify_bundle(folder)
    assert description["engines"] == {"not_built": why_not()} and "build_engines.sh" in description["files"]
    with pytest.raises(ConfigError, match=re.escape(why_not())):
        build_engines(folder, description)
    runner = CliRunner()
    arguments = ["say", "--bundle", str(folder), "--text", "Hello.", "--attempts", "1", "--threads", "1"]
    refused = runner.invoke(app, [*arguments, "-o", str(tmp_path / "a.wav")])
    said = " ".join(refused.output.split())
    assert refused.exit_code == 2 and why_not() in said and "--engine onnxruntime" in said
    spoken = runner.invoke(app, [*arguments, "--engine", "onnxruntime", "-o", str(tmp_path / "b.wav")])
    assert spoken.exit_code == 0 and (tmp_path / "b.wav").stat().st_size > 1000
    checked = runner.invoke(app, ["bundle", "verify", str(folder)])
    assert checked.exit_code == 0 and f"by onnxruntime: {why_not()}" in checked.output
    assert runner.invoke(app, ["bundle", "build", str(folder)]).exit_code == 2


def test_no_engines_for_other_bundles(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="needs no engines"):
        build_engines(tmp_path, {"target": "onnx-fp32"})


def test_buffers_grow_and_keep_what_they_hold(voice: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    description, folder = read_bundle(voice / "export" / "trt-fp16")
    rng = np.random.default_rng(0)
    phones, tokens = rng.integers(0, 732, 7), rng.integers(0, 256, 12)

    def spoken() -> np.ndarray:
        backend = StandardOnnxBackend(folder, description, 1)
        logits, cache = backend.start(phones, None, tokens[:3])
        seen = [logits]
        for index, token in enumerate(tokens[3:].tolist(), start=3):
            logits, cache = backend.step(token, index, cache)
            seen.append(logits)
        assert cache == 19
        return np.stack(seen)

    whole = spoken()
    monkeypatch.setattr("voiceclone.tensorrt.standard.CACHE_STEP", 4)
    np.testing.assert_allclose(spoken(), whole, atol=2e-2)


class TorchArrays(StandardOnnxBackend):
    """Arrays of torch, as on the GPU, around the same sessions."""

    def upload(self, array: np.ndarray) -> Any:
        return torch.from_numpy(np.ascontiguousarray(array))

    def download(self, array: Any) -> np.ndarray:
        return np.asarray(torch.as_tensor(array).float().numpy())

    def run(self, graph: str, inputs: Any, outputs: Any, profile: int) -> Any:
        assert all(tensor.is_contiguous() for tensor in [*inputs.values(), *outputs.values()])
        self.bound = [*getattr(self, "bound", []), (graph, profile, id(inputs), inputs)]
        return super().run(
            graph,
            {key: x.numpy() for key, x in inputs.items()},
            {key: x.numpy() for key, x in outputs.items()},
            profile,
        )


def test_buffers_may_be_of_torch_and_are_bound_once(voice: Path) -> None:
    description, folder = read_bundle(voice / "export" / "trt-fp16")
    rng = np.random.default_rng(0)
    phones, codes = rng.integers(0, 732, 7), rng.integers(0, 256, 5)
    style = rng.standard_normal((1, 128, 1)).astype(np.float32)
    noise = rng.standard_normal((1, 96, 10)).astype(np.float32)
    plain, torches = (kind(folder, description, 1) for kind in (StandardOnnxBackend, TorchArrays))
    for backend in (plain, torches):
        logits, cache = backend.start(phones, None, codes)
        steps = [backend.step(3, 5 + index, cache + index)[0] for index in range(3)]
        backend.found = [logits, *steps, backend.decode(codes, phones, style, noise)]
    for left, right in zip(plain.found, torches.found, strict=True):
        np.testing.assert_array_equal(left, right)
    calls = [(profile, name) for graph, profile, name, _ in torches.bound if graph == "text_to_semantic"]
    assert [profile for profile, _ in calls] == [0, 1, 1, 1] and len({name for _, name in calls[1:]}) == 1


# -- evaluation ----------------------------------------------------------------------------------------------------


@without_tensorrt
def test_evaluation_is_skipped_in_one_line(voice: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = voice / "export" / "trt-fp16" / "bundle.json"
    source = Source("trt-fp16", voice / "features", voice / "models", bundle)
    evaluate_target(source, tmp_path / "corpus.tsv", [], cast(MeterAssets, None), tmp_path / "eval", EvaluateSettings())
    line = read_json(tmp_path / "eval" / "summary.json")["not_measured"]
    assert line.startswith(f"trt-fp16: not measured: {why_not()}; build with") and "\n" not in line
    assert read_tsv(tmp_path / "eval" / "metrics.tsv", ["item", "wer"]) == []
    assert capsys.readouterr().out.count(line) == 1
