"""The page of the whole chain, driven in a browser from an empty folder."""

from __future__ import annotations

import json
import queue
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from fastapi import Request
from fastapi.responses import FileResponse, HTMLResponse
from tests.support.recordings import voice_like, write

from project import Project
from voiceclone.assets.asset import open_asset
from voiceclone.files import read_json, read_jsonl
from voiceclone.listeners.recogniser import ScoringRecogniser
from voiceclone.serving import workflow_run
from voiceclone.serving.studio import create_app
from voiceclone.sound.io import read_mono

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
TOKEN = "a token of this start"
#: A page of the same origin that uses the one in its frame as a person does, and tells what it saw.
DRIVER = """<!DOCTYPE html><html><body style="margin:0">
<iframe id="page" src="/" style="border:0;width:100vw;height:100vh"></iframe>
<script>
const frame = document.getElementById("page"), seen = {};
let inside, $;
const wait = () => new Promise((done) => setTimeout(done, 100));
async function until(what, seconds = 60) {
  const end = Date.now() + 1000 * seconds;
  while (!what()) {
    if (Date.now() > end) throw new Error(`${what} ${$("status").textContent} ${$("stages").innerText}`);
    await wait();
  }
}
const stages = () => Object.fromEntries([...$("stages").children].map((one) =>
  [one.querySelector(".name").firstChild.textContent, one.dataset.state]));
const state = (...wanted) => until(() => wanted.includes($("state").textContent.split(",")[0]), 3000);
async function drop(...names) {
  const data = new frame.contentWindow.DataTransfer();
  for (const name of names) {
    data.items.add(new frame.contentWindow.File([await (await fetch(`/given/${name}`)).blob()], name));
  }
  $("drop").dispatchEvent(new frame.contentWindow.DragEvent("drop", { dataTransfer: data, bubbles: true }));
}
async function begin(...names) {
  seen.focusable = [...inside.querySelectorAll("select, input, button")].every((one) => one.tabIndex === 0);
  $("name").value = "anna"; $("new").requestSubmit();
  await until(() => $("voice").value === "anna" && !$("work").hidden);
  await until(() => $("start").disabled);
  seen.made = $("command-new").querySelector("code").textContent;
  await drop(...names);
  const good = names.filter((one) => one !== "junk.wav");
  await until(() => $("recordings").children.length === good.length, 120);
  await until(() => good.length === names.length || $("status").textContent);
  seen.problem = $("status").textContent;
  seen.recordings = [...$("recordings").querySelectorAll(".name")].map((one) => one.textContent);
  const consent = $("consent").elements;
  consent.who.value = "Anna"; $("consent").requestSubmit();
  await until(() => inside.querySelector("[data-of=purposes]").textContent);
  seen.wrong = [...inside.querySelectorAll("[data-of]")].filter((one) => one.textContent).map((one) => one.dataset.of);
  await new Promise((after) => setTimeout(after, 2500));  // the page has looked again
  seen.kept = [consent.who.value, inside.querySelector("[data-of=purposes]").textContent !== ""];
  consent.myself.click(); $("consent").requestSubmit();
  await until(() => $("terms").textContent.includes("scope"));
  seen.consent = $("command-consent").querySelector("code").textContent;
  await until(() => inside.querySelector("[value=demo]"));
  inside.querySelector("[value=demo]").click();
  await until(() => $("command-preset").textContent.includes("preset: demo"));
  await until(() => !$("start").disabled);
}
frame.onload = async () => {
  try {
    inside = frame.contentDocument; $ = (id) => inside.getElementById(id);
    await @WORK@();
    seen.overflow = inside.documentElement.scrollWidth > frame.clientWidth;
    const controls = [...inside.querySelectorAll("select, input, button, progress, a")];
    seen.named = controls.filter((one) => one.checkVisibility()).every((one) =>
      one.textContent.trim() || one.closest("label")?.textContent.trim() || one.getAttribute("aria-label"));
  } catch (error) { seen.error = String(error); }
  await fetch("/told", { method: "POST", body: JSON.stringify(seen) });
};
async function first() {
  await begin("one.wav", "junk.wav");
  $("corpus").click();
  await until(() => !$("stop").disabled);
  $("stop").click();
  await state("stopped");
  seen.button = $("start").textContent;
  $("corpus").click();
  await state("finished", "did not finish");
  seen.stages = stages();
}
async function whole() {
  await begin(...await (await fetch("/given")).json());
  $("start").click();
  await until(() => stages().takes === "finished" && Object.values(stages()).includes("running"), 300);
  seen.early = stages();
  $("stop").click();
  await state("stopped");
  seen.button = $("start").textContent;
  $("start").click();
  await state("finished", "did not finish");
  seen.stages = stages();
  await until(() => !$("speak").hidden && !$("review").hidden && !$("report").hidden);
  seen.review = (await (await fetch($("review").href)).text()).includes('data-served="yes"');
  seen.report = (await fetch($("report").href)).status;
  $("speak").click();
  await until(() => !$("speaks").hidden, 120);
  seen.speaks = $("speaks").href;
}
</script></body></html>"""


