"""``voiceclone state``: the trainings of a speaker whose state is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from voiceclone.errors import DataError
from voiceclone.files import check_speaker, read_json
from voiceclone.lineage.fingerprint import Fingerprint, difference


def state_lines(results: Path, speaker: str) -> list[str]:
    """One line for each training of a speaker, newest first within its kind, and what changed since the one before.

    Raises:
        DataError: the speaker has no state.
    """
    lines = []
    for kind in ("gpt", "sovits"):
        root = results / check_speaker(speaker) / "state" / kind
        folders = [path.parent for path in root.glob("*/fingerprint.json")]
        folders.sort(key=lambda folder: (folder / "lock").stat().st_mtime, reverse=True)
        prints = [Fingerprint.from_dict(read_json(folder / "fingerprint.json")) for folder in folders]
        for index, folder in enumerate(folders):
            lines.append(f"{kind:<7} {_describe(folder)}")
            if index + 1 < len(folders):
                lines.append(
                    f"{'':<7} changed since {folders[index + 1].name}: {difference(prints[index + 1], prints[index])}"
                )
    if not lines:
        raise DataError(f"{results / speaker}: no training has been started", "run the workflow first")
    return lines


def _describe(folder: Path) -> str:
    """Key, newest step, size and, if there is one, the fatal failure of one training."""
    steps = sorted(path.name.removeprefix("step-") for path in folder.glob("step-*"))
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    newest = f"step {int(steps[-1])}" if steps else "no checkpoint"
    fatal = folder / "FATAL.json"
    failure = f"  FAILED: {read_json(fatal)['reason']}" if fatal.is_file() else ""
    return f"{folder.name}  {newest:<14} {len(steps)} checkpoints  {size / 1e6:8.1f} MB{failure}"


def register(app: typer.Typer) -> None:
    """Add the command to the program."""

    @app.command()
    def state(
        speaker: Annotated[str, typer.Argument(help="Name of the speaker.")],
        results: Annotated[Path, typer.Option(help="Folder of the results.")] = Path("results"),
    ) -> None:
        """List the trainings of a speaker: step, size, and what told them apart."""
        for line in state_lines(results, speaker):
            typer.echo(line)
