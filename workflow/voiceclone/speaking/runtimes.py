"""Chooses what runs an exported voice on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, get_args

from voiceclone.backends.backend import Backend, OnnxBackend
from voiceclone.errors import ConfigError
from voiceclone.targets import TENSORRT, runtime_of
from voiceclone.tensorrt.standard import StandardOnnxBackend

Engine = Literal["auto", "kernels", "onnxruntime"]
ENGINES = get_args(Engine)


def open_backend(
    folder: Path, description: dict[str, Any], threads: int = 0, device: str = "auto", engine: str = "auto"
) -> Backend:
    """What runs a bundle.

    Args:
        folder: the bundle's folder.
        description: its ``bundle.json``.
        threads: CPU threads; 0: as OMP_NUM_THREADS says, else all cores.
        device: ``cpu``, ``cuda``, or ``auto``: TensorRT for its targets, the CPU for the others.
        engine: on the CPU, ``auto``: the kernels where a C compiler made them, else onnxruntime.

    Raises:
        ConfigError: the device or the engine cannot run this bundle here.
    """
    if engine not in ENGINES:
        raise ConfigError(f"engine {engine!r}: one of {', '.join(ENGINES)} expected")
    if runtime_of(description["target"]) == TENSORRT:
        return _open_tensorrt(folder, description, threads, device == "cpu" or engine == "onnxruntime")
    from voiceclone.speaking.kernel_backend import KernelBackend, runs_with_kernels

    fits = device != "cuda" and engine != "onnxruntime" and runs_with_kernels(description)
    if engine == "kernels" and not fits:
        raise ConfigError(
            f"engine kernels: not for bundle {description['target']} on this machine",
            "they need a CPU, a C compiler (cc) and an onnx target; or take the engine onnxruntime",
        )
    if fits:
        return KernelBackend(folder, description, threads)
    return OnnxBackend(folder, description, threads, "cuda" if device == "cuda" else "cpu")


def _open_tensorrt(folder: Path, description: dict[str, Any], threads: int, on_cpu: bool) -> Backend:
    if on_cpu:
        return StandardOnnxBackend(folder, description, threads)
    from voiceclone.tensorrt.engines import why_not

    reason = why_not()
    if reason:
        raise ConfigError(
            f"bundle {description['target']}: {reason}",
            "speak on one that has it, with another bundle, or with --engine onnxruntime: slowly, on the CPU",
        )
    from voiceclone.tensorrt.runtime import TensorRTBackend

    return TensorRTBackend(folder, description)
