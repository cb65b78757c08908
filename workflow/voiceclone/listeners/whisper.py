"""The encoder of Whisper (Radford et al. 2022, arXiv:2212.04356), from files in CTranslate2's format.

For export alone: the stages run these files with CTranslate2 itself.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from voiceclone.errors import AssetError

Array = npt.NDArray[Any]
#: Element types by CTranslate2's numbers.
_TYPES = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}


def read_ctranslate2(path: Path) -> dict[str, Array]:
    """Variables of a ``model.bin`` of binary version 5 or 6, by name.

    Raises:
        AssetError: another version, an unknown element type, or a file that ends early.
    """
    data = memoryview(path.read_bytes())
    place = 0

    def take(form: str) -> Any:
        nonlocal place
        (value,) = struct.unpack_from(f"<{form}", data, place)
        place += struct.calcsize(f"<{form}")
        return value

    def text() -> str:
        nonlocal place
        size = take("H")
        place += size
        return bytes(data[place - size : place]).rstrip(b"\0").decode()

    try:
        if (version := take("I")) not in (5, 6):
            raise AssetError(f"{path}: binary version {version}, expected 5 or 6", "fetch the model again")
        text(), take("I")  # the kind of model, and its revision
        variables = {}
        for _ in range(take("I")):
            name, rank = text(), take("B")
            shape, kind, size = [take("I") for _ in range(rank)], _TYPES[take("B")], take("I")
            variables[name] = np.frombuffer(data[place : place + size], kind).reshape(shape)
            place += size
        return variables | {text(): variables[text()] for _ in range(take("I"))}
    except (struct.error, KeyError, ValueError) as error:
        raise AssetError(f"{path}: damaged, or no model of CTranslate2 ({error!r})", "fetch the model again") from error


class _Layer(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm, self.feed_forward_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.joint, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.inner, self.outer = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        joint = self.joint(self.attention_norm(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(joint[0], joint[1], joint[2])
        x = x + self.out(mixed.transpose(1, 2).flatten(2))
        out: Tensor = x + self.outer(F.gelu(self.inner(self.feed_forward_norm(x))))
        return out


class WhisperEncoder(nn.Module):
    """Log mel bands to content vectors.

    Args:
        variables: of a Whisper model, as :func:`read_ctranslate2` gives them.
    """

    def __init__(self, variables: dict[str, Array]) -> None:
        super().__init__()
        self._variables = variables
        width, bands, _ = variables["encoder/conv1/weight"].shape
        heads = int(variables["encoder/num_heads"]) if "encoder/num_heads" in variables else width // 64
        count = sum(name.endswith("/ffn/linear_0/weight") and name.startswith("encoder/") for name in variables)
        self.conv1, self.conv2 = nn.Conv1d(bands, width, 3, padding=1), nn.Conv1d(width, width, 3, 2, padding=1)
        self.layers = nn.ModuleList(_Layer(width, heads) for _ in range(count))
        self.norm = nn.LayerNorm(width)
        for module, name in self._places():
            module.weight = nn.Parameter(self._tensor(f"{name}/{'gamma' if name.endswith('norm') else 'weight'}"))
            module.bias = nn.Parameter(self._tensor(f"{name}/{'beta' if name.endswith('norm') else 'bias'}"))
        self.positions = nn.Parameter(self._tensor("position_encodings/encodings"))
        del self._variables

    def _places(self) -> list[tuple[Any, str]]:
        """Modules and the names of their weights."""
        found: list[tuple[Any, str]] = [(self.conv1, "conv1"), (self.conv2, "conv2"), (self.norm, "layer_norm")]
        for index, layer in enumerate(self.layers):
            name = f"layer_{index}"
            found += [
                (layer.attention_norm, f"{name}/self_attention/layer_norm"),
                (layer.joint, f"{name}/self_attention/linear_0"),
                (layer.out, f"{name}/self_attention/linear_1"),
                (layer.feed_forward_norm, f"{name}/ffn/layer_norm"),
                (layer.inner, f"{name}/ffn/linear_0"),
                (layer.outer, f"{name}/ffn/linear_1"),
            ]
        return found

    def _tensor(self, name: str) -> Tensor:
        return torch.from_numpy(self._variables[f"encoder/{name}"].astype(np.float32))

    def forward(self, mel: Tensor) -> Tensor:
        """Vectors (B, width, T) of mel bands (B, 80, 2 T), T of at most 1500."""
        x = F.gelu(self.conv2(F.gelu(self.conv1(mel)))).transpose(1, 2)
        x = x + self.positions[: x.shape[1]]
        for layer in self.layers:
            x = layer(x)
        out: Tensor = self.norm(x).transpose(1, 2)
        return out
