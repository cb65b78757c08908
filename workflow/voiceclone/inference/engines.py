"""Chooses what runs an exported voice on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, get_args

from voiceclone.errors import ConfigError
from voiceclone.inference.backend import Backend, OnnxBackend
from voiceclone.inference.kernel_backend import KernelBackend, runs_with_kernels
from voiceclone.inference.standard import is_tensorrt, open_standard

Engine = Literal["auto", "kernels", "onnxruntime"]
ENGINES = get_args(Engine)


def open_backend(
    folder: Path, description: dict[str, Any], threads: int = 0, device: str = "cpu", engine: str = "auto"
) -> Backend:
    """What runs a bundle.

    Args:
        folder: the bundle's folder.
        description: its ``bundle.json``.
        threads: 0: as OMP_NUM_THREADS says, else all cores.
        device: ``cpu`` or ``cuda``.
        engine: ``auto``: the kernels on a CPU where a C compiler made them, else onnxruntime; TensorRT for its targets.

    Raises:
        ConfigError: the device or the engine cannot run this bundle here.
    """
    if engine not in ENGINES:
        raise ConfigError(f"engine {engine!r}: one of {', '.join(ENGINES)} expected")
    if is_tensorrt(description["target"]) and engine != "kernels":
        return open_standard(folder, description, threads, engine)
    fits = device == "cpu" and engine != "onnxruntime" and runs_with_kernels(description)
    if engine == "kernels" and not fits:
        raise ConfigError(
            f"engine kernels: not for bundle {description['target']} on {device} here",
            "they need a C compiler (cc) and an onnx target exported by this version; or take the engine onnxruntime",
        )
    if fits:
        return KernelBackend(folder, description, threads)
    return OnnxBackend(folder, description, threads, device)
