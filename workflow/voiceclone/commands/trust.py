"""Commands about where a voice comes from and who agreed: ``voiceclone consent`` and ``voiceclone withdraw``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from voiceclone.errors import EXIT_FAILURE, ConfigError, DataError
from voiceclone.files import check_speaker
from voiceclone.lineage.rights import CONSENT_FILE, Consent, Scope, in_words, read_rights, write_consent

RootOption = Annotated[Path, typer.Option("--root", help="Working folder with config/, resources/ and results/.")]
SpeakersOption = Annotated[
    Path | None, typer.Option("--speakers-dir", help="Folder of the speakers; default: as the configuration says.")
]


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    app.command()(consent)
    app.command()(withdraw)


def folder_of(name: str, root: Path, speakers: Path | None) -> Path:
    """The folder of a speaker's recordings.

    Raises:
        DataError: there is none.
    """
    from voiceclone.config.load import load_config

    place = speakers if speakers is not None else root / load_config(root=root).speakers_dir
    folder = place / check_speaker(name)
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder", "put the recordings there, or name --speakers-dir")
    return folder


def _about(name: str) -> Any:
    """An option whose help is the description of the field of the file."""
    return typer.Option(help=Consent.model_fields[name].description)


def consent(
    name: Annotated[str, typer.Argument(help="Name of the speaker.")],
    myself: Annotated[bool, typer.Option("--myself", help="It is your own voice.")] = False,
    who: Annotated[str, _about("who")] = "",
    scope: Annotated[Scope | None, _about("scope")] = None,
    purpose: Annotated[list[str] | None, typer.Option(help="What it may be used for; repeatable.")] = None,
    language: Annotated[list[str] | None, typer.Option(help="Language it may speak; repeatable. None: all.")] = None,
    expires: Annotated[str, _about("expires")] = "",
    evidence: Annotated[
        Path | None, typer.Option(help="What the person signed or said; copied beside it.", exists=True, dir_okay=False)
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace the consent that is there.")] = False,
    speakers_dir: SpeakersOption = None,
    root: RootOption = Path(),
) -> None:
    """Write down what the owner of a voice has agreed to; without options it asks."""
    folder = folder_of(name, root, speakers_dir)
    if (folder / CONSENT_FILE).exists() and not replace:
        raise DataError(f"{folder / CONSENT_FILE}: is there already", "--replace writes it anew")
    values: dict[str, Any] = {
        "myself": myself, "who": who, "scope": scope, "purposes": purpose, "languages": language, "expires": expires,
    }  # fmt: skip
    values = {key: value for key, value in values.items() if value}
    if not values and evidence is None:
        values, evidence = _asked()
    if not values.get("myself") and not (values.get("who") and values.get("purposes")):
        raise ConfigError("--who and --purpose are needed, or --myself", "without any option it asks")
    place = write_consent(folder, values, evidence)
    typer.echo(f"{place}: {in_words(read_rights(folder).as_notes())}")


def _asked() -> tuple[dict[str, Any], Path | None]:
    """The answers of a person, and the evidence."""
    if typer.confirm("Are these recordings of your own voice?", default=False):
        return {"myself": True}, None
    values: dict[str, Any] = {"who": typer.prompt("Whose voice is it?")}
    typer.echo(f"A consent has a scope. {Consent.model_fields['scope'].description}")
    values["scope"] = typer.prompt("How far does the consent go?", default="private")
    values["purposes"] = [typer.prompt("For what may the voice be used?")]
    if languages := typer.prompt("Languages, as en,de (empty: all)", default="", show_default=False):
        values["languages"] = [one.strip() for one in languages.split(",")]
    if expires := typer.prompt("Last day, as 2027-12-31 (empty: until withdrawn)", default="", show_default=False):
        values["expires"] = expires
    return values, Path(typer.prompt("File of what the person signed or said"))


def withdraw(
    name: Annotated[str, typer.Argument(help="Name of the speaker.")],
    recording: Annotated[str, typer.Argument(help="File name, take id or sha256 of a recording; none: all.")] = "",
    delete: Annotated[bool, typer.Option("--delete", help="Delete what is listed, and never make it again.")] = False,
    root: RootOption = Path(),
) -> None:
    """List all that was made of a voice, or of one recording of it; --delete removes it and refuses it from then on."""
    from voiceclone.assets.fetch import human_size
    from voiceclone.lineage.withdrawal import (
        TOMBSTONES,
        affected_voices,
        bury,
        derived_files,
        forget,
        shared_files,
        withdrawal_of,
    )
    from voiceclone.speaking.reference import cache_folder
    from voiceclone.training.housekeeping import Garbage, find_runs, folder_size, remove_all

    gone = withdrawal_of(root, name, recording)
    voices = affected_voices(gone)
    items = [(path, why) for voice, why in voices.items() for path in derived_files(root / "results" / voice, gone)]
    items += shared_files(root, cache_folder())
    found = [Garbage(path, why, folder_size(path) if path.is_dir() else path.lstat().st_size) for path, why in items]
    for item in found:
        typer.echo(f"{human_size(item.size):>8}  {item.path}  ({item.why})")
    recordings = ", ".join(sorted(gone.recordings.values()))
    typer.echo(f"{human_size(sum(item.size for item in found))} in {len(found)} places, of {recordings or name}")
    if others := sorted(voices.keys() - {name}):
        typer.echo(f"voices that it went into: {', '.join(others)}")
    if not delete:
        typer.echo("nothing was deleted: add --delete")
        return
    running = [run for voice in voices for runs in find_runs(root / "results" / voice).values() for run in runs]
    if holders := [run.holder for run in running if run.holder]:
        raise DataError(f"a training of these voices is running: {', '.join(holders)}", "stop it first")
    bury(root, name, gone.recordings, gone.whole)
    freed, problems = remove_all(found)
    forget(gone, voices)
    typer.echo(f"{human_size(freed)} deleted; refused from now on: {root / TOMBSTONES}")
    typer.echo("not touched: the recordings themselves, and what was copied elsewhere: bundles, exported data, speech")
    for problem in problems:
        typer.echo(f"not deleted: {problem}", err=True)
    if problems:
        raise typer.Exit(EXIT_FAILURE)
