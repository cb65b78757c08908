"""Killed, or out of space, at every single operation on files: the same command afterwards gives the same bytes.

Every operation of each piece of work is listed first (see :mod:`crash_points`), then the work is disturbed at each of
them in a run of its own, and repeated. ``make test-kill`` does it for all of them; the default run for some.
"""

from __future__ import annotations

import functools
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
import torch._dynamo  # these two here, not in every process that is watched
import torch.utils.tensorboard.writer
import yaml
from safetensors.torch import save_file
from tests.support import crash_points
from tests.support import training_toy as toy
from tests.support.crash_points import Disturbance, Outcome, Point, watch
from tests.support.feature_fixture import corpus, random_campplus, random_hubert
from tests.support.recordings import voice_like, write
from tests.support.report_fixture import make_results
from tests.support.small_training import small_gpt, small_sovits
from tests.support.synthetic_features import make_features
from tests.support.toy_voice import ToyEncoders

from same_files import VIEWS, difference, files_in
from voiceclone.assets import fetch_asset
from voiceclone.evaluation.evaluate import Spoken, speak_items
from voiceclone.evaluation.sentences import Item
from voiceclone.features.extract import extract_features
from voiceclone.files import sha256_file, write_json, write_tsv
from voiceclone.kernels import binding
from voiceclone.lineage.items import ItemCache
from voiceclone.models.discriminators import DiscriminatorConfig
from voiceclone.models.gpt import GPTConfig
from voiceclone.models.sovits import SoVITSConfig
from voiceclone.progress import Progress
from voiceclone.report.page import build_report
from voiceclone.speaking.reference import ClipReader, reference_cache
from voiceclone.stage import Stage
from voiceclone.stages.features import FeaturesSettings
from voiceclone.stages.report import ReportSettings
from voiceclone.stages.settings import RuntimeSettings
from voiceclone.stages.train_gpt import GPTSettings
from voiceclone.stages.train_sovits import SoVITSSettings
from voiceclone.tensorrt.engines import read_recorded, write_recorded
from voiceclone.training import checkpoints, gpt, sovits
from voiceclone.training.run import OutputFiles, write_weights

pytestmark = [
    pytest.mark.skipif(not crash_points.SUPPORTED, reason="looks at system calls of Linux on x86-64"),
    pytest.mark.timeout(4 * 3600),
]
REPOSITORY = Path(__file__).resolve().parents[2]
DISTURBANCES = get_args(Disturbance)


@dataclass(frozen=True)
class Work:
    """Something that writes files: what lies there before, and what is done in a folder."""

    prepare: Callable[[Path], object]
    run: Callable[[Path], object]


# -- what is done ------------------------------------------------------------------------------------------------------


def script(name: str, *arguments: object) -> None:
    """Run a stage as the workflow does: its script, its arguments, its exit status."""
    import runpy

    sys.argv = [name, *map(str, arguments)]
    runpy.run_path(str(REPOSITORY / "scripts" / f"{name}.py"), run_name="__main__")


def as_stage(run: Callable[[Path], object]) -> Callable[[Path], None]:
    """The work with the end that every stage has: an error becomes a line and a status."""

    def stage(root: Path) -> None:
        sys.argv = ["stage", "--threads", "1"]
        Stage("work", lambda parser: None, lambda args, settings, runtime: run(root)).main("")

    return stage


def recordings(root: Path) -> None:
    for number in range(2):
        write(root / "anna" / f"{number}.wav", voice_like(3.0, seed=number))


def takes(root: Path) -> None:
    script("takes", "--folder", root / "anna", "--takes", root / "takes.tsv", "--rejected", root / "rejected.tsv")


def cleaned(root: Path) -> None:
    recordings(root)
    crash_points.in_child(functools.partial(takes, root))
    rows = [line.split("\t") for line in (root / "takes.tsv").read_text(encoding="utf-8").splitlines()]
    found = [dict(zip(rows[0], row, strict=True)) for row in rows[1:]]
    clean = [{"take": row["take"], "path": f"{row['take']}.wav"} for row in found]
    for row, source in zip(clean, found, strict=True):
        shutil.copy(root / "anna" / source["file"], root / row["path"])
        row["sha256"] = sha256_file(root / row["path"])
    write_tsv(root / "manifest.tsv", ["take", "path", "sha256"], clean)


