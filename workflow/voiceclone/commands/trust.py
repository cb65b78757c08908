"""Commands about where a voice comes from and who agreed: ``voiceclone consent``, ``withdraw``, ``explain``,
``diagnose``."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer

from voiceclone.errors import EXIT_FAILURE, ConfigError, DataError
from voiceclone.files import check_speaker, read_json
from voiceclone.lineage.rights import CONSENT_FILE, Consent, Scope, in_words, read_rights, write_consent

RootOption = Annotated[Path, typer.Option("--root", help="Working folder with config/, resources/ and results/.")]
SpeakersOption = Annotated[
    Path | None, typer.Option("--speakers-dir", help="Folder of the speakers; default: as the configuration says.")
]


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    app.command()(consent)
    app.command()(withdraw)
    app.command()(explain)
    app.command()(diagnose)


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
        raise DataError(f"{folder / CONSENT_FILE}: already exists", "--replace overwrites it")
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
    from voiceclone.lineage.user_cache import cache_folder
    from voiceclone.lineage.withdrawal import (
        TOMBSTONES,
        affected_voices,
        bury,
        derived_files,
        forget,
        shared_files,
        withdrawal_of,
    )
    from voiceclone.speaking.voices import REFERENCES
    from voiceclone.training.housekeeping import Garbage, find_runs, folder_size, remove_all

    gone = withdrawal_of(root, name, recording)
    voices = affected_voices(gone)
    items = [(path, why) for voice, why in voices.items() for path in derived_files(root / "results" / voice, gone)]
    items += shared_files(root, cache_folder(REFERENCES))
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


def explain(
    name: Annotated[str, typer.Argument(help="Name of the voice.")],
    file: Annotated[Path | None, typer.Argument(help="A file below results; none: what would run.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON value.")] = False,
    root: RootOption = Path(),
) -> None:
    """Say which stages the command of the last run would run again, and why; or what a file was made from."""
    from voiceclone.lineage.explain import explain_file, explain_voice, read_graph

    check_speaker(name)
    if file is not None:
        made = explain_file(root, file)
        typer.echo(json.dumps(made, ensure_ascii=False, sort_keys=True, indent=2) if as_json else _made(made))
        return
    config = _config_of_last_run(root, name)
    folder = root / config.speakers_dir / name
    consent = _consent_problem(folder, root, name)
    jobs = explain_voice(root, name, config, _changed(root, folder))
    if as_json:
        typer.echo(json.dumps({"voice": name, "consent": consent, "jobs": jobs}, ensure_ascii=False, indent=2))
        return
    if consent:
        typer.echo(f"consent: {consent}")
    if not jobs:
        started = "of this voice" if read_graph(root) else "in this folder"
        typer.echo(
            f"no run {started} is recorded: all stages would run" + (", as far as the corpus" if consent else "")
        )
        return
    planned = [job for job in jobs if job["reasons"]]
    for job in planned:
        took = f"; took {job['seconds']:.0f} s" if job["seconds"] is not None else ""
        typer.echo(f"{job['stage']:<14} {'; '.join(job['reasons'][:4])}{took}")
    known = sum(job["seconds"] or 0 for job in planned)
    typer.echo(f"{len(planned)} of {len(jobs)} jobs would run, {known:.0f} s as they took last time")


def _config_of_last_run(root: Path, name: str) -> Any:
    """The configuration of a voice, with what the command of the last run set."""
    from voiceclone.cli import overrides
    from voiceclone.config.load import load_voice, merged, read_yaml
    from voiceclone.files import read_jsonl

    history = root / "results" / "runs.jsonl"
    command = read_jsonl(history)[-1]["command"] if history.is_file() else []
    given = _values_of("--configfile", command) + _values_of("--configfiles", command)
    more: dict[str, Any] = {}
    for path in given:
        more = merged(more, read_yaml(root / path))
    pairs = [pair for pair in _values_of("--config", command) + _values_of("-C", command) if "=" in pair]
    return load_voice(merged(more, overrides(pairs)), root, name)


def _values_of(option: str, command: list[str]) -> list[str]:
    """The values that follow an option, up to the next one."""
    found: list[str] = []
    for place, word in enumerate(command):
        if word == option:
            for value in command[place + 1 :]:
                if value.startswith("-"):
                    break
                found.append(value)
    return found


def _consent_problem(folder: Path, root: Path, name: str) -> str:
    """Why nothing beyond the corpus would be made; empty: it would."""
    from voiceclone.lineage.rights import require_consent
    from voiceclone.lineage.withdrawal import EVERYTHING, TOMBSTONES, withdrawn_from

    if EVERYTHING in withdrawn_from(root, name):
        return f"withdrawn, see {TOMBSTONES}"
    if not folder.is_dir():
        return ""
    try:
        require_consent(read_rights(folder), folder)
    except DataError as error:
        return error.message
    return ""


def _changed(root: Path, folder: Path) -> dict[str, str]:
    """What a run would notice in the speaker's folder before it plans, by the file that it would write."""
    from voiceclone.corpus.inventory import CACHE, list_recordings, read_inventory
    from voiceclone.lineage.rights import record_rights
    from voiceclone.lineage.withdrawal import withdrawn_from

    table = root / "results" / folder.name / "inventory.tsv"
    if not table.is_file() or not folder.is_dir():
        return {}
    cache, before = table.with_name(CACHE), {entry.file: entry.sha256 for entry in read_inventory(table)}
    known = read_json(cache) if cache.is_file() else {}
    now = {entry.file: entry.sha256 for entry, _ in list_recordings(folder, known)}
    what = [f"new recording {file}" for file in sorted(now.keys() - before.keys())]
    what += [f"recording gone: {file}" for file in sorted(before.keys() - now.keys())]
    what += [f"recording changed: {file}" for file in sorted(now.keys() & before.keys()) if now[file] != before[file]]
    found = {f"results/{folder.name}/inventory.tsv": "; ".join(what)} if what else {}
    with TemporaryDirectory() as place:
        stated = Path(place) / "rights.json"
        record_rights(folder, stated, withdrawn_from(root, folder.name))
        recorded = table.with_name("rights.json")
        if recorded.is_file() and read_json(stated) != read_json(recorded):
            found[f"results/{folder.name}/rights.json"] = "licence or consent changed"
    return found


