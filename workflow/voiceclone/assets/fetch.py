"""Fetching a model: the first source that gives every file with the right checksum, whole or not at all."""

from __future__ import annotations

import logging
import shutil
import stat
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from voiceclone.assets.asset import MANIFEST, content_digest, damage, is_pickle, read_manifest
from voiceclone.assets.registry import AssetSpec, FileSpec, Registry, Source, load_registry
from voiceclone.assets.sources import (
    ENVIRONMENT,
    UnavailableError,
    WrongContentError,
    bring,
    label,
    obstacle,
    sources_of,
)
from voiceclone.errors import AssetError, DataError
from voiceclone.files import atomic_folder, contained_path, read_json, sha256_file, write_json
from voiceclone.progress import announce

log = logging.getLogger(__name__)
_UNPACKED_LIMIT = 20 * 1024**3  # bytes; no model here is larger, an archive that claims so is hostile


def fetch_asset(
    name: str, models_dir: Path, registry_path: Path, offline: bool = False, verify: bool = False, own_models: str = ""
) -> Path:
    """Make sure that a model lies in ``models_dir/name`` as it is pinned, fetching it where needed.

    Args:
        name: name in the registry.
        models_dir: folder of all models.
        registry_path: ``config/assets.yaml``.
        offline: use only what is on this machine (the user's own copies, installed packages).
        verify: compare checksums of a model that is already there, not only sizes.
        own_models: folder with the user's own copies, one subfolder per model; looked into first.

    Returns:
        Path of the model's ``asset.json``.

    Raises:
        AssetError: no source gives the model; the message lists why and the next thing to do.
    """
    spec = load_registry(registry_path).get(name)
    folder = Path(models_dir) / name
    with _lock(Path(models_dir), name):
        problem = asset_problem(name, spec, Path(models_dir), verify)
        if not problem:
            return folder / MANIFEST
        if _restore(spec, folder, _receipt(folder)):
            log.info("%s: files were there, manifest written again", name)
            return folder / MANIFEST
        log.info("%s: %s; fetching", name, problem)
        _fetch(name, spec, folder, offline, sources_of(name, spec, own_models, Path(registry_path).parent.parent))
    return folder / MANIFEST


def asset_problem(name: str, spec: AssetSpec, models_dir: Path, full: bool = False) -> str:
    """Reason why a model on disk is not the registered one; empty if it is. ``full`` compares checksums too."""
    path = models_dir / name / MANIFEST
    if not path.is_file():
        return "missing"
    try:
        manifest = read_manifest(path)
    except AssetError as error:
        return error.message
    return _differs(manifest, spec) or damage(path.parent, manifest["files"], full)


def _differs(manifest: dict[str, Any], spec: AssetSpec) -> str:
    """In what a model was fetched as another one than the registry has; empty: it is the same."""
    fetched = {name: entry["sha256"] for name, entry in manifest["files"].items()} | manifest.get("unpacked", {})
    for file, pin in spec.files.items():
        if file not in fetched:
            return f"{file} is missing in its manifest"
        if pin.sha256 and fetched[file] != pin.sha256:
            return f"{file} was fetched with another checksum than config/assets.yaml has now"
    return ""


def forget_replaced(registry: Registry, models_dir: Path) -> list[str]:
    """Remove the manifests of models that the registry has replaced, as a new base voice, so that the workflow, to
    which a manifest means a model that is there, fetches them; returns their names.

    A damaged manifest counts as well. Files that are still right are not fetched twice.
    """
    replaced = []
    for path in sorted(models_dir.glob(f"*/{MANIFEST}")):
        name = path.parent.name
        if name not in registry.names():
            continue
        try:
            problem = _differs(read_manifest(path), registry.get(name))
        except AssetError as error:
            problem = error.message
        if problem:
            log.warning("%s: %s; it will be fetched", name, problem)
            path.unlink()
            replaced.append(name)
    return replaced


@contextmanager
def _lock(models_dir: Path, name: str) -> Iterator[None]:
    """One process at a time works on a model; the others wait and find it done."""
    folder = models_dir / ".locks"
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / f"{name}.lock")
    try:
        lock.acquire(timeout=1)
    except Timeout:
        log.info("%s: another process fetches it, waiting", name)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _receipt(folder: Path) -> Path:
    """Copy of the manifest outside the model's folder: remembers checksums when the manifest is deleted."""
    return folder.parent / ".receipts" / f"{folder.name}.json"


def _restore(spec: AssetSpec, folder: Path, receipt: Path) -> bool:
    """Write a deleted manifest again where all files are as they were fetched."""
    if (folder / MANIFEST).exists() or not receipt.is_file():
        return False
    manifest = read_json(receipt)
    if damage(folder, manifest["files"], full=True):
        return False
    write_json(folder / MANIFEST, manifest)
    if asset_problem(folder.name, spec, folder.parent):
        (folder / MANIFEST).unlink()
        return False
    return True


