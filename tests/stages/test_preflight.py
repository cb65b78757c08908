"""The check before a run: models, tools, machine, the next step."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from voiceclone.assets import fetch_asset, preflight
from voiceclone.assets.preflight import BAD, GOOD, LATER, Preflight, inspect, preflight_table
from voiceclone.config.config import Config
from voiceclone.config.load import load_config
from voiceclone.errors import ConfigError

REPOSITORY = Path(__file__).resolve().parents[2]
DATA = b"weights"
MODELS = ("whisper-base", "dnsmos", "campplus", "ge2e", "distillmos")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder whose models come from a local folder."""
    monkeypatch.delenv("VOICECLONE_MODELS", raising=False)
    (tmp_path / "config").mkdir()
    (tmp_path / "model.bin").write_bytes(DATA)
    pin = {"size": len(DATA), "sha256": hashlib.sha256(DATA).hexdigest()}
    entry = {
        "kind": "asr", "licence": "MIT", "files": {"model.bin": pin},
        "sources": [
            {"local": str(tmp_path / "model.bin")},
            {"hub": {"repository": "a/b", "revision": "main", "files": {"model.bin": "model.bin"}}},
        ],
    }  # fmt: skip
    (tmp_path / "config" / "assets.yaml").write_text(yaml.safe_dump({"assets": dict.fromkeys(MODELS, entry)}))
    return tmp_path


def config(**values: Any) -> Config:
    return Config.model_validate({"separate": {"mode": "never"}, **values})


def row(result: Preflight, name: str) -> Any:
    return next(row for row in result.rows if row.name == name)


def fetch(project: Path, name: str) -> Path:
    return fetch_asset(name, project / "resources" / "models", project / "config" / "assets.yaml")


def test_missing_present_and_damaged_models_are_told_apart(project: Path) -> None:
    path = fetch(project, "dnsmos")
    fetch(project, "ge2e")
    (path.parent / "model.bin").write_bytes(b"x")
    result = inspect(config(), project)
    assert (row(result, "ge2e").state, row(result, "whisper-base").state) == (GOOD, LATER)
    assert "missing, local" in row(result, "whisper-base").detail
    assert (row(result, "dnsmos").state, row(result, "dnsmos").bytes_to_fetch) == (LATER, len(DATA))
    assert "damaged (model.bin has 1 bytes, expected 7)" in row(result, "dnsmos").detail
    assert result.problems == []
    assert result.next_step == "ready; 28 B of models will be fetched by the run"


def test_offline_without_the_model_is_a_problem_with_a_way_out(project: Path) -> None:
    (project / "model.bin").unlink()
    result = inspect(config(offline=True), project)
    assert row(result, "campplus").state == BAD
    assert "hub a/b@main: not tried: offline" in row(result, "campplus").detail
    assert result.next_step.startswith("put model.bin into FOLDER/")
    assert "offline: false" in result.next_step


def test_ones_own_copy_is_seen(project: Path) -> None:
    (project / "model.bin").unlink()
    for name in MODELS:
        (project / "mine" / name).mkdir(parents=True)
    result = inspect(config(offline=True, models_dir=str(project / "mine")), project)
    assert result.problems == []


def test_no_ffmpeg(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(project))
    result = inspect(config(), project)
    assert row(result, "ffmpeg").state == BAD
    assert result.next_step == "install ffmpeg, for example: apt install ffmpeg"


def test_a_compiler_that_is_needed(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(project))
    monkeypatch.delenv("CXX", raising=False)
    assert row(inspect(config(), project), "compiler").state == GOOD
    missing = row(inspect(config(runtime={"compile": True}), project), "compiler")
    assert missing.state == BAD and "install a C++ compiler" in missing.todo
    (project / "g++").write_text("#!/bin/sh\n")
    (project / "g++").chmod(0o755)
    found = row(inspect(config(runtime={"compile": True}), project), "compiler")
    assert (found.state, found.detail) == (GOOD, str(project / "g++"))


def test_the_driver_names_the_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for address, text in (("0000:01:00.0", "Model: \t\t NVIDIA L4\nIRQ:   \t\t 42\n"), ("0000:02:00.0", "")):
        (tmp_path / address).mkdir()
        (tmp_path / address / "information").write_text(text)
    monkeypatch.setattr(preflight, "DRIVER", tmp_path)
    assert preflight.gpus_here() == ["NVIDIA L4", "0000:02:00.0"]


