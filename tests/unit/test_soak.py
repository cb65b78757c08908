"""A voice that speaks for long takes no more memory than one that spoke a few sentences."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from voiceclone.config.export import ExportSettings
from voiceclone.export.bundle import export_voice

from .voice_fixture import make_voice


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    "sentences", [pytest.param(45, marks=pytest.mark.slow), pytest.param(200, marks=pytest.mark.benchmark)]
)
def test_memory_does_not_grow_with_the_number_of_sentences(tmp_path: Path, sentences: int) -> None:
    root = make_voice(tmp_path)
    export_voice(root / "models", root / "features", "onnx-fp32", root / "bundle", ExportSettings(), "anna")
    command = [sys.executable, str(Path(__file__).with_name("soak.py")), str(root / "bundle"), str(sentences)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    before, after, seconds = map(float, done.stdout.split())
    print(f"\n{sentences} sentences, {seconds:.0f} s of speech: {before:.0f} MB, then {after:.0f} MB")
    assert seconds > sentences / 10
    assert after < 1.05 * before
