"""Stores of tensors, one safetensors file per kind of feature: streamed when written, memory-mapped when read."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from voiceclone.errors import DataError
from voiceclone.files import atomic_path

Array = npt.NDArray[Any]
log = logging.getLogger(__name__)

_NAMES = {"float32": "F32", "float16": "F16", "int64": "I64", "int16": "I16"}


@dataclass(frozen=True)
class Entry:
    """One tensor to be written: its shape is known before its values are made.

    Attributes:
        shape: of the tensor.
        make: returns the tensor; called once, when its turn comes.
    """

    shape: tuple[int, ...]
    make: Callable[[], Array]


def write_store(target: Path, dtype: str, entries: Mapping[str, Entry], metadata: Mapping[str, str]) -> None:
    """Write a store atomically, sorted by key; only one tensor is in memory at a time.

    Args:
        target: the file.
        dtype: numpy name of the type of all tensors (float32, float16, int64, int16).
        entries: key to tensor.
        metadata: text about the whole store.

    Raises:
        DataError: a tensor has another shape than was announced.
    """
    size = np.dtype(dtype).itemsize
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    offset = 0
    for key in sorted(entries):
        length = int(np.prod(entries[key].shape, dtype=np.int64)) * size
        header[key] = {
            "dtype": _NAMES[dtype],
            "shape": list(entries[key].shape),
            "data_offsets": [offset, offset + length],
        }
        offset += length
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=True).encode()
    text += b" " * (-len(text) % 8)
    with atomic_path(target) as temporary, temporary.open("wb") as handle:
        handle.write(len(text).to_bytes(8, "little"))
        handle.write(text)
        for key in sorted(entries):
            _write(handle, target, key, dtype, entries[key])


def _write(handle: IO[bytes], target: Path, key: str, dtype: str, entry: Entry) -> None:
    values = np.ascontiguousarray(entry.make(), dtype=np.dtype(dtype).newbyteorder("<"))
    if values.shape != entry.shape:
        raise DataError(f"{target}: {key}: shape {values.shape}, announced was {entry.shape}")
    handle.write(values.tobytes())


class Store(Mapping[str, Array]):
    """Read-only mapping of utterance to tensor; a tensor is read from disk when it is asked for.

    Args:
        path: a safetensors file.

    Raises:
        DataError: the file is missing or damaged.
    """

    def __init__(self, path: Path) -> None:
        from safetensors import SafetensorError, safe_open

        self.path = Path(path)
        try:
            self._file = safe_open(str(path), framework="numpy")
        except (SafetensorError, OSError) as error:
            raise DataError(f"{path}: cannot be read ({error})", "delete it and run again") from error
        self._keys = frozenset(self._file.keys())

    @property
    def metadata(self) -> dict[str, str]:
        """Text about the whole store."""
        return dict(self._file.metadata() or {})

    def shape(self, key: str) -> tuple[int, ...]:
        """Shape of a tensor, without reading it."""
        return tuple(self._file.get_slice(key).get_shape())

    def __getitem__(self, key: str) -> Array:
        if key not in self._keys:
            raise KeyError(f"{self.path} has no utterance {key!r}")
        return np.asarray(self._file.get_tensor(key))

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._keys))

    def __len__(self) -> int:
        return len(self._keys)

    def __contains__(self, key: object) -> bool:
        return key in self._keys


def open_store(path: Path) -> Store:
    """Open a store for reading: ``store[utterance]`` is a numpy array."""
    return Store(path)


class ArrayCache:
    """Arrays by key, one file each, with the sha256 of their bytes: a damaged file counts as absent.

    Args:
        folder: where the files lie.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.used: set[str] = set()

    def path(self, key: str) -> Path:
        """File of a key."""
        return self.folder / f"{key}.safetensors"

    def read(self, key: str) -> Array | None:
        """The array stored for a key, or None."""
        self.used.add(key)
        if not self.path(key).is_file():
            return None
        try:
            store = Store(self.path(key))
            values = store["values"]
            if store.metadata.get("sha256") == hashlib.sha256(values.tobytes()).hexdigest():
                return values
        except (DataError, KeyError):
            pass
        log.warning("%s: damaged, made again", self.path(key))
        return None

    def shape(self, key: str) -> tuple[int, ...]:
        """Shape of a stored array."""
        return Store(self.path(key)).shape("values")

    def write(self, key: str, values: Array) -> None:
        """Store an array."""
        entries = {"values": Entry(values.shape, lambda: values)}
        digest = hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()
        write_store(self.path(key), values.dtype.name, entries, {"sha256": digest})

    def prune(self) -> None:
        """Remove what no current utterance used."""
        for path in self.folder.glob("*.safetensors"):
            if path.stem not in self.used:
                path.unlink()
