"""Bundles as one file: a zip whose first member lists the sha256 and size of every other one.

What is unpacked is what that list says, no more: plain names, plain files, sizes that are known before a byte is
written. The list itself is covered by that of the bundle, ``SHA256SUMS``.
"""

from __future__ import annotations

import hashlib
import json
import re
import stat
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from voiceclone.backends.bundle import BUNDLE_FILE, verify_bundle
from voiceclone.errors import DataError
from voiceclone.files import atomic_folder, atomic_path, canonical_json, sha256_file

LIST = "PACKED.json"
#: Most files, and bytes of their list.
MOST_FILES, LARGEST_LIST = 200, 1_000_000
_NAME = re.compile(r"(?:encoders/)?\w[\w.-]*")
_BLOCK = 1 << 20


def pack(folder: Path, output: Path, encoders: Mapping[str, Path] | None = None) -> int:
    """Write a bundle as one file, the same bytes for the same bundle.

    Args:
        folder: of the bundle, which is verified first.
        output: file to write.
        encoders: further files by their names below ``encoders``.

    Returns:
        Number of files.

    Raises:
        DataError: the bundle is damaged, or has a file whose name cannot be packed.
    """
    verify_bundle(folder)
    files = {path.name: path for path in sorted(folder.iterdir()) if path.is_file() and path.name[0] != "."}
    if (folder / "encoders").is_dir():
        files |= {f"encoders/{path.name}": path for path in sorted((folder / "encoders").iterdir()) if path.is_file()}
    files |= {f"encoders/{name}": path for name, path in (encoders or {}).items()}
    strange = [name for name in files if not _NAME.fullmatch(name) or name == LIST]
    if strange or len(files) > MOST_FILES:
        raise DataError(f"{folder}: cannot be packed: {strange or 'too many files'}", "move what is not of the bundle")
    listed = {name: {"sha256": sha256_file(path), "size": path.stat().st_size} for name, path in files.items()}
    with atomic_path(output) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(_member(LIST), canonical_json({"files": listed}))
        for name, path in files.items():
            with archive.open(_member(name), "w", force_zip64=True) as target, path.open("rb") as source:
                while block := source.read(_BLOCK):
                    target.write(block)
    return len(files)


def _member(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
    info.external_attr = (stat.S_IFREG | 0o644) << 16
    return info


def verify_packed(file: Path) -> dict[str, Any]:
    """Compare every part of a packed bundle with the list; returns its description.

    Raises:
        DataError: damaged, or made to do harm.
    """
    description = b""
    with _open(file) as archive:
        for name, parts in _contents(archive, file):
            content = b"".join(parts) if name == BUNDLE_FILE else b"".join(b"" for _ in parts)
            description = content or description
    try:
        return dict(json.loads(description))
    except (ValueError, TypeError) as error:
        raise DataError(f"{file}: there is no {BUNDLE_FILE} in it") from error


def unpack(file: Path, output: Path) -> dict[str, Any]:
    """Unpack a bundle to a folder that does not exist yet, and verify it; returns its description.

    Raises:
        DataError: damaged, made to do harm, or the folder exists; then nothing is left.
    """
    if output.exists():
        raise DataError(f"{output}: exists already", "give a folder that does not exist, or delete this one")
    with atomic_folder(output) as folder, _open(file) as archive:
        for name, parts in _contents(archive, file):
            target = folder / name
            target.parent.mkdir(exist_ok=True)
            with target.open("xb") as handle:
                for part in parts:
                    handle.write(part)
        return verify_bundle(folder)


@contextmanager
def _open(file: Path) -> Iterator[zipfile.ZipFile]:
    """The archive; whatever damage the library meets while it is read is told as such."""
    try:
        with zipfile.ZipFile(file) as archive:
            yield archive
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError) as error:
        raise DataError(f"{file}: no packed bundle, or damaged ({error})", "copy it again") from error


def _contents(archive: zipfile.ZipFile, file: Path) -> Iterator[tuple[str, Iterator[bytes]]]:
    """Name and content of each file; at its end the content is compared with the list."""
    for name, entry in _listed(archive, file).items():
        with archive.open(name) as source:
            yield name, _compared(source, entry, f"{file}: {name}")


def _listed(archive: zipfile.ZipFile, file: Path) -> dict[str, dict[str, Any]]:
    """The list, which has to name exactly the members, each a plain file of the size that it has."""
    members = archive.infolist()
    names = [info.filename for info in members]
    if not members or names[0] != LIST or len(names) != len(set(names)) or len(names) > MOST_FILES + 1:
        raise DataError(f"{file}: no packed bundle: its first part is not {LIST}, or it has parts twice")
    with archive.open(LIST) as source:
        text = source.read(LARGEST_LIST + 1)
    try:
        listed: dict[str, dict[str, Any]] = json.loads(text)["files"]
        sizes = {name: (int(entry["size"]), str(entry["sha256"])) for name, entry in listed.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(f"{file}: damaged: its {LIST} cannot be read") from error
    for info in members[1:]:
        kind = stat.S_IFMT(info.external_attr >> 16)
        if not _NAME.fullmatch(info.filename) or kind not in (0, stat.S_IFREG):
            raise DataError(
                f"{file}: {info.filename[:80]!r}: not the name of a plain file of a bundle; it is not unpacked"
            )
        if info.compress_type != zipfile.ZIP_STORED or sizes.get(info.filename, (-1,))[0] != info.file_size:
            raise DataError(f"{file}: {info.filename}: another size than {LIST} has; it is not unpacked")
    if set(sizes) != set(names[1:]):
        raise DataError(f"{file}: damaged: its {LIST} names files that are not there")
    return listed


def _compared(source: IO[bytes], entry: Mapping[str, Any], name: str) -> Iterator[bytes]:
    digest, left = hashlib.sha256(), int(entry["size"])
    while block := source.read(min(_BLOCK, left + 1)):
        left -= len(block)
        if left < 0:
            raise DataError(f"{name}: larger than it says")
        digest.update(block)
        yield block
    if left or digest.hexdigest() != entry["sha256"]:
        raise DataError(f"{name}: damaged: its sha256 differs", "copy the file again")
