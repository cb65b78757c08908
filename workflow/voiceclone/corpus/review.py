"""A local server for the proof-reading page: what is corrected on the page is in the speaker's file at once.

It answers this machine alone: requests that name another host, or come from a page of another site, are refused.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from fastapi import FastAPI, Request
from fastapi.responses import FileResponse, HTMLResponse, PlainTextResponse, RedirectResponse, Response
from pydantic import BaseModel

from voiceclone.corpus.corrections import COLUMNS, add_corrections, parse_correction
from voiceclone.errors import DataError
from voiceclone.files import contained_path

LOCAL = ("127.0.0.1", "localhost", "[::1]")
PAGES = ("proofread.html", "proofread-failed.html")


class Saved(BaseModel):
    """What the page says of one utterance: its rows now, and the utterances of those that it sent before."""

    utterance: str
    old: list[str] = []
    rows: list[dict[str, str]]


def save(path: Path, said: Saved) -> None:
    """Replace the corrections of an utterance, and those that it was the source of, by what is said now.

    Args:
        path: the corrections file, made if it is not there.
        said: of the page.

    Raises:
        DataError: a row is wrong.
    """
    rows = [parse_correction(path, at, [row.get(column, "") for column in COLUMNS]) for at, row in enumerate(said.rows)]
    add_corrections(path, rows, path, forgotten={said.utterance, *said.old})


def review_app(results: Path, corrections: Path) -> FastAPI:
    """The server of one voice.

    Args:
        results: results/SPEAKER.
        corrections: config/corrections/SPEAKER.tsv.
    """
    app = FastAPI(openapi_url=None)

    @app.middleware("http")
    async def this_machine(request: Request, call: Any) -> Response:
        host = request.headers.get("host", "")
        origin = request.headers.get("origin")
        if host.rsplit(":", 1)[0] not in LOCAL or (origin and urlsplit(origin).netloc != host):
            return PlainTextResponse("this page is for this machine alone", 403)
        answer: Response = await call(request)
        return answer

    @app.get("/")
    def start() -> Response:
        return RedirectResponse(f"corpus/{next((name for name in PAGES if _page(results, name)), PAGES[0])}")

    @app.get("/corpus/{name}")
    def page(name: str) -> Response:
        if name not in PAGES or not _page(results, name):
            return PlainTextResponse("no such page: run the corpus stage first", 404)
        text = (results / "corpus" / name).read_text(encoding="utf-8")
        return HTMLResponse(text.replace('data-served="no"', 'data-served="yes"', 1))

    @app.get("/slices/{take}/{name}")
    def sound(take: str, name: str) -> Response:
        try:
            path = contained_path(results / "slices", f"{take}/{name}")
        except DataError:
            return PlainTextResponse("no such sound", 404)
        return FileResponse(path) if path.suffix == ".flac" and path.is_file() else PlainTextResponse("no sound", 404)

    @app.put("/corrections")
    def put(said: Saved) -> Response:
        try:
            save(corrections, said)
        except DataError as error:
            return PlainTextResponse(str(error), 422)
        return Response(status_code=204)

    return app


def _page(results: Path, name: str) -> bool:
    return (results / "corpus" / name).is_file()
