"""Engines of a bundle: where they lie, whether they are the right ones, and why there may be none.

An engine is for one graph, its profiles, one kind of GPU and one version of TensorRT; their digest is its name. Beside
it lies a record with the digest of its bytes. Nothing is read by TensorRT that does not match its record.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from voiceclone.files import atomic_path, digest, read_json, sha256_file, write_json
from voiceclone.lineage.revisions import CACHE_REVISIONS

log = logging.getLogger(__name__)

#: Folder of the engines inside a bundle; no part of what is shipped.
ENGINES = "engines"


@dataclass(frozen=True)
class Machine:
    """What an engine is tied to.

    Attributes:
        gpu: name of the GPU.
        capability: its compute capability, such as ``9.0``.
        tensorrt: version of TensorRT.
    """

    gpu: str
    capability: str
    tensorrt: str

    @classmethod
    def here(cls) -> Machine:
        """This machine; call :func:`why_not` first."""
        import tensorrt
        import torch

        major, minor = torch.cuda.get_device_capability()
        return cls(torch.cuda.get_device_name(), f"{major}.{minor}", tensorrt.__version__)


def why_not() -> str:
    """Why engines can neither be built nor run here; empty if they can."""
    if find_spec("tensorrt") is None:
        return "no TensorRT on this machine (Python package tensorrt)"
    if find_spec("torch") is None:
        return "no torch on this machine, which holds the memory of the GPU"
    import torch

    if not torch.cuda.is_available():
        return "no GPU on this machine that torch can use"
    try:
        import tensorrt

        version = tensorrt.__version__
    except (ImportError, OSError, RuntimeError) as error:
        return f"TensorRT cannot be loaded on this machine ({error})"
    if int(version.split(".")[0]) < 10:
        return f"TensorRT {version} on this machine is too old, 10 or later is needed"
    return ""


@dataclass(frozen=True)
class Engine:
    """Place and identity of one graph's engine on one machine.

    Attributes:
        name: of the graph.
        folder: the bundle's.
        identity: everything that decides whether an engine fits.
    """

    name: str
    folder: Path
    identity: dict[str, Any]

    @classmethod
    def of(cls, name: str, folder: Path, description: dict[str, Any], machine: Machine) -> Engine:
        """The engine of a graph of a bundle, built or not."""
        graph = sha256_file(folder / f"{name}.onnx")
        profiles = digest(description["profiles"][name])
        revision = CACHE_REVISIONS["engine"]
        return cls(name, folder, {"graph": graph, "profiles": profiles, "revision": revision, **asdict(machine)})

    @property
    def path(self) -> Path:
        """File of the serialised engine."""
        return self.folder / ENGINES / f"{self.name}-{digest(self.identity)}.engine"


def engines_of(folder: Path, description: dict[str, Any], machine: Machine) -> list[Engine]:
    """The engines of all graphs of a bundle on a machine."""
    return [Engine.of(name, folder, description, machine) for name in description["profiles"]]


def read_recorded(path: Path, identity: Mapping[str, Any]) -> bytes | None:
    """Bytes of a file whose record names this identity and these bytes; None where there is none."""
    record = path.with_suffix(f"{path.suffix}.json")
    if not (path.is_file() and record.is_file()):
        return None
    known, data = read_json(record), path.read_bytes()
    if known == {"identity": dict(identity), "sha256": hashlib.sha256(data).hexdigest()}:
        return data
    log.warning("%s: does not match its record, not used", path)
    return None


def write_recorded(path: Path, data: bytes, identity: Mapping[str, Any]) -> None:
    """Write bytes, and then the record without which they are not read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)
    record = {"identity": dict(identity), "sha256": hashlib.sha256(data).hexdigest()}
    write_json(path.with_suffix(f"{path.suffix}.json"), record)
