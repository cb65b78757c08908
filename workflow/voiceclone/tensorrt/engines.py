"""Engines of a bundle: built on a machine with TensorRT 10 or later and a GPU, and cached.

An engine is for one graph, its profiles, one kind of GPU and one version of TensorRT; their digest is its name. A
record beside it has the digest of its bytes. TensorRT only reads a file that matches its record.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from voiceclone.errors import ConfigError, VoiceCloneError
from voiceclone.files import atomic_path, digest, read_json, sha256_file, write_json
from voiceclone.lineage.revisions import revisions

log = logging.getLogger(__name__)
#: Folder of the engines inside a bundle; not shipped.
ENGINES = "engines"


@dataclass(frozen=True)
class Machine:
    """Properties of a machine that an engine depends on.

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
    """Reason why engines can neither be built nor run here; empty if they can."""
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
        revision = revisions()["engine"]
        return cls(name, folder, {"graph": graph, "profiles": profiles, "revision": revision, **asdict(machine)})

    @property
    def path(self) -> Path:
        """File of the serialised engine."""
        return self.folder / ENGINES / f"{self.name}-{digest(self.identity)}.engine"


def engines_of(folder: Path, description: dict[str, Any], machine: Machine) -> list[Engine]:
    """The engines of all graphs of a bundle on a machine."""
    return [Engine.of(name, folder, description, machine) for name in description["profiles"]]


def read_recorded(path: Path, identity: Mapping[str, Any]) -> bytes | None:
    """Bytes of a file whose record has this identity and their digest; None: no such file."""
    record = path.with_suffix(f"{path.suffix}.json")
    if not (path.is_file() and record.is_file()):
        return None
    known, data = read_json(record), path.read_bytes()
    if known == {"identity": dict(identity), "sha256": hashlib.sha256(data).hexdigest()}:
        return data
    log.warning("%s: does not match its record, not used", path)
    return None


def write_recorded(path: Path, data: bytes, identity: Mapping[str, Any]) -> None:
    """Write bytes, then the record without which they are not read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)
    record = {"identity": dict(identity), "sha256": hashlib.sha256(data).hexdigest()}
    write_json(path.with_suffix(f"{path.suffix}.json"), record)


def engine_note(folder: Path, description: dict[str, Any]) -> dict[str, str]:
    """Build engines if possible; returns an entry of ``bundle.json``: the machine, or the reason why there are none."""
    reason = why_not()
    if reason:
        log.warning("%s: engines are not built: %s", description["target"], reason)
        return {"not_built": reason}
    return asdict(build_engines(folder, description))


def build_engines(folder: Path, description: dict[str, Any]) -> Machine:
    """Build the engines of a bundle for this machine; valid ones are kept.

    Args:
        folder: the bundle's folder.
        description: its ``bundle.json``.

    Raises:
        ConfigError: the bundle is for another runtime, or this machine has no TensorRT or no GPU.
        VoiceCloneError: TensorRT rejects a graph; the message has the reasons.
    """
    if "profiles" not in description:
        raise ConfigError(f"bundle {description['target']}: needs no engines", "they are for trt-fp16 and trt-int8")
    reason = why_not()
    if reason:
        raise ConfigError(f"engines of {folder}: {reason}", "build them on the machine that is to speak")
    machine = Machine.here()
    for engine in engines_of(folder, description, machine):
        if read_recorded(engine.path, engine.identity) is None:
            log.info("building the engine of %s for %s", engine.name, machine.gpu)
            plan = _build(engine, description["profiles"][engine.name], machine)
            write_recorded(engine.path, plan, engine.identity)
    remove_outdated(engines_of(folder, description, machine), machine)
    return machine


def remove_outdated(engines: Sequence[Engine], machine: Machine) -> None:
    """Delete engines of earlier exports for this machine; those of other machines stay."""
    present, here = {engine.path for engine in engines}, asdict(machine)
    for record in sorted(engines[0].path.parent.glob("*.engine.json")):
        path, identity = record.with_suffix(""), read_json(record)["identity"]
        if path not in present and here == {name: identity.get(name) for name in here}:
            path.unlink(missing_ok=True)
            record.unlink()


def _build(engine: Engine, profiles: Sequence[Mapping[str, Any]], machine: Machine) -> bytes:
    """The serialised engine of a graph. Its types are those of the graph: the network is strongly typed."""
    import tensorrt as trt

    logger = trt.Logger(trt.Logger.WARNING)
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(engine.folder / f"{engine.name}.onnx")):
        faults = "; ".join(str(parser.get_error(index)) for index in range(parser.num_errors))
        raise VoiceCloneError(f"engine of {engine.name}: TensorRT cannot read the graph: {faults}", "report this")
    config = builder.create_builder_config()
    config.clear_flag(trt.BuilderFlag.TF32)  # what is left in float32 is left there for its precision
    for shapes in profiles:
        profile = builder.create_optimization_profile()
        for name, shape in shapes.items():
            profile.set_shape(name, tuple(shape["min"]), tuple(shape["opt"]), tuple(shape["max"]))
        if config.add_optimization_profile(profile) < 0:
            raise VoiceCloneError(f"engine of {engine.name}: profile {dict(shapes)} is rejected", "report this")
    timings, identity = _timing_cache(engine.folder, machine)
    config.set_timing_cache(config.create_timing_cache(read_recorded(timings, identity) or b""), False)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise VoiceCloneError(
            f"engine of {engine.name}: TensorRT could not build it; its message is above",
            "a common cause is too little free memory on the GPU",
        )
    write_recorded(timings, bytes(config.get_timing_cache().serialize()), identity)
    return bytes(plan)


def _timing_cache(folder: Path, machine: Machine) -> tuple[Path, dict[str, str]]:
    """File of the measured times of kernels, shared by all engines of a machine, and its identity."""
    identity = asdict(machine)
    return folder / ENGINES / f"timing-{digest(identity)}.cache", identity
