"""The command ``voiceclone``: check the machine, fetch models; other areas register their commands here."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Annotated, Any

import typer
import typer.core

from voiceclone.commands import base as base_command
from voiceclone.commands import corrections as corpus_command
from voiceclone.commands import evaluations as evaluation_command
from voiceclone.commands import serve as serve_command
from voiceclone.commands import speak as inference_command
from voiceclone.commands import trainings as training_command
from voiceclone.commands import trust as trust_command
from voiceclone.commands import verify as verify_command
from voiceclone.commands import voices as models_command
from voiceclone.errors import EXIT_FAILURE, DataError, VoiceCloneError, explain


class Commands(typer.core.TyperGroup):
    """Turns our errors into one message and the right exit status."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except (VoiceCloneError, OSError) as error:
            if isinstance(error, OSError) and error.errno == errno.EPIPE:
                raise  # who reads has gone
            known = explain(error)
            if known is None and isinstance(error, OSError):  # absent, a folder, a link to itself, too long a name
                told = f"{error.filename}: {error.strerror}" if error.filename else str(error)
                known = DataError(told, "check the path, and that it may be read or written")
            if known is None:
                raise
            typer.echo(f"error: {known}", err=True)
            raise typer.Exit(known.exit_code) from error


app = typer.Typer(
    name="voiceclone",
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="From a folder of one person's recordings to a measured, exported voice. The stages run through snakemake.",
)
assets_app = typer.Typer(no_args_is_help=True, help="Pretrained models.")
app.add_typer(assets_app, name="assets")

RootOption = Annotated[Path, typer.Option("--root", help="Working folder with config/ and resources/.")]
ConfigOption = Annotated[Path | None, typer.Option("--config", help="Your configuration; default config/config.yaml.")]
SetOption = Annotated[list[str] | None, typer.Option("--set", help="KEY=VALUE, for example slice.max_seconds=10.")]
OfflineOption = Annotated[bool, typer.Option("--offline", help="Use only what is on this machine.")]


def overrides(pairs: list[str] | None) -> dict[str, Any]:
    """Nested keys of ``a.b=value`` texts; values are read as YAML.

    Raises:
        ConfigError: a text without '='.
    """
    import yaml

    from voiceclone.config.load import merged
    from voiceclone.errors import ConfigError

    result: dict[str, Any] = {}
    for pair in pairs or []:
        path, equals, text = pair.partition("=")
        if not equals or not all(path.split(".")):
            raise ConfigError(f"--set {pair}: expected KEY=VALUE, for example slice.max_seconds=10")
        try:
            value: Any = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ConfigError(f"--set {pair}: the value is not valid YAML") from error
        for key in reversed(path.split(".")):
            value = {key: value}
        result = merged(result, value)
    return result


@app.command()
def preflight(
    config: ConfigOption = None,
    set_: SetOption = None,
    root: RootOption = Path(),
    torch_gpu: Annotated[bool, typer.Option("--gpu", help="Ask torch for the GPU; takes some seconds.")] = False,
) -> None:
    """Show what this configuration needs and what this machine has; ends with 1 if a run could not finish."""
    from rich.console import Console

    from voiceclone.assets.preflight import as_table, inspect
    from voiceclone.config.load import load_voices

    common, *voices = load_voices(overrides(set_), config, root)
    result = inspect(common, root, gpu_through_torch=torch_gpu, voices=voices)
    Console().print(as_table(result))
    if result.problems:
        raise typer.Exit(EXIT_FAILURE)


@assets_app.command("list")
def list_assets(root: RootOption = Path()) -> None:
    """All registered models: state, size, licence, sources."""
    from rich.console import Console
    from rich.table import Table

    from voiceclone.assets.fetch import asset_problem, human_size
    from voiceclone.assets.preflight import MODELS, REGISTRY
    from voiceclone.assets.registry import load_registry
    from voiceclone.assets.sources import label

    table = Table("name", "kind", "state", "size", "pinned", "licence", "sources")
    registry = load_registry(root / REGISTRY)
    for name in registry.names():
        spec = registry.get(name)
        open_files = [file for file, pin in spec.files.items() if pin.sha256 is None]
        table.add_row(
            name,
            spec.kind,
            asset_problem(name, spec, root / MODELS) or "present",
            human_size(spec.size),
            "on first use: " + ", ".join(open_files) if open_files else "yes",
            spec.licence,
            "; ".join(label(source) for source in spec.sources),
        )
    Console(width=None if Console().is_terminal else 240).print(table)


@assets_app.command()
def fetch(
    names: Annotated[list[str] | None, typer.Argument(help="Models; none: all that your configuration needs.")] = None,
    root: RootOption = Path(),
    offline: OfflineOption = False,
) -> None:
    """Fetch models, verified by checksum."""
    from voiceclone.assets import fetch_asset
    from voiceclone.assets.preflight import MODELS, REGISTRY
    from voiceclone.config.load import load_voices

    config, *voices = load_voices(root=root)
    for name in names or dict.fromkeys(name for one in (config, *voices) for name in one.all_assets()):
        path = fetch_asset(
            name, root / MODELS, root / REGISTRY, offline=offline or config.offline, own_models=config.models_dir
        )
        typer.echo(f"{name}: {path.parent}")


@assets_app.command()
def verify(
    names: Annotated[list[str] | None, typer.Argument(help="Models; none: all that are on disk.")] = None,
    root: RootOption = Path(),
) -> None:
    """Compare the checksum of every file of the models on disk; ends with 1 if one differs."""
    from voiceclone.assets.fetch import asset_problem
    from voiceclone.assets.preflight import MODELS, REGISTRY
    from voiceclone.assets.registry import load_registry

    registry = load_registry(root / REGISTRY)
    on_disk = [name for name in registry.names() if (root / MODELS / name).is_dir()]
    damaged = 0
    for name in names or on_disk:
        problem = asset_problem(name, registry.get(name), root / MODELS, full=True)
        damaged += bool(problem)
        typer.echo(f"{name}: {problem or 'ok'}")
    if damaged:
        typer.echo("fetch what is missing or damaged: voiceclone assets fetch NAME", err=True)
        raise typer.Exit(EXIT_FAILURE)


for area in (
    inference_command,
    serve_command,
    corpus_command,
    evaluation_command,
    training_command,
    models_command,
    base_command,
    verify_command,
    trust_command,
):
    area.register(app)
