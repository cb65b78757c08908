"""Sessions of onnxruntime: their threads, their memory and what they print."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal

CPU = ("CPUExecutionProvider",)


def onnx_session(
    model: Path | str | bytes,
    threads: int = 0,
    providers: Sequence[str] = CPU,
    *,
    memory: Literal["planned", "pool", "shared", "none"] = "planned",
    quiet: bool = False,
    spinning: bool = True,
) -> Any:
    """Open a graph.

    Args:
        model: a file, or the graph itself.
        threads: inside an operator; 0: one per core.
        providers: what runs it, the first that can.
        memory: ``planned``: onnxruntime plans its use for each shape of inputs and never drops a plan, which pays where
            shapes are few; with sentences of all lengths its pool grows for hours. ``pool``: without plans. ``shared``:
            without plans, all such sessions of the process in one pool; for graphs that run between kernels of
            ours. ``none``: not even a pool; what a run took goes when it ends.
        quiet: print errors only.
        spinning: whether its threads wait awake for work.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    if quiet:
        options.log_severity_level = 3
    options.enable_mem_pattern = memory == "planned"
    options.enable_cpu_mem_arena = memory != "none"
    if memory == "shared":
        _share_memory()
        options.add_session_config_entry("session.use_env_allocators", "1")
        # After a run the threads would wait awake for the next, on the cores that our kernels need then.
        options.add_session_config_entry("session.force_spinning_stop", "1")
    if not spinning:
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    source = model if isinstance(model, bytes) else str(model)
    return onnxruntime.InferenceSession(source, options, providers=list(providers))


@cache
def _share_memory() -> None:
    """Let sessions of this process take memory from one pool that grows by what is asked for.

    By default each has its own, which doubles as it grows.
    """
    from onnxruntime import OrtAllocatorType, OrtArenaCfg, OrtMemoryInfo, OrtMemType, create_and_register_allocator

    cpu = OrtMemoryInfo("Cpu", OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, OrtMemType.DEFAULT)
    create_and_register_allocator(cpu, OrtArenaCfg(0, 1, -1, -1))
