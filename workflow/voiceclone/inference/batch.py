"""Many texts by a table: one sound file a row, and ``results.tsv`` that says how each went.

A row that fails never stops the others. What is there already, spoken of the same text with the same settings by the
same voice, is not spoken again.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, get_args, get_type_hints

from voiceclone.errors import ConfigError, DataError, Interrupted, VoiceCloneError
from voiceclone.files import contained_path, digest, sha256_file, write_tsv
from voiceclone.inference.sound import write_speech
from voiceclone.inference.speaking import Speaking
from voiceclone.inference.speech import Listener, Speech
from voiceclone.inference.voices import Clip, Voice
from voiceclone.lineage.cache import read_sidecar, write_sidecar
from voiceclone.progress import Progress
from voiceclone.training.signals import StopRequest

log = logging.getLogger(__name__)

#: Raise when the same row would be spoken otherwise: what is there is then spoken again.
REVISION = 1
REQUIRED = ("name", "text")
SAMPLING = ("top_k", "top_p", "temperature", "repetition_penalty")
MANNER = ("speed", "noise_scale", "pause_seconds", "split", "attempts")
CLIP = ("reference", "reference_text", "reference_language")
COLUMNS = (*REQUIRED, "language", "seed", *MANNER, *SAMPLING, *CLIP)
RESULTS = "results.tsv"
RESULT_COLUMNS = (
    "line", "name", "status", "audio", "seconds", "tokens", "seed", "attempts", "findings", "error",
)  # fmt: skip
STATE = ".state"
_NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)*")


@dataclass(frozen=True)
class Defaults:
    """What holds for rows that do not say otherwise."""

    language: str = ""
    seed: int = 0
    speaking: Speaking = field(default_factory=Speaking)
    any_length: bool = False


@dataclass(frozen=True)
class Job:
    """One row: its line in the table, and how to speak it."""

    line: int
    name: str
    text: str
    language: str
    seed: int
    speaking: Speaking
    clip: Clip | None

    def key(self, *voice: Any) -> str:
        """Digest of all that decides how the row sounds: the row itself, and plain values that tell the voice."""
        clip = None
        if self.clip is not None:
            files = [sha256_file(path) for path in (self.clip.path, *self.clip.styles)]
            clip = [self.clip.text, self.clip.language, *files]
        speaking = asdict(replace(self.speaking, detector=None))  # type: ignore[arg-type]
        limits = self.speaking.detector.model_dump(mode="json")
        return digest([REVISION, voice, self.text, self.language, self.seed, speaking, limits, clip])


@dataclass(frozen=True)
class Refused:
    """A row that cannot be spoken, and why."""

    line: int
    name: str
    error: str


def read_jobs(table: Path, defaults: Defaults) -> list[Job | Refused]:
    """Rows of a table.

    Args:
        table: TSV with the columns ``name`` and ``text`` and some others of :data:`COLUMNS`; an empty cell takes the
            default. Paths of reference clips start at the table's folder.
        defaults: of all rows.

    Raises:
        DataError: the table is not UTF-8 text, is empty, or has columns that are unknown, missing or there twice.
    """
    try:
        # Only line ends end a row: texts may hold other characters that Unicode takes for a new line.
        lines = [line.rstrip("\r") for line in Path(table).read_bytes().decode("utf-8-sig").split("\n")]
    except UnicodeDecodeError as error:
        raise DataError(f"{table}: not UTF-8 text ({error})", "save the table as UTF-8") from error
    if not lines[0]:
        raise DataError(f"{table}: empty, expected a header line with {', '.join(REQUIRED)}")
    header = lines[0].split("\t")
    _check_header(table, header)
    jobs: list[Job | Refused] = []
    taken: dict[str, int] = {}
    for number, line in enumerate(lines[1:], start=2):
        if not line.strip():
            continue
        cells = line.split("\t")
        row = dict(zip(header, cells, strict=False))
        name = row.get("name", "").strip()
        try:
            if len(cells) != len(header):
                raise DataError(f"{len(cells)} cells, the header has {len(header)}")
            _check_name(name, taken, number)
            jobs.append(_job(row, number, name, table.parent, defaults))
        except VoiceCloneError as error:
            jobs.append(Refused(number, name, error.message))
    return jobs


def _check_header(table: Path, header: Sequence[str]) -> None:
    unknown = [column for column in header if column not in COLUMNS]
    missing = [column for column in REQUIRED if column not in header]
    twice = sorted({column for column in header if header.count(column) > 1})
    for problem, columns in (("unknown", unknown), ("missing", missing), ("there twice", twice)):
        if columns:
            raise DataError(
                f"{table}: column {', '.join(map(repr, columns))} is {problem}; possible: {', '.join(COLUMNS)}"
            )


def _check_name(name: str, taken: dict[str, int], line: int) -> None:
    if not _NAME.fullmatch(name) or ".." in name:
        raise DataError(
            f"name {name!r}: expected letters, digits, '_', '-' and '.', with '/' between folders, no leading dot"
        )
    before = taken.setdefault(name.casefold(), line)  # some file systems know no difference of case
    if before != line:
        raise DataError(f"name {name!r}: line {before} has it already")


def _job(row: dict[str, str], line: int, name: str, folder: Path, defaults: Defaults) -> Job:
    given = {column: cell.strip() for column, cell in row.items() if cell.strip()}
    if "text" not in given:
        raise DataError("text: empty")
    sampling = _replaced(defaults.speaking.sampling, {key: given[key] for key in SAMPLING if key in given})
    manner = _replaced(defaults.speaking, {key: given[key] for key in MANNER if key in given})
    clip = None
    if "reference" in given:
        path = folder / given["reference"]
        if not path.is_file():
            raise DataError(f"reference {given['reference']}: no such file in {folder}")
        clip = Clip(path, given.get("reference_text", ""), given.get("reference_language", ""), (), defaults.any_length)
    elif any(key in given for key in CLIP):
        raise DataError("reference_text, reference_language: there is no reference")
    seed = _number("seed", int, given["seed"]) if "seed" in given else defaults.seed
    if seed < 0:
        raise DataError(f"seed {seed}: expected 0 or more")
    language = given.get("language", defaults.language)
    return Job(line, name, given["text"], language, seed, replace(manner, sampling=sampling), clip)


def _replaced(value: Any, given: dict[str, str]) -> Any:
    hints = get_type_hints(type(value))
    return replace(value, **{key: _number(key, hints[key], text) for key, text in given.items()})


def _number(key: str, kind: Any, text: str) -> Any:
    try:
        return kind(text)
    except ValueError:
        expected = {int: "a whole number", float: "a number"}.get(kind, str(get_args(kind)))
        raise DataError(f"{key} {text!r}: expected {expected}") from None


def speak_table(
    voice: Voice,
    jobs: Sequence[Job | Refused],
    output: Path,
    ending: str,
    listener: Listener | None = None,
    checked_by: str = "",
    progress: Progress | None = None,
) -> dict[str, int]:
    """Speak every row that is not there yet, into ``output/NAME`` with the ending; writes ``output/results.tsv``.

    Args:
        voice: speaks.
        jobs: the rows.
        output: folder of the sound files.
        ending: of their names, ``.wav``, ``.flac`` or ``.ogg``.
        listener: judges the sound of what is spoken.
        checked_by: name of the listener: what another one passed is spoken again.
        progress: counts rows.

    Returns:
        How many rows were spoken (``ok``), were there (``kept``) and failed (``failed``).

    Raises:
        Interrupted: a signal came; what was spoken is kept, and the same command goes on.
    """
    results: list[dict[str, Any]] = []
    with StopRequest() as stop:
        for job in jobs:
            if stop.reason:
                break
            results.append(_row(voice, job, output, ending, listener, checked_by))
            if progress is not None:
                progress.update(note=job.name)
    write_tsv(output / RESULTS, RESULT_COLUMNS, _numbered(results), sort_by=("line",))
    if stop.reason:
        raise Interrupted(
            f"{stop.reason}: {len(results)} of {len(jobs)} rows are done", "the same command goes on with the others"
        )
    return {status: sum(row["status"] == status for row in results) for status in ("ok", "kept", "failed")}


def _numbered(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Line numbers of one width, so that their order as text is their order."""
    width = len(str(max((row["line"] for row in results), default=0)))
    return [{**row, "line": f"{row['line']:0{width}d}"} for row in results]


