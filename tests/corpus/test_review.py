"""The review queue: what comes first, the keyboard in a real browser, and corrections that are saved at once."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import uvicorn
from fastapi.testclient import TestClient
from tests.support.corpus_fixture import SENTENCES, TAKE, Results, utterance_id

from voiceclone.corpus.corrections import read_corrections, read_cuts, record_cuts
from voiceclone.corpus.review import review_app
from voiceclone.errors import DataError
from voiceclone.files import read_tsv
from voiceclone.sound.io import write_flac
from voiceclone.sound.slice import Cut, Span, recut
from voiceclone.stages.corpus import CorpusSettings

BROWSERS = (shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome"))
CHROMIUM = next((path for path in BROWSERS if path), None)
#: Presses keys as a proof-reader would, and leaves what came of it in the title of the page.
READER = r"""
<script>
const press = key => document.activeElement.dispatchEvent(
  new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
const type = (key, text) => {
  press(key);
  const area = document.activeElement; area.value = text;
  for (const name of ["input", "change"]) area.dispatchEvent(new Event(name, { bubbles: true }));
  press("Escape");
};
const order = rows.map(row => row.id), seen = [];
(async () => {
  seen.push(document.activeElement.id === order[0]);            // the first is focused
  press("d");                                                   // dropped, on to the next
  seen.push(document.activeElement.id === order[1]);
  type("e", "What was really said."); seen.push(document.activeElement.id === order[1]);
  press("j"); press("Enter");                                   // the third is right as it is
  press("y"); press("y");                                       // the fourth and fifth are kept
  press("u");                                                   // but not the fifth
  const sixth = rows[5]; go(sixth);
  const player = sixth.querySelector("audio");
  Object.defineProperty(player, "currentTime", { value: 2.0, writable: true });
  press("s");
  go(byId.get("@CLOSE@")); press("m");                          // the one before a dropped one stays as it is
  go(byId.get("@EIGHTH@")); press("m");
  await queue;
  const bars = [...sixth.querySelector("canvas").getContext("2d").getImageData(0, 0, 960, 96).data].some(Boolean);
  document.title = JSON.stringify({ order, seen, bars, done: $("done").textContent, state: $("count").textContent,
    diff: rows[1].querySelector(".diff").textContent, rows: rows.flatMap(corrections) });
})();
</script>
"""


@pytest.fixture
def results(tmp_path: Path) -> Results:
    """A corpus of twelve utterances with their sounds."""
    results = Results(tmp_path)
    for index in range(len(SENTENCES)):
        noise = np.random.default_rng(index).normal(size=64_000).astype(np.float32) * 0.05
        path = results.folder / "slices" / TAKE / f"{utterance_id(index)}.flac"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_flac(path, noise, 16_000)
    # The first of the take comes last, before one that the keys drop.
    results.records[0]["words"] = [{**word, "probability": 0.99} for word in results.records[0]["words"]]
    results.build(CorpusSettings())
    return results


def with_reader(page: Path) -> None:
    """Put the reader into the page, and an outline into each of its drawings."""
    text = page.read_text(encoding="utf-8").replace('data-envelope=""', 'data-envelope="abzkabzk"')
    script = READER.replace("@CLOSE@", utterance_id(0)).replace("@EIGHTH@", utterance_id(8))
    page.write_text(text.replace("</body>", script + "</body>"), encoding="utf-8")


def read_by_keys(address: str, profile: Path) -> dict:
    assert CHROMIUM is not None
    done = subprocess.run(
        [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}",
         "--virtual-time-budget=20000", "--dump-dom", address],
        capture_output=True, text=True, timeout=240, check=True,
    )  # fmt: skip
    title = done.stdout.partition("<title>")[2].partition("</title>")[0]
    found: dict = json.loads(title.replace("&amp;", "&").replace("&lt;", "<").replace("&gt;", ">"))
    return found


def expected_rows(order: list[str]) -> set[tuple[str, str]]:
    start = int(order[5].split("-")[-2])
    return {
        (order[0], "drop"), (order[1], "text"), (order[3], "keep"), (order[5], "split"),
        (f"{TAKE}-{start:07d}-{start + 2000:07d}", "text"), (f"{TAKE}-{start + 2000:07d}-{start + 4000:07d}", "text"),
        (utterance_id(8), "merge"), (f"{TAKE}-0040000-0049000", "text"),
    }  # fmt: skip


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
def test_a_proof_reader_needs_no_mouse_and_no_server(results: Results, tmp_path: Path) -> None:
    page = results.folder / "corpus" / "proofread.html"
    with_reader(page)
    found = read_by_keys(page.as_uri(), tmp_path / "profile")
    assert found["seen"] == [True, True, True] and found["bars"]
    assert {(row["utterance"], row["action"]) for row in found["rows"]} == expected_rows(found["order"])
    assert found["done"] == "6 of 12" and found["state"] == "5 utterances changed"
    assert "really said." in found["diff"] and found["diff"].endswith("(crossed out: not heard; green: heard)")


@pytest.fixture
def served(results: Results, tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """The server on a free port, and the file of corrections."""
    path = tmp_path / "config" / "anna.tsv"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(review_app(results.folder, path), log_level="warning"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/", path
        server.should_exit = True
        thread.join()


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
def test_the_server_saves_what_the_keys_say(results: Results, served: tuple[str, Path], tmp_path: Path) -> None:
    with_reader(results.folder / "corpus" / "proofread.html")
    address, path = served
    found = read_by_keys(address, tmp_path / "profile")
    assert found["state"] == "5 utterances changed · saved"
    assert {(row.utterance, row.action) for row in read_corrections(path)} == expected_rows(found["order"])


def test_the_server_answers_this_machine_alone(results: Results, tmp_path: Path) -> None:
    path = tmp_path / "config" / "anna.tsv"
    client = TestClient(review_app(results.folder, path), base_url="http://127.0.0.1:8000")
    assert client.get("/").status_code == 200
    sound = f"/slices/{TAKE}/{utterance_id(1)}.flac"
    assert client.get(sound).status_code == 200
    assert client.get(sound, headers={"host": "evil.example:8000"}).status_code == 403
    row = {"utterance": utterance_id(1), "action": "drop", "value": "", "note": ""}
    body = {"utterance": utterance_id(1), "rows": [row]}
    assert client.put("/corrections", json=body, headers={"origin": "http://evil.example"}).status_code == 403
    assert not path.exists()
    assert client.get("/slices/..%2f..%2fcorrections.tsv/x.flac").status_code == 404
    assert client.get("/corpus/corpus.tsv").status_code == 404
    assert client.put("/corrections", json={**body, "rows": [{**row, "action": "sing"}]}).status_code == 422
    assert client.put("/corrections", json=body, headers={"origin": "http://127.0.0.1:8000"}).status_code == 204
    assert [(item.utterance, item.action) for item in read_corrections(path)] == [(utterance_id(1), "drop")]
    both = [row, {**row, "action": "text", "value": "Else."}]
    before = path.read_bytes()
    assert client.put("/corrections", json={**body, "rows": both}).status_code == 422 and path.read_bytes() == before
    assert client.put("/corrections", json={**body, "rows": []}).status_code == 204  # undone
    assert read_corrections(path) == []


def test_splits_and_merges_reach_the_slices_and_texts_do_not(tmp_path: Path) -> None:
    path, cuts = tmp_path / "anna.tsv", tmp_path / "cuts.tsv"
    lines = [
        f"{TAKE}-0001000-0005000\tsplit\t3000\t", f"{TAKE}-0006000-0007000\tmerge\t{TAKE}-0007500-0009000\t",
        f"{TAKE}-0001000-0003000\ttext\tFirst half.\t",
    ]  # fmt: skip
    path.write_text("utterance\taction\tvalue\tnote\n" + "\n".join(lines) + "\n", encoding="utf-8")
    record_cuts(path, cuts)
    before = cuts.read_bytes()
    assert [row["action"] for row in read_tsv(cuts)] == ["split", "merge"]
    path.write_text(path.read_text(encoding="utf-8").replace("First", "Other"), encoding="utf-8")
    record_cuts(path, cuts)
    assert cuts.read_bytes() == before
    found = read_cuts(cuts)[TAKE]
    assert found == [Cut(1000, 5000, 3000), Cut(6000, 9000)]
    spans = [Span(0, 1000, "silence"), Span(1000, 5000), Span(5000, 6000, "silence"), Span(6000, 7000),
             Span(7000, 7500, "silence"), Span(7500, 9000)]  # fmt: skip
    done = recut(TAKE, spans, found)
    assert [(span.start_ms, span.end_ms) for span in done if span.state == "slice"] == [
        (1000, 3000), (3000, 5000), (6000, 9000)
    ]  # fmt: skip
    assert sum(span.length_ms for span in done) == 9000
    with pytest.raises(DataError, match="no slice from 1000 to 5000"):
        recut(TAKE, spans[2:], found)
    path.write_text("utterance\taction\tvalue\tnote\n", encoding="utf-8")
    record_cuts(path, cuts)
    assert not cuts.exists()


@pytest.mark.parametrize("value", ["1100", "9000", "soon", "-1"])
def test_a_split_outside_its_utterance_is_refused(tmp_path: Path, value: str) -> None:
    path = tmp_path / "anna.tsv"
    path.write_text(f"utterance\taction\tvalue\tnote\n{TAKE}-0001000-0005000\tsplit\t{value}\t\n", encoding="utf-8")
    with pytest.raises(DataError, match="line 2: split at"):
        read_corrections(path)
