"""What a person reads when a run starts, ends or fails."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

from voiceclone.config.config import Config
from voiceclone.lineage.runs import continue_hint, git_state, last_error, record_start, results_summary


def test_history_grows_and_configuration_is_kept(tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config").symlink_to(Path(__file__).resolve().parents[2] / "config")
    for _ in range(2):
        record_start(Config(), tmp_path, ["anna"])
    runs = [json.loads(line) for line in (tmp_path / "results" / "runs.jsonl").read_text().splitlines()]
    assert [run["speakers"] for run in runs] == [["anna"], ["anna"]]
    assert runs[0]["config"] == runs[1]["config"]
    assert json.loads((tmp_path / "results" / "config.json").read_text())["slice"]["max_seconds"] == 12.0
    assert json.loads((tmp_path / "results" / "runtime.json").read_text())["device"] == "auto"
    assert "whisper-base" in capsys.readouterr().err


def test_state_of_the_checkout(tmp_path) -> None:
    assert git_state(tmp_path) == {"commit": None, "dirty": None}
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@example.org"]
    (tmp_path / "file").write_text("one")
    for command in (["init", "-q"], ["add", "file"], ["commit", "-qm", "one"]):
        subprocess.run([*git, *command], cwd=tmp_path, check=True)
    state = git_state(tmp_path)
    assert len(state["commit"]) == 40
    assert state["dirty"] is False
    (tmp_path / "file").write_text("two")
    assert git_state(tmp_path)["dirty"] is True


def test_failure_shows_the_newest_error(tmp_path) -> None:
    old, new = tmp_path / "anna" / "logs" / "takes.log", tmp_path / "anna" / "logs" / "slice.log"
    old.parent.mkdir(parents=True)
    old.write_text("12:00 ERROR voiceclone: an old one\n")
    os.utime(old, (1, 1))
    new.write_text("12:00 INFO fine\n12:01 ERROR voiceclone.stage: take-1: no speech\n  -> add recordings\n")
    text = last_error(tmp_path)
    assert text.startswith(str(new))
    assert "take-1: no speech" in text
    assert "-> add recordings" in text
    assert "an old one" not in text
    assert last_error(tmp_path, since=new.stat().st_mtime + 10) == ""
    assert "--unlock" in continue_hint(tmp_path)


def test_end_of_a_run_names_report_samples_and_bundle(tmp_path) -> None:
    assert results_summary(tmp_path, ["anna"]) == ""
    voice = tmp_path / "anna"
    for target in ("recordings", "resynthesis", "onnx-fp32"):
        folder = voice / "eval" / target / "samples"
        folder.mkdir(parents=True)
        (folder / "one.flac").touch()
    (voice / "report.html").touch()
    (voice / "export" / "onnx-fp32").mkdir(parents=True)
    (voice / "export" / "onnx-fp32" / "bundle.json").touch()
    text = results_summary(tmp_path, ["anna"])
    assert str(voice / "report.html") in text
    assert text.count("one.flac") == 3
    assert f"--bundle {voice / 'export' / 'onnx-fp32'}" in text
