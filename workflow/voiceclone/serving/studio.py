"""The studio: one page for recordings, consent, preset, run, review and speech, without a shell.

It serves this machine alone. Requests to other host names (DNS rebinding), from other pages (CSRF), and without the
cookie that the first address with its token sets are refused.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from hmac import compare_digest
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, PlainTextResponse, RedirectResponse
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool
from starlette.types import Receive, Scope, Send

from voiceclone.corpus.review import LOCAL, review_app
from voiceclone.errors import DataError, VoiceCloneError, explain
from voiceclone.files import check_speaker
from voiceclone.lineage.rights import Consent
from voiceclone.serving import workflow_run
from voiceclone.serving.web import PAGE_HEADERS, add_file, content_length, invalid_fields
from voiceclone.serving.working_folder import LONGEST_NAME, WorkingFolder, check_name, is_speaker

#: A report is a page of its own, which gets nothing of this one's.
REPORT_HEADERS = {**PAGE_HEADERS, "Content-Security-Policy": "sandbox allow-scripts allow-popups allow-downloads"}


class NewSpeaker(BaseModel):
    """The name of a new speaker."""

    name: Annotated[str, Field(max_length=100)]


class PresetChoice(BaseModel):
    """A preset."""

    preset: Annotated[str, Field(max_length=100)]


class RunRequest(BaseModel):
    """How far a run goes: to the corpus, which people proof-read, or to the end."""

    until: Literal["corpus", "voice"] = "voice"


class ConsentForm(BaseModel):
    """The fields of ``consent.yaml`` as a form sends them, unchecked."""

    myself: bool = False
    who: Annotated[str, Field(max_length=500)] = ""
    scope: Annotated[str, Field(max_length=100)] = ""
    purposes: Annotated[list[str], Field(max_length=50)] = []
    languages: Annotated[list[str], Field(max_length=50)] = []
    expires: Annotated[str, Field(max_length=100)] = ""
    evidence: Annotated[str, Field(max_length=LONGEST_NAME)] = ""

    def values(self) -> dict[str, Any]:
        """What was filled in."""
        return {name: value for name, value in self.model_dump().items() if value}


def by_field(message: str) -> dict[str, str]:
    """What is wrong with each field of a consent, of its reader's message; "": what is wrong with none of them."""
    found: dict[str, str] = {}
    for part in message.split("; "):
        names, _, text = part.partition(": ")
        fields = [name.split(".")[0] for name in names.split(", ")]
        known = text and all(name in Consent.model_fields for name in fields)
        found |= dict.fromkeys(fields, text) if known else {"": "; ".join(filter(None, [found.get(""), part]))}
    return found


def create_app(root: Path, token: str, options: Sequence[str] = ()) -> FastAPI:
    """The application.

    Args:
        root: the working folder.
        token: that the first address carries.
        options: further ones of every run of the workflow.
    """
    work = WorkingFolder(root, options)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await run_in_threadpool(work.close)

    app = FastAPI(lifespan=lifespan, openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)
    _add_guard(app, token)
    _add_errors(app)
    _add_voices(app, work)
    _add_files(app, work)
    _add_runs(app, work)
    _add_pages(app, work)
    return app


def _add_guard(app: FastAPI, token: str) -> None:
    @app.middleware("http")
    async def this_page_alone(request: Request, call: Any) -> Response:
        host, origin = request.headers.get("host", ""), request.headers.get("origin")
        asks = request.method in ("GET", "HEAD")
        if host.rsplit(":", 1)[0] not in LOCAL or (origin is None and not asks):
            return PlainTextResponse("this page is for this machine alone", 403)
        if origin is not None and urlsplit(origin).netloc != host:
            return PlainTextResponse("this page answers no other", 403)
        cookie = f"studio-{host.rpartition(':')[2]}"  # cookies are common to all ports of a machine
        if asks and compare_digest(request.query_params.get("token", "").encode(), token.encode()):
            answer: Response = RedirectResponse(request.url.path, 303)
            answer.set_cookie(cookie, token, httponly=True, samesite="strict")
            return answer
        if not compare_digest(request.cookies.get(cookie, "").encode(), token.encode()):
            return PlainTextResponse("open the address that 'voiceclone studio' has printed", 403)
        answer = await call(request)
        answer.headers.setdefault("Cache-Control", "no-store")
        return answer


