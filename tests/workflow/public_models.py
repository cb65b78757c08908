"""Files in the layouts of the public models (names, keys, types, wrappers), with random weights."""

from __future__ import annotations

import io
import json
import sys
import types
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
import yaml
from torch import Tensor

from project import Project
from voiceclone.files import sha256_file
from voiceclone.listeners.eres2netv2 import ERes2NetV2
from voiceclone.models.discriminators import DiscriminatorConfig, MultiPeriodDiscriminator
from voiceclone.models.gpt import GPTConfig, TextToSemantic
from voiceclone.models.public_files import write_gpt
from voiceclone.models.sovits import SoVITS, SoVITSConfig

HUBERT_LAYERS = 2
MEASURING = ("campplus", "ge2e", "dnsmos", "distillmos", "whisper-tiny.en")


def project_with_public_models(
    new_project: Callable[..., Project],
    asset: Callable[[str], Path],
    own: Path,
    name: str,
    configuration: Path,
    sentences: Sequence[int],
) -> Project:
    """A project that takes the public models from ``own``, where they are made; its speaker is a packaged voice.

    Args:
        new_project: the fixture.
        asset: the fixture.
        own: folder for the models.
        name: of the project.
        configuration: the user's file.
        sentences: how many of them each recording has.
    """
    fetched = {model: asset(model).parent for model in (*MEASURING, "piper-joe")}
    write_public_models(own)
    options = ("--cores", "1", "--configfile", str(configuration), "--config", f"models_dir={own}")
    project = new_project(name, *options)
    models = project.root / "resources" / "models"
    models.unlink()  # models with random weights must not come among the fetched ones
    models.mkdir()
    for model in MEASURING:
        (models / model).symlink_to(fetched[model])
    pin(project.root / "config" / "assets.yaml", own)
    voice = fetched["piper-joe"] / "en_US-joe-medium.onnx"
    record(project.root / "resources" / "speakers" / "joe", voice, sentences)
    return project


def record(folder: Path, voice: Path, sentences: Sequence[int]) -> None:
    """Short takes by a packaged voice."""
    from voiceclone.corpus.demo import load_voice, read_texts, speak

    piper = load_voice(voice, threads=1)
    texts = read_texts(Path(__file__).parents[2] / "resources" / "sentences" / "demo_speaker.txt")
    folder.mkdir()
    for number, (count, take) in enumerate(zip(sentences, texts, strict=False)):
        samples, rate = speak(piper, take[:count], np.random.default_rng(number))
        soundfile.write(folder / f"take-{number}.flac", 0.7 * samples / np.abs(samples).max(), rate)


def write_public_models(folder: Path) -> None:
    """Every model that the few-shot preset takes from the hub, one subfolder each; sizes are the public ones, except
    that HuBERT and BERT have few layers."""
    torch.manual_seed(0)
    writers: dict[str, Callable[[Path], None]] = {
        "chinese-hubert-base": _hubert,
        "chinese-roberta-wwm-ext-large": _bert,
        "eres2netv2": lambda at: torch.save(
            _half(ERes2NetV2().state_dict()), at / "pretrained_eres2netv2w24s4ep4.ckpt"
        ),
        "gpt-sovits-v2pro-gpt": _gpt,
        "gpt-sovits-v2pro-sovits-g": lambda at: _pretrained(
            at / "s2Gv2Pro.pth", SoVITS(SoVITSConfig.v2pro()).state_dict()
        ),
        "gpt-sovits-v2pro-sovits-d": lambda at: _pretrained(
            at / "s2Dv2Pro.pth", MultiPeriodDiscriminator(DiscriminatorConfig.v2pro()).state_dict()
        ),
    }
    for name, write in writers.items():
        (folder / name).mkdir(parents=True)
        write(folder / name)


def pin(registry: Path, folder: Path) -> None:
    """Change the checksums of a registry to those of the files in ``folder/NAME``."""
    content = yaml.safe_load(registry.read_text(encoding="utf-8"))
    for model in sorted(folder.iterdir()):
        files = content["assets"][model.name]["files"]
        assert sorted(files) == sorted(path.name for path in model.iterdir()), model.name
        for path in model.iterdir():
            files[path.name] = {"size": path.stat().st_size, "sha256": sha256_file(path)}
    registry.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")


def _half(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key: value.half() if value.is_floating_point() else value for key, value in state.items()}


def _gpt(folder: Path) -> None:
    config = GPTConfig()
    write_gpt(folder / "s1v3.ckpt", config, TextToSemantic(config).state_dict(), "GPT-e12")


def _pretrained(path: Path, state: Mapping[str, Tensor]) -> None:
    """Half precision, all tensors, and a configuration that is an attribute bag of the training program's class."""
    module, bag = types.ModuleType("utils"), type("HParams", (), {"__module__": "utils"})
    module.HParams = bag  # type: ignore[attr-defined]
    config, model = bag(), bag()
    vars(model).update(version="v2Pro", gin_channels=1024, upsample_initial_channel=512)
    vars(config).update(model=model)
    before = sys.modules.get("utils")
    sys.modules["utils"] = module
    try:
        buffer = io.BytesIO()
        torch.save({"weight": _half(state), "config": config, "info": "pretrained"}, buffer)
    finally:
        if before is None:
            del sys.modules["utils"]
        else:
            sys.modules["utils"] = before
    path.write_bytes(buffer.getvalue())


def _transformer(folder: Path, model: Any) -> None:
    """As the hub has them: half precision in a pickle, weight norm under its old names."""
    names = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
    state = {}
    for key, value in _half(model.state_dict()).items():
        for new, old in names.items():
            key = key.replace(new, old)
        state[key] = value
    torch.save(state, folder / "pytorch_model.bin")
    config = {key: value for key, value in model.config.to_dict().items() if key != "dtype"}
    (folder / "config.json").write_text(json.dumps(config | {"torch_dtype": "float16"}), encoding="utf-8")


def _hubert(folder: Path) -> None:
    from transformers import HubertConfig, HubertModel

    _transformer(folder, HubertModel(HubertConfig(num_hidden_layers=HUBERT_LAYERS)))
    preprocessor = {"do_normalize": True, "feature_size": 1, "sampling_rate": 16000, "return_attention_mask": False}
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor), encoding="utf-8")


def _bert(folder: Path) -> None:
    from tokenizers import BertWordPieceTokenizer
    from transformers import BertConfig, BertModel

    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "你", "好", ","]
    BertWordPieceTokenizer({token: index for index, token in enumerate(tokens)}).save(str(folder / "tokenizer.json"))
    _transformer(
        folder,
        BertModel(
            BertConfig(vocab_size=len(tokens), hidden_size=1024, num_hidden_layers=4, num_attention_heads=16,
                       intermediate_size=256)
        ),
    )  # fmt: skip
