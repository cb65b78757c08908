"""A server of a small voice with random weights, as it runs: uvicorn, worker processes, a port of this machine."""

from __future__ import annotations

import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import uvicorn
from tests.support.voice_fixture import make_styles, make_voice

from voiceclone.export.bundle import export_voice
from voiceclone.serving.catalogue import Catalogue
from voiceclone.serving.listen import Address, configuration, warm_up_orders
from voiceclone.serving.pool import Pool
from voiceclone.serving.server import ServerSettings, create_app
from voiceclone.serving.worker import WorkerSettings
from voiceclone.stages.export import ExportSettings

TEXT = "Good morning."


class Running:
    """A server in a thread, and a client of it."""

    def __init__(
        self, folders: list[Path], settings: ServerSettings | None = None, workers: int = 1, max_waiting: int = 64,
        max_seconds: float = 120.0,
    ) -> None:  # fmt: skip
        settings = settings or ServerSettings()
        self.catalogue = Catalogue(folders)
        worker_settings = WorkerSettings(engine="onnxruntime")
        first = warm_up_orders(self.catalogue.all(), 1)
        self.pool = Pool(workers, max_waiting, max_seconds, worker_settings, first)
        self.app = create_app(self.catalogue, self.pool, settings)
        self.service = self.app.state.service
        self.socket = socket.create_server(("127.0.0.1", 0), backlog=2048)
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        self.server = uvicorn.Server(configuration(self.app, Address(), settings))
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self.socket]}, daemon=True)
        self.client = httpx2.Client(base_url=self.url, timeout=120)

    def start(self) -> Running:
        self.thread.start()
        wait_for(lambda: self.server.started and self.pool.ready)
        return self

    def speak(self, text: str = TEXT, **more: Any) -> httpx2.Response:
        headers = more.pop("headers", {})
        return self.client.post("/v1/audio/speech", json={"input": text, **more}, headers=headers)

    def stop(self) -> None:
        self.client.close()
        self.server.should_exit = True
        self.thread.join(timeout=60)
        self.pool.close()


def wait_for(condition: Callable[[], object], seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.05)


@pytest.fixture(scope="session")
def made_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = make_voice(tmp_path_factory.mktemp("served"))
    export_voice(root / "models", root / "features", "onnx-fp32", root / "bundle", ExportSettings(), "anna",
                 references=make_styles(root))  # fmt: skip
    return root / "bundle"


@pytest.fixture
def bundle(made_bundle: Path, tmp_path: Path) -> Path:
    """A copy of the bundle, to be damaged."""
    return Path(shutil.copytree(made_bundle, tmp_path / "bundle"))


@pytest.fixture(scope="module")
def server(made_bundle: Path) -> Iterator[Running]:
    """A server without keys."""
    running = Running([made_bundle]).start()
    yield running
    running.stop()


@pytest.fixture
def serve() -> Iterator[Callable[..., Running]]:
    """Starts servers of a test's own."""
    started: list[Running] = []

    def start(*arguments: Any, **more: Any) -> Running:
        started.append(Running(*arguments, **more))
        return started[-1].start()

    yield start
    for running in started:
        running.stop()
