"""Groups of options on the command line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from voiceclone.cli import app
from voiceclone.commands.options import with_groups


@dataclass(frozen=True)
class Size:
    wide: Annotated[int, typer.Option(min=1, help="Columns.")] = 80
    names: Annotated[list[str] | None, typer.Option("--name")] = None


def show(*, first: Annotated[str, typer.Option()], size: Size, last: Annotated[bool, typer.Option("--last")] = False):
    """Show what came."""
    typer.echo(f"{first} {size} {last}")


@pytest.fixture
def program() -> typer.Typer:
    program = typer.Typer()
    program.command()(with_groups(show))
    return program


def test_fields_of_a_group_are_options_and_come_back_as_the_group(program: typer.Typer) -> None:
    given = ["--first", "a", "--wide", "3", "--name", "x", "--name", "y", "--last"]
    assert CliRunner().invoke(program, given).output.strip() == f"a {Size(3, ['x', 'y'])} True"
    assert CliRunner().invoke(program, ["--first", "a"]).output.strip() == f"a {Size()} False"


def test_types_and_ranges_of_a_group_hold(program: typer.Typer) -> None:
    assert CliRunner().invoke(program, ["--first", "a", "--wide", "0"]).exit_code == 2
    assert CliRunner().invoke(program, ["--wide", "3"]).exit_code == 2


@pytest.mark.parametrize("command", ["say", "batch"])
def test_speaking_commands_have_the_same_manner(command: str) -> None:
    done = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "200"})
    for option in (
        "--bundle",
        "--reference",
        "--style-reference",
        "--seed",
        "--top-k",
        "--speed",
        "--detector",
        "--root",
    ):
        assert option in done.output, option


def test_a_stream_has_no_manner() -> None:
    done = CliRunner().invoke(app, ["stream", "--help"], env={"COLUMNS": "200"})
    assert "--seed" in done.output and "--speed" not in done.output and "--style-reference" in done.output
