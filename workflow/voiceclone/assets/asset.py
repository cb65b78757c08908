"""A fetched model on disk: its manifest ``asset.json`` and the check of its files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import BaseModel, ValidationError

from voiceclone.errors import AssetError, DataError
from voiceclone.files import contained_path, digest, read_json, sha256_file

MANIFEST = "asset.json"
_PICKLES = (".pt", ".pth", ".ckpt", ".pkl", ".pickle")


def is_pickle(name: str) -> bool:
    """True if a file of this name is a pickle, which may run code when it is loaded carelessly."""
    path = PurePosixPath(name)
    return path.suffix.lower() in _PICKLES or path.name == "pytorch_model.bin"


class _File(BaseModel):
    size: int
    sha256: str


class _Manifest(BaseModel):
    """The shape of ``asset.json``."""

    name: str
    kind: str
    licence: str
    digest: str
    files: dict[str, _File]


@dataclass(frozen=True)
class Asset:
    """A pretrained model that lies on disk as it was pinned.

    Attributes:
        name: name in the registry.
        kind: what the model is for, as in the registry.
        licence: licence as its authors state it.
        folder: folder of its files.
        digest: changes whenever the content of any file does.
        files: relative path of every file to its sha256 and size in bytes.
    """

    name: str
    kind: str
    licence: str
    folder: Path
    digest: str
    files: Mapping[str, Mapping[str, Any]]

    def file(self, name: str) -> Path:
        """Path of one file of the asset.

        Raises:
            AssetError: the asset has no such file.
        """
        if name not in self.files:
            raise AssetError(
                f"{self.name}: has no file {name!r}, only {', '.join(sorted(self.files))}",
                f"fetch it again: voiceclone assets fetch {self.name}",
            )
        return self.folder / name


def content_digest(files: Mapping[str, Mapping[str, Any]]) -> str:
    """Digest of an asset: names and checksums of its files, whatever source they came from."""
    return digest({name: entry["sha256"] for name, entry in files.items()})


def damage(folder: Path, files: Mapping[str, Mapping[str, Any]], full: bool) -> str:
    """Faults in the files of an asset; empty if there are none.

    Args:
        folder: the asset's folder.
        files: the files of its manifest.
        full: compare checksums, not only sizes. Pickles are always compared by :func:`open_asset`.
    """
    for name, entry in files.items():
        path = contained_path(folder, name)
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != entry["size"]:
            return f"{name} has {path.stat().st_size} bytes, expected {entry['size']}"
        if full and sha256_file(path) != entry["sha256"]:
            return f"{name} has another checksum than the one it was fetched with"
    return ""


def read_manifest(path: Path) -> dict[str, Any]:
    """Content of an ``asset.json``.

    Raises:
        AssetError: it is missing or not a manifest.
    """
    again = f"fetch the model: voiceclone assets fetch {path.parent.name}"
    try:
        manifest = read_json(path)
    except OSError as error:
        raise AssetError(f"{path}: no such model on disk", again) from error
    except DataError as error:
        raise AssetError(error.message, again) from error
    try:
        _Manifest.model_validate(manifest)
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, one['loc']))[:80]}: {one['msg']}" for one in error.errors()[:3])
        wanted = ", ".join(_Manifest.model_fields)
        raise AssetError(f"{path}: not the manifest of a model, expected the keys {wanted} ({wrong})", again) from error
    return dict(manifest)


def open_asset(path: Path, verify: bool = False) -> Asset:
    """Open a fetched model.

    Sizes are compared always, checksums for files that hold pickles (they are loaded only as they were pinned).

    Args:
        path: the model's ``asset.json``.
        verify: compare the checksum of every file.

    Raises:
        AssetError: the model is missing or damaged.
    """
    path = Path(path)
    manifest = read_manifest(path)
    files = manifest["files"]
    problem = damage(path.parent, files, full=verify)
    problem = problem or damage(path.parent, {name: files[name] for name in files if is_pickle(name)}, full=True)
    if problem:
        raise AssetError(
            f"{path.parent}: {problem}", f"fetch the model again: voiceclone assets fetch {manifest['name']}"
        )
    return Asset(manifest["name"], manifest["kind"], manifest["licence"], path.parent, manifest["digest"], files)


def open_assets(paths: Iterable[Path]) -> dict[str, Asset]:
    """Open several models; name of each to the model."""
    return {asset.name: asset for asset in map(open_asset, paths)}