def _made(made: dict[str, Any]) -> str:
    """What made a file, for people."""
    took = f" in {made['seconds']:.0f} s" if made["seconds"] is not None else ""
    revision = f", revision {made['revision']}" if made["revision"] else ""
    lines = [f"{made['file']}: {made['stage']}, {made['made']}{took}{revision}"]
    lines += [f"  from       {name}" for name in made["inputs"]]
    lines += [f"  after      {', '.join(dict.fromkeys(made['before']))}"] if made["before"] else []
    lines += [f"  recording  {one['file']}  sha256 {one['sha256'][:16]}" for one in made["recordings"]]
    lines += [f"  model      {one['name']}  {one['licence']}  {one['digest']}" for one in made["models"]]
    lines += [
        f"  training   {kind} {one['fingerprint']}, step {one.get('step')}" for kind, one in made["trained"].items()
    ]
    return "\n".join(lines)


def diagnose(
    name: Annotated[str, typer.Argument(help="Name of the voice.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Default: NAME-problem.zip.")] = None,
    transcripts: Annotated[bool, typer.Option("--transcripts", help="With what is said in the recordings.")] = False,
    root: RootOption = Path(),
) -> None:
    """Write one archive for a report of a problem: settings, logs, tables, machine; no sound, no words, no names."""
    from voiceclone.lineage.diagnose import diagnose as write_archive

    target = output or Path(f"{check_speaker(name)}-problem.zip")
    files = write_archive(root, name, target, transcripts)
    typer.echo(f"{target}: {len(files)} files; look through it before you send it")
