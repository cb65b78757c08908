"""One page for the whole chain, for people who never open a shell: recordings, consent, preset, run, review, speech.

It writes the files and runs the commands that a person at the shell would, and tells them. Nothing of a voice is kept
here: whatever the page shows is read from the files. It answers this machine alone, its own page alone, and only who
knows the token of this start: requests of other names (DNS rebinding), of other pages, and without the cookie that the
first address sets are refused.
"""

from __future__ import annotations

import functools
import re
import shlex
import shutil
import socket
import subprocess
import sys
import threading
import unicodedata
import urllib.request
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from hmac import compare_digest
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, PlainTextResponse, RedirectResponse
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool
from starlette.types import Receive, Scope, Send

from voiceclone.assets.preflight import NEED_GPU, gpus_here, inspect
from voiceclone.backends.bundle import BUNDLE_FILE
from voiceclone.config.load import VOICE_FILE, load_config, load_voice, read_yaml
from voiceclone.corpus.inventory import COMPANION_NAMES, COMPANION_SUFFIXES, check_file, find_files
from voiceclone.corpus.review import LOCAL, review_app
from voiceclone.corpus.tiers import TIERS, advice, amount, expected
from voiceclone.errors import DataError, VoiceCloneError, explain
from voiceclone.files import atomic_path, check_speaker, contained_path, read_json, write_text
from voiceclone.lineage.rights import (
    CONSENT_FILE,
    Consent,
    in_words,
    may_serve,
    read_consent,
    rights_files,
    write_consent,
)
from voiceclone.serving import workflow_run
from voiceclone.serving.server import PAGE_HEADERS
from voiceclone.sound.io import told_seconds
from voiceclone.usertext import read_user_text

HERE = Path(__file__).parent
LARGEST_FILE = 8 * 1000**3  # bytes of an upload
LONGEST_NAME = 200  # bytes of its name: a temporary folder is called after it
#: A report is a page of its own, which gets nothing of this one's.
REPORT_HEADERS = {**PAGE_HEADERS, "Content-Security-Policy": "sandbox allow-scripts allow-popups allow-downloads"}
#: Names that 'snakemake NAME' takes for a folder or for the default, beside the stages.
TAKEN = (
    "all", "logs", "benchmarks", "settings", "config", "docs", "envs", "profiles", "resources", "results", "scripts",
    "tests", "workflow",
)  # fmt: skip
#: Endings of texts that lie beside recordings.
TEXTS = (".txt", ".lab", ".list", ".csv", ".tsv", ".json", ".jsonl", ".srt", ".vtt", ".textgrid")
SPEAKS_LOG = Path("results/logs/studio-speaks.log")


class Named(BaseModel):
    """The name of a new speaker."""

    name: Annotated[str, Field(max_length=100)]


class Chosen(BaseModel):
    """A preset."""

    preset: Annotated[str, Field(max_length=100)]


class Wanted(BaseModel):
    """How far a run goes: to the corpus, which people proof-read, or to the end."""

    until: Literal["corpus", "voice"] = "voice"


class Agreed(BaseModel):
    """The fields of ``consent.yaml`` as a form sends them, unchecked."""

    myself: bool = False
    who: Annotated[str, Field(max_length=500)] = ""
    scope: Annotated[str, Field(max_length=100)] = ""
    purposes: Annotated[list[str], Field(max_length=50)] = []
    languages: Annotated[list[str], Field(max_length=50)] = []
    expires: Annotated[str, Field(max_length=100)] = ""
    evidence: Annotated[str, Field(max_length=LONGEST_NAME)] = ""

    def values(self) -> dict[str, Any]:
        """What was filled in."""
        return {name: value for name, value in self.model_dump().items() if value}


