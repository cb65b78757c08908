"""The public file formats of GPT-SoVITS, read and written.

Small weights, as they are shared: GPT (``.ckpt``) is a zip of ``weight`` (keys with the prefix ``model.``), ``config``
and ``info``; SoVITS (``.pth``) is the same without prefix, and from v2Pro on carries a version mark in place of the
zip's first two bytes ``PK``. Checkpoints of the public trainings are read too: ``state_dict`` and ``hyper_parameters``
of a GPT, ``model`` and ``iteration`` of a SoVITS generator (``G_*.pth``) or discriminator (``D_*.pth``).

Nothing but tensors and plain values is ever unpickled; every part is compared with its checksum. Networks of our own
base voice come as safetensors (:mod:`voiceclone.models.packed`) through the same functions.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from voiceclone.errors import AssetError
from voiceclone.files import atomic_path
from voiceclone.models.discriminators import DiscriminatorConfig
from voiceclone.models.gpt import GPTConfig, TextToSemantic
from voiceclone.models.packed import SUFFIX, half, layout_faults, listed, read_packed
from voiceclone.models.sovits import SoVITS, SoVITSConfig

State = dict[str, Tensor]

PREFIX = "model."
ZIP_MARK, ZIP_TAIL = b"PK", b"\x03\x04"
#: First two bytes of small SoVITS weights by version; v3 and v4 are other networks.
MARKS = {"v2": ZIP_MARK, "v2Pro": b"05", "v2ProPlus": b"06"}
FOREIGN_MARKS = {b"02": "v3", b"03": "v3 LoRA", b"04": "v4 LoRA"}
V3_OR_V4 = "a SoVITS of v3 or v4"
#: What to do with the voices of other versions, whose networks are not here.
TRAIN_AGAIN = (
    "train the voice again from its recordings: here with the preset few-shot, or in GPT-SoVITS as v2 or v2Pro"
)
CODEBOOK = "quantizer.vq.layers.0._codebook.embed"
POSTERIOR = "enc_q."
PHONES_OF_V1 = 322
#: Of a file's size, that its tensors may take where several of them share their numbers.
MOST_SHARED = 4
_UPSAMPLING = re.compile(r"dec\.ups\.\d\.weight_v")


@dataclass(frozen=True)
class PublicFile:
    """Content of a public file.

    Args:
        path: the file.
        weights: tensors in the types that they have there; of a GPT without prefix.
        config: the public configuration as plain values; empty in checkpoints of SoVITS trainings.
        info: what the file says of its training.
        training: whether it is a checkpoint of a training, not weights alone.
    """

    path: Path
    weights: State
    config: dict[str, Any]
    info: str
    training: bool

    @property
    def sizes(self) -> dict[str, Any]:
        """Sizes of the network in the public configuration; nothing but numbers and lists."""
        model = self.config.get("model")
        items = model.items() if isinstance(model, dict) else ()
        return {key: value for key, value in items if isinstance(value, int | float | list)}

    def floats(self) -> State:
        """Weights as float32 where they are numbers with a fraction."""
        return {key: value.float() if value.is_floating_point() else value for key, value in self.weights.items()}


class _Settings:
    """Stands in for the attribute bag that public SoVITS files hold as ``config``; has data, no code."""


class _PathText:
    """Stands in for the paths inside checkpoints of GPT trainings."""

    def __init__(self, *parts: str) -> None:
        self.text = "/".join(map(str, parts))


def read_public(path: Path) -> PublicFile:
    """A file of the public program, of any model.

    Raises:
        AssetError: not such a file, or a damaged one; the message names the part.
    """
    content = _read(Path(path))
    config, info = content.get("config"), content.get("info", "")
    weights = next((content[name] for name in ("weight", "state_dict", "model") if _is_state(content.get(name))), None)
    if weights is None:
        raise AssetError(
            f"{path}: no tensors under 'weight' (small weights), 'state_dict' or 'model' (checkpoints of trainings); "
            f"it has {', '.join(map(repr, list(content)[:8])) or 'nothing'}",
            "take a GPT (.ckpt) or SoVITS (.pth) file of GPT-SoVITS v2 or v2Pro",
        )
    training = weights is not content.get("weight")
    if training:
        parameters = _plain(content.get("hyper_parameters"))
        config = parameters.get("config") if isinstance(parameters, dict) else None
        counts = {name: content[name] for name in ("epoch", "global_step", "iteration") if name in content}
        info = "training, " + ", ".join(f"{name} {value}" for name, value in counts.items())
    state = {str(key).removeprefix(PREFIX): value for key, value in weights.items() if isinstance(value, Tensor)}
    _check_sizes(Path(path), state)
    broken = [key for key, value in state.items() if value.is_floating_point() and not value.isfinite().all()]
    if broken:
        raise AssetError(
            f"{path}: values that are not finite numbers in {listed(broken)}: its training diverged",
            "take an earlier checkpoint of that training",
        )
    plain = _plain(config)
    return PublicFile(Path(path), state, plain if isinstance(plain, dict) else {}, str(info), training)


def read_weights(path: Path) -> State:
    """Weights of any public file, as float32 where they are numbers with a fraction.

    Raises:
        AssetError: not such a file.
    """
    return read_public(path).floats()


def read_gpt(path: Path) -> tuple[GPTConfig, State]:
    """Sizes and float32 weights (keys without prefix) of a public or packed GPT file.

    Raises:
        AssetError: not such a file.
    """
    if path.suffix == SUFFIX:
        return read_packed(path, "gpt")
    file = read_public(path)
    return gpt_config(file), file.floats()


def gpt_config(file: PublicFile) -> GPTConfig:
    """Sizes of the GPT in a file with all of its tensors.

    Raises:
        AssetError: another model, or tensors are missing or of other shapes.
    """
    state = file.weights
    _expect(file, "a GPT", "ar_text_embedding.word_embeddings.weight", "ar_predict_layer.weight", "bert_proj.weight",
            "h.layers.0.linear1.weight")  # fmt: skip
    phones, dim = state["ar_text_embedding.word_embeddings.weight"].shape
    sizes: dict[str, Any] = {
        "dim": dim,
        "layers": file.sizes.get("n_layer", 0) or _count(state, "h.layers."),
        "heads": file.sizes.get("head", GPTConfig.heads),
        "feed_forward": state["h.layers.0.linear1.weight"].shape[0],
        "phones": phones,
        "codes": state["ar_predict_layer.weight"].shape[0] - 1,
        "bert_dim": state["bert_proj.weight"].shape[1],
    }
    config = GPTConfig.from_dict(sizes)
    _check_layout(file, "a GPT", lambda: TextToSemantic(config))
    return config


def write_gpt(
    path: Path, config: GPTConfig, state: Mapping[str, Tensor], info: str, public: Mapping[str, Any] | None = None
) -> None:
    """Write float16 weights as a public GPT file.

    Args:
        path: file to write.
        config: sizes.
        state: weights; the file has them in this order.
        info: names the training state, as in ``GPT-e15``.
        public: configuration of the file that the model came from; None: made from ``config``.
    """
    made = {
        "model": {
            "vocab_size": config.codes + 1, "phoneme_vocab_size": config.phones, "EOS": config.end_token,
            "embedding_dim": config.dim, "hidden_dim": config.dim, "head": config.heads,
            "linear_units": config.feed_forward, "n_layer": config.layers, "dropout": 0,
        },
        "data": {"max_sec": 54, "pad_val": config.end_token},
    }  # fmt: skip
    weights = {PREFIX + key: half(value) for key, value in state.items()}
    _write(path, {"weight": weights, "config": dict(public or made), "info": info}, ZIP_MARK)


def read_sovits(path: Path) -> tuple[SoVITSConfig, State]:
    """Sizes and float32 weights of a packed SoVITS generator or a public one, v2 or v2Pro.

    Exported files lack the posterior encoder (``enc_q``), which only training needs.

    Raises:
        AssetError: not such a file.
    """
    if path.suffix == SUFFIX:
        return read_packed(path, "sovits")
    file = read_public(path)
    return sovits_config(file), file.floats()


def sovits_config(file: PublicFile) -> SoVITSConfig:
    """Sizes of the SoVITS generator in a file; only the whole posterior encoder may be missing.

    Raises:
        AssetError: another model, or tensors are missing or of other shapes.
    """
    state = file.weights
    _expect(file, "a SoVITS generator of v2 or v2Pro", "enc_p.text_embedding.weight", "dec.conv_pre.weight",
            "ref_enc.fc.fc.weight", "enc_p.encoder_ssl.ffn_layers.0.conv_1.weight", CODEBOOK)  # fmt: skip
    if state["enc_p.text_embedding.weight"].shape[0] == PHONES_OF_V1:
        raise AssetError(f"{file.path}: a SoVITS of v1, expected v2 or v2Pro", TRAIN_AGAIN)
    config = SoVITSConfig.v2pro() if "sv_emb.weight" in state else SoVITSConfig.v2()
    named = file.sizes
    given = {field: named[public] for field, public in _PUBLIC_NAMES.items() if public in named}
    kernels = [state[key].shape[-1] for key in sorted(state) if _UPSAMPLING.fullmatch(key)]
    sizes: dict[str, Any] = {
        "codes": state[CODEBOOK].shape[0],
        "ssl_dim": state[CODEBOOK].shape[1],
        "phones": state["enc_p.text_embedding.weight"].shape[0],
        "hidden_channels": state["enc_p.text_embedding.weight"].shape[1],
        "inter_channels": state["dec.conv_pre.weight"].shape[1],
        "filter_channels": state["enc_p.encoder_ssl.ffn_layers.0.conv_1.weight"].shape[0],
        "layers": named.get("n_layers", _count(state, "enc_p.encoder_text.attn_layers.")),
        "gin_channels": state["ref_enc.fc.fc.weight"].shape[0],
        "decoder_channels": state["dec.conv_pre.weight"].shape[0],
        "upsample_kernels": given.get("upsample_kernels", kernels),
        "speaker_vector_size": state["sv_emb.weight"].shape[1] if "sv_emb.weight" in state else 0,
    }
    config = SoVITSConfig.from_dict(config.to_dict() | given | sizes)
    without = "" if any(key.startswith(POSTERIOR) for key in state) else POSTERIOR
    _check_layout(file, "a SoVITS generator", lambda: SoVITS(config), without)
    return config


def write_sovits(
    path: Path,
    config: SoVITSConfig,
    state: Mapping[str, Tensor],
    info: str,
    public: Mapping[str, Any] | None = None,
) -> None:
    """Write float16 weights without the posterior encoder as a public SoVITS file.

    Args:
        path: file to write.
        config: sizes.
        state: weights; the file has them in this order.
        info: names the training state, as in ``8epoch_400iteration``.
        public: configuration of the file that the model came from; None: made from ``config``. It is written as plain
            dictionaries, which public readers index like the attribute bag that they write.
    """
    version = sovits_version(config)
    values = config.to_dict()
    made = {
        "model": {name: values[field] for field, name in _PUBLIC_NAMES.items()} | _PUBLIC_FIXED | {"version": version},
        "data": {"sampling_rate": config.sample_rate, "filter_length": 2048, "hop_length": config.hop,
                 "win_length": 2048, "n_mel_channels": 128, "n_speakers": 300},
        "train": {"segment_size": config.segment_frames * config.hop},
        "version": version,
    }  # fmt: skip
    weights = {key: half(value) for key, value in state.items() if not key.startswith(POSTERIOR)}
    _write(path, {"weight": weights, "config": dict(public or made), "info": info}, MARKS[version])


def sovits_version(config: SoVITSConfig) -> str:
    """Public name of the version that a generator's sizes belong to."""
    if not config.speaker_vector_size:
        return "v2"
    return "v2ProPlus" if config.decoder_channels > SoVITSConfig.decoder_channels else "v2Pro"