def test_a_full_disk(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**12, 10**12, 10**6))
    result = inspect(config(), project)
    assert row(result, "disk").detail.startswith("1.0 MB free")
    assert "free 2.0 GB on the disk" in result.next_step


@pytest.mark.skipif(Path("/proc/driver/nvidia/gpus").exists(), reason="this machine has an NVIDIA GPU")
def test_a_gpu_that_is_demanded_but_not_there(project: Path) -> None:
    result = inspect(config(runtime={"device": "cuda"}), project)
    assert result.next_step == "set runtime.device to auto or cpu"
    assert row(inspect(config(), project), "GPU").state == GOOD


def test_the_table_shows_every_line_and_the_next_step(project: Path) -> None:
    console = Console(record=True, width=200, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    console.print(preflight_table(config(), project))
    text = console.export_text()
    assert all(name in text for name in (*MODELS, "ffmpeg", "compiler", "disk", "memory", "processor", "GPU"))
    assert "next: ready; 35 B" in text


def test_it_neither_imports_torch_nor_takes_long() -> None:
    """As the workflow prints it at the start of every run; processor time, so that other work does not count."""
    code = (
        "import json, sys, time\n"
        "from pathlib import Path\n"
        "from voiceclone.config.load import load_config\n"
        "from voiceclone.assets.preflight import inspect\n"
        "root = Path(sys.argv[1])\n"
        "config = load_config(root=root)\n"
        "start = time.process_time()\n"
        "rows = len(inspect(config, root).rows)\n"
        "print(json.dumps([rows, time.process_time() - start, 'torch' in sys.modules, 'numpy' in sys.modules]))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(REPOSITORY)], capture_output=True, text=True, check=True)
    rows, seconds, torch, numpy = json.loads(done.stdout)
    assert rows == len(load_config(root=REPOSITORY).all_assets()) + 6
    assert (torch, numpy) == (False, False)
    assert seconds < 0.5


def test_sources_on_the_web_are_shown_and_not_counted_on_offline(project: Path) -> None:
    path = project / "config" / "assets.yaml"
    registry = yaml.safe_load(path.read_text())
    entry = registry["assets"]["dnsmos"]
    entry["sources"] = [
        {"url": {"files": {"model.bin": "https://models.example.org/dnsmos/model.bin"}}},
        {"modelscope": {"repository": "a/b", "files": {"model.bin": "model.bin"}}},
    ]
    path.write_text(yaml.safe_dump(registry | {"assets": registry["assets"] | {"dnsmos": entry}}))
    shown = row(inspect(config(), project), "dnsmos")
    assert shown.state == LATER and "url models.example.org" in shown.detail
    shown = row(inspect(config(offline=True), project), "dnsmos")
    assert shown.state == BAD and "modelscope a/b@master: not tried: offline" in shown.detail


@pytest.mark.parametrize("tier", ["few-shot", "full"])
def test_large_presets_are_refused_without_a_gpu_unless_the_processor_is_asked_for(
    project: Path, monkeypatch: pytest.MonkeyPatch, tier: str
) -> None:
    found: list[str] = []
    monkeypatch.setattr(preflight, "gpus_here", lambda: found)
    corpus = {"tier": tier}
    refused = row(inspect(config(corpus=corpus), project), "GPU")
    assert refused.state == BAD and tier in refused.detail and "runtime.device: cpu" in refused.todo
    with pytest.raises(ConfigError, match="GPU: none found"):
        preflight.start_preflight(config(corpus=corpus), project, [], here=True)
    with pytest.raises(ConfigError, match="GPU: none found"):  # a voice's own preset counts too
        preflight.start_preflight(config(), project, [config(corpus=corpus)], here=True)
    preflight.start_preflight(config(corpus=corpus), project, [], here=False)  # a cluster has its own
    asked_for = config(corpus=corpus, runtime={"device": "cpu"})
    assert row(inspect(asked_for, project), "GPU").state == GOOD
    found.append("0000:01:00.0")
    assert row(inspect(config(corpus=corpus), project), "GPU").state == GOOD
