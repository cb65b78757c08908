"""The HTTP interface: OpenAI's speech endpoint, voices, health, metrics, and the page.

Nothing is computed here: workers speak (:mod:`voiceclone.serving.pool`), their sound is passed on.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, StreamingResponse
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from pydantic import BaseModel, ConfigDict, Field, create_model
from starlette.exceptions import HTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.types import Receive, Scope, Send

from voiceclone import __version__
from voiceclone.errors import VoiceCloneError
from voiceclone.files import canonical_json
from voiceclone.languages import MODES
from voiceclone.lineage.rights import GENERATED_NOTICE
from voiceclone.marks.labels import AskedNotice, voice_id
from voiceclone.serving.access import LOCAL, AuditLog, Key, KeyFile, QuotaExceeded, Quotas
from voiceclone.serving.catalogue import Catalogue, OfferedVoice
from voiceclone.serving.connections import BoundedBody, ConnectionLimits
from voiceclone.serving.encoding import MEDIA_TYPES
from voiceclone.serving.pool import Job, Pool, QueueFull
from voiceclone.serving.web import add_file, invalid_fields
from voiceclone.serving.worker import DAMAGED, REFUSED, RENEWED, SOUND, Order
from voiceclone.speaking.options import SpeechOptions, callers_options
from voiceclone.speaking.styles import check_style

log = logging.getLogger(__name__)
MODEL = "voiceclone"
Format = Literal["mp3", "opus", "flac", "wav", "pcm"]
#: Host names that a server without keys answers to; others may be those of a page elsewhere (DNS rebinding).
LOCAL_NAMES = ["localhost", "127.0.0.1", "[::1]"]


@dataclass(frozen=True)
class ServerSettings:
    """Limits and logs of a server.

    Attributes:
        keys: file of keys; None: none is needed.
        audit: log of requests; None: none.
        audit_text: the log has the texts too.
        characters: most of a text.
        speech_seconds: longest sound of a request.
        notice: audible notice, if a request does not ask for more.
        rescan_seconds: between two checks of the bundles for changes.
        local: answer only requests to :data:`LOCAL_NAMES`.
        wyoming: address and port of the Wyoming protocol; None: off.
        connections: limits of connections.
    """

    keys: Path | None = None
    audit: Path | None = None
    audit_text: bool = False
    characters: int = 4096
    speech_seconds: float = 900.0
    notice: AskedNotice = "auto"
    rescan_seconds: float = 2.0
    local: bool = True
    wyoming: tuple[str, int] | None = None
    connections: ConnectionLimits = field(default_factory=ConnectionLimits)


class ApiError(Exception):
    """An error in OpenAI's format.

    Args:
        status: of HTTP.
        message: for people.
        code: for programs.
        retry_after: seconds; None: the header is left out.
    """

    def __init__(self, status: int, message: str, code: str, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.retry_after = status, message, code, retry_after

    def response(self) -> JSONResponse:
        """The error as JSON."""
        kind = "server_error" if self.status >= 500 else "invalid_request_error"
        error = {"message": self.message, "type": kind, "param": None, "code": self.code}
        headers = {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
        if self.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        return JSONResponse({"error": error}, self.status, headers)


class _VoiceId(BaseModel):
    id: Annotated[str, Field(max_length=200)]


class _Request(BaseModel):
    """A text to speak: the fields of OpenAI's API, and further ones."""

    model_config = ConfigDict(extra="ignore")
    input: Annotated[str, Field(min_length=1, description="Text to speak.")]
    voice: Annotated[str, Field(max_length=200)] | _VoiceId = Field("", description="Default: the first voice.")
    model: Annotated[str, Field(max_length=200)] = Field(MODEL, description="There is one; any name is taken.")
    response_format: Format = "mp3"
    stream_format: Literal["audio", "sse"] = "audio"
    language: Literal["", *MODES] = Field("", description="Default: the voice's own.")  # type: ignore[valid-type]
    instructions: str | None = Field(None, description="Ignored.")
    style: Annotated[str, Field(max_length=200)] = Field("", description="Default: the voice's own clip.")
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    notice: AskedNotice = "auto"
    timestamps: bool = Field(False, description="Events with the times of words; needs stream_format sse.")


def _option_fields() -> dict[str, Any]:
    """The options of speech as fields, with their limits; one attempt, so that sound comes while it is computed."""
    fields: dict[str, Any] = {}
    for name, (entry, types) in callers_options(SpeechOptions).items():
        low, high = entry.metadata["limits"] or (None, None)
        default = 1 if name == "attempts" else entry.default
        kind = types[0] if default is not None else types[0] | None
        fields[name] = (kind, Field(default, ge=low, le=high, description=entry.metadata["help"]))
    return fields