def read_discriminator(path: Path) -> tuple[DiscriminatorConfig, State]:
    """Sizes and float32 weights of packed discriminators or of public ones, v2 or v2Pro.

    Raises:
        AssetError: not such a file.
    """
    if path.suffix == SUFFIX:
        return read_packed(path, "discriminator")
    file = read_public(path)
    _expect(file, "a SoVITS discriminator", "discriminators.0.conv_post.weight_v")
    members = _count(file.weights, "discriminators.")
    for config in (DiscriminatorConfig.v2(), DiscriminatorConfig.v2pro()):
        if members == 1 + len(config.periods):
            return config, file.floats()
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
#: Fields that upstream's programs require, although they know one value only.
_PUBLIC_FIXED = {"resblock": "1", "semantic_frame_rate": "25hz"}


def check_publishable(config: SoVITSConfig, name: str) -> None:
    """Check that upstream's programs can build a generator of these sizes: they read some, and fix the others.

    Raises:
        AssetError: lists the sizes that differ from theirs.
    """
    public = SoVITSConfig.v2pro() if config.speaker_vector_size else SoVITSConfig.v2()
    ours, theirs = config.to_dict(), public.to_dict()
    free = {*_PUBLIC_NAMES, "segment_frames"} - {"gin_channels"}
    pairs = {key: (ours[key], theirs.get(key, "another")) for key in ours if key not in free}
    other = [f"{key} {mine}, public {other}" for key, (mine, other) in pairs.items() if mine != other]
    if other:
        raise AssetError(
            f"{name}: public programs cannot load a SoVITS of these sizes ({'; '.join(other)})",
            "only models of the architectures v2 and v2Pro can be taken elsewhere; export a nano voice as a bundle",
        )


