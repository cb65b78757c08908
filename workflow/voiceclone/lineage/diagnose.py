"""One archive for a report of a problem: settings, logs, tables and the machine; no sound, no words, no names.

Nothing is taken as it is. Columns of free text are left out of tables; in everything else what is known of the user's
names is replaced: folders, users, machines, speakers, recordings, people, texts. What else looks like an address, a key
or a quotation goes too. A file in which a known name is still found is left out.
"""

from __future__ import annotations

import getpass
import json
import os
import platform
import re
import socket
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile

from voiceclone import __version__
from voiceclone.errors import DataError
from voiceclone.files import atomic_path, check_speaker, read_json, read_jsonl, read_tsv, unescape
from voiceclone.lineage.provenance import package_versions
from voiceclone.lineage.rights import CONSENT_FILE, read_consent
from voiceclone.lineage.runs import git_state

#: Bytes from the end of a log that are taken.
LONGEST_LOG = 200_000
_FREE_TEXT = ("text", "text_asr", "note", "detail", "value", "word", "words", "phones", "error", "reading")
_PATTERNS = (
    (re.compile(r"[\w.+-]+@[\w-]+\.[\w.]+"), "[address]"),
    (re.compile(r"\b(?:hf|sk|gh[a-z]|xox[a-z])[_-][\w-]{10,}"), "[key]"),
    (re.compile(r"(?i)\b([\w-]*(?:token|secret|passw\w*|api[_-]?key)[\"']?\s*[=:]\s*)\S+"), r"\1[key]"),
    (re.compile(r"\b[a-z][a-z0-9+.-]*://\S+"), "[address]"),
    (re.compile(r"\b\d{1,3}(?:\.\d{1,3}){3}\b"), "[address]"),
    (re.compile(r"(?<![\w.\]])(?:/[^\s/'\":,;()\[\]<>]+)+/site-packages/"), "site-packages/"),
    (re.compile(r"(?<![\w.\])])~?(?:/[^\s/'\":,;()\[\]<>]+){2,}"), "[path]"),
)
_STAND_INS = re.compile(r"\[[a-z]+(?:-\d+)?\]")
#: A quotation of more than names and numbers: words of a text.
_QUOTED = re.compile(r"'[^'\n]*[^\x00-\x7f][^'\n]*'|'[^'\n]*\w \w[^'\n]*'|\"[^\"\n]*\w \w[^\"\n]*\"")


class Scrubber:
    """Replaces what names people, machines and recordings.

    Args:
        names: to what stands for them.
        texts: are said; left out: they may stay.
    """

    def __init__(self, names: dict[str, str], texts: Iterable[str] = ()) -> None:
        texts = {part for text in texts for part in (text, text[:20].strip()) if len(part) > 3}
        self._known = {name: what for name, what in names.items() if name.strip()} | dict.fromkeys(texts, "[text]")
        longest = sorted(self._known, key=len, reverse=True)
        self._names = re.compile("|".join(rf"(?<![^\W_]){re.escape(name)}(?![^\W_])" for name in longest) or "(?!)")
        self._quotes = bool(texts)

    def __call__(self, text: str) -> str:
        """The text without them."""
        text = self._names.sub(lambda match: self._known[match[0]], text)
        for pattern, what in _PATTERNS:
            text = pattern.sub(what, text)
        return _QUOTED.sub("'[text]'", text) if self._quotes else text

    def finds(self, text: str) -> bool:
        """Whether a name is in a text."""
        return bool(self._names.search(_STAND_INS.sub("", text)))


def diagnose(root: Path, speaker: str, target: Path, transcripts: bool = False) -> list[str]:
    """Write the archive about a voice.

    Args:
        root: the working folder.
        speaker: the voice.
        target: the archive, ``.zip``.
        transcripts: take what is said along, in tables and messages.

    Returns:
        the names of its files.

    Raises:
        DataError: the voice has no results.
    """
    voice = root / "results" / check_speaker(speaker)
    if not voice.is_dir():
        raise DataError(f"{voice}: no results there", "run the workflow first")
    scrub = Scrubber(known_names(root, voice), [] if transcripts else spoken_texts(root, voice))
    written = list[str]()
    with atomic_path(target) as temporary, ZipFile(temporary, "w", ZIP_DEFLATED) as archive:
        for name, text in _files(root, voice, transcripts):
            name, text = scrub(name), scrub(text)
            if scrub.finds(name) or scrub.finds(text):
                name, text = f"left-out-{len(written)}.txt", "a name was still in it\n"
            archive.writestr(name, text)
            written.append(name)
    return written


