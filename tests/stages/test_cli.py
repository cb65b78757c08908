"""The command voiceclone: preflight, models, messages and exit statuses."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from voiceclone.cli import app, overrides
from voiceclone.errors import ConfigError

REPOSITORY = Path(__file__).resolve().parents[2]
NEEDED = ("whisper-base", "dnsmos", "campplus", "ge2e", "distillmos")
runner = CliRunner()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the shipped presets and models of a few bytes from a local folder."""
    monkeypatch.delenv("VOICECLONE_MODELS", raising=False)
    monkeypatch.setenv("COLUMNS", "200")
    (tmp_path / "config").mkdir()
    shutil.copytree(REPOSITORY / "config" / "presets", tmp_path / "config" / "presets")
    (tmp_path / "config" / "config.yaml").write_text("preset: nano\nseparate: {mode: never}\n")
    (tmp_path / "model.bin").write_bytes(b"weights")
    pin = {"size": 7, "sha256": hashlib.sha256(b"weights").hexdigest()}
    entry = {
        "kind": "asr", "licence": "MIT", "files": {"model.bin": pin},
        "sources": [{"local": str(tmp_path / "model.bin")}],
    }  # fmt: skip
    assets = dict.fromkeys(NEEDED, entry) | {"base-tokenizer": {**entry, "kind": "tokenizer"}}
    (tmp_path / "config" / "assets.yaml").write_text(yaml.safe_dump({"assets": assets}))
    return tmp_path


def test_every_area_has_its_commands() -> None:
    text = runner.invoke(app, ["--help"]).output
    for command in (
        "preflight",
        "assets",
        "say",
        "bundle",
        "corrections",
        "list",
        "state",
        "import",
        "export-upstream",
    ):
        assert command in text
    for command in ("list", "fetch", "verify"):
        assert command in runner.invoke(app, ["assets", "--help"]).output


def test_preflight_then_fetch_then_verify(project: Path) -> None:
    root = ["--root", str(project)]
    first = runner.invoke(app, ["preflight", *root])
    assert first.exit_code == 0, first.output
    assert "will be fetched" in first.output
    fetched = runner.invoke(app, ["assets", "fetch", *root])
    assert fetched.exit_code == 0, fetched.output
    assert all((project / "resources" / "models" / name / "asset.json").is_file() for name in NEEDED)
    again = runner.invoke(app, ["preflight", *root])
    assert "next: ready" in again.output
    assert "will be fetched" not in again.output
    assert runner.invoke(app, ["assets", "verify", *root]).exit_code == 0
    (project / "resources" / "models" / "dnsmos" / "model.bin").write_bytes(b"WEIGHTS")
    damaged = runner.invoke(app, ["assets", "verify", *root])
    assert damaged.exit_code == 1
    assert "dnsmos: model.bin has another checksum" in damaged.output
    listed = runner.invoke(app, ["assets", "list", *root])
    assert all(name in listed.output for name in NEEDED)


def test_preflight_ends_with_1_where_a_run_cannot_finish(project: Path) -> None:
    (project / "model.bin").unlink()
    done = runner.invoke(app, ["preflight", "--root", str(project), "--set", "offline=true"])
    assert done.exit_code == 1
    assert "put model.bin into FOLDER/" in done.output


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["preflight", "--set", "slice.max_seconds=banana"], 2, ["slice.max_seconds: 'banana'"]),
        (["preflight", "--set", "slice"], 2, ["--set slice", "KEY=VALUE"]),
        (["preflight", "--set", "preset=huge"], 2, ["preset: 'huge'"]),
        (["assets", "fetch", "dnsmoss"], 1, ["'dnsmoss'", "did you mean 'dnsmos'"]),
    ],
)
def test_our_errors_are_messages(project: Path, arguments: list[str], status: int, words: list[str]) -> None:
    done = runner.invoke(app, [*arguments, "--root", str(project)])
    assert done.exit_code == status, done.output
    assert done.output.startswith("error: ")
    assert "Traceback" not in done.output
    for word in words:
        assert word in done.output


def test_overrides_are_nested_and_typed() -> None:
    given = ["slice.max_seconds=9", "slice.min_seconds=2", "offline=true", "separate.chain=[spleeter]"]
    assert overrides(given) == {
        "slice": {"max_seconds": 9, "min_seconds": 2},
        "offline": True,
        "separate": {"chain": ["spleeter"]},
    }
    with pytest.raises(ConfigError, match="KEY=VALUE"):
        overrides(["=3"])


def test_the_program_starts_without_torch() -> None:
    code = "import sys; from voiceclone.cli import app; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
