"""Bundles: folders that hold everything a voice needs to speak, without torch.

Layout: ``bundle.json`` (format version, voice, languages, sizes, digests), ``text_to_semantic.onnx``, ``latent.onnx``,
the vocoder (``head.onnx`` and ``tail.onnx`` of a HiFi-GAN, ``frames.onnx`` of a source-filter decoder, whose waveform
:mod:`voiceclone.backends.waveform` makes), ``reference.safetensors`` (the reference clip as the models see it),
``styles.safetensors`` (further ones by the names of their styles, where there are some), ``quantiser.onnx`` and
``style.onnx`` (for new clips), ``SHA256SUMS``. New clips also need the encoders that
``bundle.json`` names, which all voices share: see :mod:`voiceclone.speaking.encoders`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from voiceclone.errors import DataError
from voiceclone.files import atomic_path, contained_path, digest, read_json, sha256_file
from voiceclone.marks.watermark import number_of
from voiceclone.sound.spectra import SOURCE_FILTER

#: Versions that this program reads; bundles with a source-filter decoder are of the second.
FORMAT_VERSION, SOURCE_FILTER_VERSION = 3, 4
BUNDLE_FILE = "bundle.json"
TEXT_TO_SEMANTIC = "text_to_semantic.onnx"
LATENT = "latent.onnx"
HEAD = "head.onnx"
TAIL = "tail.onnx"
FRAMES = "frames.onnx"
REFERENCE = "reference.safetensors"
STYLES = "styles.safetensors"
SUMS = "SHA256SUMS"
QUANTISER = "quantiser.onnx"
STYLE = "style.onnx"


Count = Annotated[int, Field(ge=1, le=1_000_000)]


class _Part(BaseModel):
    """A table of ``bundle.json``; what is not named here is left alone."""

    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)


class _File(_Part):
    sha256: str


class _Encoder(_Part):
    name: str
    file: str = ""
    sha256: str = ""


class _Cache(_Part):
    layers: Annotated[int, Field(ge=1, le=1000)]
    heads: Annotated[int, Field(ge=1, le=1000)]
    head_width: Annotated[int, Field(ge=1, le=10_000)]


class _Pointer(_Part):
    layer: Count
    dim: Count
    guidance: float


class _Vocoder(_Part):
    rates: list[Count]
    dilations: list[list[Count]]


class _Style(_Part):
    utterance: str = ""
    language: str = ""
    text: str = ""


class Description(_Part):
    """The shape of ``bundle.json``, which may come from anywhere: only what has it is read on."""

    voice: str
    target: str
    half: bool
    languages: list[str] = Field(min_length=1)
    smoke_text: str
    sample_rate: Annotated[int, Field(ge=8000, le=192_000)]
    prior_channels: Count
    end_token: Count
    cache: _Cache
    prompt: bool
    bert: bool
    fingerprints: dict[str, str]
    files: dict[str, _File]
    encoders: dict[str, _Encoder]
    polyphones: str = ""
    tokens_per_phone: dict[str, float] | None = None
    steps_per_frame: Count = 1
    pointer: _Pointer | None = None
    vocoder: _Vocoder | None = None
    decoder: str = ""
    styles: dict[str, _Style] = {}
    licence: str = ""
    consent_sha256: str = ""
    consent: dict[str, Any] = {}


@dataclass(frozen=True)
class Reference:
    """A reference clip as the models see it.

    Attributes:
        tokens: semantic tokens of the clip, int64 (P,).
        phones: symbol ids of its text, int64 (X,).
        style: global conditioning of decoder and flow, float32 (1, G, 1).
        bert: BERT features of its text, float32 (1024, X), or None where all are zero.
        text: its words, where they are known.
    """

    tokens: npt.NDArray[np.int64]
    phones: npt.NDArray[np.int64]
    style: npt.NDArray[np.float32]
    bert: npt.NDArray[np.float32] | None = None
    text: str = ""

    @property
    def digest(self) -> str:
        """Digest of the clip's arrays."""
        named = self.tensors()
        return digest({name: hashlib.sha256(named[name].tobytes()).hexdigest() for name in named})

    def tensors(self) -> dict[str, npt.NDArray[Any]]:
        """The clip as named arrays, for a safetensors file."""
        named: dict[str, npt.NDArray[Any]] = {"tokens": self.tokens, "phones": self.phones, "style": self.style}
        if self.bert is not None:
            named["bert"] = self.bert
        return named


def is_source_filter(description: Mapping[str, Any]) -> bool:
    """True: the vocoder of a bundle is a source-filter decoder; bundles without the entry have a HiFi-GAN."""
    return bool(description.get("decoder") == SOURCE_FILTER)


def graph_files(description: Mapping[str, Any]) -> dict[str, str]:
    """File of each graph that speaks, by name."""
    vocoder = {"frames": FRAMES} if is_source_filter(description) else {"head": HEAD, "tail": TAIL}
    return {"text_to_semantic": TEXT_TO_SEMANTIC, "latent": LATENT, **vocoder}


def voice_number(description: Mapping[str, Any]) -> int:
    """The number that the watermark of a voice carries; the same for all its bundles and its trained models."""
    return number_of(*(str(fingerprint) for _, fingerprint in sorted(description["fingerprints"].items())))


