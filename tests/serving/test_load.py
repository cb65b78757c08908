"""Many requests: turns in the queue, damaged bundles, new versions of voices while people speak with them."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.serving.conftest import Running, wait_for

from voiceclone.backends.bundle import BUNDLE_FILE, SUMS, TEXT_TO_SEMANTIC
from voiceclone.errors import DataError
from voiceclone.files import read_json, sha256_file, write_json
from voiceclone.serving.catalogue import Catalogue
from voiceclone.serving.pool import FairQueue, QueueFull
from voiceclone.serving.server import ServerSettings

Serve = Callable[..., Running]
OFTEN = ServerSettings(rescan_seconds=0.2)


def rename(bundle: Path, **changes: object) -> None:
    """Change the description of a bundle as an export would have written it."""
    write_json(bundle / BUNDLE_FILE, {**read_json(bundle / BUNDLE_FILE), **changes})
    lines = (bundle / SUMS).read_text().splitlines()
    kept = [line for line in lines if line.split()[1] != BUNDLE_FILE]
    (bundle / SUMS).write_text("\n".join([*kept, f"{sha256_file(bundle / BUNDLE_FILE)}  {BUNDLE_FILE}", ""]))


def damage(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


@given(st.lists(st.sampled_from("abc"), max_size=60), st.integers(1, 40))
def test_keys_take_turns_and_the_queue_is_bounded(keys: list[str], most: int) -> None:
    queue: FairQueue[tuple[str, int]] = FairQueue(most)
    for number, key in enumerate(keys):
        if number < most:
            queue.put(key, (key, number))
        else:
            with pytest.raises(QueueFull):
                queue.put(key, (key, number))
    waiting = keys[:most]
    came = [queue.get() for _ in waiting]
    for key in set(waiting):
        mine = [item[1] for item in came if item and item[0] == key]
        assert mine == sorted(mine) and len(mine) == waiting.count(key)
    for place, item in enumerate(came):  # in k turns nobody waits longer than for all others' k turns
        assert item is not None
        turn = sum(before is not None and before[0] == item[0] for before in came[:place])
        assert all(sum(b is not None and b[0] == other for b in came[:place]) <= turn + 1 for other in "abc")
    assert len(queue) == 0


def test_a_closed_queue_wakes_who_waits() -> None:
    queue: FairQueue[int] = FairQueue(2)
    got: list[int | None] = []
    thread = threading.Thread(target=lambda: got.append(queue.get()))
    thread.start()
    time.sleep(0.05)
    assert queue.close() == []
    thread.join(timeout=5)
    assert got == [None]
    with pytest.raises(QueueFull):
        queue.put("a", 1)


def test_a_long_queue_of_one_key_does_not_stop_another(serve: Serve, made_bundle: Path, tmp_path: Path) -> None:
    from voiceclone.serving.access import Key, KeyFile

    store = KeyFile(tmp_path / "keys.json")
    greedy, modest = ({"Authorization": f"Bearer {store.add(Key(name))}"} for name in ("greedy", "modest"))
    server = serve([made_bundle], ServerSettings(keys=store.path))
    ended: list[str] = []
    with ThreadPoolExecutor(9) as threads:
        for _ in range(8):
            threads.submit(lambda: (server.speak("One two three four.", headers=greedy), ended.append("greedy")))
        wait_for(lambda: len(server.pool.queue) >= 5, 30)
        threads.submit(lambda: (server.speak("Yes.", headers=modest), ended.append("modest")))
    assert len(ended) == 9 and ended.index("modest") <= 4


def test_a_damaged_bundle_is_out_alone_and_comes_back(serve: Serve, made_bundle: Path, bundle: Path) -> None:
    rename(bundle, voice="bob")
    server = serve([made_bundle, bundle], OFTEN)
    assert server.speak(voice="bob").status_code == 200
    whole = (bundle / TEXT_TO_SEMANTIC).read_bytes()
    damage(bundle / TEXT_TO_SEMANTIC)
    wait_for(lambda: server.speak(voice="bob").status_code == 503, 30)
    assert "retry-after" in server.speak(voice="bob").headers
    assert server.speak(voice="anna").status_code == 200
    states = {voice["id"]: voice["available"] for voice in server.client.get("/v1/voices").json()["data"]}
    assert states == {"anna": True, "bob": False} and server.client.get("/health").json()["status"] == "degraded"
    (bundle / TEXT_TO_SEMANTIC).write_bytes(whole)
    wait_for(lambda: server.speak(voice="bob").status_code == 200, 30)


@pytest.mark.parametrize("what", ["graph", "json", "sums", "gone"])
def test_damage_at_the_start_is_told(serve: Serve, made_bundle: Path, bundle: Path, what: str) -> None:
    rename(bundle, voice="bob")
    if what == "graph":
        damage(bundle / TEXT_TO_SEMANTIC)
    elif what == "json":
        (bundle / BUNDLE_FILE).write_text("[1, 2")
    elif what == "sums":
        (bundle / SUMS).write_bytes(b"\xff\x00")
    else:
        shutil.rmtree(bundle)
    with pytest.raises(DataError, match="no voice can be served"):
        Catalogue([bundle])
    catalogue = Catalogue([bundle, made_bundle])
    assert [bool(voice.problem) for voice in catalogue.all()].count(True) == 1


def test_voices_of_one_name_get_two(made_bundle: Path, bundle: Path) -> None:
    assert [voice.name for voice in Catalogue([made_bundle, bundle]).all()] == ["anna", "anna-bundle"]
    rename(bundle, voice="../../etc")
    assert [voice.problem != "" for voice in Catalogue([made_bundle, bundle]).all()].count(True) == 1


def test_a_new_version_drops_no_request(serve: Serve, made_bundle: Path, bundle: Path, tmp_path: Path) -> None:
    server = serve([bundle], OFTEN, workers=2)
    old = server.catalogue.all()[0].version
    codes: list[int] = []
    end = threading.Event()

    def keep_asking() -> None:
        while not end.is_set():
            codes.append(server.speak("Yes.").status_code)

    threads = [threading.Thread(target=keep_asking) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(2):
        new = Path(shutil.copytree(made_bundle, tmp_path / f"new{number}"))
        rename(new, notice=f"version {number}")
        bundle.rename(tmp_path / f"old{number}")
        new.rename(bundle)
        wanted = sha256_file(bundle / BUNDLE_FILE)
        wait_for(lambda wanted=wanted: server.catalogue.all()[0].version == wanted)
        enough = len(codes) + 4
        wait_for(lambda enough=enough: len(codes) >= enough, 300)
    end.set()
    for thread in threads:
        thread.join()
    assert set(codes) == {200}
    assert server.catalogue.all()[0].version != old
