"""Several processes are one training: same batches, same bytes, one end, whatever happens to one of them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.support.small_training import Speaker, die_at, limit, tensors

from voiceclone.files import read_json
from voiceclone.stages.settings import RuntimeSettings
from voiceclone.training import gpt, sovits
from voiceclone.training.processes import Processes, launch, run_processes, wanted_processes

pytestmark = pytest.mark.usefixtures("small_networks")
REPOSITORY = Path(__file__).resolve().parents[2]

RECIPES: dict[str, Any] = {"gpt": gpt.GPTRecipe, "sovits": sovits.SoVITSRecipe}


def together(count: int, work: Callable[[int], object], seconds: float = 120) -> list[int]:
    """Run ``work`` in forked processes that know of each other; their exit statuses, negative for a signal."""
    store = torch.distributed.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    children = []
    for rank in range(count):
        pid = os.fork()
        if pid == 0:
            os.environ.update(
                MASTER_ADDR="127.0.0.1", MASTER_PORT=str(store.port), TORCHELASTIC_USE_AGENT_STORE="True",
                WORLD_SIZE=str(count), RANK=str(rank),
            )  # fmt: skip
            try:
                work(rank)
            except BaseException as error:
                print(f"process {rank}: {error}", file=sys.stderr, flush=True)
                os._exit(getattr(error, "exit_code", 99))
            os._exit(0)
        children.append(pid)
    codes: dict[int, int] = {}
    end = time.monotonic() + seconds
    while len(codes) < count:
        for rank, pid in enumerate(children):
            if rank not in codes:
                done, status = os.waitpid(pid, os.WNOHANG)
                if done:
                    codes[rank] = os.waitstatus_to_exitcode(status)
                elif time.monotonic() > end:
                    os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)
    return [codes[rank] for rank in range(count)]


def train_together(speaker: Speaker, kind: str, count: int = 2, **settings: Any) -> list[int]:
    return together(count, lambda rank: speaker.train(kind, **{"batch_size": 4, **settings}))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Speaker]:
    """A speaker that one process has trained, every batch of four in two halves."""
    made: dict[str, Speaker] = {}

    def get(kind: str) -> Speaker:
        if kind not in made:
            made[kind] = Speaker(tmp_path_factory.mktemp(kind))
            made[kind].train(kind, batch_size=4, micro_batch=2)
        return made[kind]

    return get


@given(st.integers(1, 20), st.integers(1, 9))
def test_shares_are_the_batch_in_order(items: int, size: int) -> None:
    bounds = [Processes(rank, size).share(range(items)) for rank in range(size)]
    assert [position for low, high in bounds for position in range(low, high)] == list(range(items))
    assert max(high - low for low, high in bounds) - min(high - low for low, high in bounds) <= 1


@pytest.mark.parametrize("kind", ["gpt", "sovits"])
def test_two_processes_compute_what_one_does_with_halves(
    tmp_path: Path, whole: Callable[[str], Speaker], kind: str
) -> None:
    """Sums of two numbers do not depend on their order, so weights, optimisers and losses are equal bit for bit."""
    speaker = Speaker(tmp_path)
    assert train_together(speaker, kind) == [0, 0]
    assert speaker.weights(kind) == whole(kind).weights(kind)
    assert speaker.losses(kind) == whole(kind).losses(kind)
    assert tensors(speaker, kind) == tensors(whole(kind), kind)
    assert len([row for row in speaker.history(kind) if "event" in row]) == 1


def test_more_processes_than_utterances_in_a_batch_change_nothing(tmp_path: Path) -> None:
    alone, three = Speaker(tmp_path / "alone"), Speaker(tmp_path / "three")
    alone.train("gpt", batch_size=1)
    assert train_together(three, "gpt", 3, batch_size=1) == [0, 0, 0]
    assert three.weights("gpt") == alone.weights("gpt") and three.losses("gpt") == alone.losses("gpt")


@pytest.mark.parametrize(("kind", "asked"), [("gpt", 0), ("gpt", 1), ("sovits", 1)])
def test_a_signal_to_one_process_stops_and_saves_all_in_the_same_step(
    tmp_path: Path, whole: Callable[[str], Speaker], kind: str, asked: int
) -> None:
    speaker = Speaker(tmp_path)

    def attempt(rank: int) -> None:
        if rank == asked:
            die_at(RECIPES[kind], 3, signal.SIGTERM)
        speaker.train(kind, batch_size=4)

    assert together(2, attempt) == [75, 75]
    assert max(path.name for path in tmp_path.glob(f"state/{kind}/*/step-*")) == "step-00000004"
    assert train_together(speaker, kind) == [0, 0]
    assert [row["step"] for row in speaker.report(kind)["resumes"]] == [4]
    assert speaker.weights(kind) == whole(kind).weights(kind)
    assert speaker.losses(kind) == whole(kind).losses(kind)


@pytest.mark.parametrize(("kind", "victim"), [("gpt", 1), ("gpt", 0), ("sovits", 1)])
def test_the_death_of_one_process_ends_the_others_and_the_resumed_training_is_the_same(
    tmp_path: Path, whole: Callable[[str], Speaker], kind: str, victim: int, capfd: pytest.CaptureFixture[str]
) -> None:
    speaker = Speaker(tmp_path)

    def attempt(rank: int) -> None:
        if rank == victim:
            die_at(RECIPES[kind], 4, signal.SIGKILL)
        speaker.train(kind, batch_size=4)

    codes = together(2, attempt)
    assert codes[victim] == -signal.SIGKILL and codes[1 - victim] == 1
    message = capfd.readouterr().err
    assert "does not answer" in message and "continue from the last checkpoint" in message
    assert not list(tmp_path.glob("state/*/*/FATAL.json"))
    assert train_together(speaker, kind) == [0, 0]
    if victim:  # the one that writes may have been killed before its first checkpoint stood
        assert [row["step"] for row in speaker.report(kind)["resumes"]] == [3]
    assert speaker.weights(kind) == whole(kind).weights(kind)
    assert tensors(speaker, kind) == tensors(whole(kind), kind)


def test_a_process_that_hangs_is_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    speaker = Speaker(tmp_path)

    def attempt(rank: int) -> None:
        original = gpt.GPTRecipe.train_step

        def hanging(self: Any, step: int) -> dict[str, float]:
            if rank == 1 and step == 4:
                time.sleep(12)
            return original(self, step)

        gpt.GPTRecipe.train_step = hanging  # type: ignore[method-assign]
        speaker.train("gpt", batch_size=4, process_timeout=2)

    codes = together(2, attempt)
    assert codes[0] == 1 and codes[1] == 1
    assert "process 0 of 2: process 1 does not answer, waited at most 2 s" in capfd.readouterr().err


def test_another_number_of_processes_goes_on_with_the_same_batches(
    tmp_path: Path, whole: Callable[[str], Speaker]
) -> None:
    """Begun by two, ended by one that takes halves: the bytes of either."""
    speaker = Speaker(tmp_path)

    def attempt(rank: int) -> None:
        die_at(gpt.GPTRecipe, 6, signal.SIGINT)
        speaker.train("gpt", batch_size=4)

    assert together(2, attempt) == [75, 75]
    speaker.train("gpt", batch_size=4, micro_batch=2)
    assert "processes 2 -> 1" in speaker.report("gpt")["resumes"][0]["reason"]
    assert speaker.weights("gpt") == whole("gpt").weights("gpt")
    assert speaker.losses("gpt") == whole("gpt").losses("gpt")


def test_memory_that_runs_out_in_one_process_halves_the_micro_batches_of_all(tmp_path: Path) -> None:
    told, found = Speaker(tmp_path / "told"), Speaker(tmp_path / "found")
    assert train_together(told, "sovits", micro_batch=1) == [0, 0]

    def attempt(rank: int) -> None:
        if rank == 1:
            limit("sovits", 1)
        found.train("sovits", batch_size=4)

    assert together(2, attempt) == [0, 0]
    assert found.weights("sovits") == told.weights("sovits") and found.losses("sovits") == told.losses("sovits")


def test_gradients_are_added_and_those_that_nobody_has_stay_absent() -> None:
    def work(rank: int) -> None:
        processes = Processes.join(torch.device("cpu"), 60)
        shared, own, unused = (torch.nn.Parameter(torch.zeros(3)) for _ in range(3))
        shared.grad = torch.arange(3.0) + rank
        if rank == 1:
            own.grad = torch.ones(3)
        processes.add_gradients([shared, own, unused])
        assert shared.grad.tolist() == [1, 3, 5] and unused.grad is None
        assert own.grad is not None and own.grad.tolist() == [1, 1, 1]
        assert processes.from_leader(rank) == 0 and processes.exchange(rank) == [0, 1]
        processes.leave()

    assert together(2, work) == [0, 0]


def test_a_training_alone_never_touches_torch_distributed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.distributed, "init_process_group", lambda *_: pytest.fail("initialised"))
    monkeypatch.setattr(torch.distributed, "new_group", lambda *_: pytest.fail("initialised"))
    launch(RuntimeSettings())
    Speaker(tmp_path).train("gpt", steps=2)
    assert not torch.distributed.is_initialized()


def test_processes_that_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert wanted_processes(RuntimeSettings()) == 1
    assert wanted_processes(RuntimeSettings(processes=0)) == 4
    assert wanted_processes(RuntimeSettings(processes=0, device="cpu")) == 1
    assert wanted_processes(RuntimeSettings(processes=3)) == 3


@pytest.mark.parametrize(
    ("codes", "status"),
    [
        ([0, 0], 0), ([75, 75], 75), ([75, 1], 75), ([1, 75], 1), ([-9, 1], 1), ([-15, -15], 1),
    ],
)  # fmt: skip
def test_the_command_ends_as_its_processes_do(tmp_path: Path, codes: list[int], status: int) -> None:
    """Each process ends with the status, or by the signal, that stands at its place."""
    code = f"import os; c = {codes}[int(os.environ['RANK'])]; os._exit(c) if c >= 0 else os.kill(os.getpid(), -c)"
    pid = os.fork()
    if pid == 0:
        try:
            run_processes([sys.executable, "-c", code], len(codes))
        except SystemExit as end:
            os._exit(int(end.code or 0))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == status


SETTINGS = {"architecture": "nano", "steps": 8, "batch_size": 4, "validate_every": 8, "log_every": 1}


def command(folder: Path, processes: int, threads: int = 2) -> list[str]:
    """The training script as the rule calls it."""
    runtime = folder / "runtime.json"
    runtime.write_text(RuntimeSettings(device="cpu", processes=processes).model_dump_json())
    return [
        str(REPOSITORY / "scripts" / "train_gpt.py"), "--speaker", "anna", "--threads", str(threads),
        "--runtime", str(runtime), "--features-dir", "features", "--state-dir", "state/gpt",
        "--output", "models/gpt.safetensors", "--report", "models/gpt.json",
        "--history", "models/gpt.history.jsonl", "--settings", json.dumps(SETTINGS),
    ]  # fmt: skip


@pytest.mark.slow
def test_the_script_starts_its_processes_stops_with_75_and_equals_torchrun(tmp_path: Path) -> None:
    """``runtime.processes`` and a SIGTERM to the one process that was started; the same by torchrun, never stopped."""
    Speaker(tmp_path / "stopped"), Speaker(tmp_path / "torchrun")
    script = [sys.executable, *command(tmp_path / "stopped", 2)]
    first = subprocess.Popen(script, cwd=tmp_path / "stopped", stdout=-1, stderr=-1, text=True)
    end = time.monotonic() + 120
    while not list(tmp_path.glob("stopped/state/gpt/*/history.jsonl")) and time.monotonic() < end:
        time.sleep(0.02)
    first.terminate()
    out, err = first.communicate(timeout=120)
    assert first.returncode == 75, err
    assert "stopped by SIGTERM" in err and out.count("the first one here") == 1
    again = subprocess.run(script, cwd=tmp_path / "stopped", capture_output=True, text=True, check=False, timeout=300)
    assert again.returncode == 0, again.stderr
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*torchrun, *command(tmp_path / "torchrun", 1)],
        cwd=tmp_path / "torchrun", capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    models = [tmp_path / name / "models" for name in ("stopped", "torchrun")]
    assert read_json(models[0] / "gpt.json")["versions"]["processes"] == "2"
    assert (models[0] / "gpt.safetensors").read_bytes() == (models[1] / "gpt.safetensors").read_bytes()


@pytest.fixture
def two_nodes() -> Iterator[list[tuple[list[str], str]]]:
    """Two network namespaces with a cable between them: what a command begins with there, and the address."""
    tag = f"vc{os.getpid() % 10**6}"
    names = [f"{tag}a", f"{tag}b"]
    addresses = ["192.0.2.11", "192.0.2.12"]

    def ip(*arguments: str) -> None:
        subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)

    try:
        for name in names:
            ip("netns", "add", name)
        ip("link", "add", names[0], "netns", names[0], "type", "veth", "peer", "name", names[1], "netns", names[1])
        for name, address in zip(names, addresses, strict=True):
            ip("-n", name, "link", "set", "lo", "up")
            ip("-n", name, "address", "add", f"{address}/24", "dev", name)
            ip("-n", name, "link", "set", name, "up")
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no network namespaces here: {getattr(error, 'stderr', '') or error}")
    else:
        within = [["ip", "netns", "exec", name, "env", f"GLOO_SOCKET_IFNAME={name}"] for name in names]
        yield list(zip(within, addresses, strict=True))
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_two_nodes_make_the_model_of_two_processes_on_one(
    tmp_path: Path, two_nodes: list[tuple[list[str], str]]
) -> None:
    """torchrun on either node, meeting at the first; they share the folder and nothing else."""
    Speaker(tmp_path / "one"), Speaker(tmp_path / "two")
    script = [sys.executable, *command(tmp_path / "one", 2)]
    alone = subprocess.run(script, cwd=tmp_path / "one", capture_output=True, text=True, check=False)
    assert alone.returncode == 0, alone.stderr
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1",
                "--rdzv-backend", "c10d", "--rdzv-id", "test",
                "--rdzv-endpoint", f"{two_nodes[0][1]}:29400"]  # fmt: skip
    nodes = [
        subprocess.Popen(  # the name of this machine is that of neither namespace, so each is told which it is
            [*within, *torchrun, "--local-addr", address, "--rdzv-conf", f"is_host={number == 0},read_timeout=600",
             *command(tmp_path / "two", 1, threads=1)],
            cwd=tmp_path / "two", stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for number, (within, address) in enumerate(two_nodes)
    ]  # fmt: skip
    said = [node.communicate() for node in nodes]
    assert [node.returncode for node in nodes] == [0, 0], "\n".join(err[-3000:] for _, err in said)
    report = read_json(tmp_path / "two" / "models" / "gpt.json")
    assert report["versions"]["processes"] == "2"
    weights = [(tmp_path / name / "models" / "gpt.safetensors").read_bytes() for name in ("one", "two")]
    assert weights[0] == weights[1]
