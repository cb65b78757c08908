"""The page of the whole chain: who may ask, what may be stored, consent, presets, and real runs of the workflow."""

from __future__ import annotations

import io
import os
import shlex
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2
import pytest
import soundfile
import yaml
from fastapi.testclient import TestClient
from tests.support.recordings import RATE, voice_like
from typer.testing import CliRunner

from project import Project
from voiceclone.cli import app as program
from voiceclone.corpus.corrections import read_corrections
from voiceclone.files import read_jsonl, write_json
from voiceclone.serving import workflow_run
from voiceclone.serving.studio import create_app
from voiceclone.serving.workflow_run import Run, read_progress

TOKEN = "a token of this start"
HOME = "http://127.0.0.1:8765"
#: Makes the run of the corpus a cheap one.
FIRST_STAGE = ["--until", "takes"]


def wav(seconds: float = 4.0, seed: int = 0) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, voice_like(seconds, seed=seed), RATE, format="WAV")
    return file.getvalue()


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A working folder in which nothing was done."""
    return Project(tmp_path / "project")


@pytest.fixture
def open_page(project: Project) -> Iterator[Callable[..., TestClient]]:
    """Opens the page as a person does, at the address with the token; a second call is a studio started again."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # runs inherit it where it is ignored

    def opened(*options: str) -> TestClient:
        client = TestClient(create_app(project.root, TOKEN, options), base_url=HOME, headers={"origin": HOME})
        assert client.get("/", params={"token": TOKEN}).status_code == 200
        return client

    yield opened
    run = workflow_run.last_run(project.root)
    if run and run.alive:
        os.killpg(run.pid, signal.SIGKILL)
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def page(open_page: Callable[..., TestClient]) -> TestClient:
    client = open_page()
    assert client.post("/api/voices", json={"name": "anna"}).status_code == 200
    return client


def anna(project: Project) -> Path:
    return project.root / "resources" / "speakers" / "anna"


def wait_for(page: TestClient, *states: str, seconds: float = 180.0) -> dict[str, Any]:
    end = time.monotonic() + seconds
    while (run := page.get("/api/voices/anna").json()["run"])["state"] not in states:
        assert time.monotonic() < end, run
        time.sleep(0.2)
    return dict(run)


def test_it_answers_its_own_page_alone(project: Project) -> None:
    client = TestClient(create_app(project.root, TOKEN), base_url=HOME, follow_redirects=False)
    name, mine = {"name": "eve"}, {"origin": HOME}
    assert client.get("/").status_code == client.get("/api/voices").status_code == 403
    assert client.get("/", params={"token": "another"}).status_code == 403
    assert client.post("/api/voices", json=name, headers=mine, params={"token": TOKEN}).status_code == 403
    first = client.get("/", params={"token": TOKEN})
    assert first.status_code == 303 and first.headers["location"] == "/"  # the token is not left in the address
    cookie = first.headers["set-cookie"].lower()
    assert "httponly" in cookie and "samesite=strict" in cookie
    answer = client.get("/")
    assert client.get("/", params={"name": "/etc/passwd"}).content == answer.content  # a query names no other file
    assert answer.status_code == 200 and "default-src 'self'" in answer.headers["content-security-policy"]
    assert "http" not in answer.text  # nothing comes from elsewhere
    for wrong in ({"host": "evil.example:8765"}, {"origin": "http://evil.example"}, {"origin": "http://127.0.0.1:80"}):
        assert client.get("/api/voices", headers=wrong).status_code == 403, wrong
        assert client.post("/api/voices", json=name, headers={**mine, **wrong}).status_code == 403, wrong
    assert client.post("/api/voices", json=name).status_code == 403  # a page always says where it comes from
    assert client.post("/api/voices", json=name, headers={"origin": "null"}).status_code == 403
    assert not list((project.root / "resources" / "speakers").iterdir())
    assert client.post("/api/voices", json=name, headers=mine).json() == {"command": "mkdir -p resources/speakers/eve"}
    client.cookies.clear()
    assert client.get("/api/voices").status_code == 403


