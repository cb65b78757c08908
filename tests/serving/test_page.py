"""The page that speaks, driven in a browser."""

from __future__ import annotations

import asyncio
import html
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.responses import HTMLResponse
from tests.serving.conftest import Running

pytestmark = pytest.mark.slow

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
#: A page of the same origin that uses the one in its frame as a person does, and tells in its title what it saw.
DRIVER = """<!DOCTYPE html><html><body style="margin:0">
<iframe id="page" src="/" style="border:0;width:100vw;height:100vh"></iframe>
<script>
const frame = document.getElementById("page"), seen = {};
const wait = () => fetch("/wait"); // the browser's clock runs ahead, but not while it waits for a server
async function until(what) { for (let n = 0; !what(); n++) { if (n > 600) throw new Error(what); await wait(); } }
frame.onload = async () => {
  try {
    const inside = frame.contentDocument, $ = (id) => inside.getElementById(id), press = (key, more) =>
      inside.dispatchEvent(new frame.contentWindow.KeyboardEvent("keydown", { key, bubbles: true, ...more }));
    await until(() => $("voice").options.length);
    seen.focus = inside.activeElement.id;
    seen.overflow = inside.documentElement.scrollWidth > frame.clientWidth;
    seen.named = [...inside.querySelectorAll("select, textarea, input, button, canvas, a:not([hidden])")].every((one) =>
      one.textContent.trim() || one.closest("label")?.textContent.trim() || one.getAttribute("aria-label"));
    seen.titles = [...$("interface").options].map((option) => {
      $("interface").value = option.value; $("interface").onchange(); return inside.querySelector("h1").textContent; });
    const empty = [...inside.querySelectorAll("[data-say]")].filter((one) => /undefined|^$/.test(one.textContent));
    seen.empty = empty.length;
    $("interface").value = "en"; $("interface").onchange();
    await until(() => $("voice").options.length);
    await wait();
    $("text").value = "Good morning. Yes."; $("pause").value = 0.2;
    press("Enter", { ctrlKey: true });
    await until(() => !$("download").hidden || $("status").className === "bad");
    seen.status = $("status").textContent; seen.bad = $("status").className;
    seen.file = $("download").download;
    seen.words = $("words").textContent.trim();
    await until(() => inside.querySelector("#words [aria-current]"));
    const data = await (await fetch($("download").href)).arrayBuffer();
    seen.bytes = data.byteLength;
    seen.told = new DataView(data).getUint32(4, true) + 8;
    seen.tagged = new TextDecoder("latin1").decode(data.slice(0, 400)).includes("AI-generated speech");
    const pixels = $("wave").getContext("2d").getImageData(0, 0, 1400, 200).data;
    seen.drawn = pixels.some((value) => value);
    press("Escape");
    $("text").value = "... !"; $("form").requestSubmit();
    await until(() => $("status").className === "bad");
    seen.refusal = $("status").textContent;
  } catch (error) { seen.error = String(error); }
  document.title = JSON.stringify(seen);
};
</script></body></html>"""


def browse(url: str, profile: Path, *more: str) -> str:
    command = [
        str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--mute-audio",
        "--autoplay-policy=no-user-gesture-required", f"--user-data-dir={profile}", "--virtual-time-budget=60000",
        *more, url,
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=True)
    return done.stdout


@pytest.fixture
def driven(server: Running) -> Iterator[Running]:
    async def wait() -> str:
        await asyncio.sleep(0.2)
        return ""

    server.app.get("/drive")(lambda: HTMLResponse(DRIVER))
    server.app.get("/wait")(wait)
    yield server


@needs_browser
@pytest.mark.parametrize("width", [1100, 360])
def test_a_person_speaks_with_it(driven: Running, tmp_path: Path, width: int) -> None:
    dom = browse(f"{driven.url}/drive", tmp_path, "--dump-dom", f"--window-size={width},800")
    seen = json.loads(html.unescape(dom.partition("<title>")[2].partition("</title>")[0]))
    assert "error" not in seen, seen
    assert seen["focus"] == "text" and not seen["overflow"] and seen["named"]
    assert len(set(seen["titles"])) == 5 and seen["empty"] == 0
    assert seen["bad"] == "" and seen["status"].endswith("s of speech")
    assert seen["file"] == "anna.wav" and seen["bytes"] == seen["told"] > 20_000 and seen["tagged"] and seen["drawn"]
    assert seen["words"] == "Good morning. Yes."
    assert "nothing in it can be spoken" in seen["refusal"]


def test_the_page_is_closed_to_others(server: Running) -> None:
    answer = server.client.get("/")
    assert answer.status_code == 200 and "default-src 'self'" in answer.headers["content-security-policy"]
    assert "http" not in answer.text.replace("http-equiv", "")  # nothing comes from elsewhere
    assert server.client.get("/page.js").headers["content-type"].startswith("text/javascript")
    for path in ("/", "/page.js"):  # a query names no other file
        assert server.client.get(path, params={"name": "/etc/passwd"}).content == server.client.get(path).content
