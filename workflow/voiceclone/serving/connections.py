"""Connections of people who are slow, silent or many: bounded in number and in time."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from voiceclone.serving.web import content_length


@dataclass(frozen=True)
class ConnectionLimits:
    """Limits of connections.

    Attributes:
        connections: at a time; more are closed at once.
        request_seconds: in which a request must have come whole, and between two of a connection.
        stalled_seconds: that a client may take no sound while some is ready.
        body_bytes: length of a request's body.
    """

    connections: int = 512
    request_seconds: float = 20.0
    stalled_seconds: float = 60.0
    body_bytes: int = 65_536


def bounded_protocol(limits: ConnectionLimits) -> type[H11Protocol]:
    """uvicorn's HTTP/1.1 protocol with limits."""

    class BoundedProtocol(H11Protocol):
        _alarm: asyncio.TimerHandle | None = None
        _stalled: asyncio.TimerHandle | None = None
        _refused = False

        def connection_made(self, transport: Any) -> None:
            if len(self.connections) >= limits.connections:
                self._refused = True
                transport.abort()
                return
            super().connection_made(transport)
            self._watch()

        def connection_lost(self, exc: Exception | None) -> None:
            for alarm in (self._alarm, self._stalled):
                if alarm is not None:
                    alarm.cancel()
            if not self._refused:
                super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            if self._refused:
                return
            super().data_received(data)
            self._watch()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            self._watch()

        def pause_writing(self) -> None:
            super().pause_writing()
            self._stalled = self.loop.call_later(limits.stalled_seconds, self.transport.abort)

        def resume_writing(self) -> None:
            super().resume_writing()
            if self._stalled is not None:
                self._stalled.cancel()
                self._stalled = None

        def _watch(self) -> None:
            """Time what is still to come of a request; once it is whole, nothing is."""
            cycle = self.cycle
            waiting = cycle is None or cycle.response_complete or cycle.more_body
            if waiting and self._alarm is None:
                self._alarm = self.loop.call_later(limits.request_seconds, self.transport.abort)
            elif not waiting and self._alarm is not None:
                self._alarm.cancel()
                self._alarm = None

    return BoundedProtocol


class BoundedBody:
    """Refuses bodies that are too long, those of unknown length as soon as they are."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app, self._max_bytes = app, max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        length = dict(scope["headers"]).get(b"content-length", b"0")
        came = content_length(length)

        async def bounded() -> Message:
            nonlocal came
            if came > self._max_bytes:
                raise HTTPException(413, f"the body is longer than {self._max_bytes} bytes")
            message = await receive()
            came += len(message.get("body", b"")) if not length.strip(b"0") else 0
            if came > self._max_bytes:
                raise HTTPException(413, f"the body is longer than {self._max_bytes} bytes")
            return message

        await self._app(scope, bounded, send)
