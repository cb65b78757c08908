"""A server under load: first sound, speech per second, memory; of the committed base voice, in less than five minutes.

Run by itself: ``python -m pytest -m benchmark -s tests/benchmarks/test_serving.py``. ``BUNDLE=FOLDER``: another voice;
``REQUESTS=1000 LEVEL_SECONDS=3600``: longer. ``PIPER_PYTHON=FILE``: a Python with ``piper-tts[http]``, whose server is
measured beside it.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import onnx
import pytest
from safetensors.torch import save_file
from tests.conftest import REPOSITORY
from tests.support.voice_fixture import make_voice

from voiceclone.assets.preflight import MODELS
from voiceclone.backends.weights import OnnxWeights
from voiceclone.base.pack import open_base
from voiceclone.export.bundle import export_voice
from voiceclone.kernels.binding import load_kernels
from voiceclone.models.gpt import GPTConfig, TextToSemantic
from voiceclone.models.voice import load_voice
from voiceclone.serving.encoding import PCM_RATE
from voiceclone.serving.listen import usable_cores
from voiceclone.speaking.synthesizer import Synthesizer
from voiceclone.stages.export import ExportSettings
from voiceclone.text_to_semantic.graph import TextToSemanticGraph
from voiceclone.text_to_semantic.kernels import KernelGPT

pytestmark = pytest.mark.benchmark
TEXT = "Good morning. The bread is still warm."
#: Voice of the peer.
PIPER = "piper-joe"
#: Requests at most for the memory, and seconds after which no level begins another one.
REQUESTS, LEVEL_SECONDS = int(os.environ.get("REQUESTS", "40")), float(os.environ.get("LEVEL_SECONDS", "45"))


Answer = tuple[float, float, float]
Ask = Callable[[httpx2.Client, int], Answer]


def ask(client: httpx2.Client, number: int) -> Answer:
    """Seconds to the first sound, seconds in all, seconds of speech."""
    body = {"input": TEXT, "response_format": "pcm", "seed": number % 7}
    first, whole, size = received(client, "/v1/audio/speech", body)
    return first, whole, size / 2 / PCM_RATE


def ask_piper(client: httpx2.Client, number: int) -> Answer:
    """The same of Piper's server, which answers with a whole WAV of 22.05 kHz."""
    first, whole, size = received(client, "/synthesize", {"text": TEXT})
    return first, whole, (size - 44) / 2 / 22_050


def received(client: httpx2.Client, path: str, body: dict[str, Any]) -> tuple[float, float, int]:
    began, first, size = time.perf_counter(), 0.0, 0
    with client.stream("POST", path, json=body) as answer:
        answer.raise_for_status()
        for data in answer.iter_bytes():
            first, size = first or time.perf_counter() - began, size + len(data)
    return first, time.perf_counter() - began, size


def memory(pid: int) -> float:
    """Resident megabytes of a process and its children, whichever thread started them."""
    children = [one for file in Path(f"/proc/{pid}/task").glob("*/children") for one in file.read_text().split()]
    pages = [int(Path(f"/proc/{one}/statm").read_text().split()[1]) for one in (str(pid), *children)]
    return sum(pages) * os.sysconf("SC_PAGE_SIZE") / 1e6


def test_a_server_under_load(tmp_path: Path) -> None:
    bundle = Path(os.environ["BUNDLE"]).resolve() if "BUNDLE" in os.environ else base_bundle(tmp_path / "voice")
    command = [sys.executable, "-c", "from voiceclone.cli import app; app()", "serve", "--voices", str(bundle)]
    with server([*command, "--port"], "/health", tmp_path) as (client, pid):
        print(f"\n{usable_cores()} cores, load {os.getloadavg()[0]:.1f}; {TEXT!r}")
        levels(client, pid, ask)
        before = memory(pid)
        more = len(many(client, 4, REQUESTS, ask))
        after = memory(pid)
        print(f"memory before and after {more} more requests: {before:.0f}, {after:.0f} MB")
        assert after < before * 1.1 + 20
    peer(tmp_path)


def peer(folder: Path) -> None:
    """Piper's server beside it, with a voice that is an asset here."""
    python = os.environ.get("PIPER_PYTHON", sys.executable)
    model = REPOSITORY / MODELS / PIPER / "en_US-joe-medium.onnx"
    found = subprocess.run([python, "-c", "import flask, piper"], capture_output=True, check=False).returncode == 0
    if not found or not model.is_file():
        print(
            "Piper's server: not measured; install piper-tts[http], or name a Python that has it in PIPER_PYTHON, and "
            f"fetch {PIPER}: voiceclone assets fetch {PIPER}"
        )
        return
    command = [python, "-m", "piper.http_server", "-m", str(model), "--host", "127.0.0.1", "--port"]
    with server(command, "/info", folder) as (client, pid):
        print("Piper's server, en_US-joe-medium")
        levels(client, pid, ask_piper)