def _read(path: Path) -> dict[str, Any]:
    data = path.read_bytes()
    if data[:2] in FOREIGN_MARKS:
        raise AssetError(f"{path}: weights of SoVITS {FOREIGN_MARKS[data[:2]]}, expected v2 or v2Pro", TRAIN_AGAIN)
    if data[2:4] != ZIP_TAIL:
        raise AssetError(
            f"{path}: not a file of public weights, which is a zip of tensors and plain values",
            "take a GPT (.ckpt) or SoVITS (.pth) file of GPT-SoVITS v2 or v2Pro",
        )
    data = ZIP_MARK + data[2:]
    _check_parts(data, path)
    stand_ins: list[Any] = [(_Settings, "utils.HParams")]
    stand_ins += [(_PathText, f"{module}.{kind}Path") for module in ("pathlib", "pathlib._local")
                  for kind in ("Posix", "Windows", "PurePosix", "PureWindows")]  # fmt: skip
    try:
        with torch.serialization.safe_globals(stand_ins):
            content = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a damaged pickle does to the library, nothing of it was run
        raise AssetError(
            f"{path}: cannot be read safely: expected a file of public weights, a zip of tensors and plain values "
            f"({str(error).splitlines()[0] if str(error) else 'empty'})",
            "take the file that config/assets.yaml names, and check its checksum",
        ) from error
    if not isinstance(content, dict):
        raise AssetError(f"{path}: holds a {type(content).__name__}, expected a dictionary with 'weight'")
    return content


