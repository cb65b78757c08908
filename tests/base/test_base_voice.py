"""The packed base voice: four files that carry their sizes, read by everything that starts from a base."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from voiceclone.assets import fetch_asset, open_asset
from voiceclone.base.pack import FILES, install_base, pack_base, pack_running
from voiceclone.errors import AssetError, DataError
from voiceclone.features.tokenizer import KEYS, Tokenizer, read_base
from voiceclone.files import read_json, write_json
from voiceclone.models.discriminators import DiscriminatorConfig, MultiPeriodDiscriminator
from voiceclone.models.gpt import GPTConfig, TextToSemantic
from voiceclone.models.public_files import read_discriminator, read_gpt, read_sovits
from voiceclone.models.sovits import SoVITS, SoVITSConfig
from voiceclone.models.voice import load_voice
from voiceclone.training import finetuning
from voiceclone.training.checkpoints import CheckpointStore, take_snapshot

REPOSITORY = Path(__file__).resolve().parents[2]
CODES, SIZE = 16, 32
READERS = {"base-gpt": read_gpt, "base-sovits-g": read_sovits, "base-sovits-d": read_discriminator}


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    """What the trainings of a base leave, at nano size."""
    folder = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    networks = {
        "gpt": TextToSemantic(GPTConfig.nano(CODES)),
        "sovits": SoVITS(SoVITSConfig.nano(SIZE, CODES)),
        "discriminator": MultiPeriodDiscriminator(DiscriminatorConfig.nano()),
    }
    for name, network in networks.items():
        save_file(network.state_dict(), folder / f"{name}.safetensors")
    state = networks["sovits"].state_dict()
    save_file({key: state[key] for key in KEYS}, folder / "tokenizer.safetensors")
    common = {"step": 7, "fingerprint": "f" * 16}
    write_json(folder / "gpt.json", {"architecture": GPTConfig.nano(CODES).to_dict(), **common})
    discriminator = DiscriminatorConfig.nano().to_dict()
    write_json(
        folder / "sovits.json",
        {"architecture": SoVITSConfig.nano(SIZE, CODES).to_dict(), "discriminator": discriminator, **common},
    )
    return folder


@pytest.fixture(scope="module")
def packed(models, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("packed")
    sizes = pack_base(models, folder)
    assert sorted(sizes) == sorted(path.name for path in folder.iterdir())
    return folder


def project_with(packed: Path, folder: Path) -> Path:
    """A project whose base is ``packed``."""
    (folder / "config").mkdir(parents=True)
    shutil.copy(REPOSITORY / "config" / "assets.yaml", folder / "config" / "assets.yaml")
    install_base(packed, folder)
    return folder


def test_trainings_that_go_on_are_packed_at_what_was_saved_last(models, tmp_path) -> None:
    """Of two trainings of a kind the later one, of its weights the average; a copy, whose file times say nothing."""
    gpt, sovits = (load_file(models / FILES[name]) for name in ("base-gpt", "base-sovits-g"))
    sizes = {"gpt": GPTConfig.nano(CODES).to_dict(), "sovits": SoVITSConfig.nano(SIZE, CODES).to_dict()}
    sizes["sovits"]["discriminator"] = DiscriminatorConfig.nano().to_dict()
    judges = load_file(models / FILES["base-sovits-d"])
    key = next(name for name in gpt if gpt[name].is_floating_point())
    for kind, folder, step, parts in (
        ("gpt", "b", 9, {"model": gpt}),
        ("sovits", "a", 5, {"model": sovits, "discriminator": judges}),
        ("gpt", "a", 4, {"model": gpt, "average": {"average": {key: gpt[key] + 1}}}),
    ):
        place = tmp_path / "state" / kind / folder
        CheckpointStore(place, folder).write(take_snapshot(step, parts, [], {}))
        write_json(place / "fingerprint.json", {"components": {"architecture": sizes[kind]}})
        record = place / f"step-{step:08d}" / "checkpoint.json"
        write_json(record, read_json(record) | {"time": f"2030-01-0{1 if folder == 'b' else 2}T00:00:00Z"})
    steps = pack_running(tmp_path / "state", models / "tokenizer.safetensors", tmp_path / "packed")
    assert steps == {"gpt": 4, "sovits": 5}
    _, state = read_gpt(tmp_path / "packed" / FILES["base-gpt"])
    assert torch.equal(state[key], (gpt[key] + 1).half().float())
    assert load_voice(tmp_path / "packed").gpt.config == GPTConfig.nano(CODES)


@pytest.mark.parametrize("asset", sorted(READERS))
def test_networks_come_back_with_their_sizes_in_half_precision(models, packed, asset) -> None:
    config, state = READERS[asset](packed / FILES[asset])
    expected = {"base-gpt": GPTConfig.nano(CODES), "base-sovits-g": SoVITSConfig.nano(SIZE, CODES),
                "base-sovits-d": DiscriminatorConfig.nano()}[asset]  # fmt: skip
    assert config == expected
    original = load_file(models / FILES[asset])
    if asset == "base-sovits-g":
        original |= {name: torch.zeros_like(original[name]) for name in KEYS}
    assert state.keys() == original.keys()
    for name, value in state.items():
        assert torch.equal(value, original[name].half().float()), name
    assert (packed / FILES[asset]).stat().st_size < 0.55 * (models / FILES[asset]).stat().st_size


def test_the_same_models_are_packed_to_the_same_bytes(models, packed, tmp_path) -> None:
    for attempt in range(8):  # metadata of two and more keys came in an order of chance
        pack_base(models, tmp_path / str(attempt))
        for name in FILES.values():
            assert (tmp_path / str(attempt) / name).read_bytes() == (packed / name).read_bytes(), name


def test_trainings_start_from_the_packed_files_as_assets(packed, tmp_path) -> None:
    project = project_with(packed, tmp_path / "project")
    for name, read in READERS.items():
        path = fetch_asset(name, project / "resources" / "models", project / "config" / "assets.yaml", offline=True)
        config, state = finetuning.read_base(open_asset(path), read)
        assert config == read(packed / FILES[name])[0] and state
    path = fetch_asset("base-tokenizer", project / "resources" / "models", project / "config" / "assets.yaml")
    tokenizer = Tokenizer(read_base(open_asset(path)))
    assert (tokenizer.size, tokenizer.dimension) == (CODES, SIZE)


def test_a_newer_base_replaces_the_one_that_was_fetched(packed, tmp_path) -> None:
    project = project_with(packed, tmp_path / "project")
    registry, store = project / "config" / "assets.yaml", project / "resources" / "models"
    before = open_asset(fetch_asset("base-tokenizer", store, registry)).digest
    newer = shutil.copytree(packed, tmp_path / "newer")
    tensors = {key: value * 2 for key, value in load_file(newer / "tokenizer.safetensors").items()}
    save_file(tensors, newer / "tokenizer.safetensors", {"kind": "tokenizer"})
    install_base(newer, project)
    assert open_asset(fetch_asset("base-tokenizer", store, registry)).digest != before
    pins = yaml.safe_load(registry.read_text())["assets"]
    assert all(len(pins[name]["files"][file]["sha256"]) == 64 for name, file in FILES.items())


def test_a_packed_base_is_a_voice_that_takes_prompts(packed) -> None:
    voice = load_voice(packed)
    tokenizer = Tokenizer.load(packed / "tokenizer.safetensors")
    assert np.array_equal(voice.sovits.quantizer.state_dict()["vq.layers.0._codebook.embed"].numpy(), tokenizer.embed)
    assert voice.prompt and not voice.public and hasattr(voice.sovits, "enc_q")


def test_codes_survive_half_precision(models, packed) -> None:
    content = np.random.default_rng(0).standard_normal((SIZE, 400)).astype(np.float32)
    exact, half = (Tokenizer.load(folder / "tokenizer.safetensors").encode(content) for folder in (models, packed))
    assert np.mean(exact == half) > 0.97


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"kind": "sovits"}, "of kind sovits, expected gpt"),
        ({"architecture": '{"dim": 8}'}, "not the whole of a gpt"),
        ({"architecture": '{"depth": 8}'}, "unknown field depth"),
        ({"architecture": '{"dim": "wide"}'}, "cannot be built"),
        ({"architecture": "[1]"}, "cannot be built"),
        ({"architecture": "no JSON"}, "cannot be built"),
    ],
)
def test_a_wrong_packed_file_is_an_error_that_says_why(packed, tmp_path, change, words) -> None:
    path = tmp_path / "gpt.safetensors"
    metadata = {"kind": "gpt", "architecture": json.dumps(GPTConfig.nano(CODES).to_dict())} | change
    save_file(load_file(packed / "gpt.safetensors"), path, metadata)
    with pytest.raises(AssetError, match=words):
        read_gpt(path)


def test_a_cut_file_is_an_error(packed, tmp_path) -> None:
    path = tmp_path / "gpt.safetensors"
    path.write_bytes((packed / "gpt.safetensors").read_bytes()[:-100])
    with pytest.raises(AssetError, match="cannot be read"):
        read_gpt(path)


def test_what_has_no_place_in_half_precision_is_not_packed(models, tmp_path) -> None:
    folder = shutil.copytree(models, tmp_path / "models")
    state = load_file(folder / "gpt.safetensors")
    state["ar_predict_layer.weight"][0, 0] = 1e6
    save_file(state, folder / "gpt.safetensors")
    with pytest.raises(AssetError, match=r"not finite in float16: ar_predict_layer\.weight"):
        pack_base(folder, tmp_path / "out")
    (folder / "discriminator.safetensors").unlink()
    with pytest.raises(DataError, match="keep_discriminator"):
        pack_base(folder, tmp_path / "out")