@pytest.mark.parametrize("name", ["Anna", "../anna", "a/b", "", "-a", "anna;ls", "takes", "all", "results", "x" * 200])
def test_a_name_that_is_none_is_refused(page: TestClient, project: Project, name: str) -> None:
    answer = page.post("/api/voices", json={"name": name})
    assert answer.status_code == 422 and answer.json()["error"]
    assert page.get("/api/voices").json() == ["anna"]
    for path in (f"/api/voices/{quote(name, safe='')}", f"/review/{quote(name, safe='')}/"):
        assert page.get(path).status_code in (404, 405, 422), path


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("..", b"x"), ("../up.wav", wav(1)), ("..\\up.wav", wav(1)), (".hidden.wav", wav(1)), ("a\nb.wav", wav(1)),
        ("x" * 300 + ".wav", wav(1)), ("consent.yaml", b"myself: true"), ("voice.yaml", b"preset: demo"),
        ("LICENCE.txt", b"mine"), ("script.sh", b"ls"), ("page.html", b"<p>"), ("broken.wav", b"RIFF....WAVE"),
        ("picture.png", b"\x89PNG\r\n\x1a\n"), ("list.m3u", b"#EXTM3U\nfile:///etc/passwd\n"), ("empty.wav", b""),
        ("text.txt", b"\xff\xfe\x00\xd8"),
    ],
    ids=lambda value: repr(value)[:20],
)  # fmt: skip
def test_what_is_no_recording_is_not_stored(page: TestClient, project: Project, name: str, content: bytes) -> None:
    answer = page.put(f"/api/voices/anna/recordings/{quote(name, safe='')}", content=content)
    assert answer.status_code in (404, 405, 422)
    assert list(anna(project).iterdir()) == [] and not list(project.root.glob("resources/**/up.wav"))


def test_recordings_are_stored_whole_listed_and_removed(page: TestClient, project: Project) -> None:
    name = "Ünusual; $(touch executed) 'name'.wav"
    answer = page.put(f"/api/voices/anna/recordings/{quote(name)}", content=wav(4))
    assert shlex.split(answer.json()["command"]) == ["cp", name, f"resources/speakers/anna/{name}"]
    assert (anna(project) / name).read_bytes() == wav(4)
    again = page.put(f"/api/voices/anna/recordings/{quote(name)}", content=wav(1))
    assert again.status_code == 422 and "already" in again.json()["error"]
    assert page.put("/api/voices/anna/recordings/one.txt", content=b"Words.").status_code == 200
    assert [path.name for path in anna(project).iterdir() if path.name.startswith(".")] == []
    (anna(project) / "old.mp3").write_bytes(b"no sound")
    found = {one["file"]: one for one in page.get("/api/voices/anna").json()["recordings"]}
    assert found.keys() == {name, "one.txt", "old.mp3"}
    assert found[name]["seconds"] == pytest.approx(4) and "decoded" in found["old.mp3"]["problem"]
    assert page.get("/api/voices/anna").json()["speech"] == {"seconds": pytest.approx(4), "found": False}
    assert page.delete("/api/voices/anna/recordings/old.mp3").json()["command"] == "rm resources/speakers/anna/old.mp3"
    assert page.delete("/api/voices/anna/recordings/consent.yaml").status_code == 422
    assert not (anna(project) / "old.mp3").exists()


def test_what_does_not_fit_on_the_disk_is_one_message(page: TestClient, project: Project) -> None:
    headers = {"content-length": str(10**15)}
    answer = page.put("/api/voices/anna/recordings/long.wav", content=wav(1), headers=headers)
    assert answer.status_code == 422 and "too large for the disk" in answer.json()["error"]
    anna(project).chmod(0o500)
    answer = page.put("/api/voices/anna/recordings/one.wav", content=wav(1))
    anna(project).chmod(0o700)
    if os.getuid():  # nothing is closed to root
        assert answer.status_code == 507 and "cannot be written" in answer.json()["error"]