def _check_parts(data: bytes, path: Path) -> None:
    """Compare every part of a zip with its checksum."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            broken: str | None = None
            if any(part.compress_type != zipfile.ZIP_STORED for part in archive.infolist()):
                raise AssetError(f"{path}: its parts are compressed, which public weights are not")
            with suppress(EOFError):
                broken = archive.testzip()
    except AssetError:
        raise
    except Exception as error:  # of a directory that is no directory: many kinds
        raise AssetError(
            f"{path}: truncated after {len(data)} bytes: the zip directory at the end of the file is missing",
            "copy or download it again",
        ) from error
    if broken is not None:
        raise AssetError(f"{path}: its part {broken} is damaged", "copy or download it again")


def _check_sizes(path: Path, state: State) -> None:
    """Refuse tensors that are no plain arrays, or larger than the file: one number can stand for a terabyte."""
    plain = all(value.layout is torch.strided and value.device.type == "cpu" for value in state.values())
    if not plain or any(value.is_quantized for value in state.values()):
        raise AssetError(f"{path}: its tensors are no plain arrays of numbers")
    size, held = sum(value.numel() * value.element_size() for value in state.values()), path.stat().st_size
    if size > MOST_SHARED * held:
        raise AssetError(f"{path}: its tensors would take {size} bytes, the file has {held}")


def _is_state(value: Any) -> bool:
    return isinstance(value, Mapping) and any(isinstance(item, Tensor) for item in value.values())


def _count(state: State, prefix: str) -> int:
    """Number of modules in the list under ``prefix``."""
    places = {key.removeprefix(prefix).split(".")[0] for key in state if key.startswith(prefix)}
    return sum(place.isdecimal() for place in places)


def _expect(file: PublicFile, model: str, *keys: str) -> None:
    """Check that tensors are there, and are tables of weights."""
    missing = [key for key in keys if key not in file.weights]
    if len(missing) == len(keys):
        raise AssetError(
            f"{file.path}: {_kind(file.weights)}, another kind of model than expected ({model})",
            TRAIN_AGAIN if _kind(file.weights) == V3_OR_V4 else "",
        )
    if missing:
        raise AssetError(f"{file.path}: not the whole of {model}: no tensor {', '.join(missing)}")
    if flat := [key for key in keys if file.weights[key].ndim < 2]:
        raise AssetError(f"{file.path}: not {model}: of another shape: {', '.join(flat)}")


def _kind(state: State) -> str:
    marks = {
        "ar_predict_layer.": "a GPT",
        "discriminators.": "a SoVITS discriminator",
        "cfm.": V3_OR_V4,
        "dec.conv_pre.": "a SoVITS generator",
    }
    for prefix, kind in marks.items():
        if any(key.startswith(prefix) for key in state):
            return kind
    return f"tensors of no model that is known here ({listed(sorted(state))})"


def _check_layout(file: PublicFile, model: str, network: Callable[[], nn.Module], without: str = "") -> None:
    """Compare keys and shapes with those of a network; keys that begin with ``without`` may be missing."""
    faults = layout_faults({key: tuple(value.shape) for key, value in file.weights.items()}, network, without)
    if faults:
        raise AssetError(f"{file.path}: not the whole of {model} as public files have it; {'; '.join(faults)}")


def _plain(value: Any) -> Any:
    """Values that JSON has, in place of attribute bags, tuples and paths."""
    if isinstance(value, _Settings):
        value = vars(value)
    if isinstance(value, _PathText):
        return value.text
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return {} if value is None else value


def _write(path: Path, content: dict[str, Any], mark: bytes) -> None:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    with atomic_path(path) as temporary:
        temporary.write_bytes(mark + buffer.getvalue()[2:])
