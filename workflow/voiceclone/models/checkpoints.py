"""The public file formats of GPT-SoVITS, read and written.

GPT (``.ckpt``): a zip of ``weight`` (keys with the prefix ``model.``), ``config`` and ``info``. SoVITS (``.pth``): the
same without prefix; from v2Pro on, exported files carry a version mark in place of the zip's first two bytes ``PK``.
Nothing but tensors and plain values is ever unpickled.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from voiceclone.errors import AssetError
from voiceclone.files import atomic_path
from voiceclone.models.discriminators import DiscriminatorConfig
from voiceclone.models.gpt import GPTConfig
from voiceclone.models.sovits import SoVITSConfig

State = dict[str, Tensor]

PREFIX = "model."
ZIP_MARK = b"PK"
V2PRO_MARK = b"05"
CODEBOOK = "quantizer.vq.layers.0._codebook.embed"
POSTERIOR = "enc_q."


class _Settings:
    """Stands in for the attribute bag that public SoVITS files hold as ``config``; has data, no code."""


def read_weights(path: Path) -> State:
    """Weights of any public file, as float32 where they are numbers with a fraction.

    Raises:
        AssetError: not such a file.
    """
    return _weights(_read(path), path)


def read_gpt(path: Path) -> tuple[GPTConfig, State]:
    """Sizes and float32 weights (keys without prefix) of a public GPT file.

    Raises:
        AssetError: not such a file.
    """
    content = _read(path)
    state = {key.removeprefix(PREFIX): value for key, value in _weights(content, path).items()}
    _expect(state, path, "ar_text_embedding.word_embeddings.weight", "ar_predict_layer.weight", "bert_proj.weight")
    phones, dim = state["ar_text_embedding.word_embeddings.weight"].shape
    layers = 1 + max(int(key.split(".")[2]) for key in state if key.startswith("h.layers."))
    config = GPTConfig(
        dim=dim,
        layers=layers,
        heads=int(_plain(content.get("config")).get("model", {}).get("head", GPTConfig.heads)),
        feed_forward=state["h.layers.0.linear1.weight"].shape[0],
        phones=phones,
        codes=state["ar_predict_layer.weight"].shape[0] - 1,
        bert_dim=state["bert_proj.weight"].shape[1],
    )
    return config, state


def write_gpt(path: Path, config: GPTConfig, state: Mapping[str, Tensor], info: str) -> None:
    """Write float16 weights as a public GPT file; ``info`` names the training state, as in ``GPT-e15``."""
    public = {
        "model": {
            "vocab_size": config.codes + 1, "phoneme_vocab_size": config.phones, "EOS": config.end_token,
            "embedding_dim": config.dim, "hidden_dim": config.dim, "head": config.heads,
            "linear_units": config.feed_forward, "n_layer": config.layers, "dropout": 0,
        },
        "data": {"max_sec": 54, "pad_val": config.end_token},
    }  # fmt: skip
    weights = {PREFIX + key: _half(value) for key, value in state.items()}
    _write(path, {"weight": weights, "config": public, "info": info}, ZIP_MARK)


def read_sovits(path: Path) -> tuple[SoVITSConfig, State]:
    """Sizes and float32 weights of a public SoVITS generator, v2 or v2Pro.

    Exported files lack the posterior encoder (``enc_q``), which only training needs.

    Raises:
        AssetError: not such a file.
    """
    content = _read(path)
    state = _weights(content, path)
    _expect(state, path, "enc_p.text_embedding.weight", "dec.conv_pre.weight", "ref_enc.fc.fc.weight", CODEBOOK)
    config = SoVITSConfig.v2pro() if "sv_emb.weight" in state else SoVITSConfig.v2()
    named = _plain(content.get("config")).get("model", {})
    given = {field: named[public] for field, public in _PUBLIC_NAMES.items() if public in named}
    sizes = {
        "codes": state[CODEBOOK].shape[0],
        "ssl_dim": state[CODEBOOK].shape[1],
        "phones": state["enc_p.text_embedding.weight"].shape[0],
        "gin_channels": state["ref_enc.fc.fc.weight"].shape[0],
        "decoder_channels": state["dec.conv_pre.weight"].shape[0],
        "speaker_vector_size": state["sv_emb.weight"].shape[1] if "sv_emb.weight" in state else 0,
    }
    return SoVITSConfig.from_dict(config.to_dict() | given | sizes), state


def write_sovits(path: Path, config: SoVITSConfig, state: Mapping[str, Tensor], info: str) -> None:
    """Write float16 weights without the posterior encoder as a public SoVITS file.

    ``info`` names the training state, as in ``8epoch_400iteration``. The configuration is written as plain
    dictionaries, which public readers index alike.
    """
    version = "v2Pro" if config.speaker_vector_size else "v2"
    values = config.to_dict()
    public = {
        "model": {name: values[field] for field, name in _PUBLIC_NAMES.items()} | {"version": version},
        "data": {"sampling_rate": config.sample_rate, "filter_length": 2048, "hop_length": config.hop,
                 "win_length": 2048, "n_mel_channels": 128, "n_speakers": 300},
        "train": {"segment_size": config.segment_frames * config.hop},
        "version": version,
    }  # fmt: skip
    weights = {key: _half(value) for key, value in state.items() if not key.startswith(POSTERIOR)}
    content = {"weight": weights, "config": public, "info": info}
    _write(path, content, V2PRO_MARK if config.speaker_vector_size else ZIP_MARK)


def read_discriminator(path: Path) -> tuple[DiscriminatorConfig, State]:
    """Sizes and float32 weights of a public discriminator, v2 or v2Pro.

    Raises:
        AssetError: not such a file.
    """
    state = _weights(_read(path), path)
    _expect(state, path, "discriminators.0.conv_post.weight_v")
    members = 1 + max(int(key.split(".")[1]) for key in state)
    for config in (DiscriminatorConfig.v2(), DiscriminatorConfig.v2pro()):
        if members == 1 + len(config.periods):
            return config, state
    raise AssetError(f"{path}: {members} discriminators, expected 6 (v2) or 8 (v2Pro)")


#: Field of SoVITSConfig -> key in the public configuration.
_PUBLIC_NAMES = {
    "inter_channels": "inter_channels",
    "hidden_channels": "hidden_channels",
    "filter_channels": "filter_channels",
    "heads": "n_heads",
    "layers": "n_layers",
    "kernel": "kernel_size",
    "dropout": "p_dropout",
    "gin_channels": "gin_channels",
    "decoder_channels": "upsample_initial_channel",
    "upsample_rates": "upsample_rates",
    "upsample_kernels": "upsample_kernel_sizes",
    "resblock_kernels": "resblock_kernel_sizes",
    "resblock_dilations": "resblock_dilation_sizes",
}


def _read(path: Path) -> dict[str, Any]:
    data = Path(path).read_bytes()
    if data[:2] != ZIP_MARK:
        data = ZIP_MARK + data[2:]
    try:
        with torch.serialization.safe_globals([(_Settings, "utils.HParams")]):
            content = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, ValueError, EOFError) as error:
        raise AssetError(
            f"{path}: cannot be read safely: expected a file of public weights, a zip of tensors and plain values "
            f"({error})",
            "take the file that config/assets.yaml names, and check its checksum",
        ) from error
    if not isinstance(content, dict):
        raise AssetError(f"{path}: holds a {type(content).__name__}, expected a dictionary with 'weight'")
    return content


def _weights(content: Mapping[str, Any], path: Path) -> State:
    weights = content.get("weight")
    if not isinstance(weights, Mapping) or not weights:
        raise AssetError(f"{path}: no entry 'weight', expected one as in pretrained and exported public files")
    return {
        key: value.float() if value.is_floating_point() else value
        for key, value in weights.items()
        if isinstance(value, Tensor)
    }


def _expect(state: State, path: Path, *keys: str) -> None:
    missing = [key for key in keys if key not in state]
    if missing:
        raise AssetError(f"{path}: no tensor {', '.join(missing)}, so this is another kind of model than expected")


def _plain(value: Any) -> Any:
    """Dictionaries in place of attribute bags."""
    if isinstance(value, _Settings):
        value = vars(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return {} if value is None else value


def _half(value: Tensor) -> Tensor:
    value = value.detach().cpu()
    return value.half() if value.is_floating_point() else value.clone()


def _write(path: Path, content: dict[str, Any], mark: bytes) -> None:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    with atomic_path(path) as temporary:
        temporary.write_bytes(mark + buffer.getvalue()[2:])
