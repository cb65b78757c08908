"""Builds the engines of a bundle where TensorRT 10 or later and a GPU are present."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from voiceclone.errors import ConfigError, VoiceCloneError
from voiceclone.files import digest, read_json
from voiceclone.inference.engine_cache import (
    ENGINES,
    Engine,
    Machine,
    engines_of,
    read_recorded,
    why_not,
    write_recorded,
)

log = logging.getLogger(__name__)


def engine_note(folder: Path, description: dict[str, Any]) -> dict[str, str]:
    """Build what can be built; for ``bundle.json``: which machine the engines are for, or why there are none."""
    reason = why_not()
    if reason:
        log.warning("%s: engines are not built: %s", description["target"], reason)
        return {"not_built": reason}
    return asdict(build_engines(folder, description))


def build_engines(folder: Path, description: dict[str, Any]) -> Machine:
    """Build the engines of a bundle for this machine; those that are there and sound are kept.

    Args:
        folder: the bundle's folder.
        description: its ``bundle.json``.

    Raises:
        ConfigError: the bundle is for another runtime, or this machine has no TensorRT or no GPU.
        VoiceCloneError: TensorRT refuses a graph; the message has its reasons.
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
    """Delete engines of this machine that an earlier export left; those of other machines stay."""
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
            raise VoiceCloneError(f"engine of {engine.name}: profile {dict(shapes)} is refused", "report this")
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
    """File of the measured times of kernels, which all engines of a machine share, and what it is tied to."""
    identity = asdict(machine)
    return folder / ENGINES / f"timing-{digest(identity)}.cache", identity
