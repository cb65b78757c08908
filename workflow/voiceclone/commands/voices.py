"""Commands: ``voiceclone import`` and ``voiceclone export-upstream``, voices from and to the public program."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add this package's commands to the program."""
    app.command("import")(import_)
    app.command("export-upstream")(export)


def import_(
    gpt: Annotated[Path, typer.Option(help="GPT file, .ckpt.", exists=True, dir_okay=False)],
    sovits: Annotated[Path, typer.Option(help="SoVITS file of v2 or v2Pro, .pth.", exists=True, dir_okay=False)],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of models to make.")],
) -> None:
    """Take over a voice that was trained with GPT-SoVITS."""
    from voiceclone.export.upstream import import_voice

    for line in import_voice(gpt, sovits, output):
        typer.echo(line)
    typer.echo(f"{output}: written")


def export(
    models: Annotated[Path, typer.Option(help="Folder of trained models, results/NAME/models.", exists=True)],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for NAME.ckpt and NAME.pth.")],
    name: Annotated[str, typer.Option(help="Name of the files; left out: that of the voice.")] = "",
) -> None:
    """Write a voice as the two files that GPT-SoVITS loads."""
    from voiceclone.export.upstream import export_upstream

    for path in export_upstream(models, output, name):
        typer.echo(f"{path}: {path.stat().st_size / 1e6:.1f} MB")
