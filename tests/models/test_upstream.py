"""Voices from and to the public program: bit for bit, and never a file that is not what it should be."""

from __future__ import annotations

import io
import shutil
import sys
import types
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.conftest import REPOSITORY
from tests.support.synthetic_features import make_features
from torch import Tensor
from typer.testing import CliRunner

from voiceclone.assets import fetch_asset, open_asset
from voiceclone.cli import app
from voiceclone.config.load import resolve_voice
from voiceclone.errors import AssetError, ConfigError, DataError
from voiceclone.export.bundle import export_voice
from voiceclone.export.upstream import export_upstream, import_voice
from voiceclone.features.tokenizer import Tokenizer
from voiceclone.files import read_json, write_json
from voiceclone.models.discriminators import DiscriminatorConfig, MultiPeriodDiscriminator
from voiceclone.models.gpt import GPTConfig, TextToSemantic
from voiceclone.models.public_files import POSTERIOR, read_gpt, read_public, read_sovits
from voiceclone.models.sovits import SoVITS, SoVITSConfig
from voiceclone.models.voice import load_gpt, load_sovits, takes_prompt
from voiceclone.speaking.synthesizer import Synthesizer
from voiceclone.stages.export import ExportSettings

runner = CliRunner()
GPT = GPTConfig(dim=32, layers=2, heads=2, feed_forward=48)
SMALL = {"inter_channels": 32, "hidden_channels": 32, "filter_channels": 32, "layers": 2, "decoder_channels": 32}
V2 = SoVITSConfig(**SMALL)
V2PRO = SoVITSConfig(**SMALL, dropout=0.0, gin_channels=1024, speaker_vector_size=20480)
V2PROPLUS = replace(V2PRO, decoder_channels=768, upsample_kernels=(20, 16, 8, 2, 2))  # the public decoder
State = dict[str, Tensor]


def half(state: Mapping[str, Tensor]) -> State:
    return {key: value.half() for key, value in state.items()}


def same(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> bool:
    """Equal keys in equal order, types and bits."""
    return list(first) == list(second) and all(
        first[key].dtype == second[key].dtype and torch.equal(first[key], second[key]) for key in first
    )


@pytest.fixture(scope="module")
def states() -> dict[str, State]:
    """Weights of small networks with the public keys."""
    torch.manual_seed(0)
    networks = {"gpt": TextToSemantic(GPT), "v2": SoVITS(V2), "v2Pro": SoVITS(V2PRO), "v2ProPlus": SoVITS(V2PROPLUS)}
    return {name: network.state_dict() for name, network in networks.items()}


def small_gpt(path: Path, state: State) -> Path:
    """As the public program shares a GPT."""
    config = {
        "model": {"head": 2, "n_layer": 2, "embedding_dim": 32, "EOS": 1024},
        "data": {"max_sec": 54},
        "output_dir": "logs",
    }
    torch.save(
        {"weight": {f"model.{key}": value for key, value in half(state).items()}, "config": config, "info": "GPT-e15"},
        path,
    )
    return path


def settings_bag(monkeypatch: pytest.MonkeyPatch, **values: Any) -> Callable[[dict[str, Any]], bytes]:
    """Save something with a configuration that is an object of the public program's class."""
    module, bag = types.ModuleType("utils"), type("HParams", (), {"__module__": "utils"})
    module.HParams = bag  # type: ignore[attr-defined]

    def save(content: dict[str, Any]) -> bytes:
        config, model = bag(), bag()
        vars(model).update(values)
        vars(config).update(model=model, version=values["version"])
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, "utils", module)
            buffer = io.BytesIO()
            torch.save({**content, "config": config}, buffer)
        return buffer.getvalue()

    return save