class Studio:
    """A working folder, and what was started in it from the page.

    Args:
        root: with the Snakefile, ``config``, ``resources`` and ``results``.
        options: further ones of every run of the workflow.
    """

    def __init__(self, root: Path, options: Sequence[str] = ()) -> None:
        self.root, self.options = root.resolve(), list(options)
        self._starting = threading.Lock()
        self._speaking: dict[str, tuple[subprocess.Popen[bytes], int]] = {}

    @property
    def speakers(self) -> Path:
        """Folder of the speakers, from the working folder."""
        return Path(load_config(root=self.root).speakers_dir)

    def names(self) -> list[str]:
        """The speakers that there are."""
        found = [path.name for path in (self.root / self.speakers).glob("*/")]
        return sorted(name for name in found if _is_speaker(name))

    def folder(self, name: str) -> Path:
        """A speaker's folder.

        Raises:
            DataError: there is none.
        """
        folder = self.root / self.speakers / check_speaker(name)
        if not folder.is_dir():
            raise DataError(f"there is no speaker {name}")
        return folder

    def shown(self, path: Path) -> str:
        """A path as a person in the working folder would type it."""
        return str(path.relative_to(self.root) if path.is_relative_to(self.root) else path)

    def program(self, name: str) -> str:
        """A program of this environment."""
        return self.shown(Path(sys.executable).with_name(name))

    # Recordings

    def add_speaker(self, name: str) -> str:
        """Make a folder; returns the command that does it.

        Raises:
            DataError: it cannot be a speaker's name.
        """
        folder = self.root / self.speakers / check_speaker(name)
        rules = (self.root / "workflow" / "rules").glob("*.smk")
        stages = [stage for path in rules for stage in re.findall(r"(?m)^rule (\w+):", path.read_text("utf-8"))]
        if name in (*TAKEN, *stages):
            raise DataError(f"{name}: the workflow has a stage or a folder of this name", f"take {name}-voice")
        folder.mkdir(parents=True, exist_ok=True)
        return shlex.join(["mkdir", "-p", self.shown(folder)])

    async def add_file(self, target: Path, request: Request, evidence: bool) -> str:
        """Store the body of a request as a file of a speaker; returns the command that copies one.

        It appears whole or not at all, and only where the workflow could read it.

        Raises:
            DataError: it cannot be a recording, a text of one, or evidence.
            OSError: the disk is full.
        """
        told = int(request.headers.get("content-length", 0))
        if told > min(LARGEST_FILE, shutil.disk_usage(target.parent).free):
            raise DataError(f"{target.name}: too large for the disk, or larger than 8 GB", "free space, or cut it")
        with atomic_path(target) as temporary:
            with temporary.open("wb") as handle:
                async for part in request.stream():
                    if handle.tell() + len(part) > LARGEST_FILE:
                        raise DataError(f"{target.name}: larger than 8 GB", "cut it into several")
                    handle.write(part)
            if not evidence:
                await run_in_threadpool(_check_content, temporary, target)
        return shlex.join(["cp", target.name, self.shown(target)])

    def recordings(self, folder: Path) -> list[dict[str, Any]]:
        """Files of a speaker with their length in seconds, or why they will be refused."""
        texts = (path for ending in TEXTS for path in folder.rglob(f"[!.]*{ending}"))
        paths = {*find_files(folder), *(path for path in texts if not COMPANION_NAMES.fullmatch(path.name))}
        return [self._recording(folder, path) for path in sorted(paths)]

    def _recording(self, folder: Path, path: Path) -> dict[str, Any]:
        entry = {"file": str(path.relative_to(folder)).encode("utf-8", "replace").decode(), "seconds": 0.0}
        if refused := check_file(folder, path):
            return {**entry, "problem": refused.detail}
        if path.suffix.lower() in TEXTS:
            return {**entry, "problem": ""}
        status = path.stat()
        seconds, problem = _length(path, status.st_size, status.st_mtime_ns)
        return {**entry, "seconds": seconds, "problem": problem}

    # What a voice is, from its files

    def voice(self, name: str) -> dict[str, Any]:
        """All that the page shows of a voice."""
        folder, results = self.folder(name), self.root / "results" / name
        recordings = self.recordings(folder)
        return {
            "name": name,
            "folder": self.shown(folder),
            "recordings": recordings,
            "speech": self.speech(name, recordings),
            "consent": self.consent(folder),
            "run": {**workflow_run.describe(self.root, name), "command": shlex.join(self.run_command(name, "voice"))},
            "made": self.made(results),
        }

    def speech(self, name: str, recordings: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Seconds of speech that the corpus found, or before there is one the length of all recordings."""
        with suppress(DataError, OSError, KeyError, TypeError, ValueError):
            summary = read_json(self.root / "results" / name / "corpus" / "summary.json")
            return {"seconds": float(summary["seconds"]["kept"]), "found": True}
        return {"seconds": sum(one["seconds"] for one in recordings if not one["problem"]), "found": False}

    def consent(self, folder: Path) -> dict[str, Any]:
        """What the speaker has agreed to, what is wrong with it, and files that may be its evidence."""
        evidence = [path.name for path in rights_files(folder) if path.name != CONSENT_FILE]
        entry: dict[str, Any] = {"given": {}, "words": "", "problem": "", "evidence": evidence}
        with suppress(FileNotFoundError):
            try:
                consent = read_consent(folder / CONSENT_FILE)
                terms = in_words({"consent": consent.terms()})
                return {**entry, "given": consent.model_dump(mode="json", exclude_unset=True), "words": terms}
            except DataError as error:
                entry["problem"] = error.message.removeprefix(f"{folder / CONSENT_FILE}: ")
        return entry

    def give_consent(self, folder: Path, agreed: Agreed) -> str:
        """Write ``consent.yaml``; returns the command that does it.

        Raises:
            DataError: what is wrong, see :func:`voiceclone.lineage.rights.write_consent`.
        """
        values, replaces = agreed.values(), (folder / CONSENT_FILE).exists()
        missing = [field for field in ("who", "purposes", "evidence") if field not in values]
        if missing and not agreed.myself:
            raise DataError(f"{', '.join(missing)}: missing, which somebody else's consent needs")
        if agreed.evidence and agreed.evidence not in self.consent(folder)["evidence"]:
            raise DataError(f"evidence: no file {agreed.evidence[:80]!r} in {self.shown(folder)}")
        write_consent(folder, values)
        command = [self.program("voiceclone"), "consent", folder.name, *(["--myself"] if agreed.myself else [])]
        for option, value in (("who", agreed.who), ("scope", agreed.scope), ("expires", agreed.expires)):
            command += [f"--{option}", value] if value else []
        for option, several in (("purpose", agreed.purposes), ("language", agreed.languages)):
            command += [word for value in several for word in (f"--{option}", value)]
        command += ["--evidence", self.shown(folder / agreed.evidence)] if agreed.evidence else []
        return shlex.join([*command, *(["--replace"] if replaces else [])])

    def presets(self, name: str) -> dict[str, Any]:
        """The presets with what speaks against each, and what the chosen one lacks on this machine."""
        folder = self.folder(name)
        config = load_voice({}, self.root, name)
        seconds = self.speech(name, self.recordings(folder))["seconds"]
        lacks = [row for row in inspect(config, self.root).problems if row.name != "GPU"]
        return {
            "chosen": config.preset,
            "speech": amount(seconds),
            "choices": list(self._choices(seconds)),
            "lacks": [{"what": f"{row.name}: {row.detail}", "todo": row.todo} for row in lacks],
            "command": shlex.join([self.program("voiceclone"), "preflight"]),
        }

    def _choices(self, seconds: float) -> Iterator[dict[str, Any]]:
        for path in (self.root / "config" / "presets").glob("*.yaml"):
            tier = read_yaml(path).get("corpus", {}).get("tier", "")
            if tier in TIERS:
                needs = "it needs a GPU, and there is none here" if tier in NEED_GPU and not gpus_here() else ""
                against = [reason for reason in (advice(tier, seconds) if seconds else "", needs) if reason]
                yield {"name": path.stem, "about": _head(path), "against": against, "expect": expected(tier, seconds)}

    def choose(self, folder: Path, preset: str) -> str:
        """Write the preset into the voice's file, whose other lines stay; returns the command that does it.

        Raises:
            DataError: there is no such preset.
        """
        if preset not in [choice["name"] for choice in self._choices(0.0)]:
            raise DataError(f"preset: there is no {preset}")
        file, line = folder / VOICE_FILE, f"preset: {preset}"
        before = file.read_text(encoding="utf-8") if file.is_file() else ""
        after, count = re.subn(r"(?m)^preset:.*$", line, before)
        write_text(file, after if count else f"{line}\n{before}")
        if before:
            return shlex.join(["sed", "-i", f"s/^preset:.*/{line}/" if count else f"1i{line}", self.shown(file)])
        return f"echo {shlex.quote(line)} > {shlex.quote(self.shown(file))}"

    # Runs

    def run_command(self, name: str, until: str) -> list[str]:
        """The command that makes a voice, or its corpus."""
        target = name if until == "voice" else f"results/{name}/corpus/corpus.tsv"
        return [self.program("snakemake"), "--cores", "all", target, *self.options]

    def start(self, name: str, until: str) -> str:
        """Start the workflow; returns its command.

        Raises:
            DataError: there is no such speaker, or it is running.
        """
        self.folder(name)
        command = self.run_command(name, until)
        with self._starting:
            workflow_run.start(self.root, name, command)
        return shlex.join(command)

    def unlock(self) -> str:
        """Take away the lock that a killed run has left; returns the command that does it.

        Raises:
            DataError: the workflow is running.
        """
        if found := list(workflow_run.running_in(self.root)):
            raise DataError(f"the workflow is running (process {found[0]})", "wait for its end, or stop it")
        command = [self.program("snakemake"), "--unlock"]
        done = subprocess.run(command, cwd=self.root, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        if done.returncode:
            raise DataError(done.stderr.strip()[-1000:])
        (self.root / workflow_run.STATE).unlink(missing_ok=True)
        return shlex.join(command)

    # What was made

    def made(self, results: Path) -> dict[str, Any]:
        """What can be opened: pages, and the bundle to speak with."""
        bundle, found = self._bundle(results), {"bundle": "", "refusal": "", "say": "", "speaks": ""}
        if bundle is not None:
            notes = read_json(bundle / BUNDLE_FILE)
            say = [self.program("voiceclone"), "say", "--bundle", self.shown(bundle), "--text", "Good morning."]
            found = {
                "bundle": self.shown(bundle),
                "refusal": may_serve(notes),
                "say": shlex.join([*say, "-o", "out.wav"]),
                "speaks": self._address(results.name),
            }
        review = [self.program("voiceclone"), "review", results.name]
        return {
            "review": any((results / "corpus").glob("proofread*.html")),
            "review_command": shlex.join(review),
            "report": self.shown(results / "report.html") if (results / "report.html").is_file() else "",
            **found,
        }

    def _bundle(self, results: Path) -> Path | None:
        """The bundle to speak with: the small one, if there is one."""
        found = sorted(path.parent for path in results.glob(f"export/*/{BUNDLE_FILE}"))
        return next((folder for folder in found if folder.name == "onnx-int8"), next(iter(found), None))

    def speak(self, name: str) -> str:
        """Start a server of a voice on a free port; returns its command. It ends with this one.

        Raises:
            DataError: there is no bundle, or its terms forbid it.
        """
        results = self.root / "results" / check_speaker(name)
        bundle = self._bundle(results)
        if bundle is None:
            raise DataError(f"{name}: nothing is exported yet", "make the voice first")
        if reason := may_serve(read_json(bundle / BUNDLE_FILE)):
            raise DataError(f"{name}: {reason}")
        with self._starting:
            if name not in self._speaking or self._speaking[name][0].poll() is not None:
                self._speaking[name] = self._serve(bundle)
            server, _ = self._speaking[name]
        return shlex.join(map(str, server.args if isinstance(server.args, list) else []))

    def _serve(self, bundle: Path) -> tuple[subprocess.Popen[bytes], int]:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        command = [self.program("voiceclone"), "serve", "--voices", self.shown(bundle), "--workers", "1"]
        command += ["--port", str(port)]
        log = self.root / SPEAKS_LOG
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as out:
            return subprocess.Popen(command, cwd=self.root, stdin=subprocess.DEVNULL, stdout=out, stderr=out), port

    def _address(self, name: str) -> str:
        """Where a voice speaks, once its server answers; empty: not yet.

        Raises:
            DataError: its server has ended.
        """
        server, port = self._speaking.get(name, (None, 0))
        if server is None:
            return ""
        if server.poll() is not None:
            del self._speaking[name]
            raise DataError((self.root / SPEAKS_LOG).read_text(encoding="utf-8", errors="replace").strip()[-1000:])
        with suppress(OSError):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1).close()
            return f"http://127.0.0.1:{port}/"
        return ""

    def close(self) -> None:
        """End the servers that speak; a run of the workflow goes on."""
        for server, _ in self._speaking.values():
            server.terminate()
        for server, _ in self._speaking.values():
            server.wait()


def _is_speaker(name: str) -> bool:
    with suppress(DataError):
        return bool(check_speaker(name))
    return False


def _head(path: Path) -> str:
    """The first sentence of the comment that a file begins with."""
    lines = path.read_text(encoding="utf-8").splitlines()
    ends = next((place for place, line in enumerate(lines) if not line.startswith("#")), len(lines))
    return " ".join(line.removeprefix("#").strip() for line in lines[:ends]).partition(". ")[0].rstrip(".") + "."


def check_name(name: str, evidence: bool = False) -> str:
    """The name of a file in a speaker's folder, of an upload called ``name``.

    Raises:
        DataError: it leads elsewhere, no table can hold it, or it is neither a recording's nor that of a text.
    """
    strange = any(unicodedata.category(letter) in ("Cc", "Cs") for letter in name)
    if name != Path(name).name or "\\" in name or name.startswith(".") or strange or len(name.encode()) > LONGEST_NAME:
        raise DataError(f"{name[:80]!r}: not the name of a file", "rename it")
    ending = Path(name).suffix.lower()
    if evidence:
        if not re.fullmatch(r"\.\w{1,8}", ending, re.ASCII) or ending in (".yaml", ".yml"):
            raise DataError(f"evidence: {name[:80]!r} is neither a document nor a sound")
        return f"consent{ending}"
    if COMPANION_NAMES.fullmatch(name) or (ending in COMPANION_SUFFIXES and ending not in TEXTS):
        raise DataError(f"{name[:80]!r}: expected a recording, or a text of one")
    return name


@functools.lru_cache(10_000)
def _length(path: Path, size: int, changed: int) -> tuple[float, str]:
    """Seconds of a recording, or why there are none; remembered as long as its size and time are the same."""
    try:
        return told_seconds(path), ""
    except DataError as error:
        return 0.0, error.message.replace(f"{path}: ", "")


def _check_content(file: Path, target: Path) -> None:
    """Whether a file is what its name says.

    Raises:
        DataError: the workflow could not read it; names the file that it was meant to become.
    """
    try:
        if not file.stat().st_size:
            raise DataError(f"{file}: empty")
        if target.suffix.lower() in TEXTS:
            read_user_text(file)
        else:
            told_seconds(file)
    except DataError as error:
        message = error.message.replace(f"{file}: ", "").replace(str(file), target.name)
        raise DataError(f"{target.name}: {message}", "expected a recording, or a text of one") from error


def by_field(message: str) -> dict[str, str]:
    """What is wrong with each field of a consent, of its reader's message; "": what is wrong with none of them."""
    found: dict[str, str] = {}
    for part in message.split("; "):
        names, _, text = part.partition(": ")
        fields = [name.split(".")[0] for name in names.split(", ")]
        known = text and all(name in Consent.model_fields for name in fields)
        found |= dict.fromkeys(fields, text) if known else {"": "; ".join(filter(None, [found.get(""), part]))}
    return found


def create_app(root: Path, token: str, options: Sequence[str] = ()) -> FastAPI:
    """The application.

    Args:
        root: the working folder.
        token: that the first address carries.
        options: further ones of every run of the workflow.
    """
    studio = Studio(root, options)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await run_in_threadpool(studio.close)

    app = FastAPI(lifespan=lifespan, openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)
    app.state.studio = studio
    _add_guard(app, token)
    _add_errors(app)
    _add_voices(app, studio)
    _add_files(app, studio)
    _add_runs(app, studio)
    _add_pages(app, studio)
    return app


def _add_guard(app: FastAPI, token: str) -> None:
    @app.middleware("http")
    async def this_page_alone(request: Request, call: Any) -> Response:
        host, origin = request.headers.get("host", ""), request.headers.get("origin")
        asks = request.method in ("GET", "HEAD")
        if host.rsplit(":", 1)[0] not in LOCAL or (origin is None and not asks):
            return PlainTextResponse("this page is for this machine alone", 403)
        if origin is not None and urlsplit(origin).netloc != host:
            return PlainTextResponse("this page answers no other", 403)
        cookie = f"studio-{host.rpartition(':')[2]}"  # cookies are common to all ports of a machine
        if asks and compare_digest(request.query_params.get("token", "").encode(), token.encode()):
            answer: Response = RedirectResponse(request.url.path, 303)
            answer.set_cookie(cookie, token, httponly=True, samesite="strict")
            return answer
        if not compare_digest(request.cookies.get(cookie, "").encode(), token.encode()):
            return PlainTextResponse("open the address that 'voiceclone studio' has printed", 403)
        answer = await call(request)
        answer.headers.setdefault("Cache-Control", "no-store")
        return answer


def _add_errors(app: FastAPI) -> None:
    def told(message: str, hint: str = "", status: int = 422) -> Response:
        return JSONResponse({"error": message, "hint": hint}, status)

    @app.exception_handler(VoiceCloneError)
    async def ours(request: Request, error: VoiceCloneError) -> Response:
        return told(error.message, error.hint)

    @app.exception_handler(OSError)
    async def storage(request: Request, error: OSError) -> Response:
        known = explain(error)
        return told(known.message, known.hint, 507) if known else told(f"{error.strerror}: {error.filename}", "", 500)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        return told("; ".join(f"{'.'.join(map(str, one['loc'][1:]))}: {one['msg']}" for one in error.errors()[:5]))


def _add_voices(app: FastAPI, studio: Studio) -> None:
    @app.get("/api/voices")
    def voices() -> list[str]:
        return studio.names()

    @app.post("/api/voices")
    def add(asked: Named) -> dict[str, str]:
        return {"command": studio.add_speaker(asked.name)}

    @app.get("/api/voices/{name}")
    def voice(name: str) -> dict[str, Any]:
        return studio.voice(name)

    @app.get("/api/voices/{name}/presets")
    def presets(name: str) -> dict[str, Any]:
        return studio.presets(name)

    @app.put("/api/voices/{name}/preset")
    def choose(name: str, asked: Chosen) -> dict[str, str]:
        return {"command": studio.choose(studio.folder(name), asked.preset)}

    @app.put("/api/voices/{name}/consent")
    def consent(name: str, asked: Agreed) -> Response:
        try:
            return JSONResponse({"command": studio.give_consent(studio.folder(name), asked)})
        except DataError as error:
            return JSONResponse({"error": error.message, "hint": "", "fields": by_field(error.message)}, 422)


def _add_files(app: FastAPI, studio: Studio) -> None:
    @app.put("/api/voices/{name}/recordings/{file}")
    async def upload(name: str, file: str, request: Request) -> dict[str, str]:
        target = studio.folder(name) / check_name(file)
        if target.exists():
            raise DataError(f"{file}: is there already", "remove the one that is there, or rename this one")
        return {"command": await studio.add_file(target, request, evidence=False)}

    @app.delete("/api/voices/{name}/recordings/{file}")
    def remove(name: str, file: str) -> dict[str, str]:
        folder = studio.folder(name)
        path = contained_path(folder, check_name(file))
        path.unlink()
        return {"command": shlex.join(["rm", studio.shown(folder / file)])}

    @app.put("/api/voices/{name}/evidence/{file}")
    async def evidence(name: str, file: str, request: Request) -> dict[str, str]:
        target = studio.folder(name) / check_name(file, evidence=True)
        return {"command": await studio.add_file(target, request, evidence=True), "file": target.name}


def _add_runs(app: FastAPI, studio: Studio) -> None:
    @app.post("/api/voices/{name}/run")
    def start(name: str, asked: Wanted) -> dict[str, str]:
        return {"command": studio.start(name, asked.until)}

    @app.post("/api/stop")
    def stop() -> dict[str, str]:
        workflow_run.stop(studio.root)
        return {"command": "Ctrl-C"}

    @app.post("/api/unlock")
    def unlock() -> dict[str, str]:
        return {"command": studio.unlock()}

    @app.post("/api/voices/{name}/speaking")
    def speak(name: str) -> dict[str, str]:
        return {"command": studio.speak(name)}


def _add_pages(app: FastAPI, studio: Studio) -> None:
    for path, name in (("/", "studio.html"), ("/studio.js", "studio.js")):

        def sent(name: str = name) -> FileResponse:
            return FileResponse(HERE / name, headers=PAGE_HEADERS)

        app.get(path)(sent)

    @app.get("/report/{name}")
    def report(name: str) -> Response:
        return FileResponse(studio.root / "results" / check_speaker(name) / "report.html", headers=REPORT_HEADERS)

    async def review(scope: Scope, receive: Receive, send: Send) -> None:
        """The review queue of the voice that the path names."""
        name = scope["path_params"]["name"]
        if _is_speaker(name):
            corrections = studio.root / "config" / "corrections" / f"{name}.tsv"
            await review_app(studio.root / "results" / name, corrections)(scope, receive, send)
        else:
            await PlainTextResponse("no such voice", 404)(scope, receive, send)

    app.mount("/review/{name}", review)