def sliced(root: Path) -> None:
    out = root / "slices"
    script(
        "slice", "--clean", root / "manifest.tsv", "--takes", root / "takes.tsv",
        "--output", out / "manifest.tsv", "--timeline", out / "timeline.tsv",
    )  # fmt: skip


def features_made(root: Path) -> None:
    corpus(root, {"a": ("en", "Hello, world!"), "b": ("en", "Good morning.")})


def extract(root: Path) -> None:
    assets = random_models(root.parent)
    settings = FeaturesSettings(content="chinese-hubert-base")
    extract_features(root / "corpus" / "corpus.tsv", root / "features", settings, assets, None, threads=1)


@functools.cache
def random_models(folder: Path) -> dict[str, Any]:
    return {
        "chinese-hubert-base": random_hubert(folder / "hubert"),
        "campplus": random_campplus(folder / "campplus"),
    }


def training_data(root: Path) -> None:
    (root / "models").mkdir()
    make_features(root / "features", root / "models" / "tokenizer.safetensors", utterances=5, heldout=1)


def train(kind: str, root: Path) -> None:
    """Four steps, a checkpoint at each second one, of which the oldest goes; the smallest networks."""
    GPTConfig.nano = staticmethod(small_gpt)  # type: ignore[method-assign]
    SoVITSConfig.nano = staticmethod(small_sovits)  # type: ignore[method-assign]
    DiscriminatorConfig.nano = staticmethod(  # type: ignore[method-assign]
        lambda: DiscriminatorConfig(periods=(3,), channel_divisor=4)
    )
    checkpoints.RETRY_SECONDS = 0.0
    models = root / "models"
    files = OutputFiles(
        models / f"{kind}.safetensors", models / f"{kind}.json", models / f"{kind}.history.jsonl",
        models / f"{kind}.suspects.tsv",
    )  # fmt: skip
    runtime = RuntimeSettings(
        save_every_steps=2, keep_checkpoints=2, sample_every=1, device="cpu", save_patience_minutes=0
    )
    values: dict[str, Any] = {
        "architecture": "nano", "steps": 6, "batch_size": 2, "log_every": 1, "validate_every": 4,
    }  # fmt: skip
    features, state = root / "features", root / "state" / kind
    if kind == "gpt":
        gpt.train_gpt(features, state, files, GPTSettings(**values), runtime)
    else:
        sovits.train_sovits(features, models / "tokenizer.safetensors", state, files, SoVITSSettings(**values), runtime)


def save(root: Path) -> None:
    """The engine of the trainings on its smallest recipe: one checkpoint."""
    checkpoints.RETRY_SECONDS = 0.0
    result = toy.train(root / "state", steps=3, save_every_steps=3, sample_every=0, save_patience_minutes=0)
    write_weights(root / "models" / "toy.safetensors", result.last)


def write_files(root: Path) -> None:
    """A value that replaces another, a table, a folder that replaces another."""
    from voiceclone.files import atomic_folder, write_changed

    write_json(root / "value.json", {"new": list(range(100))})
    write_changed(root / "text.txt", "new\n")
    with atomic_folder(root / "folder") as folder:
        for name in "ab":
            (folder / name).write_text(f"new {name}" * 100, encoding="utf-8")


def old_files(root: Path) -> None:
    write_json(root / "value.json", {"old": 1})
    (root / "text.txt").write_text("old\n", encoding="utf-8")
    (root / "folder").mkdir()
    for name in "abc":
        (root / "folder" / name).write_text(f"old {name}", encoding="utf-8")


def speak(root: Path) -> None:
    """Sentences of the evaluation."""
    items = [Item(f"i{number}", "fixed", "en", f"Sentence {number}.") for number in range(2)]

    def voice(item: Item) -> Spoken:
        tone = 0.2 * np.sin(2 * np.pi * 150 * np.arange(32_000) / 32_000)
        times = {"text_ms": 1.0, "gpt_ms": 200.0, "decoder_ms": 50.0, "post_ms": 0.0}
        return Spoken(tone.astype(np.float32), 32_000, times)

    inputs = {item.id: (item.text,) for item in items}
    cache = ItemCache("evaluate", None, root / "eval")
    records = speak_items(items, lambda: voice, cache, inputs, Progress("test", len(items)))
    write_json(root / "eval" / "summary.json", records)


