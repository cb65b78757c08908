"""Commands: ``voiceclone base pack``, ``gates`` and ``install``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

RESULTS = Annotated[Path, typer.Option(help="Results of the gathered voice.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    base = typer.Typer(help="The base voice: pack it, measure it, install it.", no_args_is_help=True)
    base.command("pack")(pack)
    base.command("gates")(gates)
    base.command("install")(install)
    app.add_typer(base, name="base")


def pack(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the packed files.")],
    models: Annotated[Path, typer.Option(help="Folder that the trainings wrote.")] = Path("results/base/models"),
    states: Annotated[
        Path | None, typer.Option(help="results/base/state: pack the newest checkpoints of running trainings.")
    ] = None,
) -> None:
    """Write tokenizer, GPT, SoVITS and discriminators in float16, with their sizes inside."""
    from voiceclone.base.pack import FILES, pack_base, pack_running

    if states is not None:
        for kind, step in pack_running(states, models / FILES["base-tokenizer"], output).items():
            typer.echo(f"{kind}: step {step}")
        return
    for name, size in pack_base(models, output).items():
        typer.echo(f"{output / name}: {size / 1e6:.1f} MB")


def gates(
    packed: Annotated[Path, typer.Argument(help="Folder of a packed base.")] = Path("resources/base"),
    results: RESULTS = Path("results/base"),
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Folder to write; none: RESULTS/gates.")] = None,
    configfile: Annotated[Path | None, typer.Option(help="Configuration; none: config/config.yaml.")] = None,
    root: Annotated[Path, typer.Option(help="Working folder with config and resources.")] = Path(),
    threads: Annotated[int, typer.Option(help="CPU threads of the recogniser and the other judges.")] = 2,
) -> None:
    """Measure a packed base on held-out lines and held-out people; exits with 1 if a gate is missed."""
    from voiceclone.assets import fetch_asset, open_asset
    from voiceclone.base.gates import open_listeners, run_gates
    from voiceclone.base.pack import open_base
    from voiceclone.config.load import load_config

    config = load_config({"preset": "base"}, configfile, root)
    folders = root / "resources" / "models", root / "config" / "assets.yaml"
    manifests = [fetch_asset(name, *folders, config.offline, False, config.models_dir)
                 for name in config.assets("base_gates")]  # fmt: skip
    folder = output or results / "gates"
    sentences = sorted((root / "resources" / "sentences").glob("*.txt"))
    listeners = open_listeners([open_asset(path) for path in manifests], config.gates.beam_size, threads)
    report = run_gates(open_base(packed, results / "packed"), results, sentences, listeners, config.gates, folder)
    typer.echo((folder / "gates.md").read_text(encoding="utf-8"))
    if not report["passed"]:
        raise typer.Exit(1)


def install(
    packed: Annotated[Path, typer.Argument(help="Folder of a packed base.")] = Path("results/base/base_voice"),
    root: Annotated[Path, typer.Option(help="Working folder with config and resources.")] = Path(),
) -> None:
    """Copy a packed base to resources/base and pin its checksums in config/assets.yaml."""
    from voiceclone.base.pack import install_base

    for line in install_base(packed, root):
        typer.echo(line)