def _row(
    voice: Voice, job: Job | Refused, output: Path, ending: str, listener: Listener | None, checked_by: str
) -> dict[str, Any]:
    """Speak one row; its line of the results."""
    result: dict[str, Any] = {"line": job.line, "name": job.name}
    if isinstance(job, Refused):
        return {**result, "status": "failed", "error": job.error}
    try:
        sound = contained_path(output, job.name + ending)
        sidecar = contained_path(output, f"{STATE}/{job.name}.json")
        synthesizer = voice.synthesizer
        key = job.key(synthesizer.fingerprint, synthesizer.reading_of(job.text), checked_by, ending)
        record = read_sidecar(sidecar, key)
        status = "kept" if record is not None and _is_as_written(sound, record) else "ok"
        if status == "ok":
            record = _speak(voice, job, sound, listener)
            write_sidecar(sidecar, key, record)
        assert record is not None
        shown = {key: value for key, value in record.items() if key != "sha256"}
        return {**result, **shown, "status": status, "audio": sound.relative_to(output.resolve()).as_posix()}
    except VoiceCloneError as error:
        return {**result, "status": "failed", "error": error.message}
    except Exception as error:  # whatever a model does with one row, the others are still spoken
        log.exception("line %d, %s: not spoken", job.line, job.name)
        return {**result, "status": "failed", "error": f"{type(error).__name__}: {error}"}


def _is_as_written(sound: Path, record: dict[str, Any]) -> bool:
    return sound.is_file() and sha256_file(sound) == record.get("sha256")


def _speak(voice: Voice, job: Job, sound: Path, listener: Listener | None) -> dict[str, Any]:
    reference = voice.reference(job.clip) if job.clip is not None else None
    speech = voice.synthesizer.say(
        job.text, job.language, seed=job.seed, speaking=job.speaking, reference=reference, listener=listener
    )
    write_speech(sound, speech)
    return {**figures(speech), "seed": job.seed, "sha256": sha256_file(sound)}


def figures(speech: Speech) -> dict[str, Any]:
    """What is told of speech: seconds, tokens, attempts, findings."""
    return {
        "seconds": round(speech.seconds, 3),
        "tokens": speech.tokens,
        "attempts": speech.attempts,
        "findings": "; ".join(map(str, speech.findings)),
    }


def check_free(output: Path) -> None:
    """Refuse an output folder that is a file.

    Raises:
        ConfigError: it is.
    """
    if output.exists() and not output.is_dir():
        raise ConfigError(f"--output-dir {output}: is a file, expected a folder")