class Studio:
    """A studio of an empty folder, and the recordings that a person has."""

    def __init__(self, project: Project, recordings: Path, *options: str) -> None:
        self.project, self.told = project, queue.Queue[dict[str, Any]]()
        app = create_app(project.root, TOKEN, options)

        async def told(request: Request) -> str:
            self.told.put(json.loads(await request.body()))
            return ""

        app.post("/told")(told)
        app.get("/drive/{work}")(lambda work: HTMLResponse(DRIVER.replace("@WORK@", work)))
        app.get("/given")(lambda: sorted(path.name for path in recordings.iterdir()))
        app.get("/given/{name}")(lambda name: FileResponse(recordings / name))
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        self.server = uvicorn.Server(uvicorn.Config(app, log_level="warning", ws="none"))
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self.socket]}, daemon=True)
        self.thread.start()

    def drive(self, work: str, profile: Path, seconds: float, width: int = 1100) -> dict[str, Any]:
        """What the driver saw."""
        command = [
            str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--mute-audio",
            f"--user-data-dir={profile}", f"--window-size={width},1600", "--remote-debugging-port=0",
            f"{self.url}/drive/{work}?token={TOKEN.replace(' ', '%20')}",
        ]  # fmt: skip
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as browser:
            try:
                return self.told.get(timeout=seconds)
            finally:
                browser.terminate()

    def close(self) -> None:
        self.server.should_exit = True
        self.thread.join(timeout=60)


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Runs inherit whether Ctrl-C is ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_a_person_drops_a_recording_and_starts_stops_and_continues(interruptible: None, tmp_path: Path) -> None:
    project = Project(tmp_path / "project")
    write(tmp_path / "given" / "one.wav", voice_like(4))
    (tmp_path / "given" / "junk.wav").write_bytes(b"no sound")
    studio = Studio(project, tmp_path / "given", "--until", "takes")
    try:
        seen = studio.drive("first", tmp_path / "profile", 180, width=380)
    finally:
        studio.close()
    assert "error" not in seen, seen
    assert seen["kept"] == ["Anna", True]  # what was typed, and what is wrong with it
    assert not seen["overflow"] and seen["named"] and seen["focusable"]
    assert seen["made"] == "mkdir -p resources/speakers/anna" and seen["recordings"] == ["one.wav"]
    assert "junk.wav" in seen["problem"] and "cannot be decoded" in seen["problem"]
    assert seen["wrong"] == ["purposes", "evidence"] and seen["consent"].endswith("voiceclone consent anna --myself")
    assert seen["button"] == "Continue" and seen["stages"] == {"takes": "finished"}
    folder = project.root / "resources" / "speakers" / "anna"
    assert sorted(path.name for path in folder.iterdir()) == ["consent.yaml", "one.wav", "voice.yaml"]
    assert (project.results / "anna" / "takes.tsv").is_file()


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_from_an_empty_folder_to_a_spoken_sentence(
    interruptible: None, tmp_path: Path, asset: Callable[[str], Path]
) -> None:
    """The demo's recordings, as somebody's own: about ten minutes on two idle cores."""
    from openai import OpenAI

    made = Project(tmp_path / "made")
    made.run("demo_speaker", "--config", "preset=demo")
    given = tmp_path / "given"
    given.mkdir()
    for path in (made.root / "resources" / "demo" / "demo").iterdir():
        if path.name not in ("consent.yaml", "LICENCE.txt"):
            shutil.copy(path, given)
    project = Project(tmp_path / "project")
    studio = Studio(project, given)
    try:
        seen = studio.drive("whole", tmp_path / "profile", 3300)
        assert "error" not in seen, seen
        client = OpenAI(base_url=f"{seen['speaks']}v1", api_key="none")
        sound = client.audio.speech.create(
            model="voiceclone", voice="anna", input="Good morning to all of you.", response_format="wav"
        ).content
    finally:
        studio.close()
    assert seen["early"]["takes"] == "finished" and seen["early"]["report"] == "waiting"
    assert seen["stages"]["report"] == "finished" and set(seen["stages"].values()) == {"finished"}
    assert seen["review"] and seen["report"] == 200
    runs = read_jsonl(project.results / "runs.jsonl")
    assert [run["command"][1:] for run in runs] == [["--cores", "all", "anna"]] * 2  # as a person types it
    (tmp_path / "spoken.wav").write_bytes(sound)
    assert "good morning" in heard(tmp_path / "spoken.wav", asset("whisper-base")).lower()
    assert not workflow_run.last_run(project.root).alive and read_json(project.results / "anna" / "provenance.json")


def heard(sound: Path, asset: Path) -> str:
    """The words that a recogniser hears."""
    samples, rate = read_mono(sound)
    return ScoringRecogniser(open_asset(asset)).transcribe(samples, rate, "en")
