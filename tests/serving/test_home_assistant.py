"""The Wyoming protocol, spoken with its own library."""

from __future__ import annotations

import asyncio
import io
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from tests.serving.conftest import TEXT, Running
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.client import AsyncTcpClient
from wyoming.error import Error
from wyoming.event import Event
from wyoming.info import Describe, Info
from wyoming.tts import Synthesize, SynthesizeVoice

from voiceclone.errors import ConfigError
from voiceclone.serving.access import Key, KeyFile
from voiceclone.serving.listen import Address
from voiceclone.serving.server import ServerSettings


@pytest.fixture(scope="module")
def port(made_bundle: Path) -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    running = Running([made_bundle], ServerSettings(wyoming=("127.0.0.1", port))).start()
    yield port
    running.stop()


def exchange(port: int, *events: Any, until: tuple[Any, ...] = (AudioStop, Error, Info)) -> list[Event]:
    async def talk() -> list[Event]:
        got: list[Event] = []
        async with AsyncTcpClient("127.0.0.1", port) as client:
            for event in events:
                await client.write_event(event.event())
                while (event := await asyncio.wait_for(client.read_event(), 60)) is not None:
                    got.append(event)
                    if any(kind.is_type(event.type) for kind in until):
                        break
        return got

    return asyncio.run(talk())


def test_home_assistant_finds_the_voices(port: int) -> None:
    (event,) = exchange(port, Describe())
    (program,) = Info.from_event(event).tts
    assert [(voice.name, voice.languages) for voice in program.voices] == [("anna", ["en"])]


def test_it_speaks(port: int) -> None:
    got = exchange(port, Synthesize(TEXT, SynthesizeVoice(name="anna")), Synthesize(TEXT))
    kinds = [event.type for event in got]
    assert kinds.count("audio-start") == kinds.count("audio-stop") == 2
    assert AudioStart.from_event(got[0]).rate == 24_000
    stop = kinds.index("audio-stop")
    chunks = [AudioChunk.from_event(event) for event in got[1:stop]]
    assert len(b"".join(chunk.audio for chunk in chunks)) > 24_000
    assert [event.payload for event in got[1:stop]] == [event.payload for event in got[stop + 2 : -1]]


def test_it_refuses_and_goes_on(port: int) -> None:
    long, other = Synthesize("a" * 5000), Synthesize(TEXT, SynthesizeVoice(name="../anna"))
    got = exchange(port, long, other, Synthesize("... !"), Synthesize(""), Describe())
    assert [event.type for event in got] == ["error"] * 4 + ["info"]


@pytest.mark.parametrize(
    "sent",
    [
        b"\n", b"{}\n", b"[]\n", b"x" * 200_000, b'{"type": "synthesize", "data": 7}\n',
        json.dumps({"type": "synthesize", "data_length": 10**12}).encode() + b"\n",
        json.dumps({"type": "synthesize", "payload_length": 10**12}).encode() + b"\n",
    ],
)  # fmt: skip
def test_broken_events_end_the_connection_alone(port: int, sent: bytes) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        try:
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
            assert connection.recv(1) == b""
        except ConnectionError:
            pass
    assert exchange(port, Describe())


def test_strangers_cannot_reach_it(tmp_path: Path) -> None:
    KeyFile(tmp_path / "keys.json").add(Key(""))
    lock = {"certificate": tmp_path, "private_key": tmp_path}
    with pytest.raises(ConfigError, match="knows no keys"):
        Address("0.0.0.0", **lock).check(tmp_path / "keys.json", wyoming=True)
    Address("127.0.0.1").check(None, wyoming=True)


def test_sound_is_the_one_of_the_other_door(port: int, server: Running) -> None:
    flac, rate = soundfile.read(io.BytesIO(server.speak(response_format="flac").content))
    got = exchange(port, Synthesize(TEXT))
    samples = np.frombuffer(b"".join(event.payload for event in got if event.payload), "<i2")
    assert len(samples) / 24_000 == pytest.approx(len(flac) / rate, abs=0.01)