def _fetch(name: str, spec: AssetSpec, folder: Path, offline: bool, sources: list[Source]) -> None:
    if spec.size and shutil.disk_usage(folder.parent).free < 1.2 * spec.size:
        raise AssetError(
            f"{name}: {human_size(spec.size)} needed: not enough free space on the disk of {folder.parent}",
            "free space, or make resources/models a link to a larger disk",
        )
    attempts = []
    incoming = folder.parent / ".incoming" / name
    for source in sources:
        reason = obstacle(source, offline)
        if not reason:
            announce(f"{name} · fetch  {human_size(spec.size)} from {label(source)}")
            try:
                with atomic_folder(folder) as temporary:
                    bring(source, spec, temporary, incoming)
                    _seal(name, spec, source, temporary, _receipt(folder))
            except UnavailableError as error:
                reason = str(error)
                if isinstance(error, WrongContentError):  # the next attempt must not continue with this download
                    shutil.rmtree(incoming, ignore_errors=True)
            else:
                shutil.rmtree(incoming, ignore_errors=True)
                return
        log.warning("%s: %s: %s", name, label(source), reason)
        attempts.append(f"  {label(source)}: {reason}")
    raise AssetError(f"{name}: cannot be had from any source:\n" + "\n".join(attempts), _advice(name, spec, offline))


def _advice(name: str, spec: AssetSpec, offline: bool) -> str:
    files = ", ".join(spec.files)
    own = f"put {files} into FOLDER/{name}/ and set models_dir: FOLDER (or {ENVIRONMENT}=FOLDER)"
    return f"set offline: false, or {own}" if offline else f"check the network, or {own}"


def _seal(name: str, spec: AssetSpec, source: Source, folder: Path, receipt: Path) -> None:
    """Check every file, unpack archives, write the manifest."""
    known = _remembered(receipt)
    unpacked = {}
    for file, pin in spec.files.items():
        path = folder / file
        found = _check(name, file, pin, known.get(file), path)
        if pin.unpack:
            unpack(path, folder)
            path.unlink()
            unpacked[file] = found
    files = {
        path.relative_to(folder).as_posix(): {"sha256": sha256_file(path), "size": path.stat().st_size}
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    manifest: dict[str, Any] = {
        "name": name,
        "kind": spec.kind,
        "licence": spec.licence,
        "files": files,
        "digest": content_digest(files),
    }
    if repository := source.hub or source.modelscope:
        manifest["revision"] = repository.revision
    if unpacked:
        manifest["unpacked"] = unpacked
    write_json(folder / MANIFEST, manifest)
    write_json(receipt, manifest)


def _remembered(receipt: Path) -> dict[str, str]:
    if not receipt.is_file():
        return {}
    manifest = read_json(receipt)
    return {name: entry["sha256"] for name, entry in manifest["files"].items()} | manifest.get("unpacked", {})


def _check(name: str, file: str, pin: FileSpec, remembered: str | None, path: Path) -> str:
    """Checksum of a file that arrived, compared with the pinned one or with that of the first fetch."""
    found = sha256_file(path)
    expected = pin.sha256 or remembered
    if expected is None and is_pickle(file):
        raise UnavailableError(
            f"{file} is a pickle without a pinned checksum and is not used; if you trust it, pin it in "
            f"config/assets.yaml: assets.{name}.files.{file}: {{size: {path.stat().st_size}, sha256: {found}}}"
        )
    if expected not in (None, found):
        raise WrongContentError(f"{file}: checksum {found}, expected {expected}")
    return found


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a .zip or .tar archive; a path out of the folder, a link or a device is refused.

    Raises:
        UnavailableError: the archive is damaged or not safe.
    """
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as packed:
                infos = packed.infolist()
                for info in infos:
                    contained_path(folder, info.filename)
                    if stat.S_ISLNK(info.external_attr >> 16):
                        raise UnavailableError(f"{archive.name}: holds the link {info.filename}")
                if sum(info.file_size for info in infos) > _UNPACKED_LIMIT:
                    raise UnavailableError(f"{archive.name}: unpacks to more than {human_size(_UNPACKED_LIMIT)}")
                packed.extractall(folder)
        else:
            with tarfile.open(archive) as packed_tar:
                members = packed_tar.getmembers()
                if links := [member.name for member in members if not (member.isfile() or member.isdir())]:
                    raise UnavailableError(f"{archive.name}: holds {links[0]}, neither file nor folder")
                if sum(member.size for member in members) > _UNPACKED_LIMIT:
                    raise UnavailableError(f"{archive.name}: unpacks to more than {human_size(_UNPACKED_LIMIT)}")
                packed_tar.extractall(folder, filter="data")
    except DataError as error:
        raise UnavailableError(f"{archive.name}: {error.message}") from error
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, OSError) as error:
        raise UnavailableError(f"{archive.name}: cannot be unpacked ({error})") from error


def human_size(size: int | None) -> str:
    """Bytes as a person reads them."""
    if size is None:
        return "unknown size"
    value, units = float(size), ["B", "kB", "MB", "GB", "TB"]
    while value >= 1000 and len(units) > 1:
        value, units = value / 1000, units[1:]
    return f"{value:.0f} {units[0]}" if value >= 100 or units[0] == "B" else f"{value:.1f} {units[0]}"
