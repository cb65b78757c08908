"""Commands: ``voiceclone serve``, ``voiceclone keys`` of those who may use it, ``voiceclone studio``."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Annotated

import typer

from voiceclone.commands.options import EngineOption, NoticeOption, RootOption
from voiceclone.errors import ConfigError

FORMATS = ("mp3", "opus", "flac", "wav", "pcm")
KeysOption = Annotated[
    Path | None, typer.Option("--keys", help="File of keys; default: ~/.config/voiceclone/keys.json, where it is.")
]


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    app.command()(serve)
    app.command()(studio)
    keys = typer.Typer(help="Keys of a server.", no_args_is_help=True)
    keys.command("add")(add_key)
    keys.command("list")(list_keys)
    keys.command("revoke")(revoke_key)
    app.add_typer(keys, name="keys")


def serve(
    more: Annotated[list[Path] | None, typer.Argument(help="More bundles.", show_default=False)] = None,
    voices: Annotated[list[Path] | None, typer.Option("--voices", help="Folders of exported bundles.")] = None,
    host: Annotated[str, typer.Option(help="Address to listen on; others need keys, and TLS or a proxy.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port.")] = 8000,
    keys: KeysOption = None,
    tls_cert: Annotated[Path | None, typer.Option(help="Certificate, PEM.", exists=True, dir_okay=False)] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its private key, PEM.", exists=True, dir_okay=False)] = None,
    behind_proxy: Annotated[bool, typer.Option("--behind-proxy", help="A proxy in front of it encrypts.")] = False,
    wyoming: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of the Wyoming protocol (Home Assistant: 10200); 0: none.")
    ] = 0,
    workers: Annotated[int, typer.Option(min=0, help="Processes that speak; 0: one for each core.")] = 0,
    queue: Annotated[int, typer.Option(min=1, help="Requests that may wait.")] = 64,
    characters: Annotated[int, typer.Option(min=1, max=100_000, help="Longest text.")] = 4096,
    seconds: Annotated[float, typer.Option(min=1, help="Longest speech, and longest computing.")] = 600.0,
    audit: Annotated[Path | None, typer.Option(help="Log of requests, JSON lines, without texts.")] = None,
    audit_text: Annotated[bool, typer.Option("--audit-text", help="Texts too.")] = False,
    notice: NoticeOption = "auto",
    engine: EngineOption = "auto",
    root: RootOption = Path(),
) -> None:
    """Speak for programs and people: the interface of OpenAI's speech, and a page."""
    try:
        from voiceclone.serving.listen import Address, listen
        from voiceclone.serving.server import ServerSettings
        from voiceclone.serving.worker import WorkerSettings
    except ModuleNotFoundError as error:
        raise ConfigError(f"a server needs {error.name}", "install the extra: voiceclone[serve]") from error

    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    address = Address(host, port, tls_cert, tls_key, behind_proxy)
    keys = keys or (default_keys() if default_keys().is_file() else None)
    settings = ServerSettings(
        keys, audit, audit_text, characters, seconds, notice, local=address.is_local and not behind_proxy,
        wyoming=(host, wyoming) if wyoming else None,
    )  # fmt: skip
    scheme = "https" if tls_cert is not None else "http"
    typer.echo(f"{scheme}://{host}:{port}/ speaks; Ctrl-C ends it", err=True)
    listen([*(voices or []), *(more or [])], address, settings, workers, queue, seconds, WorkerSettings(root, engine))


def studio(
    options: Annotated[
        list[str] | None,
        typer.Argument(help="After --: further options of every run of snakemake.", show_default=False),
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of this machine; 0: any that is free.")] = 8765,
    browser: Annotated[bool, typer.Option(help="Open the page in a browser.")] = True,
    root: RootOption = Path(),
) -> None:
    """One page for the whole chain, from recordings to speech, for this machine alone. Ctrl-C ends the page, no run."""
    import secrets
    import signal
    import socket
    import webbrowser

    try:
        import uvicorn

        from voiceclone.serving.studio import create_app
    except ModuleNotFoundError as error:
        raise ConfigError(f"the studio needs {error.name}", "install the extra: voiceclone[all]") from error

    if not (root / "Snakefile").is_file():
        raise ConfigError(f"{root.absolute()}: no Snakefile there", "name the workflow's folder with --root")
    # Where a script has started this in the background, Ctrl-C is ignored, and the runs that are started would, too.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    token = secrets.token_urlsafe(32)
    with socket.create_server(("127.0.0.1", port)) as listener:
        address = f"http://127.0.0.1:{listener.getsockname()[1]}/?token={token}"
        typer.echo(f"{address}\nis for you alone; Ctrl-C ends the page, and stops no run")
        if browser:
            webbrowser.open(address)
        app = create_app(root, token, options or [])
        config = uvicorn.Config(app, log_level="warning", ws="none", timeout_graceful_shutdown=5)
        uvicorn.Server(config).run(sockets=[listener])


def add_key(
    name: Annotated[str, typer.Argument(help="Whose key it is.")],
    keys: KeysOption = None,
    voice: Annotated[list[str] | None, typer.Option(help="Voice that it may use; repeatable; default: all.")] = None,
    format: Annotated[
        list[str] | None, typer.Option(help="mp3, opus, flac, wav or pcm, which it may have; repeatable; default: all.")
    ] = None,
    per_minute: Annotated[int, typer.Option(min=0, help="Requests per minute; 0: no limit.")] = 60,
    characters_per_day: Annotated[int, typer.Option(min=0, help="Characters per day; 0: no limit.")] = 100_000,
    concurrent: Annotated[int, typer.Option(min=0, help="Requests at a time; 0: no limit.")] = 4,
) -> None:
    """Make a key and show it, once: the file keeps its hash alone."""
    from voiceclone.serving.access import Key, KeyFile

    if unknown := set(format or ()) - set(FORMATS):
        raise ConfigError(f"--format {', '.join(sorted(unknown))}: one of {', '.join(FORMATS)} expected")
    file = KeyFile(keys or default_keys())
    limits = Key("", name, "", tuple(voice or ()), tuple(format or ()), per_minute, characters_per_day, concurrent)
    typer.echo(file.add(limits))
    typer.echo(f"{file.path}: written; the key is not shown again", err=True)


def list_keys(keys: KeysOption = None) -> None:
    """All keys, a line each."""
    from voiceclone.serving.access import KeyFile

    for key in KeyFile(keys or default_keys()).all():
        state = f"revoked {key.revoked}" if key.revoked else "valid"
        limits = f"{key.per_minute}/minute, {key.characters_per_day} characters/day, {key.concurrent} at a time"
        scopes = f"voices {', '.join(key.voices) or 'all'}; formats {', '.join(key.formats) or 'all'}"
        typer.echo(f"{key.id}  {key.name}: {state}; {limits}; {scopes}; made {key.created}")


def revoke_key(
    id: Annotated[str, typer.Argument(help="Its first part after vc-, which 'keys list' shows.")],
    keys: KeysOption = None,
) -> None:
    """End a key, at once."""
    from voiceclone.serving.access import KeyFile

    KeyFile(keys or default_keys()).revoke(id)
    typer.echo(f"{id}: revoked")


def default_keys() -> Path:
    """Where keys are kept if no file is named."""
    home = os.environ.get("XDG_CONFIG_HOME")
    return (Path(home) if home else Path.home() / ".config") / "voiceclone" / "keys.json"