def _add_errors(app: FastAPI) -> None:
    def told(message: str, hint: str = "", status: int = 422) -> Response:
        return JSONResponse({"error": message, "hint": hint}, status)

    @app.exception_handler(VoiceCloneError)
    async def ours(request: Request, error: VoiceCloneError) -> Response:
        return told(error.message, error.hint)

    @app.exception_handler(OSError)
    async def storage(request: Request, error: OSError) -> Response:
        known = explain(error)
        return told(known.message, known.hint, 507) if known else told(f"{error.strerror}: {error.filename}", "", 500)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        return told(invalid_fields(error))


def _add_voices(app: FastAPI, work: WorkingFolder) -> None:
    @app.get("/api/voices")
    def voices() -> list[str]:
        return work.names()

    @app.post("/api/voices")
    def add(asked: NewSpeaker) -> dict[str, str]:
        return {"command": work.add_speaker(asked.name)}

    @app.get("/api/voices/{name}")
    def voice(name: str) -> dict[str, Any]:
        return work.voice(name)

    @app.get("/api/voices/{name}/presets")
    def presets(name: str) -> dict[str, Any]:
        return work.presets(name)

    @app.put("/api/voices/{name}/preset")
    def choose(name: str, asked: PresetChoice) -> dict[str, str]:
        return {"command": work.choose(work.speaker(name), asked.preset)}

    @app.put("/api/voices/{name}/consent")
    def consent(name: str, asked: ConsentForm) -> Response:
        try:
            return JSONResponse({"command": work.give_consent(work.speaker(name), asked.values())})
        except DataError as error:
            return JSONResponse({"error": error.message, "hint": "", "fields": by_field(error.message)}, 422)


def declared_size(request: Request) -> int:
    """Bytes of a body, by its header."""
    return content_length(request.headers.get("content-length", ""))


def _add_files(app: FastAPI, work: WorkingFolder) -> None:
    @app.put("/api/voices/{name}/recordings/{file}")
    async def upload(name: str, file: str, request: Request) -> dict[str, str]:
        target = work.speaker(name) / check_name(file)
        if target.exists():
            raise DataError(f"{file}: already exists", "remove the existing file, or rename this one")
        return {"command": await work.add_file(target, declared_size(request), request.stream())}

    @app.delete("/api/voices/{name}/recordings/{file}")
    def remove(name: str, file: str) -> dict[str, str]:
        return {"command": work.remove_file(work.speaker(name), file)}

    @app.put("/api/voices/{name}/evidence/{file}")
    async def evidence(name: str, file: str, request: Request) -> dict[str, str]:
        target = work.speaker(name) / check_name(file, evidence=True)
        command = await work.add_file(target, declared_size(request), request.stream(), evidence=True)
        return {"command": command, "file": target.name}


def _add_runs(app: FastAPI, work: WorkingFolder) -> None:
    @app.post("/api/voices/{name}/run")
    def start(name: str, asked: RunRequest) -> dict[str, str]:
        return {"command": work.start(name, asked.until)}

    @app.post("/api/stop")
    def stop() -> dict[str, str]:
        workflow_run.stop(work.root)
        return {"command": "Ctrl-C"}

    @app.post("/api/unlock")
    def unlock() -> dict[str, str]:
        return {"command": work.unlock()}

    @app.post("/api/voices/{name}/speaking")
    def speak(name: str) -> dict[str, str]:
        return {"command": work.speak(name)}


def _add_pages(app: FastAPI, work: WorkingFolder) -> None:
    add_file(app, "/", "studio.html")
    add_file(app, "/studio.js", "studio.js")
    add_file(app, "/theme.css", "theme.css")

    @app.get("/report/{name}")
    def report(name: str) -> Response:
        return FileResponse(work.root / "results" / check_speaker(name) / "report.html", headers=REPORT_HEADERS)

    async def review(scope: Scope, receive: Receive, send: Send) -> None:
        """The review queue of the voice that the path names."""
        name = scope["path_params"]["name"]
        if is_speaker(name):
            corrections = work.root / "config" / "corrections" / f"{name}.tsv"
            await review_app(work.root / "results" / name, corrections)(scope, receive, send)
        else:
            await PlainTextResponse("no such voice", 404)(scope, receive, send)

    app.mount("/review/{name}", review)
