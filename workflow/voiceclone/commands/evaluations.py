"""Commands on evaluations: ``voiceclone compare`` and ``voiceclone listening-test``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from voiceclone.errors import EXIT_FAILURE, ConfigError

PLACE = "results/NAME, results/NAME/eval/TARGET, results/NAME/export/TARGET, or a metrics.tsv"


def register(app: typer.Typer) -> None:
    """Add this module's commands to the program."""
    app.command("compare")(compare)
    app.command("listening-test")(listening_test)


def compare(
    first: Annotated[Path, typer.Argument(help=f"What is there: {PLACE}.", exists=True)],
    second: Annotated[Path, typer.Argument(help="What is new: the same.", exists=True)],
    target: Annotated[str, typer.Option(help="Target of a results/NAME.")] = "torch-fp32",
    json_: Annotated[Path | None, typer.Option("--json", help="Write the comparison as JSON.", dir_okay=False)] = None,
    html: Annotated[Path | None, typer.Option(help="Write it as a page.", dir_okay=False)] = None,
    seed: Annotated[int, typer.Option(help="Seed of the resampling.", min=0)] = 0,
) -> None:
    """Compare two evaluations sentence by sentence; ends with 1 if the second is significantly worse in a metric."""
    from voiceclone.evaluation.paired import compare as compare_places
    from voiceclone.files import write_json, write_text

    found = compare_places(first, second, target, seed)
    if json_ is not None:
        write_json(json_, found)
    if html is not None:
        from voiceclone.report.page import page

        write_text(html, page("compare.html", found=found))
    for line in lines(found):
        typer.echo(line)
    if any(metric["verdict"] == "worse" for metric in found["metrics"].values()):
        raise typer.Exit(EXIT_FAILURE)


def lines(found: dict[str, Any]) -> list[str]:
    """A comparison in words, a line a metric."""
    left_out = found["only_first"] + found["only_second"]
    seeds = " and ".join(str(count) for count in dict.fromkeys(found["seeds"]))
    head = f"{found['sentences']} sentences, {seeds} seed{'' if seeds == '1' else 's'}"
    found_lines = [head + (f"; {left_out} others were spoken by one of them alone" if left_out else "")]
    for metric in found["metrics"].values():
        difference = metric["difference"]
        found_lines.append(
            f"{metric['title']}: {metric['first']:.3g} -> {metric['second']:.3g}, "
            f"{difference['value']:+.3g} ({difference['low']:+.3g} to {difference['high']:+.3g}) {metric['unit']}: "
            f"{metric['verdict']} (p = {metric['p']:.2g}; smallest difference found in 9 of 10 cases "
            f"{metric['detectable']:.2g})"
        )
    return found_lines


class Kind(StrEnum):
    """What listeners are asked."""

    mos = "mos"
    cmos = "cmos"
    abx = "abx"
    mushra = "mushra"


def listening_test(
    places: Annotated[list[Path], typer.Argument(help=f"Evaluations: {PLACE}; with --collect: answers-*.json.")],
    key: Annotated[Path, typer.Option(help="JSON file that says who spoke what; keep it from listeners.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Folder to make and give to listeners.")] = None,
    collect: Annotated[bool, typer.Option("--collect", help="Read answers and print the results.")] = False,
    kind: Annotated[
        Kind, typer.Option(help="mos: rate each; cmos: rate pairs; abx: which is X; mushra: against the first place.")
    ] = Kind.mos,
    sentences: Annotated[int, typer.Option(help="Sentences, at most.", min=1)] = 20,
    target: Annotated[str, typer.Option(help="Target of a results/NAME.")] = "torch-fp32",
    seed: Annotated[int, typer.Option(help="Seed of the choice of sentences.", min=0)] = 0,
    json_: Annotated[Path | None, typer.Option("--json", help="Write the results as JSON.", dir_okay=False)] = None,
) -> None:
    """Make a blind listening test that runs in a browser without a server, or collect its answers."""
    from voiceclone.files import write_json
    from voiceclone.report.listening_test import collect as collect_answers
    from voiceclone.report.listening_test import make_test

    if not collect:
        if output is None:
            raise ConfigError("expected --output, the folder to make, or --collect")
        count = make_test(kind.value, places, output, key, target, sentences, seed)
        typer.echo(f"{output / 'index.html'}: {count} questions; {key} says who spoke what")
        return
    found = collect_answers(key, places)
    if json_ is not None:
        write_json(json_, found)
    agreement = "" if found["agreement"] is None else f", agreement (Krippendorff's alpha) {found['agreement']:.2f}"
    typer.echo(f"{found['kind']}: {found['listeners']} listeners{agreement}")
    for row in found["rows"]:
        p = f", p = {row['p']:.2g}" if "p" in row else ""
        typer.echo(
            f"{row['name']}: {row['value']:.2f} ({row['low']:.2f} to {row['high']:.2f}), {row['answers']} answers{p}"
        )
