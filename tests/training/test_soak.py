"""A voice that speaks for long takes no more memory than one that spoke a few sentences.

A thousand sentences take some minutes: ``python -m pytest -m benchmark -s tests/training/test_soak.py``.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.voice_fixture import make_voice

from voiceclone.export.bundle import export_voice
from voiceclone.stages.export import ExportSettings


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    "sentences", [pytest.param(45, marks=pytest.mark.slow), pytest.param(1000, marks=pytest.mark.benchmark)]
)
def test_memory_does_not_grow_with_the_number_of_sentences(tmp_path: Path, sentences: int) -> None:
    root = make_voice(tmp_path)
    export_voice(root / "models", root / "features", "onnx-fp32", root / "bundle", ExportSettings(), "anna")
    command = [
        sys.executable,
        str(Path(__file__).parents[1] / "support" / "soak.py"),
        str(root / "bundle"),
        str(sentences),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    spoken = json.loads(done.stdout)
    curve = spoken["megabytes"]
    print(f"\n{sentences} sentences, {spoken['seconds']:.0f} s of speech, MB:", *(f"{value:.0f}" for value in curve))
    assert len(curve) == 11 and spoken["seconds"] > sentences / 10
    assert max(curve) < 1.05 * curve[0]