@contextmanager
def server(command: list[str], path: str, folder: Path) -> Iterator[tuple[httpx2.Client, int]]:
    """A server whose command ends with its port, as soon as it answers there; its process."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    env = {**os.environ, "XDG_CONFIG_HOME": str(folder)}
    with (folder / "server.log").open("ab") as log:
        process = subprocess.Popen([*command, str(port)], env=env, stdout=log, stderr=log, cwd=folder)
    try:
        with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=600) as client:
            wait_for(client, path)
            yield client, process.pid
    finally:
        process.terminate()
        process.wait(timeout=60)


def wait_for(client: httpx2.Client, path: str) -> None:
    end = time.monotonic() + 600
    while True:
        try:
            if client.get(path).status_code == 200:
                return
        except httpx2.TransportError:
            pass
        assert time.monotonic() < end
        time.sleep(0.2)


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


def alone_and_together(start: Callable[..., Any], step: Callable[..., Any], rows: int) -> tuple[float, float]:
    """Seconds of a token alone, and of a row among ``rows``, the best of some.

    The rows of a first pass stand for texts decoded together: each weight is read once for all of them.
    """
    phones = np.arange(1, rows, dtype=np.int64)
    alone, together = [], []
    for _ in range(30):
        began = time.perf_counter()
        _, cache = start(phones, None, np.zeros(1, np.int64))
        together.append((time.perf_counter() - began) / rows)
        for position in range(1, 9):
            began = time.perf_counter()
            _, cache = step(1, position, cache)
            alone.append(time.perf_counter() - began)
    return min(alone), min(together)


def test_what_decoding_texts_together_would_gain(tmp_path: Path) -> None:
    """Printed: how much faster a row is among 8 than alone, and what that is of a sentence; on one core, as workers."""
    bundle = base_bundle(tmp_path / "voice")
    engines = ["onnxruntime", *(["kernels"] if load_kernels() is not None else [])]
    for engine in engines:
        voice = Synthesizer.from_bundle(bundle, threads=1, engine=engine)
        alone, together = alone_and_together(voice.backend.start, voice.backend.step, 8)
        gain = alone / together
        voice.say(TEXT)
        speech = voice.say("The bakery opens at seven and the bread is warm.", seed=1)
        share = speech.timings["gpt_ms"] / sum(speech.timings.values())
        whole = 1 / (1 - share + share / gain)
        print(f"\nbase voice, {engine}: {1000 * alone:.2f} ms for a token alone, a row of 8 {gain:.2f} times as fast; "
              f"tokens are {share:.0%} of the time, so a sentence at most {whole:.2f} times", end="")  # fmt: skip
    config = GPTConfig()
    weights = {name: tensor.numpy() for name, tensor in TextToSemantic(config).state_dict().items()}
    onnx.save(TextToSemanticGraph(config, weights, "int8").build(), tmp_path / "public.onnx")
    if "kernels" in engines:
        sizes = {"layers": config.layers, "heads": config.heads, "head_width": config.dim // config.heads}
        network = KernelGPT(load_kernels(), OnnxWeights(tmp_path / "public.onnx"), sizes)
        alone, together = alone_and_together(network.start, network.step, 8)
        print(f"\nsize of the public voices, kernels: a row of 8 {alone / together:.2f} times as fast as alone")


def many(client: httpx2.Client, clients: int, count: int, ask: Ask) -> np.ndarray:
    """Rows of :func:`ask` by clients that ask one text after the other, until their time is over."""
    end = time.monotonic() + LEVEL_SECONDS
    with ThreadPoolExecutor(clients) as threads:
        rows = threads.map(lambda number: ask(client, number) if time.monotonic() < end else None, range(count))
        return np.asarray([row for row in rows if row is not None])


def levels(client: httpx2.Client, pid: int, ask: Ask) -> None:
    """A row for each number of clients."""
    print("clients  requests  first sound p50, p95 (s)  whole p50, p95 (s)  speech per second  memory (MB)")
    for clients in (1, 4, 16):
        began = time.perf_counter()
        rows = many(client, clients, max(8, 2 * clients), ask)
        spent = time.perf_counter() - began
        first, whole = (np.percentile(rows[:, column], (50, 95)) for column in (0, 1))
        print(
            f"{clients:7d} {len(rows):9d} {first[0]:17.2f}, {first[1]:5.2f} {whole[0]:14.2f}, {whole[1]:5.2f}", end=" "
        )
        print(f"{rows[:, 2].sum() / spent:18.2f} {memory(pid):12.0f}")