def test_a_consent_is_the_file_that_its_command_writes(page: TestClient, project: Project) -> None:
    fields = {"who": "Anna O'Hara", "scope": "serve", "purposes": ["audio; book", "radio"], "languages": ["en"]}
    wrong = page.put("/api/voices/anna/consent", json={**fields, "scope": "sing", "expires": "soon"})
    assert wrong.status_code == 422 and wrong.json()["fields"].keys() == {"evidence"}
    evidence = page.put("/api/voices/anna/evidence/Signed%20by%20her.PDF", content=b"%PDF signed")
    assert evidence.json()["file"] == "consent.pdf"
    fields["evidence"] = "consent.pdf"
    wrong = page.put("/api/voices/anna/consent", json={**fields, "scope": "sing", "expires": "soon"})
    assert wrong.json()["fields"].keys() == {"scope", "expires"}
    wrong = page.put("/api/voices/anna/consent", json={**fields, "languages": ["xx"], "who": ""})
    assert wrong.json()["fields"].keys() == {"who"}
    wrong = page.put("/api/voices/anna/consent", json={**fields, "evidence": "../../../config/config.yaml"})
    assert wrong.status_code == 422 and wrong.json()["fields"].keys() == {"evidence"}
    file = anna(project) / "consent.yaml"
    assert not file.exists()
    done = page.put("/api/voices/anna/consent", json=fields)
    written = file.read_bytes()
    assert yaml.safe_load(written)["who"] == "Anna O'Hara"
    told = page.get("/api/voices/anna").json()["consent"]
    assert told["problem"] == "" and told["words"].startswith("scope serve") and told["evidence"] == ["consent.pdf"]
    file.unlink()
    command = [word.replace("resources/", f"{project.root}/resources/") for word in shlex.split(done.json()["command"])]
    assert CliRunner().invoke(program, [*command[1:], "--root", str(project.root)]).exit_code == 0
    assert file.read_bytes() == written
    assert page.put("/api/voices/anna/consent", json={"myself": True}).json()["command"].endswith("--myself --replace")
    assert file.read_text() == "myself: true\n"
    file.write_text("scope: sing\n")
    assert page.get("/api/voices/anna").json()["consent"]["problem"].startswith("scope")


def test_a_preset_comes_with_its_advice(page: TestClient, project: Project) -> None:
    page.put("/api/voices/anna/recordings/one.wav", content=wav(45))
    told = page.get("/api/voices/anna/presets").json()
    choices = {one["name"]: one for one in told["choices"]}
    assert told["chosen"] == "small" and told["speech"] == "45 s"
    assert choices.keys() >= {"small", "few-shot", "full", "zero-shot", "zero-shot-small", "demo"}
    assert choices["small"]["against"] == [] and "word errors" in choices["small"]["expect"][0]
    assert "more than preset zero-shot" in choices["zero-shot"]["against"][0]
    assert "little for preset full" in choices["full"]["against"][0]
    assert page.put("/api/voices/anna/preset", json={"preset": "x; touch executed"}).status_code == 422
    file = anna(project) / "voice.yaml"
    assert page.put("/api/voices/anna/preset", json={"preset": "demo"}).json()["command"].startswith("echo 'preset: ")
    assert file.read_text() == "preset: demo\n"
    file.write_text("# mine\npreset: demo\nslice: {max_seconds: 10}\n")
    assert page.put("/api/voices/anna/preset", json={"preset": "zero-shot"}).status_code == 200
    assert file.read_text() == "# mine\npreset: zero-shot\nslice: {max_seconds: 10}\n"
    told = page.get("/api/voices/anna/presets").json()
    assert told["chosen"] == "zero-shot"
    write_json(project.results / "anna" / "corpus" / "summary.json", {"seconds": {"kept": 7.0}})
    assert page.get("/api/voices/anna/presets").json()["speech"] == "7 s"  # what the corpus found, not what was given
    file.write_text("gpt: {steps: many}\n")
    assert "gpt.steps" in page.get("/api/voices/anna/presets").json()["error"]


