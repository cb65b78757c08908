"""Commands for people who make a corpus: ``voiceclone corrections``, ``list``, ``prompts`` and ``review``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

RESULTS = Annotated[Path, typer.Option(help="Folder of the results.")]
CORRECTIONS = Annotated[Path, typer.Option("--corrections", help="Folder of the corrections.")]

Layout = Literal["list", "ljspeech", "piper", "f5", "lhotse"]


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    corrections = typer.Typer(help="Check and merge corrections of transcripts.", no_args_is_help=True)
    corrections.command("check")(check)
    corrections.command("merge")(merge)
    lists = typer.Typer(help="Read .list files of GPT-SoVITS; write them and other data sets.", no_args_is_help=True)
    lists.command("import")(import_list)
    lists.command("export")(export_list)
    app.add_typer(corrections, name="corrections")
    app.add_typer(lists, name="list")
    app.command()(prompts)
    app.command()(review)


def check(
    speaker: str,
    results: RESULTS = Path("results"),
    folder: CORRECTIONS = Path("config/corrections"),
) -> None:
    """Check a speaker's corrections and report where each is applied."""
    from voiceclone.corpus.corrections import place_corrections, read_corrections
    from voiceclone.files import check_speaker, read_tsv

    path = folder / f"{check_speaker(speaker)}.tsv"
    found = read_corrections(path)
    slices = read_tsv(results / speaker / "slices" / "manifest.tsv", ("utterance",))
    placed = place_corrections(path, found, (row["utterance"] for row in slices))
    for utterance, items in sorted(placed.items()):
        for item in items:
            moved = "" if item.utterance == utterance else f"  (written for {item.utterance})"
            typer.echo(f"{utterance}  {item.action} {item.value}".rstrip() + moved)
    typer.echo(f"{len(found)} corrections, all valid")


def merge(speaker: str, file: Path, folder: CORRECTIONS = Path("config/corrections")) -> None:
    """Add the corrections that the proof-reading page has downloaded; newer ones replace older ones."""
    from voiceclone.corpus.corrections import merge_corrections
    from voiceclone.files import check_speaker

    path = folder / f"{check_speaker(speaker)}.tsv"
    typer.echo(f"{merge_corrections(path, file)} corrections merged into {path}")


def export_list(
    speaker: str,
    output: Annotated[Path, typer.Option("-o", "--output", help="The .list file, or the folder to make.")],
    layout: Annotated[Layout, typer.Option(help="Whose data set it is; list: that of GPT-SoVITS.")] = "list",
    results: RESULTS = Path("results"),
) -> None:
    """Write a speaker's corpus for other programs: a .list with absolute paths, or a folder of another layout."""
    from voiceclone.corpus.datasets import export_corpus
    from voiceclone.files import check_speaker

    count = export_corpus(results / check_speaker(speaker), speaker, layout, output)
    typer.echo(f"{count} utterances written to {output}")


def import_list(
    file: Path,
    speaker: Annotated[str, typer.Option(help="Name of the voice.")],
    results: RESULTS = Path("results"),
    folder: CORRECTIONS = Path("config/corrections"),
) -> None:
    """Import texts and languages of a proof-read .list as corrections of this corpus.

    Utterances are matched by the names of the audio files; only differences become corrections.
    """
    from voiceclone.corpus.listfile import import_as_corrections
    from voiceclone.files import check_speaker

    done = import_as_corrections(file, results / check_speaker(speaker), folder / f"{speaker}.tsv")
    typer.echo(
        f"{done.texts} texts and {done.languages} languages imported as corrections, {done.same} lines agree with "
        "the corpus"
    )
    if done.more:
        typer.echo(f"{done.more} lines have more than four columns: those after the text were ignored")
    if done.unknown:
        typer.echo("not in this corpus:\n" + "\n".join(f"  {path}" for path in done.unknown))
        raise typer.Exit(1)


def prompts(
    speaker: str,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Text file to write.")] = None,
    count: Annotated[int, typer.Option(help="Most sentences.", min=1, max=500)] = 20,
    language: Annotated[str, typer.Option(help="ISO code; default: that of most of the speech.")] = "",
    results: RESULTS = Path("results"),
    texts: Annotated[Path, typer.Option(help="Folder of the lists to choose from.")] = Path("resources/texts"),
) -> None:
    """Say which phones a speaker's recordings lack, and write a short reading list that fills the gaps."""
    from voiceclone.corpus.coverage import choose_lines, measure, reading_lines
    from voiceclone.files import check_speaker, read_tsv, write_text

    corpus = results / check_speaker(speaker) / "corpus" / "corpus.tsv"
    coverage = measure(corpus, texts, language)
    typer.echo(coverage)
    spoken = [row["text"] for row in read_tsv(corpus, ("text",))]
    lines = choose_lines(coverage, reading_lines(texts, coverage.language), count, spoken)
    if output is None:
        typer.echo("\n".join(lines))
        return
    write_text(output, "\n".join(lines) + "\n")
    typer.echo(
        f"{len(lines)} sentences written to {output}: read them into one recording called {output.stem}.wav, "
        f"and put both into the folder of {speaker}"
    )


def review(
    speaker: str,
    port: Annotated[int, typer.Option(help="Port of this machine; 0: any that is free.", min=0, max=65535)] = 0,
    browser: Annotated[bool, typer.Option(help="Open the page in a browser.")] = True,
    results: RESULTS = Path("results"),
    folder: CORRECTIONS = Path("config/corrections"),
) -> None:
    """Proof-read a speaker's corpus in the browser; each correction is saved at once. Ctrl-C ends it."""
    import socket
    import webbrowser

    import uvicorn

    from voiceclone.corpus.review import review_app
    from voiceclone.errors import DataError
    from voiceclone.files import check_speaker

    corpus = results / check_speaker(speaker) / "corpus"
    if not any(corpus.glob("proofread*.html")):
        raise DataError(f"{corpus}: no page to proof-read", f"run 'snakemake {corpus / 'corpus.tsv'}' first")
    path = folder / f"{speaker}.tsv"
    with socket.create_server(("127.0.0.1", port)) as listener:
        address = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        typer.echo(f"{address} writes {path}; Ctrl-C ends it, the next run takes the corrections")
        if browser:
            webbrowser.open(address)
        config = uvicorn.Config(review_app(corpus.parent, path), log_level="warning")
        uvicorn.Server(config).run(sockets=[listener])