def known_names(root: Path, voice: Path) -> dict[str, str]:
    """Names of folders, of the user and the machine, of voices, recordings and people, with what stands for them."""
    config = _json(root / "results" / "config.json")
    speakers = root / str(config.get("speakers_dir", "resources/speakers"))
    home, place = Path.home(), root.absolute()
    names = {str(one): "[work]" for one in (place, root.resolve())}
    names |= {str(home): "[home]", home.name: "[user]", _user(): "[user]", socket.gethostname(): "[machine]"}
    names |= {part: "[folder]" for part in place.parts[1:] if len(part) > 2}
    voices = sorted({path.name for folder in (voice.parent, speakers) for path in folder.glob("*/")} - {"settings"})
    rows = [row for name in voices for table in ("inventory.tsv", "takes.tsv", "given.tsv", "rejected.tsv")
            for row in _rows(voice.parent / name / table)]  # fmt: skip
    for number, row in enumerate(rows):
        file = row.get("file", "")
        told = [row.get("take", ""), file, unescape(file), *Path(unescape(file)).parts, Path(file).stem]
        names |= {name: f"[recording-{number}]" for name in told if len(name) > 1}
    for name in voices:
        stated = speakers / name / CONSENT_FILE
        try:
            consent = read_consent(stated) if stated.is_file() else None
        except DataError:
            continue
        if consent is not None:
            names |= {one: "[person]" for one in (consent.who, *consent.who.split(), consent.evidence) if len(one) > 1}
    stages = {"logs", "report", "benchmarks"}
    return names | {name: f"[voice-{number}]" for number, name in enumerate(voices) if name not in stages}


def spoken_texts(root: Path, voice: Path) -> Iterator[str]:
    """What is said in the recordings and texts of a voice."""
    tables = [*voice.glob("corpus/*.tsv"), voice / "given.tsv", *voice.glob("eval/*/metrics.tsv"),
              root / "config" / "corrections" / f"{voice.name}.tsv"]  # fmt: skip
    for table in tables:
        for row in _rows(table):
            yield from (row[name] for name in _FREE_TEXT if row.get(name))
    for path in voice.glob("transcripts/*.jsonl"):
        for line in read_jsonl(path):
            yield from _strings(line)


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _strings(one)


def _files(root: Path, voice: Path, transcripts: bool) -> Iterator[tuple[str, str]]:
    """Name and text of what goes into the archive, as it is."""
    results = voice.parent
    machine = {
        "voiceclone": __version__, "git": git_state(root), "python": platform.python_version(),
        "platform": platform.platform(), "machine": platform.machine(), "cores": os.cpu_count(),
        "packages": package_versions(),
    }  # fmt: skip
    yield "machine.json", json.dumps(machine, indent=2)
    for path in (results / "config.json", results / "runtime.json", voice / "config.json", voice / "summary.json"):
        if path.is_file():
            yield f"{path.relative_to(results)}", path.read_text(encoding="utf-8", errors="replace")
    if (results / "runs.jsonl").is_file():
        lines = (results / "runs.jsonl").read_text(encoding="utf-8", errors="replace").splitlines()
        yield "runs.jsonl", "\n".join(lines[-20:])
    for path in sorted([*voice.glob("logs/*.log"), *results.glob("logs/**/*.log")]):
        data = path.read_bytes()[-LONGEST_LOG:]
        yield f"{path.relative_to(results)}", data.decode("utf-8", "replace")
    for path in sorted([*voice.glob("*.tsv"), *voice.glob("*/*.tsv"), *voice.glob("eval/*/*.tsv")]):
        yield f"{path.relative_to(results)}", _table(path, transcripts)
    for path in sorted([*voice.glob("trained/*.json"), *voice.glob("export/*/parity.json")]):
        yield f"{path.relative_to(results)}", path.read_text(encoding="utf-8", errors="replace")


def _table(path: Path, transcripts: bool) -> str:
    """A table without its columns of free text."""
    rows = _rows(path)
    columns = [name for name in (rows[0] if rows else ()) if transcripts or name not in _FREE_TEXT]
    return "\n".join(["\t".join(columns), *("\t".join(row[name] for name in columns) for row in rows)]) + "\n"


def _rows(table: Path) -> list[dict[str, str]]:
    try:
        return read_tsv(table) if table.is_file() else []
    except (DataError, ValueError):
        return []


def _json(path: Path) -> dict[str, Any]:
    try:
        return dict(read_json(path)) if path.is_file() else {}
    except (DataError, ValueError, TypeError):
        return {}


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""