def test_a_run_is_started_stopped_and_continued(
    page: TestClient, open_page: Callable[..., TestClient], project: Project
) -> None:
    page = open_page(*FIRST_STAGE)
    page.put("/api/voices/anna/recordings/one.wav", content=wav())
    assert page.get("/api/voices/anna").json()["run"]["state"] == "none"
    assert page.post("/api/stop").status_code == 422
    command = page.post("/api/voices/anna/run", json={"until": "corpus"}).json()["command"]
    assert command.endswith("snakemake --cores all results/anna/corpus/corpus.tsv --until takes")
    assert "is running" in page.post("/api/voices/anna/run", json={"until": "corpus"}).json()["error"]
    again = open_page(*FIRST_STAGE)  # this one has not started it, and finds it
    assert wait_for(again, "running")["voice"] == "anna"
    assert again.post("/api/stop").json() == {"command": "Ctrl-C"}
    assert wait_for(again, "stopped")["said"] == ""
    assert not list(workflow_run.running_in(project.root))
    again.post("/api/voices/anna/run", json={"until": "corpus"})
    done = wait_for(page, "finished", "failed")
    assert done["state"] == "finished", (project.root / workflow_run.LOG).read_text()
    assert [(stage["name"], stage["state"]) for stage in done["stages"]] == [("takes", "finished")]
    assert (project.results / "anna" / "takes.tsv").is_file()
    typed = shlex.split(command)[1:]
    assert all(run["command"][1:] == typed for run in read_jsonl(project.results / "runs.jsonl"))


def test_a_run_that_fails_says_why(page: TestClient, project: Project) -> None:
    (anna(project) / "voice.yaml").write_text("slice: {max_seconds: never}\n")
    page.post("/api/voices/anna/run", json={"until": "corpus"})
    run = wait_for(page, "failed")
    assert "slice.max_seconds" in run["said"] and not run["locked"]


def test_a_lock_that_a_killed_run_left_is_taken_away(page: TestClient, project: Project) -> None:
    page.put("/api/voices/anna/recordings/one.wav", content=wav())
    lock = project.root / ".snakemake" / "locks" / "0.output.lock"
    lock.parent.mkdir(parents=True)
    lock.write_text("results/anna/corpus/corpus.tsv\n")
    page.post("/api/voices/anna/run", json={"until": "corpus"})
    run = wait_for(page, "failed")
    assert run["locked"] and "cannot be locked" in run["said"]
    assert page.post("/api/unlock").json()["command"].endswith("snakemake --unlock")
    assert not lock.exists() and not page.get("/api/voices/anna").json()["run"]["locked"]


def test_another_process_of_the_same_number_is_not_the_run(page: TestClient, project: Project) -> None:
    write_json(project.root / workflow_run.STATE, asdict(Run("anna", ["snakemake"], os.getpid(), 1.0)))
    assert page.get("/api/voices/anna").json()["run"]["state"] == "failed"
    assert page.post("/api/stop").status_code == 422  # or this would be the end of the test


SAID = """\
Job stats:
job            count
-----------  -------
evaluate           3
takes              1
train_gpt          1
train_sovits       1
anna               1
total              7

[Fri Nov 27 09:48:38 2026]
rule takes:
    input: results/anna/inventory.tsv
    jobid: 3
Finished jobid: 3 (Rule: takes)
1 of 7 steps (14%) done
rule train_gpt:
rule train_sovits:
    anna · GPT  10/40  loss 3.2  0:30 left
    anna · SoVITS  5/120  1:10 left
rule evaluate:
    anna · evaluate recordings  2/8  0:03 left
Finished jobid: 9 (Rule: evaluate)
Error in rule train_gpt:
    message: None
"""


def test_what_a_run_says_is_told_by_stage() -> None:
    found = read_progress(SAID)
    assert found["anna"].planned == 1 and found.keys() == {"takes", "train_gpt", "train_sovits", "evaluate", "anna"}
    assert (found["takes"].finished, found["takes"].running) == (1, 0)
    sovits = found["train_sovits"]
    assert (sovits.running, sovits.done, sovits.total, sovits.note) == (1, 5, 120, "1:10 left")
    assert found["train_gpt"].failed and found["train_gpt"].note == "0:30 left"
    assert (found["evaluate"].planned, found["evaluate"].finished, found["evaluate"].done) == (3, 1, 2)