def read_bundle(path: Path) -> tuple[dict[str, Any], Path]:
    """Read ``bundle.json`` (or the folder that holds it) and check its version and the presence of its files.

    Returns:
        The description, and the bundle's folder.

    Raises:
        DataError: no bundle, a later format, not a :class:`Description`, or a missing file.
    """
    path = Path(path)
    file = path / BUNDLE_FILE if path.is_dir() else path
    if not file.is_file():
        raise DataError(f"{path}: no {BUNDLE_FILE} there", "give the folder that the export stage wrote, export/TARGET")
    description = read_json(file)
    if not isinstance(description, dict):
        raise DataError(f"{file}: expected a table of keys", "copy or export the bundle again")
    version = description.get("format_version")
    if version not in (FORMAT_VERSION, SOURCE_FILTER_VERSION):
        later = not isinstance(version, int) or version > SOURCE_FILTER_VERSION
        raise DataError(
            f"{file}: format version {version!r}, this program reads {FORMAT_VERSION} and {SOURCE_FILTER_VERSION}",
            "update voiceclone" if later else "export the voice again",
        )
    try:
        Description.model_validate(description)
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, one['loc']))[:80]}: {one['msg']}" for one in error.errors()[:5])
        raise DataError(f"{file}: not a description of a voice: {wrong}", "copy or export the bundle again") from error
    if description.get("styles") and STYLES not in description["files"]:
        raise DataError(f"{file}: has styles without {STYLES}", "copy or export the bundle again")
    for name in description["files"]:
        if not contained_path(file.parent, name).is_file():
            raise DataError(f"{file.parent / name}: missing from the bundle", "export the voice again")
    return description, file.parent


def verify_bundle(path: Path) -> dict[str, Any]:
    """Compare every file with its sha256 in ``bundle.json``, and that file with its own in ``SHA256SUMS``.

    Returns:
        The description.

    Raises:
        DataError: names each damaged file.
    """
    description, folder = read_bundle(path)
    recorded = {name: entry["sha256"] for name, entry in description["files"].items()}
    recorded[BUNDLE_FILE] = _sum_of(folder / SUMS, BUNDLE_FILE)
    damaged = [name for name, sha256 in recorded.items() if sha256_file(folder / name) != sha256]
    if damaged:
        raise DataError(f"{folder}: damaged files {damaged}: their sha256 differs", "copy or export the bundle again")
    return description


def _sum_of(sums: Path, name: str) -> str:
    """The sha256 that ``SHA256SUMS`` records for a file."""
    if not sums.is_file():
        raise DataError(f"{sums}: missing from the bundle", "export the voice again")
    lines = (line.split(maxsplit=1) for line in sums.read_text(encoding="utf-8", errors="replace").splitlines())
    found = {parts[1]: parts[0] for parts in lines if len(parts) == 2}
    if name not in found:
        raise DataError(f"{sums}: damaged, it does not name {name}", "copy or export the bundle again")
    return found[name]


def read_reference(path: Path) -> Reference:
    """Read ``reference.safetensors``.

    Raises:
        DataError: damaged, or not the tensors of a :class:`Reference`.
    """
    return _reference(_tensors(path), path)


def write_styles(path: Path, references: Mapping[str, Reference]) -> None:
    """Write ``styles.safetensors``: the arrays of each reference as ``STYLE/NAME``."""
    named = {f"{style}/{name}": np.ascontiguousarray(array) for style, reference in references.items()
             for name, array in reference.tensors().items()}  # fmt: skip
    with atomic_path(path) as temporary:
        save_file(named, temporary)


def read_styles(folder: Path, description: Mapping[str, Any]) -> dict[str, Reference]:
    """References of the styles that a bundle lists; empty where it lists none.

    Raises:
        DataError: ``styles.safetensors`` is damaged, or has other styles.
    """
    listed = description.get("styles") or {}
    if not listed:
        return {}
    found: dict[str, dict[str, npt.NDArray[Any]]] = {style: {} for style in listed}
    for key, array in _tensors(folder / STYLES).items():
        style, _, name = key.rpartition("/")
        found.setdefault(style, {})[name] = array
    if found.keys() != listed.keys():
        raise DataError(f"{folder / STYLES}: of other styles than {BUNDLE_FILE} lists", "export the bundle again")
    return {style: _reference(tensors, folder / STYLES) for style, tensors in found.items()}


def _tensors(path: Path) -> dict[str, npt.NDArray[Any]]:
    try:
        return load_file(str(path))
    except (SafetensorError, OSError, ValueError, TypeError, KeyError) as error:
        raise DataError(f"{path}: cannot be read ({error})", "copy or export the bundle again") from error


def _reference(tensors: Mapping[str, npt.NDArray[Any]], path: Path) -> Reference:
    wanted = {"tokens": (np.int64, 1), "phones": (np.int64, 1), "style": (np.float32, 3), "bert": (np.float32, 2)}
    found = {name: (array.dtype.type, array.ndim) for name, array in tensors.items()}
    if found.keys() | {"bert"} != wanted.keys() or any(wanted[name] != kind for name, kind in found.items()):
        raise DataError(f"{path}: not the tensors of a clip", "copy or export the bundle again")
    return Reference(tensors["tokens"], tensors["phones"], tensors["style"], tensors.get("bert"))