SpeechRequest: Any = create_model("SpeechRequest", __base__=_Request, **_option_fields())


class Metrics:
    """Metrics for Prometheus."""

    def __init__(self, catalogue: Catalogue, pool: Pool, audit: AuditLog) -> None:
        self.registry = registry = CollectorRegistry()
        self.requests = Counter(
            "voiceclone_requests", "Requests for speech.", ["voice", "outcome"], registry=registry
        )  # fmt: skip
        self.characters = Counter("voiceclone_characters", "Characters of text.", ["voice"], registry=registry)
        self.speech = Counter("voiceclone_speech_seconds", "Seconds of speech.", ["voice"], registry=registry)
        self.first = Histogram(
            "voiceclone_first_sound_seconds", "From request to first sound.", registry=registry,
            buckets=(0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, 30),
        )  # fmt: skip
        self.factor = Histogram(
            "voiceclone_real_time_factor", "Computing per second of speech.", registry=registry,
            buckets=(0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 4),
        )  # fmt: skip
        for name, about, value in (
            ("waiting", "Requests in the queue.", lambda: len(pool.queue)),
            ("workers_ready", "Workers that can speak.", lambda: pool.ready),
            ("voices_available", "Voices that can speak.", lambda: sum(not v.problem for v in catalogue.all())),
            ("audit_lines_lost", "Lines that could not be written to the audit log.", lambda: audit.failed),
        ):
            gauge = Gauge(f"voiceclone_{name}", about, registry=registry)
            gauge.set_function(value)  # type: ignore[no-untyped-call,unused-ignore]


class Service:
    """State shared by the requests of a server."""

    def __init__(self, catalogue: Catalogue, pool: Pool, settings: ServerSettings) -> None:
        self.catalogue, self.pool, self.settings = catalogue, pool, settings
        self.keys = KeyFile(settings.keys) if settings.keys is not None else None
        self.quotas, self.audit = Quotas(), AuditLog(settings.audit, settings.audit_text)
        self.quotas.restore(self.audit.records())
        self.metrics = Metrics(catalogue, pool, self.audit)

    def caller(self, request: Request) -> Key:
        """The key of a request.

        Raises:
            ApiError: it is missing or not valid.
        """
        if self.keys is None:
            return LOCAL
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        key = self.keys.find(token.strip()) if scheme.lower() == "bearer" else None
        if key is None:
            raise ApiError(401, "a valid key is needed: Authorization: Bearer KEY", "invalid_api_key")
        return key

    def voices_of(self, key: Key) -> list[OfferedVoice]:
        """The voices that a key may use."""
        return [voice for voice in self.catalogue.all() if not key.voices or voice.name in key.voices]

    def voice(self, key: Key, name: str) -> OfferedVoice:
        """The voice of a request; without a name the first that is available.

        Raises:
            ApiError: there is none, or it is not available now.
        """
        voices = self.voices_of(key)
        found = next((voice for voice in voices if voice.name == name or (not name and not voice.problem)), None)
        if found is None:
            known = ", ".join(voice.name for voice in voices)
            raise ApiError(404, f"there is no such voice; yours: {known}", "voice_not_found")
        if found.problem:
            raise ApiError(503, f"voice {found.name} cannot speak now", "voice_unavailable", 30)
        return found

    def order(self, key: Key, asked: Any) -> tuple[OfferedVoice, Order]:
        """Voice and order of a request.

        Raises:
            ApiError: the key does not allow it, or a value is not valid.
        """
        if len(asked.input) > self.settings.characters:
            raise ApiError(400, f"input: longer than {self.settings.characters} characters", "text_too_long")
        voice = self.voice(key, asked.voice if isinstance(asked.voice, str) else asked.voice.id)
        if key.formats and asked.response_format not in key.formats:
            raise ApiError(403, f"this key may ask for {', '.join(key.formats)}", "format_not_allowed")
        try:
            style = asked.style and check_style(asked.style, voice.description.get("styles", ()))
            options = SpeechOptions(**{name: getattr(asked, name) for name in callers_options(SpeechOptions)})
        except VoiceCloneError as error:
            raise ApiError(400, error.message, "invalid_value") from error
        if asked.timestamps and asked.stream_format != "sse":
            raise ApiError(400, "timestamps: come as events, with stream_format sse", "invalid_value")
        notice = self.settings.notice if asked.notice in ("auto", "none") else asked.notice
        return voice, Order(
            voice.folder, voice.version, asked.input, asked.language, asked.seed, options, notice,
            asked.response_format, self.settings.speech_seconds, asked.timestamps, style,
        )  # fmt: skip

    async def begin(self, key: Key, asked: Any, gone: Callable[[], Any]) -> tuple[RunningRequest, bytes]:
        """Wait for the first sound of a request.

        Args:
            key: of the caller.
            asked: the request.
            gone: waits until the client has disconnected.

        Raises:
            ApiError: refused, over a quota, not available, failed, or the client has disconnected.
        """
        voice, order = self.order(key, asked)
        try:
            self.quotas.admit(key, len(order.text))
        except QuotaExceeded as error:
            self.metrics.requests.labels(voice.name, "too_many").inc()
            raise ApiError(429, f"this key may make {error.message}", "rate_limit_exceeded", error.seconds) from None
        begun = RunningRequest(self, key, voice, order)
        try:
            return begun, await begun.first_sound(gone)
        except BaseException as error:
            begun.end("failed" if isinstance(error, Exception) and getattr(error, "code", "") != "gone" else "gone")
            raise


