"""The history of runs, and what a person reads when one starts, ends or fails."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from voiceclone import __version__
from voiceclone.files import canonical_json, digest, write_json


def git_state(folder: Path) -> dict[str, Any]:
    """Commit of the checkout and whether it has changes: ``{"commit": str | None, "dirty": bool | None}``."""

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", *arguments], cwd=folder, capture_output=True, text=True, check=False, timeout=20
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    commit = git("rev-parse", "HEAD")
    status = git("status", "--porcelain", "--untracked-files=no")
    return {"commit": commit, "dirty": None if status is None else bool(status)}


def use_this_python() -> None:
    """Make plain ``python`` in rules the interpreter that runs now, whether or not its environment was activated."""
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"


def record_start(
    config: Any, root: Path, speakers: list[str], voices: Mapping[str, Any] | None = None, here: bool = True
) -> None:
    """Write the effective configurations and the runtime block, append to the run history, print the preflight table.

    Args:
        config: that of the run.
        root: the working folder.
        speakers: names of the voices.
        voices: configurations of those that have their own; they lie in ``results/NAME/config.json``.
        here: whether the stages run on this machine.

    Raises:
        ConfigError: the run needs a GPU and there is none.
    """
    from voiceclone.assets.preflight import start_preflight

    results = root / "results"
    effective = config.model_dump(mode="json")
    write_json(results / "config.json", effective)
    write_json(results / "runtime.json", effective["runtime"])
    own = {name: one.model_dump(mode="json") for name, one in (voices or {}).items()}
    for name in speakers:
        if name in own:
            write_json(results / name / "config.json", own[name])
        else:
            (results / name / "config.json").unlink(missing_ok=True)
    entry = {
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "command": sys.argv,
        "speakers": speakers,
        "config": digest(effective),
        "version": __version__,
        "git": git_state(root),
    }
    if own:
        entry["voices"] = {name: digest(values) for name, values in own.items()}
    with (results / "runs.jsonl").open("a", encoding="utf-8") as handle:
        handle.write(canonical_json(entry) + "\n")
    start_preflight(config, root, list((voices or {}).values()), here)


def results_summary(results: Path, speakers: list[str]) -> str:
    """Paths of the reports and of three samples for each speaker that has them."""
    lines = []
    for speaker in speakers:
        page = results / speaker / "report.html"
        if not page.is_file():
            continue
        lines.append(f"\n{speaker}\n  report       {page}")
        for target in ("recordings", "resynthesis", "onnx-fp32"):
            samples = sorted((results / speaker / "eval" / target / "samples").glob("*.flac"))
            if samples:
                lines.append(f"  {target:<12} {samples[0]}")
        bundles = sorted((results / speaker / "export").glob("*/bundle.json"))
        if bundles:
            program = os.path.relpath(Path(sys.executable).with_name("voiceclone"))
            lines.append(f'  speak        {program} say --bundle {bundles[0].parent} --text "Hello." -o hello.wav')
    index = results / "report" / "index.html"
    if lines and index.is_file():
        lines.append(f"\nall speakers  {index}")
    return "\n".join(lines)


def last_error(results: Path, since: float = 0.0) -> str:
    """The error that the stage logs name last, with its log's path; empty if none was written after ``since``."""
    logs = [*results.glob("*/logs/*.log"), *results.glob("logs/**/*.log")]
    for path in sorted(logs, key=lambda log: log.stat().st_mtime, reverse=True):
        if path.stat().st_mtime < since:
            break
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        errors = [number for number, line in enumerate(lines) if " ERROR " in line or "error:" in line]
        if errors:
            return "\n".join([f"{path}:", *(f"  {line}" for line in lines[errors[-1] :][:40])])
    return ""


def continue_hint(results: Path) -> str:
    """What happened and what to do after a run that did not finish."""
    started = (results / "runs.jsonl").stat().st_mtime if (results / "runs.jsonl").is_file() else 0.0
    return (
        f"\n{last_error(results, started)}\n"
        "\nThe run did not finish. Nothing that was done is lost.\n"
        f"  logs     {results}/NAME/logs/RULE.log says what happened\n"
        "  go on    type the same command again; finished stages are kept, trainings continue from their last step\n"
        "  locked?  after a power cut or kill -9 first: snakemake --unlock"
    )
