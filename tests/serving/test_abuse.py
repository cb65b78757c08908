"""What strangers do to a server: too much, too slowly, too often, and paths for names."""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import httpx2
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from tests.serving.conftest import TEXT, Running, wait_for

from voiceclone.serving.connections import ConnectionLimits
from voiceclone.serving.server import ServerSettings

Serve = Callable[..., Running]
JSON = {"content-type": "application/json"}
LONG = "One two three four five six seven eight nine ten. " * 40
#: Soon spoken, and twenty megabytes.
QUIET = {"input": "Yes. " * 6, "response_format": "wav", "pause_seconds": 60}


def opened(server: Running) -> socket.socket:
    return socket.create_connection(server.socket.getsockname(), timeout=30)


def closed_by_the_server(connection: socket.socket) -> bool:
    try:
        while connection.recv(65_536):
            pass
    except ConnectionResetError:
        pass
    except TimeoutError:
        return False
    return True


def head(length: int | None) -> bytes:
    size = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
    lines = ["POST /v1/audio/speech HTTP/1.1", "Host: localhost", "Content-Type: application/json", size]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def busy(server: Running) -> bool:
    return any(use.running for use in server.service.quotas._uses.values())


@pytest.mark.parametrize("known", [True, False])
def test_oversized_bodies_are_refused(server: Running, known: bool) -> None:
    body = json.dumps({"input": TEXT, "padding": "x" * 10**6}).encode()
    content = body if known else (body[place : place + 1000] for place in range(0, len(body), 1000))
    with suppress(httpx2.TransportError):  # it does not wait for the rest
        assert server.client.post("/v1/audio/speech", content=content, headers=JSON).status_code == 413
    assert server.speak().status_code == 200


@pytest.mark.parametrize("body", [b"[" * 60_000, b'{"input":' * 6000, b"\xff\xfe", b"nul", b'{"input": NaN}', b""])
def test_broken_bodies_are_refused(server: Running, body: bytes) -> None:
    assert server.client.post("/v1/audio/speech", content=body, headers=JSON).status_code == 400


@pytest.mark.parametrize(
    "name",
    ["../anna", "/etc/passwd", "anna/../anna", "anna\x00", "anna%2f", "..", ".", "anna ", "ANNA", "file:///etc/passwd",
     "аnna", "anna\n", "a" * 201, {"id": "../anna"}, {"id": ["anna"]}, ["anna"], None, 7],
)  # fmt: skip
def test_names_of_voices_lead_nowhere(server: Running, name: object) -> None:
    answer = server.speak(voice=name)
    assert answer.status_code in (400, 404)
    assert "passwd" not in answer.text and str(server.catalogue.all()[0].folder) not in answer.text


@given(name=st.text(max_size=60), path=st.sampled_from(["/v1/models/{}", "/{}", "/page.js/{}", "/v1/audio/{}"]))
@hypothesis_settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_path_and_no_name_leads_to_a_file(server: Running, name: str, path: str) -> None:
    name = name.encode("utf-8", "replace").decode()
    if name.strip():
        assert server.speak(voice=name).status_code in (400, 404)
    url = path.format("".join(f"%{byte:02x}" for byte in f"../{name}".encode()))
    assert server.client.get(url).status_code in (400, 404, 405)