def clips(root: Path) -> None:
    for number in range(2):
        write(root / f"{number}.wav", voice_like(3.5, 32000, seed=number), 32000)


def read_clips(root: Path) -> None:
    reader = ClipReader(ToyEncoders(), cache=reference_cache(root / "cache" / "references"))
    write_json(root / "found.json", [reader.read(root / f"{number}.wav", "Some words", "en").digest for number in "01"])


def engine(root: Path) -> None:
    """An engine's bytes and their record; built anew where they do not match."""
    path, identity = root / "engines" / "gpt.engine", {"gpu": "x"}
    if read_recorded(path, identity) is None:
        write_recorded(path, b"plan" * 1000, identity)


def results(root: Path) -> None:
    make_results(root / "results" / "anna")


def report(root: Path) -> None:
    voice = root / "results" / "anna"
    build_report(
        voice, voice / "report.html", voice / "provenance.json", root / "results" / "config.json",
        ["recordings", "onnx-fp32"], [], ReportSettings(samples=1), REPOSITORY,
    )  # fmt: skip


def served(root: Path) -> None:
    (root.parent / "server").mkdir(exist_ok=True)
    for name in ("one.bin", "two.bin"):
        (root.parent / "server" / name).write_bytes(name.encode() * 300_000)


def download(root: Path) -> None:
    """A model of two files from a server of this process."""
    folder = root.parent / "server"
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(folder))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    files = {path.name: {"sha256": sha256_file(path), "size": path.stat().st_size} for path in sorted(folder.iterdir())}
    source = {"url": {"files": {name: f"http://127.0.0.1:{server.server_port}/{name}" for name in files}}}
    spec = {"kind": "asr", "licence": "MIT", "files": files, "sources": [source]}
    registry = folder.parent / "assets.yaml"
    registry.write_text(yaml.safe_dump({"assets": {"thing": spec}}), encoding="utf-8")
    fetch_asset("thing", root / "models", registry)


def kernels(root: Path) -> None:
    import os

    os.environ["VOICECLONE_CACHE"] = str(root)
    binding.FLAGS = ("-O0", "-march=native", "-std=gnu11", "-fPIC", "-shared", "-pthread")  # type: ignore[assignment]
    binding.compiled()


def nothing(root: Path) -> None:
    """Nothing lies there."""


WORKS = {
    "writers": Work(old_files, as_stage(write_files)),
    "takes": Work(recordings, takes),
    "slices": Work(cleaned, sliced),
    "features": Work(features_made, as_stage(extract)),
    "save": Work(nothing, as_stage(save)),
    "gpt": Work(training_data, as_stage(functools.partial(train, "gpt"))),
    "sovits": Work(training_data, as_stage(functools.partial(train, "sovits"))),
    "evaluation": Work(nothing, as_stage(speak)),
    "references": Work(clips, as_stage(read_clips)),
    "engines": Work(nothing, as_stage(engine)),
    "report": Work(results, as_stage(report)),
    "download": Work(served, as_stage(download)),
    "kernels": Work(nothing, as_stage(kernels)),
}


# -- how it is judged --------------------------------------------------------------------------------------------------


class Bench:
    """One work, disturbed again and again."""

    def __init__(self, name: str, folder: Path) -> None:
        self.work, self.folder, self.root, self.log = WORKS[name], folder, folder / "root", folder / "log"
        self.template = folder / "template"
        self.root.mkdir()
        self.work.prepare(self.root)
        self.root.rename(self.template)
        first, self.expected = self._whole()
        second, again = self._whole()
        assert not (words := difference(again, self.expected)), f"two undisturbed runs: {words}"
        self.points = first.points
        assert _that_count(first.points) == _that_count(second.points)
        assert not any(point.operation == "mmap" for point in self.points), "writes that nobody sees"

    def _fresh(self) -> None:
        shutil.rmtree(self.root, ignore_errors=True)
        shutil.copytree(self.template, self.root)

    def _run(self, at: Point | None = None, how: Disturbance = "killed") -> Outcome:
        return watch(lambda: self.work.run(self.root), self.root, at, how, self.log)

    def _whole(self) -> tuple[Outcome, dict[str, Any]]:
        self._fresh()
        done = self._run()
        assert done.status == 0, self.log.read_text(encoding="utf-8")
        return done, files_in(self.root)

    def fault(self, at: Point, how: Disturbance) -> str:
        """What is wrong after a disturbance and the same command again; empty: nothing."""
        self._fresh()
        outcome = self._run(at, how)
        said = self.log.read_text(encoding="utf-8", errors="replace")
        if not outcome.reached:
            return "was not reached" if _that_count([at]) else ""
        if how in {"killed", "torn"} and outcome.status != -9:
            return f"ended with {outcome.status}"
        if how in {"full", "refused"} and ("Traceback" in said or outcome.status not in {0, 1}):
            return f"ended with {outcome.status}: {said[-1500:]}"
        again = self._run()
        if again.status:
            return f"afterwards: ended with {again.status}: {self.log.read_text(encoding='utf-8')[-1500:]}"
        return difference(files_in(self.root), self.expected)


