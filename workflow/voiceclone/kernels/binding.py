"""Compiles the kernels for this machine, once, and describes its functions."""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import platform
import shutil
import subprocess
from ctypes import POINTER, Structure, c_float, c_int, c_int32, c_long, c_void_p
from functools import cache
from pathlib import Path
from typing import Any

from voiceclone.files import atomic_path

log = logging.getLogger(__name__)

FOLDER = Path(__file__).parent
SOURCES = ("team.c", "transformer.c", "convolution.c", "waveform.c")
HEADERS = ("vectors.h", "products.h", "linear.h")
FLAGS = (
    "-std=gnu11", "-O3", "-march=native", "-fPIC", "-shared", "-pthread",
    "-fno-math-errno", "-fno-trapping-math", "-fno-signed-zeros", "-ffinite-math-only",
)  # fmt: skip
#: Outputs that the kernels make at once, and of which weights are packed; see ``products.h``.
PANEL = 16
#: Limit of the threads that the kernels start.
MAX_THREADS = 64
#: Samples between frames of a source-filter decoder whose waveform they make.
KERNEL_HOP = 320
FLOAT32, FLOAT16, INT8, INT4 = range(4)


class Linear(Structure):
    """Weights (outputs, inputs) in panels, with what belongs to each output."""

    _fields_ = [
        ("kind", c_int32), ("inputs", c_int32), ("outputs", c_int32),
        ("weights", c_void_p), ("scales", c_void_p), ("bias", c_void_p), ("sums", c_void_p),
    ]  # fmt: skip


class Layer(Structure):
    """A layer of the text-to-semantic network with its keys and values (heads, capacity, width)."""

    _fields_ = [
        *((name, Linear) for name in ("joint", "out", "up", "down")),
        *((name, c_void_p) for name in ("norm1", "norm1_bias", "norm2", "norm2_bias", "keys", "values")),
    ]


class Network(Structure):
    """The layers, and the projection to logits."""

    _fields_ = [
        *((name, c_int32) for name in ("layers", "heads", "width", "capacity")),
        ("layer", POINTER(Layer)), ("logits", Linear),
    ]  # fmt: skip


class Pass(Structure):
    """New rows that go through a network, and room for what is between."""

    _fields_ = [
        ("network", POINTER(Network)), ("x", c_void_p),
        *((name, c_long) for name in ("rows", "past", "phones")),
        *((name, c_void_p) for name in ("joint", "inner", "scores", "numbers", "logits")),
    ]  # fmt: skip


class Convolution(Structure):
    """A convolution of as many outputs as inputs, transformed; see :func:`voiceclone.kernels.packing.toom_cook`."""

    _fields_ = [
        *((name, c_int32) for name in ("channels", "points", "groups", "dilation", "before")),
        *((name, c_void_p) for name in ("input", "output", "weights", "bias")),
    ]


class Shaping(Structure):
    """Pulses and noise, and the filters that make a waveform of them."""

    _fields_ = [
        *((name, c_void_p) for name in ("pulses", "noise", "harmonic", "quiet", "phase", "out")),
        ("frames", c_long),
    ]  # fmt: skip


@cache
def load_kernels() -> Any | None:
    """The compiled kernels, or None where there is no C compiler, or VOICECLONE_KERNELS=off: said in the log."""
    if os.environ.get("VOICECLONE_KERNELS", "auto") == "off":
        return None
    try:
        library = ctypes.CDLL(str(compiled()))
    except (OSError, subprocess.CalledProcessError) as error:
        text = getattr(error, "stderr", "") or error
        log.info("kernels for this processor are not used, onnxruntime does all: %s", text)
        return None
    library.start_team.argtypes = [c_int]
    library.run_network.argtypes = [POINTER(Pass)]
    library.windows.argtypes = [POINTER(Linear), c_void_p, c_long, c_long, c_void_p]
    library.filter.argtypes = [
        POINTER(Convolution), c_void_p, c_long, c_float, c_void_p, c_float, c_int, c_void_p,
    ]  # fmt: skip
    library.pulses.argtypes = [c_void_p, c_void_p, c_void_p, c_long, c_void_p]
    library.shape.argtypes = [POINTER(Shaping)]
    return library


def compiled() -> Path:
    """The shared library for this processor and source, built if it is missing: in the user's cache or, if it is
    set, in ``$VOICECLONE_CACHE``.

    Raises:
        OSError: no compiler, or a cache that cannot be written.
        CalledProcessError: the compiler fails.
    """
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None:
        raise FileNotFoundError("no C compiler (cc)")
    key = hashlib.sha256(b"".join((FOLDER / name).read_bytes() for name in SOURCES + HEADERS))
    key.update("\n".join([*FLAGS, compiler, platform.machine(), _processor()]).encode())
    usual = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "voiceclone"
    folder = Path(os.environ.get("VOICECLONE_CACHE") or usual) / "kernels"
    library = folder / f"{key.hexdigest()[:32]}.so"
    if not library.exists():
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with atomic_path(library) as made:
            command = [compiler, *FLAGS, "-o", str(made), *(str(FOLDER / name) for name in SOURCES), "-lm"]
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
    return library


def _processor() -> str:
    """The processor that the compiler's ``native`` means here: machines may share a cache."""
    info = Path("/proc/cpuinfo")
    if not info.exists():
        return platform.processor()
    wanted = ("flags", "Features", "model name")
    return "\n".join(sorted({line for line in info.read_text().splitlines() if line.startswith(wanted)}))