def test_stages_of_a_broken_run_show_their_logs(page: TestClient, project: Project) -> None:
    results = project.results
    (results / "anna" / "logs").mkdir(parents=True)
    (results / "anna" / "logs" / "train_gpt.log").write_text("INFO begin\nERROR the disk is full\n")
    (results / "anna" / "benchmarks").mkdir()
    (results / "anna" / "benchmarks" / "takes.tsv").write_text("s\th:m:s\n7.4\t0:00:07\n")
    (project.root / workflow_run.LOG).parent.mkdir(parents=True)
    (project.root / workflow_run.LOG).write_text(SAID)
    for stopped in (False, True):
        write_json(project.root / workflow_run.STATE, asdict(Run("anna", ["snakemake"], 2**22 + 1, 1.0, stopped)))
        run = page.get("/api/voices/anna").json()["run"]
        stages = {stage["name"]: stage for stage in run["stages"]}
        assert (stages["takes"]["state"], stages["takes"]["seconds"]) == ("finished", 7)
        assert stages["train_sovits"]["state"] == stages["evaluate"]["state"] == "waiting"
        assert stages["train_gpt"]["state"] == ("waiting" if stopped else "failed")
        assert stopped or stages["train_gpt"]["log"].endswith("ERROR the disk is full")
        assert "anna" not in stages and run["state"] == ("stopped" if stopped else "failed")


def test_review_and_report_are_there_for_their_voice(page: TestClient, project: Project) -> None:
    corpus = project.results / "anna" / "corpus"
    assert page.get("/review/anna/").status_code == 404
    corpus.mkdir(parents=True)
    (corpus / "proofread.html").write_text('<main data-served="no">')
    (project.results / "anna" / "report.html").write_text("<p>figures</p>")
    made = page.get("/api/voices/anna").json()["made"]
    assert made["review"] and made["report"] == "results/anna/report.html" and not made["bundle"]
    answer = page.get("/review/anna/")
    assert str(answer.url) == f"{HOME}/review/anna/corpus/proofread.html" and 'data-served="yes"' in answer.text
    utterance = "one-1f3a9c2e-0012340-0017820"
    row = {"utterance": utterance, "action": "drop", "value": "", "note": ""}
    said = {"utterance": utterance, "rows": [row]}
    assert page.put("/review/anna/corrections", json=said, headers={"origin": "http://evil"}).status_code == 403
    assert page.put("/review/anna/corrections", json=said).status_code == 204
    found = read_corrections(project.root / "config" / "corrections" / "anna.tsv")
    assert [(item.utterance, item.action) for item in found] == [(utterance, "drop")]
    report = page.get("/report/anna")
    assert report.text == "<p>figures</p>" and report.headers["content-security-policy"].startswith("sandbox")


def test_a_voice_whose_consent_forbids_it_is_not_served(page: TestClient, project: Project) -> None:
    assert "nothing is exported" in page.post("/api/voices/anna/speaking").json()["error"]
    bundle = project.results / "anna" / "export" / "onnx-int8"
    write_json(bundle / "bundle.json", {"consent": {"scope": "private"}})
    made = page.get("/api/voices/anna").json()["made"]
    assert made["refusal"] == "the consent is for private, serving needs serve"
    assert "say --bundle results/anna/export/onnx-int8" in made["say"]
    assert page.post("/api/voices/anna/speaking").status_code == 422


def test_a_voice_speaks_on_a_server_that_ends_with_the_studio(project: Project, made_bundle: Path) -> None:
    shutil.copytree(made_bundle, project.results / "anna" / "export" / "onnx-fp32")
    anna(project).mkdir()
    with TestClient(create_app(project.root, TOKEN), base_url=HOME, headers={"origin": HOME}) as page:
        page.get("/", params={"token": TOKEN})
        command = page.post("/api/voices/anna/speaking").json()["command"]
        assert "serve --voices results/anna/export/onnx-fp32 --workers 1 --port" in command
        assert page.post("/api/voices/anna/speaking").json()["command"] == command  # one is enough
        end = time.monotonic() + 120
        while not (address := page.get("/api/voices/anna").json()["made"]["speaks"]):
            assert time.monotonic() < end
            time.sleep(0.2)
        sound = httpx2.post(f"{address}v1/audio/speech", json={"input": "Yes.", "response_format": "wav"}, timeout=60)
        assert sound.content[:4] == b"RIFF"
    with pytest.raises(httpx2.ConnectError):
        httpx2.get(address)


def test_it_starts_in_the_folder_of_a_workflow_alone(tmp_path: Path) -> None:
    done = CliRunner().invoke(program, ["studio", "--no-browser", "--root", str(tmp_path)])
    assert done.exit_code == 2 and "no Snakefile there" in done.output
