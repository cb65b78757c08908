"""Options of speech, declared once; groups of options on the command line."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from voiceclone.cli import app
from voiceclone.commands.options import with_groups
from voiceclone.errors import ConfigError
from voiceclone.speaking import batch
from voiceclone.speaking.batch import Defaults, Job, Refused, columns, read_jobs
from voiceclone.speaking.options import SpeechOptions, callers_options, option


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
def test_speaking_commands_have_the_same_options(command: str) -> None:
    done = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "200"})
    for name in (
        "--bundle",
        "--reference",
        "--style-reference",
        "--seed",
        "--top-k",
        "--speed",
        "--detector",
        "--root",
    ):
        assert name in done.output, name


def test_a_stream_has_few_options() -> None:
    done = CliRunner().invoke(app, ["stream", "--help"], env={"COLUMNS": "200"})
    assert "--seed" in done.output and "--speed" not in done.output and "--style-reference" in done.output


@dataclass(frozen=True, kw_only=True)
class MoreOptions(SpeechOptions):
    whisper: float = option(0.25, "Share of breath.", (0.0, 1.0))


def speak(*, options: MoreOptions) -> None:
    """Show the share of breath."""
    typer.echo(f"{options.whisper} {options.speed}")


def test_a_field_is_an_option_a_column_and_a_check(tmp_path: Path) -> None:
    program = typer.Typer()
    program.command()(with_groups(speak))
    assert "Share of breath." in CliRunner().invoke(program, ["--help"], env={"COLUMNS": "200"}).output
    assert CliRunner().invoke(program, ["--whisper", "0.5"]).output.split() == ["0.5", "1.0"]
    assert CliRunner().invoke(program, ["--whisper", "1.5"]).exit_code == 2

    assert "whisper" in columns(MoreOptions) and "whisper" not in columns()
    (tmp_path / "lines.tsv").write_text("name\ttext\twhisper\na\tHello.\t0.75\nb\tHello.\t\nc\tHello.\t2\n")
    first, second, third = read_jobs(tmp_path / "lines.tsv", Defaults(options=MoreOptions()))
    assert isinstance(first, Job) and isinstance(second, Job)
    assert (first.options, second.options) == (MoreOptions(whisper=0.75), MoreOptions())
    assert third == Refused(4, "c", "whisper 2: out of range, expected 0 to 1")

    with pytest.raises(ConfigError, match="whisper -1: out of range, expected 0 to 1"):
        MoreOptions(whisper=-1)


def test_defaults_of_the_command_line_are_those_of_the_library() -> None:
    parameters = typer.main.get_command(app).commands["say"].params  # type: ignore[attr-defined]
    given = {parameter.name: parameter.default for parameter in parameters}
    for name in callers_options(SpeechOptions):
        assert given[name] == getattr(SpeechOptions(), name), name


def test_rows_are_kept_while_options_and_detector_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "revisions", lambda: {"batch": 3})

    def key(**options: float) -> str:
        return Job(2, "a", "Hello.", "en", 7, SpeechOptions(**options), None).key("voice")  # type: ignore[arg-type]

    assert key(attempts=1) == "8b6b05d8aa30b79e"
    assert key(attempts=3, top_k=5, pitch=2.0, guidance=0.5) == "6555a0570f8ba16d"


def test_sampling_that_is_not_given_is_the_voices() -> None:
    public, own = (SpeechOptions(temperature=0.9).filled(pointing) for pointing in (False, True))
    assert (public.temperature, public.top_k, public.repetition_penalty, public.noise_scale) == (0.9, 15, 1.35, 0.5)
    assert (own.temperature, own.top_k, own.repetition_penalty, own.noise_scale) == (0.9, 5, 1.0, 0.4)
    assert own.filled(False) == own