class RunningRequest:
    """An admitted request, from the queue to its line in the audit log."""

    def __init__(self, service: Service, key: Key, voice: OfferedVoice, order: Order) -> None:
        self.service, self.key, self.voice, self.order = service, key, voice, order
        self.asked, self._ended, self._complete = time.monotonic(), False, False
        self.job: Job | None = None

    async def first_sound(self, gone: Callable[[], Any]) -> bytes:
        """The first bytes of sound; retried if a worker found a newer version of the voice."""
        for _ in range(3):
            try:
                job = self.job = self.service.pool.submit(self.key.id, self.order)
            except QueueFull:
                raise ApiError(503, "too many requests wait", "overloaded", 5) from None
            kind, value = await self._first_of(job, gone)
            if kind == SOUND:
                self.service.metrics.first.observe(time.monotonic() - self.asked)
                return bytes(value)
            if kind == REFUSED:
                raise ApiError(400, str(value), "invalid_value")
            if kind not in (RENEWED, DAMAGED):
                break
            await asyncio.to_thread(self.service.catalogue.rescan)
            found = self.service.catalogue.get(self.voice.name)
            if found is None or found.problem or (kind == DAMAGED and found.version == self.voice.version):
                if found is not None and not found.problem:
                    self.service.catalogue.withdraw(found, f"a worker cannot open it: {value}")
                raise ApiError(503, f"voice {self.voice.name} cannot speak now", "voice_unavailable", 30)
            self.voice = found
            self.order = replace(self.order, version=found.version)
        raise ApiError(500, "the text could not be spoken", "speech_failed")

    async def _first_of(self, job: Job, gone: Callable[[], Any]) -> tuple[str, Any]:
        answer, left = asyncio.ensure_future(job.next()), asyncio.ensure_future(gone())
        try:
            await asyncio.wait({answer, left}, return_when=asyncio.FIRST_COMPLETED)
            if not answer.done():
                raise ApiError(499, "the client has gone", "gone")
            return answer.result()
        finally:
            for task in (answer, left):
                task.cancel()

    async def sounds(self, first: bytes) -> AsyncIterator[bytes]:
        """All sound."""
        assert self.job is not None
        yield first
        async for data in self.job.sounds():
            yield data
        self._complete = True
        self.end()  # before the client sees the end, so that its next request finds the quota released

    async def events(self, first: bytes) -> AsyncIterator[str]:
        """All sound as OpenAI's server-sent events, with events of word times if they were asked for."""
        assert self.job is not None
        words = self.job.words
        async for data in self.sounds(first):
            if told := [words.popleft().as_entry() for _ in range(len(words))]:
                yield _event({"type": "speech.audio.words", "words": told})
            yield _event({"type": "speech.audio.delta", "audio": base64.b64encode(data).decode()})
        count = len(self.order.text)
        usage = {"input_tokens": count, "output_tokens": 0, "total_tokens": count}
        yield _event({"type": "speech.audio.done", "usage": usage})

    def end(self, outcome: str = "") -> None:
        """Release the quota and the worker, and record the request; only the first call has an effect."""
        if self._ended:
            return
        self._ended, job = True, self.job
        outcome = outcome or ("spoken" if self._complete else "broken_off")
        self.service.quotas.release(self.key)
        seconds, spent = 0.0, 0.0
        if job is not None:
            self.service.pool.cancel(job)
            seconds, spent = job.seconds, time.monotonic() - job.began if job.began else 0.0
        name, metrics = self.voice.name, self.service.metrics
        metrics.requests.labels(name, outcome).inc()
        metrics.characters.labels(name).inc(len(self.order.text))
        metrics.speech.labels(name).inc(seconds)
        if self._complete and seconds:
            metrics.factor.observe(spent / seconds)
        self.service.audit.write(
            self.key, self.order.text, voice=name, mark=voice_id(self.voice.number), seconds=round(seconds, 2),
            format=self.order.form, outcome=outcome,
        )  # fmt: skip


def _event(value: dict[str, Any]) -> str:
    return f"data: {canonical_json(value)}\n\n"


