"""A server under load: first sound, speech per second, memory; of the committed base voice, in less than five minutes.

Run by itself: ``python -m pytest -m benchmark -s tests/benchmarks/test_serving.py``. ``BUNDLE=FOLDER``: another voice;
``REQUESTS=1000 LEVEL_SECONDS=3600``: longer.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import numpy as np
import pytest
from safetensors.torch import save_file
from tests.conftest import REPOSITORY
from tests.support.voice_fixture import make_voice

from voiceclone.base.pack import open_base
from voiceclone.export.bundle import export_voice
from voiceclone.models.voice import load_voice
from voiceclone.serving.encoding import PCM_RATE
from voiceclone.serving.listen import usable_cores
from voiceclone.stages.export import ExportSettings

pytestmark = pytest.mark.benchmark
TEXT = "Good morning. The bread is still warm."
#: Requests at most for the memory, and seconds after which no level begins another one.
REQUESTS, LEVEL_SECONDS = int(os.environ.get("REQUESTS", "40")), float(os.environ.get("LEVEL_SECONDS", "45"))


def ask(client: httpx2.Client, number: int) -> tuple[float, float, float]:
    """Seconds to the first sound, seconds in all, seconds of speech."""
    began, first, size = time.perf_counter(), 0.0, 0
    body = {"input": TEXT, "response_format": "pcm", "seed": number % 7}
    with client.stream("POST", "/v1/audio/speech", json=body) as answer:
        answer.raise_for_status()
        for data in answer.iter_bytes():
            first, size = first or time.perf_counter() - began, size + len(data)
    return first, time.perf_counter() - began, size / 2 / PCM_RATE


def memory(pid: int) -> float:
    """Resident megabytes of a process and its children, whichever thread started them."""
    children = [one for file in Path(f"/proc/{pid}/task").glob("*/children") for one in file.read_text().split()]
    pages = [int(Path(f"/proc/{one}/statm").read_text().split()[1]) for one in (str(pid), *children)]
    return sum(pages) * os.sysconf("SC_PAGE_SIZE") / 1e6


def test_a_server_under_load(tmp_path: Path) -> None:
    bundle = Path(os.environ["BUNDLE"]).resolve() if "BUNDLE" in os.environ else base_bundle(tmp_path / "voice")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-c", "from voiceclone.cli import app; app()", "serve", "--voices", str(bundle)]
    server = subprocess.Popen([*command, "--port", str(port)], env={**os.environ, "XDG_CONFIG_HOME": str(tmp_path)})
    try:
        with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=600) as client:
            measure(client, server.pid)
    finally:
        server.terminate()
        server.wait(timeout=60)


def base_bundle(root: Path) -> Path:
    """A bundle of the committed base voice, in the style of noise: it is as fast as any of that architecture."""
    base = load_voice(open_base(REPOSITORY / "resources" / "base", root.parent))
    make_voice(root, base.sovits.config, base.gpt.config)
    for name, network in (("gpt", base.gpt), ("sovits", base.sovits)):
        weights = {key: value.contiguous() for key, value in network.state_dict().items()}
        save_file(weights, root / "models" / f"{name}.safetensors")
    settings = ExportSettings(min_token_agreement=0, max_spectral_distance_db=60)
    export_voice(root / "models", root / "features", "onnx-int8", root / "bundle", settings, "anna")
    return root / "bundle"


def many(client: httpx2.Client, clients: int, count: int) -> np.ndarray:
    """Rows of :func:`ask` by clients that ask one text after the other, until their time is over."""
    end = time.monotonic() + LEVEL_SECONDS
    with ThreadPoolExecutor(clients) as threads:
        rows = threads.map(lambda number: ask(client, number) if time.monotonic() < end else None, range(count))
        return np.asarray([row for row in rows if row is not None])


def measure(client: httpx2.Client, pid: int) -> None:
    end = time.monotonic() + 600
    while True:
        try:
            if client.get("/health").status_code == 200:
                break
        except httpx2.TransportError:
            pass
        assert time.monotonic() < end
        time.sleep(0.2)
    print(f"\n{usable_cores()} cores, load {os.getloadavg()[0]:.1f}; {TEXT!r}")
    print("clients  requests  first sound p50, p95 (s)  whole p50, p95 (s)  speech per second  memory (MB)")
    for clients in (1, 4, 16):
        began = time.perf_counter()
        rows = many(client, clients, max(8, 2 * clients))
        spent = time.perf_counter() - began
        first, whole = (np.percentile(rows[:, column], (50, 95)) for column in (0, 1))
        print(
            f"{clients:7d} {len(rows):9d} {first[0]:17.2f}, {first[1]:5.2f} {whole[0]:14.2f}, {whole[1]:5.2f}", end=" "
        )
        print(f"{rows[:, 2].sum() / spent:18.2f} {memory(pid):12.0f}")
    before = memory(pid)
    more = len(many(client, 4, REQUESTS))
    after = memory(pid)
    print(f"memory before and after {more} more requests: {before:.0f}, {after:.0f} MB")
    assert after < before * 1.1 + 20