def small_sovits(path: Path, state: State, version: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """As the public program shares a SoVITS: no posterior encoder, a settings object, from v2Pro on a mark."""
    weights = {key: value for key, value in half(state).items() if not key.startswith(POSTERIOR)}
    channels = 768 if version == "v2ProPlus" else 32
    save = settings_bag(monkeypatch, version=version, p_dropout=0.0, n_layers=2, upsample_initial_channel=channels)
    data = save({"weight": weights, "info": "8epoch_400iteration"})
    path.write_bytes({"v2": b"PK", "v2Pro": b"05", "v2ProPlus": b"06"}[version] + data[2:])
    return path


@pytest.mark.parametrize("version", ["v2", "v2Pro", "v2ProPlus"])
def test_public_files_come_back_bit_for_bit(
    tmp_path: Path, states: dict[str, State], version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpt = small_gpt(tmp_path / "x-e15.ckpt", states["gpt"])
    sovits = small_sovits(tmp_path / "x_e8_s400.pth", states[version], version, monkeypatch)
    models = tmp_path / "anna" / "models"
    done = runner.invoke(app, ["import", "--gpt", str(gpt), "--sovits", str(sovits), "--output", str(models)])
    assert done.exit_code == 0, done.output
    assert f"SoVITS {version}, weights" in done.output and "GPT-e15" in done.output
    assert {value.dtype for value in load_file(models / "gpt.safetensors").values()} == {torch.float16}
    done = runner.invoke(app, ["export-upstream", "--models", str(models), "--output", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    for before, name in ((gpt, "anna.ckpt"), (sovits, "anna.pth")):
        first, second = read_public(before), read_public(tmp_path / "out" / name)
        assert same(first.weights, second.weights)
        assert (first.config, first.info) == (second.config, second.info)
        assert (tmp_path / "out" / name).read_bytes()[:4] == before.read_bytes()[:4]
    public = torch.load(tmp_path / "out" / "anna.ckpt", weights_only=True)
    assert list(public["weight"]) == [f"model.{key}" for key in states["gpt"]]


def test_imported_models_are_as_a_training_leaves_them(
    tmp_path: Path, states: dict[str, State], monkeypatch: pytest.MonkeyPatch
) -> None:
    models = tmp_path / "models"
    gpt = small_gpt(tmp_path / "a.ckpt", states["gpt"])
    import_voice(gpt, small_sovits(tmp_path / "a.pth", states["v2"], "v2", monkeypatch), models)
    text, speech = load_gpt(models), load_sovits(models)
    assert (text.config, speech.config) == (GPT, SoVITSConfig(**SMALL, dropout=0.0))
    assert not hasattr(speech, "enc_q") and takes_prompt(models)
    for network, state in ((text, states["gpt"]), (speech, states["v2"])):
        assert all(torch.equal(value, state[key].half().float()) for key, value in network.state_dict().items())
    tokenizer = Tokenizer.load(models / "tokenizer.safetensors")
    content = torch.randn(1, 768, 20)
    assert tokenizer.encode(content[0].numpy()).tolist() == speech.extract_codes(content)[0, 0].tolist()
    assert read_json(models / "tokenizer.json")["codes"] == 1024
    report = read_json(models / "gpt.json")
    assert report["imported"]["info"] == "GPT-e15" and report["components"]["base"] == {
        "gpt": report["imported"]["sha256"]
    }


def test_an_imported_voice_speaks_and_is_exported(
    tmp_path: Path, states: dict[str, State], monkeypatch: pytest.MonkeyPatch
) -> None:
    models, features = tmp_path / "models", tmp_path / "features"
    gpt = small_gpt(tmp_path / "a.ckpt", states["gpt"])
    import_voice(gpt, small_sovits(tmp_path / "a.pth", states["v2"], "v2", monkeypatch), models)
    make_features(features, tmp_path / "unused.safetensors", utterances=3, heldout=1, content_size=768, codes=1024)
    speech = Synthesizer.from_models(models, features).say("Good day.", "en")
    assert speech.tokens > 0 and np.isfinite(speech.samples).all()
    assert len(speech.samples) == speech.tokens * 1280
    export_voice(models, features, "onnx-fp32", tmp_path / "bundle", ExportSettings(), "anna")
    assert read_json(tmp_path / "bundle" / "parity.json")["greedy_equal"]
    assert (
        read_json(tmp_path / "bundle" / "bundle.json")["fingerprints"]["gpt"]
        == read_json(models / "gpt.json")["fingerprint"]
    )


def test_checkpoints_of_public_trainings_are_recognised(tmp_path: Path, states: dict[str, State]) -> None:
    gpt, sovits = tmp_path / "epoch=3-step=40.ckpt", tmp_path / "G_40.pth"
    torch.save(
        {
            "epoch": 3, "global_step": 40, "pytorch-lightning_version": "2.6.6",
            "state_dict": {f"model.{key}": value for key, value in states["gpt"].items()},
            "optimizer_states": [{"state": {0: {"step": 40}}}], "lr_schedulers": [{"_current_step": 41}],
            "hyper_parameters": {"config": {"model": {"head": 2, "n_layer": 2}}, "output_dir": tmp_path},
        },
        gpt,
    )  # fmt: skip
    torch.save({"model": states["v2"], "iteration": 4, "optimizer": {"state": {}}, "learning_rate": 1e-4}, sovits)
    lines = import_voice(gpt, sovits, tmp_path / "models")
    assert "checkpoint of a training" in lines[0] and "global_step 40" in lines[0] and "iteration 4" in lines[1]
    stored = {kind: load_file(tmp_path / "models" / f"{kind}.safetensors") for kind in ("gpt", "sovits")}
    for kind, state in (("gpt", states["gpt"]), ("sovits", states["v2"])):
        assert same(dict(sorted(stored[kind].items())), dict(sorted(state.items())))
    assert load_sovits(tmp_path / "models").enc_q.pre.weight.shape == (32, 1025, 1)
    texts, speeches = export_upstream(tmp_path / "models", tmp_path / "out", "bea")
    assert same(read_public(texts).weights, half(states["gpt"]))
    assert same(
        read_public(speeches).weights,
        {key: value for key, value in half(states["v2"]).items() if not key.startswith(POSTERIOR)},
    )
    # What the constructors of public programs take from the file and have no default for.
    named = read_public(speeches).config["model"]
    assert named["resblock"] == "1" and {
        "inter_channels", "hidden_channels", "filter_channels", "n_heads", "n_layers", "kernel_size", "p_dropout",
        "resblock_kernel_sizes", "resblock_dilation_sizes", "upsample_rates", "upsample_initial_channel",
        "upsample_kernel_sizes",
    } <= named.keys()  # fmt: skip


def trained(folder: Path, gpt: GPTConfig, sovits: SoVITSConfig) -> dict[str, State]:
    """Models as the trainings leave them."""
    folder.mkdir(parents=True)
    weights: dict[str, State] = {}
    for kind, network in (("gpt", TextToSemantic(gpt)), ("sovits", SoVITS(sovits))):
        weights[kind] = network.state_dict()
        save_file(weights[kind], folder / f"{kind}.safetensors")
        components = {"base": {}}
        write_json(
            folder / f"{kind}.json",
            {"architecture": network.config.to_dict(), "step": 60, "epochs": 7.6, "components": components},
        )
    return weights


def test_a_voice_trained_here_can_be_taken_elsewhere(tmp_path: Path) -> None:
    weights = trained(tmp_path / "cleo" / "models", GPT, V2)
    texts, speeches = export_upstream(tmp_path / "cleo" / "models", tmp_path)
    assert (texts.name, speeches.name) == ("cleo.ckpt", "cleo.pth")
    config, state = read_gpt(texts)
    assert config == GPT and read_public(texts).info == "GPT-e8"
    assert all(torch.equal(value, weights["gpt"][key].half().float()) for key, value in state.items())
    again, state = read_sovits(speeches)
    assert again == V2 and read_public(speeches).info == "8epoch_60iteration"
    assert all(torch.equal(value, weights["sovits"][key].half().float()) for key, value in state.items())
    content = torch.load(speeches, weights_only=True)  # plain values alone
    assert content["config"]["model"]["version"] == "v2"


def test_sizes_that_nobody_else_can_load_are_not_exported(tmp_path: Path) -> None:
    trained(tmp_path / "dora" / "models", GPTConfig.nano(), SoVITSConfig.nano())
    with pytest.raises(AssetError, match=r"ssl_dim 512, public 768; codes 256, public 1024"):
        export_upstream(tmp_path / "dora" / "models", tmp_path)
    assert not list(tmp_path.glob("dora.*"))


def test_an_existing_folder_is_not_overwritten(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="exists already"):
        import_voice(tmp_path / "a.ckpt", tmp_path / "a.pth", tmp_path)


@pytest.mark.parametrize("version", ["v2", "v2Pro", "v2ProPlus"])
def test_an_imported_voice_is_one_of_the_workflow(
    tmp_path: Path, states: dict[str, State], version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpt = small_gpt(tmp_path / "x.ckpt", states["gpt"])
    sovits = small_sovits(tmp_path / "x.pth", states[version], version, monkeypatch)
    root = tmp_path / "project"
    shutil.copytree(REPOSITORY / "config", root / "config")
    arguments = ["import", "--gpt", str(gpt), "--sovits", str(sovits), "--root", str(root), "--speaker"]
    done = runner.invoke(app, [*arguments, "anna", "--licence", 'mine: "all" # rights'])
    assert done.exit_code == 0, done.output
    config = resolve_voice({}, root / "config" / "presets", root / "resources/speakers/anna/voice.yaml")
    assert (config.gpt.base, config.gpt.train, config.sovits.base, config.sovits.train) == (
        "anna-gpt", False, "anna-sovits-g", False,
    )  # fmt: skip
    other = root / "resources/speakers/bert/voice.yaml"  # another clip for the same weights, exported otherwise
    other.parent.mkdir()
    other.write_text("from: anna\nexport: {targets: [onnx-int4]}\n")
    own = resolve_voice({}, root / "config" / "presets", other)
    assert own.gpt == config.gpt and own.sovits == config.sovits and own.export.targets == ("onnx-int4",)
    for wrong in ("from: ../anna", "from: berta", "from: [anna]", "from:"):
        other.write_text(wrong + "\n")
        with pytest.raises(ConfigError, match="is no imported voice; there are anna"):
            resolve_voice({}, root / "config" / "presets", other)
    assert config.sovits.architecture == version and "onnx-int8" in config.export.targets
    registry = root / "config" / "assets.yaml"
    for name, file, read in (("anna-gpt", gpt, read_gpt), ("anna-sovits-g", sovits, read_sovits)):
        asset = open_asset(fetch_asset(name, root / "resources" / "models", registry, offline=True))
        assert asset.licence == 'mine: "all" # rights'
        (copy,) = [asset.file(part) for part in asset.files]
        assert copy.read_bytes() == file.read_bytes() and read(copy)[0] == read(file)[0]
    again = runner.invoke(app, [*arguments, "anna"])
    assert again.exit_code == 1 and "such a voice already" in again.output
    assert runner.invoke(app, [*arguments, "../anna"]).exit_code != 0
    assert runner.invoke(app, arguments[:-1]).exit_code == 2


class TestWrongFiles:
    """One file of a pair is wrong: the message says what, and no folder is made."""

    @pytest.fixture
    def fails(
        self, tmp_path: Path, states: dict[str, State], monkeypatch: pytest.MonkeyPatch
    ) -> Callable[[str, Path | bytes | dict[str, Any]], str]:
        pair = {
            "gpt": small_gpt(tmp_path / "right.ckpt", states["gpt"]),
            "sovits": small_sovits(tmp_path / "right.pth", states["v2Pro"], "v2Pro", monkeypatch),
        }
        self.pair = pair

        def run(kind: str, wrong: Path | bytes | dict[str, Any]) -> str:
            path = wrong if isinstance(wrong, Path) else tmp_path / "wrong.bin"
            if isinstance(wrong, bytes):
                path.write_bytes(wrong)
            elif isinstance(wrong, dict):
                torch.save(wrong, path)
            arguments = {**pair, kind: path}
            done = runner.invoke(
                app,
                ["import", "--gpt", str(arguments["gpt"]), "--sovits", str(arguments["sovits"]), "-o",
                 str(tmp_path / "out")],
            )  # fmt: skip
            assert done.exit_code == 1 and str(path) in done.output, done.output
            assert not (tmp_path / "out").exists()
            return done.output

        return run

    @pytest.mark.parametrize("kind", ["gpt", "sovits"])
    def test_cut_damaged_and_foreign_files(self, fails: Callable[..., str], kind: str) -> None:
        data = self.pair[kind].read_bytes()
        for share in (0.001, 0.5, 0.999):
            assert "truncated" in fails(kind, data[: int(share * len(data))])
        spoilt = bytearray(data)
        spoilt[len(data) // 2] ^= 1
        assert "is damaged" in fails(kind, bytes(spoilt))
        assert "a zip of tensors" in fails(kind, b"")
        assert "a zip of tensors" in fails(kind, b"RIFF....WAVEfmt ")
        assert "it has 'layers'" in fails(kind, {"layers": [1, 2]})
        assert "tensors of no model that is known here (bias, weight)" in fails(
            kind, {"weight": {"weight": torch.zeros(2, 2), "bias": torch.zeros(2)}}
        )

    @pytest.mark.parametrize("kind", ["gpt", "sovits"])
    @pytest.mark.parametrize("value", [float("nan"), float("inf")])
    def test_weights_that_are_no_numbers(self, fails: Callable[..., str], kind: str, value: float) -> None:
        content = torch.load(self.pair["gpt"], weights_only=True)
        if kind == "sovits":
            content = {"weight": dict(read_public(self.pair[kind]).weights), "config": {}}
        key = sorted(content["weight"])[-1]
        content["weight"][key] = content["weight"][key].clone()
        content["weight"][key].view(-1)[-1] = value
        message = fails(kind, content)
        assert "not finite numbers" in message and key.removeprefix("model.") in message and "earlier" in message

    def test_files_of_another_model(self, fails: Callable[..., str], states: dict[str, State]) -> None:
        assert "a SoVITS generator, another kind of model than expected (a GPT)" in fails("gpt", self.pair["sovits"])
        assert "a GPT, another kind" in fails("sovits", self.pair["gpt"])
        network = MultiPeriodDiscriminator(DiscriminatorConfig(periods=(2,), channel_divisor=8))
        assert "a SoVITS discriminator, another kind" in fails(
            "sovits", {"model": network.state_dict(), "iteration": 1}
        )
        message = fails("sovits", {"weight": {"cfm.estimator.x": torch.zeros(1)}})
        assert "a SoVITS of v3 or v4" in message and "train the voice again" in message
        old = states["v2"] | {"enc_p.text_embedding.weight": torch.zeros(322, 32)}
        assert "a SoVITS of v1" in fails("sovits", {"weight": old})
        assert "SoVITS v4 LoRA" in fails("sovits", b"04" + self.pair["sovits"].read_bytes()[2:])

    def test_missing_and_misshapen_tensors_are_named(self, fails: Callable[..., str], states: dict[str, State]) -> None:
        config = {"model": {"head": 2, "n_layer": 2}}
        state = {f"model.{key}": value for key, value in states["gpt"].items()}
        cut = {key: value for key, value in state.items() if "h.layers.1" not in key}
        message = fails("gpt", {"weight": cut, "config": config})
        assert "missing: h.layers.1.self_attn.in_proj_weight" in message and "and 9 more" in message
        wide = {"model": {"head": 2, "n_layer": 3}}
        assert "missing: h.layers.2." in fails("gpt", {"weight": state, "config": wide})
        wrong = state | {"model.h.layers.1.norm2.bias": torch.zeros(7), "model.extra": torch.zeros(1)}
        message = fails("gpt", {"weight": wrong, "config": config})
        assert "unknown: extra" in message and "h.layers.1.norm2.bias [7] instead of [32]" in message
        part = {key: value for key, value in states["v2"].items() if not key.startswith("enc_q.pre.")}
        assert "missing: enc_q.pre.weight, enc_q.pre.bias" in fails("sovits", {"model": part, "iteration": 1})

    def test_files_that_do_not_belong_together(self, fails: Callable[..., str]) -> None:
        config = GPTConfig(dim=32, layers=1, heads=2, feed_forward=48, codes=300)
        state = {f"model.{key}": value for key, value in TextToSemantic(config).state_dict().items()}
        assert "a GPT of 300 codes" in fails("gpt", {"weight": state, "config": {"model": {"head": 2}}})