def _that_count(points: list[Point]) -> set[str]:
    """Operations that every run has: a thread of TensorBoard's decides how many writes its curves take."""
    return {str(point) for point in points if not VIEWS.search(point.path)}


def disturb(name: str, folder: Path, ways: tuple[Disturbance, ...]) -> None:
    """Disturb a work at every operation in every way; fail with all that went wrong."""
    torch.set_num_threads(1)
    bench = Bench(name, folder)
    tries = [(at, how) for at in bench.points for how in ways if how != "torn" or "write" in at.operation]
    faults = {f"{how} at {at}": words for at, how in tries if (words := bench.fault(at, how))}
    print(
        f"{name}: {len(bench.points)} operations, {len(tries) - len(faults)} of {len(tries)} disturbances left no trace"
    )
    assert not faults, "\n".join(f"{place}: {words}" for place, words in faults.items())


def test_the_operations_of_every_kind_of_writer_are_seen(tmp_path: Path) -> None:
    """Python, Rust, C, a subprocess, a mapped file, a thread; and nothing outside the folder."""
    root = tmp_path / "root"
    root.mkdir()

    def work() -> None:
        (root / "python").write_text("text", encoding="utf-8")
        save_file({"a": torch.zeros(3)}, root / "rust")
        subprocess.run(["sh", "-c", "echo text > shell; cp shell copy; mv copy moved"], cwd=root, check=True)
        np.memmap(root / "mapped", np.uint8, "w+", shape=(10,))[:] = 1
        thread = threading.Thread(target=(root / "thread").write_bytes, args=(b"text",))
        thread.start()
        thread.join()
        (root / "thread").unlink()
        (tmp_path / "elsewhere").write_text("text", encoding="utf-8")

    seen = {str(point) for point in watch(work, root).points}
    assert {
        "open python", "write python", "write .*.tmp", "rename rust", "open shell", "write shell", "rename moved",
        "mmap mapped", "write thread", "unlink thread",
    } <= seen  # fmt: skip
    assert any(point.endswith(" copy") for point in seen) and not any("elsewhere" in point for point in seen)


def test_half_of_a_write_and_a_full_disk_are_what_they_say(tmp_path: Path) -> None:
    root, log = tmp_path / "root", tmp_path / "log"
    root.mkdir()

    def work() -> None:
        (root / "a").write_bytes(bytes(range(100)))
        (root / "b").write_bytes(b"b")

    assert watch(work, root, Point("write", "a", 1), "torn").status == -9
    assert (root / "a").read_bytes() == bytes(range(50)) and not (root / "b").exists()
    assert watch(work, root, Point("write", "a", 1), "killed").status == -9
    assert (root / "a").read_bytes() == b""
    assert watch(work, root, Point("write", "a", 1), "refused", log).status == 99
    assert "No space left on device" in log.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["save", "evaluation"])
def test_a_save_and_an_item_cache_killed_or_out_of_space_at_any_operation(tmp_path: Path, name: str) -> None:
    disturb(name, tmp_path, ("killed", "full"))


@pytest.mark.kill
@pytest.mark.parametrize("name", WORKS)
def test_disturbed_anywhere_the_same_command_gives_the_same_bytes(tmp_path: Path, name: str) -> None:
    disturb(name, tmp_path, DISTURBANCES)
