"""Commands: ``voiceclone state`` and ``voiceclone gc`` list the states of trainings and delete stale ones."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from voiceclone.errors import EXIT_FAILURE, DataError
from voiceclone.files import check_speaker

ResultsOption = Annotated[Path, typer.Option(help="Folder of the results.")]


def speakers_of(results: Path, speaker: str | None) -> list[Path]:
    """Results folders of one speaker, or of all.

    Raises:
        DataError: there are none.
    """
    if speaker is not None:
        found = [results / check_speaker(speaker)]
    else:
        found = sorted({path.parents[1] for pattern in ("*/state/*", "*/features/*") for path in results.glob(pattern)})
    if not found or not found[0].is_dir():
        raise DataError(
            f"{found[0] if found else results}: no results there", "run the workflow first, or name --results"
        )
    return found


def show_state(results: Path, speaker: str | None, clear: bool) -> None:
    """Print the trainings of one or all speakers."""
    from voiceclone.training.housekeeping import clear_failures, state_lines

    if clear:
        if speaker is None:
            raise DataError("--clear needs the name of a speaker", "voiceclone state NAME --clear")
        for line in clear_failures(results, speaker) or ["no training has failed for good"]:
            typer.echo(line)
        return
    for voice in speakers_of(results, speaker):
        if speaker is None and not any(voice.glob("state/*/*")):
            continue
        if speaker is None:
            typer.echo(voice.name)
        for line in state_lines(results, voice.name):
            typer.echo(line)


def collect_garbage(results: Path, speaker: str | None, delete: bool) -> None:
    """Print stale files, and delete them on request."""
    from voiceclone.assets.fetch import human_size
    from voiceclone.training.housekeeping import find_garbage, remove_all

    found = [item for voice in speakers_of(results, speaker) for item in find_garbage(voice)]
    for item in found:
        typer.echo(f"{human_size(item.size):>8}  {item.path}  ({item.why})")
    size = human_size(sum(item.size for item in found))
    if not found:
        typer.echo("nothing to delete")
    elif not delete:
        typer.echo(f"{size} in {len(found)} places; nothing was deleted: add --delete")
    else:
        freed, problems = remove_all(found)
        typer.echo(f"{human_size(freed)} deleted")
        for problem in problems:
            typer.echo(f"not deleted: {problem}", err=True)
        if problems:
            raise typer.Exit(EXIT_FAILURE)


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""

    @app.command()
    def state(
        speaker: Annotated[str | None, typer.Argument(help="Name of the speaker; none: all.")] = None,
        results: ResultsOption = Path("results"),
        clear: Annotated[bool, typer.Option("--clear", help="Retry trainings that failed for good.")] = False,
    ) -> None:
        """List the trainings: fingerprint, step, size, resumes, running process, and what differs between them."""
        show_state(results, speaker, clear)

    @app.command()
    def gc(
        speaker: Annotated[str | None, typer.Argument(help="Name of the speaker; none: all.")] = None,
        results: ResultsOption = Path("results"),
        delete: Annotated[bool, typer.Option("--delete", help="Delete what is listed.")] = False,
    ) -> None:
        """List states of earlier data and leftovers of killed stages; --delete removes them."""
        collect_garbage(results, speaker, delete)
