"""Networks of a base voice as they are shipped: float16 safetensors that carry their own sizes.

A file holds the state dict of one network. Its metadata have ``kind`` (a key of :data:`NETWORKS`) and ``architecture``
(the configuration's fields as JSON), and nothing is unpickled. The quantiser inside a SoVITS is left out: it is that of
the base's tokenizer, which has a file of its own.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from voiceclone.errors import AssetError, VoiceCloneError
from voiceclone.files import atomic_path, canonical_json
from voiceclone.models.architecture import Architecture
from voiceclone.models.discriminators import DiscriminatorConfig, MultiPeriodDiscriminator
from voiceclone.models.gpt import GPTConfig, TextToSemantic
from voiceclone.models.sovits import SoVITS, SoVITSConfig

State = dict[str, Tensor]
SUFFIX = ".safetensors"
TOKENIZER = ("ssl_proj.", "quantizer.")  # of a SoVITS: in the tokenizer's file
SHOWN = 3  # keys in a message

#: Kind of a file to its configuration and its network.
NETWORKS: dict[str, tuple[type[Architecture], Callable[[Any], nn.Module]]] = {
    "gpt": (GPTConfig, TextToSemantic),
    "sovits": (SoVITSConfig, SoVITS),
    "discriminator": (DiscriminatorConfig, MultiPeriodDiscriminator),
}


def write_packed(
    path: Path, kind: str, config: Architecture, state: Mapping[str, Tensor], notes: Mapping[str, str] | None = None
) -> None:
    """Write a network in float16.

    Args:
        path: ``.safetensors`` to write.
        kind: of the network, a key of :data:`NETWORKS`.
        config: its sizes.
        state: its whole state dict.
        notes: more metadata, such as the step.

    Raises:
        AssetError: the weights are not those of a network of these sizes, or have no place in float16.
    """
    faults = layout_faults({name: tuple(value.shape) for name, value in state.items()}, network_of(kind, config))
    halves = {name: half(value) for name, value in state.items() if not name.startswith(TOKENIZER)}
    faults += [f"not finite in float16: {name}" for name, value in halves.items() if not value.isfinite().all()]
    if faults:
        raise AssetError(f"{path}: cannot be packed; {'; '.join(faults)}")
    metadata = {**(notes or {}), "kind": kind, "architecture": canonical_json(config.to_dict())}
    write_halves(path, halves, metadata)


def write_halves(path: Path, halves: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write tensors so that the same ones are the same bytes: safetensors writes metadata in an order of chance."""
    data = save({name: value.contiguous() for name, value in halves.items()}, dict(metadata))
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    ordered = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode().ljust(start - 8)
    with atomic_path(path) as temporary:
        temporary.write_bytes(data[:8] + ordered + data[start:])


def read_packed(path: Path, kind: str) -> tuple[Any, State]:
    """Sizes and float32 weights of a packed network; where it is a SoVITS, its quantiser is zero.

    Raises:
        AssetError: the file is damaged, of another kind, or its tensors are not those that its sizes ask for.
    """
    try:
        with safe_open(str(path), framework="pt") as file:
            metadata = dict(file.metadata() or {})
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise AssetError(f"{path}: cannot be read ({error})", "fetch or pack it again") from error
    found = metadata.get("kind", "none")
    if found != kind:
        raise AssetError(f"{path}: a packed file of kind {found}, expected {kind}")
    try:
        config = NETWORKS[kind][0].from_dict(json.loads(metadata["architecture"]))
        state |= _zero_quantizer(network_of(kind, config)) if kind == "sovits" else {}
        faults = layout_faults({name: tuple(value.shape) for name, value in state.items()}, network_of(kind, config))
    except (KeyError, ValueError, TypeError, AttributeError, VoiceCloneError, RuntimeError) as error:
        raise AssetError(f"{path}: its architecture cannot be built ({error})", "pack it again") from error
    if faults:
        raise AssetError(f"{path}: not the whole of a {kind} of its architecture; {'; '.join(faults)}")
    return config, {name: value.float() if value.is_floating_point() else value for name, value in state.items()}


def _zero_quantizer(network: Callable[[], nn.Module]) -> State:
    """Zeros in place of a SoVITS's quantiser, until the tokenizer's tensors are loaded."""
    with torch.device("meta"):
        expected = network().state_dict()
    return {
        name: torch.zeros(value.shape, dtype=value.dtype)
        for name, value in expected.items()
        if name.startswith(TOKENIZER)
    }


def network_of(kind: str, config: Architecture) -> Callable[[], nn.Module]:
    """Builds an untrained network of a kind and its sizes."""
    return lambda: NETWORKS[kind][1](config)


def layout_faults(
    found: Mapping[str, tuple[int, ...]], network: Callable[[], nn.Module], without: str = ""
) -> list[str]:
    """Differences of names and shapes of tensors from a network's; names that begin with ``without`` may be missing."""
    with torch.device("meta"):
        expected = {key: tuple(value.shape) for key, value in network().state_dict().items()}
    wrong = {
        "missing": [key for key in expected if key not in found and not (without and key.startswith(without))],
        "unknown": [key for key in found if key not in expected],
        "of another shape": [
            f"{key} {list(found[key])} instead of {list(shape)}"
            for key, shape in expected.items()
            if key in found and found[key] != shape
        ],
    }
    return [f"{name}: {listed(keys)}" for name, keys in wrong.items() if keys]


def listed(keys: list[str]) -> str:
    """The first few keys, and how many more there are."""
    return ", ".join(keys[:SHOWN]) + (f" and {len(keys) - SHOWN} more" if len(keys) > SHOWN else "")


def half(value: Tensor) -> Tensor:
    """A tensor on the CPU, in float16 if its numbers have fractions."""
    value = value.detach().cpu()
    return value.half() if value.is_floating_point() else value.clone()
