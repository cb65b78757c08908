"""Reads the weights of an ONNX file with nothing but numpy: the few fields of its protobuf that hold them."""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from voiceclone.backends.backend import Floats
from voiceclone.errors import DataError

#: Numbers of the fields, of onnx.proto: ModelProto.graph, GraphProto.initializer, and those of TensorProto.
GRAPH, INITIALIZER = 7, 5
DIMS, DATA_TYPE, FLOATS, INTEGERS, NAME, RAW_DATA = 1, 2, 4, 5, 8, 9
VARINT, FIXED_64, BYTES, FIXED_32 = 0, 1, 2, 5
#: TensorProto.DataType.
TYPES = {1: np.float32, 2: np.uint8, 3: np.int8, 6: np.int32, 7: np.int64, 10: np.float16}


def read_pointer(weights: OnnxWeights, description: Mapping[str, Any]) -> tuple[npt.NDArray[np.float32] | None, float]:
    """``emission`` and ``guidance`` of a :class:`voiceclone.speaking.guidance.PointingBackend` over a bundle.

    Args:
        weights: of its text-to-semantic graph.
        description: its ``bundle.json``.
    """
    if "pointer" not in description or "pointer.emission" not in weights:
        return None, 0.0
    return known_emission(np.asarray(weights["pointer.emission"], np.float32)), description["pointer"]["guidance"]


class OnnxWeights:
    """The named constants of an ONNX file, each read on request.

    Args:
        path: an ONNX file that keeps its weights inside.

    Raises:
        DataError: not such a file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with path.open("rb") as file:
            self._data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        try:
            graphs = [part for number, part in _fields(self._data, 0, len(self._data)) if number == GRAPH]
            self._found = dict(
                self._tensor(*part)
                for graph in graphs
                for number, part in _fields(self._data, *graph)
                if number == INITIALIZER
            )
        except (IndexError, TypeError, ValueError) as error:
            raise DataError(f"{path}: not an ONNX file that can be read: {error}", "export the voice again") from error

    def __contains__(self, name: str) -> bool:
        return name in self._found

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        """A copy of one constant.

        Raises:
            DataError: there is none of this name, or its type or size is not known.
        """
        if name not in self._found:
            raise DataError(f"{self.path}: no weights {name!r}", "export the voice again")
        kind, shape, stored, (start, end) = self._found[name]
        if kind not in TYPES:
            raise DataError(f"{self.path}: weights {name!r} of the type {kind}", "export the voice again")
        if stored == INTEGERS:
            array = np.fromiter(_varints(self._data, start, end), np.uint64).astype(TYPES[kind])
        else:
            array = np.frombuffer(self._data[start:end], TYPES[kind])
        if array.size != np.prod(shape):
            raise DataError(f"{self.path}: weights {name!r} of {array.size} numbers, {shape} expected", "export again")
        return array.reshape(shape)

    def _tensor(self, start: int, end: int) -> tuple[str, tuple[int, tuple[int, ...], int, tuple[int, int]]]:
        name, kind, shape, stored, place = "", 0, [], RAW_DATA, (0, 0)
        for number, value in _fields(self._data, start, end):
            if number == DIMS:
                shape += [value] if isinstance(value, int) else list(_varints(self._data, *value))
            elif number == DATA_TYPE:
                kind = value
            elif number == NAME:
                name = self._data[slice(*value)].decode()
            elif number in (FLOATS, INTEGERS, RAW_DATA):
                stored, place = number, value if isinstance(value, tuple) else place
        return name, (kind, tuple(shape), stored, place)


def _varint(data: mmap.mmap, place: int) -> tuple[int, int]:
    """A number of seven bits per byte, lowest first, and the place after it."""
    value = shift = 0
    while True:
        byte = data[place]
        value |= (byte & 127) << shift
        place, shift = place + 1, shift + 7
        if byte < 128:
            return value, place


def _varints(data: mmap.mmap, start: int, end: int) -> Iterator[int]:
    while start < end:
        value, start = _varint(data, start)
        yield value


def _fields(data: mmap.mmap, start: int, end: int) -> Iterator[tuple[int, Any]]:
    """Numbers of the fields of a message, with their number or with where their bytes begin and end."""
    while start < end:
        tag, start = _varint(data, start)
        number, kind = tag >> 3, tag & 7
        if kind == VARINT:
            value, start = _varint(data, start)
            yield number, value
        elif kind == BYTES:
            size, start = _varint(data, start)
            if start + size > end:
                raise ValueError(f"field {number} is longer than the message around it")
            yield number, (start, start + size)
            start += size
        elif kind in (FIXED_32, FIXED_64):
            start += 4 if kind == FIXED_32 else 8
        else:
            raise ValueError(f"field {number} of kind {kind}")


def known_emission(table: Floats) -> Floats | None:
    """The table of a network, or None where no alignment has filled it."""
    return table if table.any() else None
