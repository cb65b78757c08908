"""The Wyoming protocol of Home Assistant: lists voices, takes texts, sends samples. It has no keys."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from pydantic import ValidationError
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.error import Error
from wyoming.event import Event, async_read_event, async_write_event
from wyoming.info import Attribution, Describe, Info, TtsProgram, TtsVoice
from wyoming.tts import Synthesize

from voiceclone import __version__
from voiceclone.serving.access import Key
from voiceclone.serving.encoding import PCM_RATE
from voiceclone.serving.server import ApiError, Service, SpeechRequest

log = logging.getLogger(__name__)
CALLER = Key("wyoming", "Home Assistant")
#: Bytes of a part of an event; connections at a time; seconds without an event after which one is closed.
MAX_BYTES, MAX_CONNECTIONS, IDLE_SECONDS = 65_536, 32, 300.0
FORMAT = {"rate": PCM_RATE, "width": 2, "channels": 1}


class _BoundedReader:
    """A reader that refuses parts of events that are too long; their length is what the sender says."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self.readline, self._reader = reader.readline, reader

    async def readexactly(self, count: int) -> bytes:
        if count > MAX_BYTES:
            raise ConnectionError(f"an event of {count} bytes")
        return await self._reader.readexactly(count)


async def start_wyoming(service: Service, host: str, port: int) -> asyncio.Server:
    """Listen until the server is closed."""
    open_now: set[asyncio.Task[Any] | None] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        try:
            if len(open_now) < MAX_CONNECTIONS:
                open_now.add(task)
                await _converse(service, _BoundedReader(reader), writer)
        except (OSError, EOFError, TimeoutError, ValueError, KeyError, TypeError, AttributeError) as error:
            log.info("wyoming: a connection ended: %s", error or type(error).__name__)
        finally:
            open_now.discard(task)
            writer.close()

    return await asyncio.start_server(handle, host, port, limit=MAX_BYTES)


async def _converse(service: Service, reader: Any, writer: asyncio.StreamWriter) -> None:
    while (event := await asyncio.wait_for(async_read_event(reader), IDLE_SECONDS)) is not None:
        if Describe.is_type(event.type):
            await async_write_event(_voices(service).event(), writer)
        elif Synthesize.is_type(event.type):
            try:
                await _speak(service, Synthesize.from_event(event), writer)
            except (ApiError, ValidationError) as error:
                code = error.code if isinstance(error, ApiError) else "invalid_value"
                await async_write_event(Error(str(error)[:500], code).event(), writer)


def _voices(service: Service) -> Info:
    """The available voices in the format of Home Assistant."""
    by = Attribution("voiceclone", "")
    voices = [
        TtsVoice(voice.name, by, True, f"{voice.name}, AI-generated", __version__, list(voice.description["languages"]))
        for voice in service.catalogue.all()
        if not voice.problem
    ]
    return Info(tts=[TtsProgram("voiceclone", by, True, "Cloned voices", __version__, voices)])


async def _speak(service: Service, asked: Synthesize, writer: asyncio.StreamWriter) -> None:
    name = asked.voice.name if asked.voice is not None else ""
    request = SpeechRequest(input=asked.text, voice=name or "", response_format="pcm")
    begun, first = await service.begin(CALLER, request, asyncio.Event().wait)
    try:
        await async_write_event(AudioStart(**FORMAT).event(), writer)
        async for data in begun.sounds(first):
            event: Event = AudioChunk(**FORMAT, audio=data).event()
            await asyncio.wait_for(async_write_event(event, writer), IDLE_SECONDS)
        await async_write_event(AudioStop().event(), writer)
    finally:
        begun.end()