class _SpeechResponse(StreamingResponse):
    """Ends its request however the response ends."""

    def __init__(self, begun: RunningRequest, content: Any, media_type: str, headers: dict[str, str]) -> None:
        super().__init__(content, media_type=media_type, headers=headers)
        self._begun = begun

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._begun.end()


def create_app(catalogue: Catalogue, pool: Pool, settings: ServerSettings) -> FastAPI:
    """The application; it closes the pool when it ends."""
    service = Service(catalogue, pool, settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        looking = asyncio.create_task(_rescan_regularly(catalogue, settings.rescan_seconds))
        if settings.wyoming is None:
            yield
        else:
            from voiceclone.serving.home_assistant import start_wyoming

            async with await start_wyoming(service, *settings.wyoming):
                yield
        looking.cancel()
        await asyncio.to_thread(pool.close)

    app = FastAPI(
        title="voiceclone", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None,
        redirect_slashes=False,
    )  # fmt: skip
    app.add_middleware(BoundedBody, max_bytes=settings.connections.body_bytes)
    if settings.local:
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=LOCAL_NAMES, www_redirect=False)
    app.state.service = service
    _add_errors(app)
    _add_speech(app, service)
    _add_lists(app, service)
    add_file(app, "/", "page.html")
    add_file(app, "/page.js", "page.js")
    add_file(app, "/theme.css", "theme.css")
    return app


async def _rescan_regularly(catalogue: Catalogue, seconds: float) -> None:
    while True:
        await asyncio.sleep(seconds)
        try:
            await asyncio.to_thread(catalogue.rescan)
        except Exception:
            log.exception("the bundles could not be looked at")


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(ApiError)
    async def ours(request: Request, error: ApiError) -> Response:
        return error.response()

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        message = invalid_fields(error).encode("ascii", "replace").decode()[:1000]
        return ApiError(400, message, "invalid_value").response()

    @app.exception_handler(HTTPException)
    async def other(request: Request, error: HTTPException) -> Response:
        return ApiError(error.status_code, str(error.detail), "http_error").response()

    @app.exception_handler(Exception)
    async def bug(request: Request, error: Exception) -> Response:
        return ApiError(500, "internal error, see the log of the server", "server_error").response()


def _add_speech(app: FastAPI, service: Service) -> None:
    caller: Any = Depends(service.caller)

    @app.post("/v1/audio/speech", response_class=Response)
    async def speech(request: Request, asked: SpeechRequest, key: Key = caller) -> Response:
        """Speak a text. The sound comes while it is computed, but for flac, which comes whole."""

        async def gone() -> None:
            while (await request.receive())["type"] != "http.disconnect":
                pass

        begun, first = await service.begin(key, asked, gone)
        mark = voice_id(begun.voice.number)
        headers = {
            "X-Voice": begun.voice.name,
            "X-AI-Notice": f"{GENERATED_NOTICE}; voice {mark}",
            "Cache-Control": "no-store",
        }
        if asked.instructions:
            headers["X-Warning"] = "instructions: ignored, this voice speaks like its recordings"
        if asked.stream_format == "sse":
            return _SpeechResponse(begun, begun.events(first), "text/event-stream", headers)
        return _SpeechResponse(begun, begun.sounds(first), MEDIA_TYPES[asked.response_format], headers)


def _add_lists(app: FastAPI, service: Service) -> None:
    caller: Any = Depends(service.caller)
    model = {"id": MODEL, "object": "model", "created": 0, "owned_by": "voiceclone"}

    @app.get("/v1/models")
    async def models(key: Key = caller) -> dict[str, Any]:
        """The one model."""
        return {"object": "list", "data": [model]}

    @app.get("/v1/models/{name}")
    async def one_model(name: str, key: Key = caller) -> dict[str, Any]:
        """The one model."""
        if name != MODEL:
            raise ApiError(404, f"there is one model: {MODEL}", "model_not_found")
        return model

    @app.get("/v1/voices")
    async def voices(key: Key = caller) -> dict[str, Any]:
        """The voices of the caller's key, and whether each can speak."""
        return {"object": "list", "data": [voice.as_entry() for voice in service.voices_of(key)]}

    @app.get("/health")
    async def health() -> Response:
        """200 once a worker can speak."""
        ready, all_voices = service.pool.ready, service.catalogue.all()
        degraded = any(voice.problem for voice in all_voices) or bool(service.audit.failed)
        status = "starting" if not ready else "degraded" if degraded else "ok"
        return JSONResponse({"status": status}, 200 if ready else 503)

    @app.get("/metrics")
    async def metrics(key: Key = caller) -> Response:
        """For Prometheus."""
        return Response(generate_latest(service.metrics.registry), media_type="text/plain; version=0.0.4")
