"""The known errors of this stack: each is in the manual with its cure, and none happens in this environment."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import torch

from voiceclone.training.step import is_out_of_memory

REPOSITORY = Path(__file__).resolve().parents[2]
PAGE = (REPOSITORY / "docs" / "troubleshooting.md").read_text(encoding="utf-8")


def cure(message: str) -> str:
    """What the manual says to do about a message."""
    rows = [line for line in PAGE.splitlines() if f"`{message}`" in line.split(" | ")[0]]
    assert len(rows) == 1, message
    return rows[0].split(" | ", 1)[1]


@pytest.mark.parametrize("name", ["annotated_types", "regex", "einops"])
def test_modules_that_go_missing_are_pinned_and_there(name: str) -> None:
    package = name.replace("_", "-")
    lock = (REPOSITORY / "requirements.lock.txt").read_text(encoding="utf-8")
    assert f"\n{package}=={version(package)}\n" in lock
    __import__(name)
    assert "make clean-venv setup" in cure(f"No module named '{name}'")


@pytest.mark.parametrize(
    ("user", "needed"),
    [
        ("voiceclone.config.config", "annotated_types"),
        ("transformers.dependency_versions_check", ""),
        ("audio_separator.separator.uvr_lib_v5.roformer.bs_roformer", "einops"),
    ],
)
def test_what_needs_them_is_imported(user: str, needed: str) -> None:
    """Transformers asks for the version of regex without importing it."""
    program = f"import sys, {user}; assert {needed!r} in (*sys.modules, '')"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_libsndfile_comes_with_its_package_and_writes(tmp_path: Path) -> None:
    import soundfile

    assert soundfile.__libsndfile_version__ >= "1.1"
    soundfile.write(tmp_path / "a.flac", np.zeros(100, np.float32), 16000)
    assert len(soundfile.read(tmp_path / "a.flac")[0]) == 100
    assert "libsndfile1" in cure("sndfile library not found")


def test_a_full_gpu_is_told_from_other_errors() -> None:
    """What the training then does is in test_accumulation."""
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.00 GiB."))
    assert not is_out_of_memory(RuntimeError("CUDA error: device-side assert triggered"))
    assert "gradient_checkpointing" in cure("CUDA out of memory") and "device: cpu" in cure("CUDA out of memory")


def test_the_cure_is_a_target_of_the_makefile() -> None:
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    assert {"clean-venv", "setup"} <= set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
