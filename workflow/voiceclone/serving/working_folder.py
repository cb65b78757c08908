"""What the studio does in a working folder: it reads the files and runs the commands that a person at the shell would.

No state of a voice is kept here: all that is shown is read from its files. Methods that change something return the
shell command that does the same.
"""

from __future__ import annotations

import asyncio
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
from contextlib import suppress
from pathlib import Path
from typing import Any

from voiceclone.assets.preflight import NEED_GPU, gpus_here, inspect
from voiceclone.backends.bundle import BUNDLE_FILE
from voiceclone.config.load import VOICE_FILE, load_config, load_voice, read_yaml
from voiceclone.corpus.inventory import COMPANION_NAMES, COMPANION_SUFFIXES, check_file, find_files
from voiceclone.corpus.tiers import TIERS, advice, amount, expected
from voiceclone.errors import DataError
from voiceclone.files import FOLDERS, atomic_path, check_speaker, contained_path, read_json, write_text
from voiceclone.lineage.rights import CONSENT_FILE, in_words, may_serve, read_consent, rights_files, write_consent
from voiceclone.serving import workflow_run
from voiceclone.sound.io import header_seconds
from voiceclone.usertext import read_user_text

LARGEST_FILE = 8 * 1000**3  # bytes of an upload
LONGEST_NAME = 200  # bytes of its name: a temporary folder is called after it
#: Endings of texts that lie beside recordings.
TEXTS = (".txt", ".lab", ".list", ".csv", ".tsv", ".json", ".jsonl", ".srt", ".vtt", ".textgrid")
SPEAKS_LOG = Path("results/logs/studio-speaks.log")


class WorkingFolder:
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
        return sorted(name for name in found if is_speaker(name))

    def speaker(self, name: str) -> Path:
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
        rules = [self.root / "Snakefile", *(self.root / "workflow" / "rules").glob("*.smk")]
        stages = [stage for path in rules for stage in re.findall(r"(?m)^rule (\w+):", path.read_text("utf-8"))]
        if name in (*FOLDERS, *stages):
            raise DataError(f"{name}: the workflow has a stage or a folder of this name", f"take {name}-voice")
        folder.mkdir(parents=True, exist_ok=True)
        return shlex.join(["mkdir", "-p", self.shown(folder)])

    async def add_file(self, target: Path, size: int, parts: AsyncIterator[bytes], evidence: bool = False) -> str:
        """Store a file of a speaker, of ``size`` bytes as its header says; returns the command that copies one.

        It appears whole or not at all, and a recording only where the workflow could read it.

        Raises:
            DataError: it cannot be a recording, a text of one, or evidence.
            OSError: the disk is full.
        """
        if size > min(LARGEST_FILE, shutil.disk_usage(target.parent).free):
            raise DataError(f"{target.name}: too large for the disk, or larger than 8 GB", "free space, or cut it")
        with atomic_path(target) as temporary:
            with temporary.open("wb") as handle:
                async for part in parts:
                    if handle.tell() + len(part) > LARGEST_FILE:
                        raise DataError(f"{target.name}: larger than 8 GB", "cut it into several")
                    handle.write(part)
            if not evidence:
                await asyncio.to_thread(_check_content, temporary, target)
        return shlex.join(
            ["cp", f"./{target.name}" if target.name.startswith("-") else target.name, self.shown(target)]
        )

    def remove_file(self, folder: Path, name: str) -> str:
        """Remove a recording or a text; returns the command that does it.

        Raises:
            DataError: it is neither.
        """
        contained_path(folder, check_name(name))
        (folder / name).unlink()
        return shlex.join(["rm", self.shown(folder / name)])

    def recordings(self, folder: Path) -> list[dict[str, Any]]:
        """Files of a speaker with their length in seconds, or why they will be refused."""
        texts = (path for ending in TEXTS for path in folder.glob(f"**/*{ending}"))
        shown = {*find_files(folder), *(path for path in texts if not COMPANION_NAMES.fullmatch(path.name))}
        hidden = (path for path in shown if any(part.startswith(".") for part in path.relative_to(folder).parts))
        return [self._recording(folder, path) for path in sorted(shown.difference(hidden))]

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
        """All that the page shows of a voice; its files are read each time."""
        folder, results = self.speaker(name), self.root / "results" / name
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

    def give_consent(self, folder: Path, values: Mapping[str, Any]) -> str:
        """Write ``consent.yaml`` of the fields that were filled in; returns the command that does it.

        Raises:
            DataError: what is wrong, see :func:`voiceclone.lineage.rights.write_consent`.
        """
        replaces, evidence = (folder / CONSENT_FILE).exists(), values.get("evidence", "")
        missing = [field for field in ("who", "purposes", "evidence") if field not in values]
        if missing and not values.get("myself"):
            raise DataError(f"{', '.join(missing)}: missing, which somebody else's consent needs")
        if evidence and evidence not in self.consent(folder)["evidence"]:
            raise DataError(f"evidence: no file {evidence[:80]!r} in {self.shown(folder)}")
        write_consent(folder, values)
        command = [self.program("voiceclone"), "consent", folder.name]
        for name, value in values.items():
            option = {"purposes": "--purpose", "languages": "--language"}.get(name, f"--{name}")
            several = (
                value if isinstance(value, list) else [self.shown(folder / value) if name == "evidence" else value]
            )
            command += [option] if value is True else [word for one in several for word in (option, one)]
        return shlex.join([*command, *(["--replace"] if replaces else [])])

    def presets(self, name: str) -> dict[str, Any]:
        """The presets with arguments against each, and what the chosen one lacks on this machine."""
        folder = self.speaker(name)
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
        before = read_user_text(file) if file.is_file() else ""
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
        self.speaker(name)
        command = self.run_command(name, until)
        with self._starting:
            workflow_run.start(self.root, name, command)
        return shlex.join(command)

    def unlock(self) -> str:
        """Remove the lock that a killed run has left; returns the command that does it.

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
        """Results that can be opened: pages, and the bundle to speak with."""
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
        """End the servers that speak; a run of the workflow continues."""
        for server, _ in self._speaking.values():
            server.terminate()
        for server, _ in self._speaking.values():
            server.wait()


def is_speaker(name: str) -> bool:
    """Whether a name is one of a speaker."""
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
        return header_seconds(path), ""
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
            header_seconds(file)
    except DataError as error:
        message = error.message.replace(f"{file}: ", "").replace(str(file), target.name)
        raise DataError(f"{target.name}: {message}", "expected a recording, or a text of one") from error