def test_raw_paths_lead_to_no_file(server: Running) -> None:
    for target in (b"/../../etc/passwd", b"//etc/passwd", b"/..%2f..%2fetc/passwd", b"/page.js/../server.py", b"*"):
        with opened(server) as connection:
            connection.sendall(b"GET " + target + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            answer = b""
            while data := connection.recv(65_536):
                answer += data
        assert b"root:" not in answer and answer.split()[1] in (b"400", b"404")


def test_slow_clients_are_cut_off(serve: Serve, made_bundle: Path) -> None:
    limits = ConnectionLimits(request_seconds=2.0)
    server = serve([made_bundle], ServerSettings(connections=limits))
    began, body = time.monotonic(), json.dumps({"input": TEXT}).encode()
    silent, dribbling, headed, again = (opened(server) for _ in range(4))
    headed.sendall(head(len(body)) + body[:5])
    again.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")

    def dribble() -> None:
        try:
            for byte in head(10_000):
                dribbling.sendall(bytes([byte]))
                time.sleep(0.1)
        except OSError:
            pass

    threading.Thread(target=dribble, daemon=True).start()
    for connection in (silent, dribbling, headed, again):
        assert closed_by_the_server(connection)
    assert time.monotonic() - began < 25
    wait_for(lambda: not server.server.server_state.connections, 10)
    assert server.speak().status_code == 200


def test_a_client_that_takes_no_sound_is_cut_off_and_holds_no_worker(serve: Serve, made_bundle: Path) -> None:
    server = serve([made_bundle], ServerSettings(connections=ConnectionLimits(stalled_seconds=2.0)))
    body = json.dumps(QUIET).encode()
    connection = opened(server)
    connection.sendall(head(len(body)) + body)
    wait_for(lambda: busy(server), 30)
    assert server.speak().status_code == 200  # it waits for the worker, not for the client
    wait_for(lambda: not busy(server), 60)
    connection.close()


@pytest.mark.parametrize("form", ["wav", "flac"])
def test_who_leaves_frees_its_place(serve: Serve, made_bundle: Path, form: str) -> None:
    """Also while it waits for the first sound, and in the queue."""
    server = serve([made_bundle], max_waiting=4)
    body = json.dumps({"input": LONG, "response_format": form}).encode()
    for _ in range(3):
        connection = opened(server)
        connection.sendall(head(len(body)) + body)
        wait_for(lambda: busy(server), 30)
        if form == "wav":
            assert connection.recv(10)
        connection.close()
    wait_for(lambda: not busy(server) and not len(server.pool.queue), 60)
    assert server.speak().status_code == 200


def test_a_full_queue_says_when_to_come_again(serve: Serve, made_bundle: Path) -> None:
    server = serve([made_bundle], max_waiting=2)
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: server.speak(), range(8)))
    refused = [answer for answer in answers if answer.status_code == 503]
    assert refused and all(answer.headers["retry-after"] == "5" for answer in refused)
    assert {answer.status_code for answer in answers} == {200, 503}
    assert server.speak().status_code == 200


def test_ten_thousand_opens_are_bounded(serve: Serve, made_bundle: Path) -> None:
    most, opens = 64, 10_000
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < 2 * opens and hard >= 2 * opens:
        resource.setrlimit(resource.RLIMIT_NOFILE, (2 * opens, hard))
    opens = min(opens, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2 - 500)
    server = serve([made_bundle], ServerSettings(connections=ConnectionLimits(connections=most, request_seconds=5.0)))
    held, largest = [], 0
    for number in range(opens):
        try:
            held.append(opened(server))
        except OSError:
            continue
        if number % 100 == 0:
            largest = max(largest, len(server.server.server_state.connections))
    largest = max(largest, len(server.server.server_state.connections))
    assert 0 < largest <= most
    for connection in held:
        connection.close()
    wait_for(lambda: len(server.server.server_state.connections) < most, 30)
    assert server.speak().status_code == 200


def test_silence_without_end_is_cut(serve: Serve, made_bundle: Path) -> None:
    server = serve([made_bundle], ServerSettings(speech_seconds=30.0))
    with pytest.raises(httpx2.TransportError):  # the end of a broken sound does not look like one
        server.speak("A. " * 100, pause_seconds=60, response_format="pcm")
    wait_for(lambda: not busy(server), 10)
    assert server.speak().status_code == 200


def test_computing_has_an_end(serve: Serve, made_bundle: Path) -> None:
    server = serve([made_bundle], max_seconds=1.0)
    with pytest.raises(httpx2.TransportError):
        server.speak(LONG, response_format="pcm")
    assert server.speak("Yes.").status_code == 200


def test_a_killed_worker_is_replaced(serve: Serve, made_bundle: Path) -> None:
    server = serve([made_bundle])
    (before,) = server.pool.processes
    os.kill(before, signal.SIGKILL)
    assert server.speak().status_code == 200  # idle: nobody notices
    killed: list[int] = []

    def kill_soon() -> None:
        wait_for(lambda: busy(server), 30)
        killed.extend(server.pool.processes)
        os.kill(killed[0], signal.SIGKILL)

    thread = threading.Thread(target=kill_soon)
    thread.start()
    try:
        code = server.speak(LONG[:100], response_format="pcm").status_code
    except httpx2.TransportError:  # amid the sound
        code = 0
    thread.join()
    assert code in (0, 200) and server.speak().status_code == 200
    assert server.pool.processes and server.pool.processes[0] not in (before, *killed)
