"""Device and threads of the feature encoders."""

from __future__ import annotations

from voiceclone.errors import ConfigError


def choose_device(wish: str, threads: int = 0) -> str:
    """The device to compute on, with torch's threads bounded.

    Args:
        wish: ``auto``, ``cpu`` or ``cuda``; auto takes CUDA where it works.
        threads: CPU threads; 0: torch's choice.

    Raises:
        ConfigError: CUDA was asked for and is not there.
    """
    import torch

    if threads > 0:
        torch.set_num_threads(threads)
    if wish == "cpu":
        return "cpu"
    if torch.cuda.is_available():
        return "cuda"
    if wish == "cuda":
        raise ConfigError("runtime.device: cuda is not available on this machine", "set it to auto or cpu")
    return "cpu"
