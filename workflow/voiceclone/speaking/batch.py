"""Many texts by a table: one sound file a row, marked as generated, and ``results.tsv`` that says how each went.

A row that fails never stops the others. What is there already, spoken of the same text with the same settings by the
same voice, is not spoken again.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, get_args, get_type_hints

from voiceclone.errors import ConfigError, DataError, Interrupted, VoiceCloneError
from voiceclone.files import contained_path, digest, sha256_file, table_columns, write_tsv
from voiceclone.interrupts import StopRequest
from voiceclone.lineage.items import read_sidecar, write_sidecar
from voiceclone.lineage.revisions import revisions
from voiceclone.lineage.rights import GENERATED_NOTICE
from voiceclone.progress import Progress
from voiceclone.speaking.options import Speaking
from voiceclone.speaking.result import Listener, Speech
from voiceclone.speaking.synthesizer import Course
from voiceclone.speaking.together import loop_of, speak_one_by_one, speak_together
from voiceclone.speaking.voices import Clip, Voice
from voiceclone.usertext import read_user_text, unquoted

FORMATS = (".wav", ".flac", ".ogg")


def check_format(path: Path, name: str = "--output") -> Path:
    """The path of a sound file that can be written.

    Raises:
        ConfigError: its ending names no known format.
    """
    if path.suffix.lower() not in FORMATS:
        raise ConfigError(f"{name} {path}: unknown format {path.suffix!r}, expected .wav, .flac or .ogg")
    return path


def write_speech(path: Path, speech: Speech) -> None:
    """Write speech as WAV, FLAC or OGG Vorbis by the file's ending, atomically, with the notice in its comment."""
    from voiceclone.sound.io import write_sound

    kind = check_format(path).suffix[1:].upper()
    write_sound(path, speech.samples, speech.rate, kind, comment=GENERATED_NOTICE)


log = logging.getLogger(__name__)
REQUIRED = ("name", "text")
SAMPLING = ("top_k", "top_p", "temperature", "repetition_penalty")
MANNER = ("speed", "noise_scale", "pitch", "pitch_range", "guidance", "pause_seconds", "split", "attempts")
CLIP = ("reference", "reference_text", "reference_language")
COLUMNS = (*REQUIRED, "language", "seed", *MANNER, *SAMPLING, *CLIP)
RESULTS = "results.tsv"
RESULT_COLUMNS = table_columns("batch")
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
        # Rows that were spoken before there was a choice are not spoken again.
        if self.speaking.guidance is None:
            del speaking["guidance"]
        if not self.speaking.moves_pitch:
            del speaking["pitch"], speaking["pitch_range"]
        limits = self.speaking.detector.model_dump(mode="json")
        return digest([revisions()["batch"], voice, self.text, self.language, self.seed, speaking, limits, clip])


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
        DataError: the table is empty, its encoding not plain, or a column unknown, missing or there twice.
    """
    # Only line ends end a row: texts may hold other characters that Unicode takes for a new line.
    lines = [(number, line) for number, line in enumerate(read_user_text(table).split("\n"), start=1) if line.strip()]
    if not lines:
        raise DataError(f"{table}: empty, expected a header line with {', '.join(REQUIRED)}")
    header = lines[0][1].split("\t")
    _check_header(table, header)
    jobs: list[Job | Refused] = []
    taken: dict[str, int] = {}
    for number, line in lines[1:]:
        cells = [unquoted(cell) for cell in line.split("\t")]
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
    kind = next((part for part in get_args(kind) if part in (int, float)), kind)  # of float | None the first
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
    size: int = 1,
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
        size: rows whose tokens are drawn together; they sound the same.

    Returns:
        How many rows were spoken (``ok``), were there (``kept``) and failed (``failed``).

    Raises:
        Interrupted: a signal came; what was spoken is kept, and the same command goes on.
        ConfigError: the voice speaks one row at a time.
    """
    table, synthesizer = _Table(voice, output, ending, listener, checked_by), voice.synthesizer
    results: list[dict[str, Any]] = []

    def add(row: dict[str, Any]) -> None:
        results.append(row)
        if progress is not None:
            progress.update(note=row["name"])

    def courses() -> Iterator[tuple[Job, Course]]:
        for job in jobs:
            if isinstance(job, Refused):
                add({"line": job.line, "name": job.name, "status": "failed", "error": job.error})
            elif (row := table.look_up(job)) is not None:
                add(row)
            else:
                yield job, table.course(job)
            if stop.reason:
                return

    with StopRequest() as stop:
        spoken = speak_together(loop_of(synthesizer.backend, size), courses()) if size > 1 else None
        for job, outcome in spoken or speak_one_by_one(synthesizer, courses()):
            add(table.write(job, outcome))
            if stop.reason:
                break
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


class _Table:
    """Rows on their way to sound files; see :func:`speak_table`."""

    def __init__(self, voice: Voice, output: Path, ending: str, listener: Listener | None, checked_by: str) -> None:
        self._voice, self._output, self._ending = voice, output, ending
        self._listener, self._checked_by = listener, checked_by

    def look_up(self, job: Job) -> dict[str, Any] | None:
        """The line of the results of a row that was spoken before or cannot be spoken."""
        try:
            sound, sidecar, key = self._places(job)
            record = read_sidecar(sidecar, key)
        except Exception as error:
            return self.write(job, error)
        if record is None or not sound.is_file() or sha256_file(sound) != record.get("sha256"):
            return None
        return self._line(job, sound, record, "kept")

    def course(self, job: Job) -> Course:
        """What speaks a row."""
        reference = self._voice.reference(job.clip) if job.clip is not None else None
        return (
            yield from self._voice.synthesizer.course(
                job.text, job.language, job.seed, job.speaking, reference, self._listener
            )
        )

    def write(self, job: Job, outcome: Speech | Exception) -> dict[str, Any]:
        """Write what was spoken; its line of the results."""
        try:
            if isinstance(outcome, Exception):
                raise outcome
            sound, sidecar, key = self._places(job)
            write_speech(sound, outcome)
            record = {**figures(outcome), "seed": job.seed, "sha256": sha256_file(sound)}
            write_sidecar(sidecar, key, record)
            return self._line(job, sound, record, "ok")
        except VoiceCloneError as error:
            message = error.message
        except Exception as error:  # whatever a model does with one row, the others are still spoken
            log.exception("line %d, %s: not spoken", job.line, job.name)
            message = f"{type(error).__name__}: {error}"
        return {"line": job.line, "name": job.name, "status": "failed", "error": message}

    def _places(self, job: Job) -> tuple[Path, Path, str]:
        """Sound file and sidecar of a row, and the key of what the file should hold."""
        sound = contained_path(self._output, job.name + self._ending)
        sidecar = contained_path(self._output, f"{STATE}/{job.name}.json")
        synthesizer = self._voice.synthesizer
        reading = synthesizer.reading_of(job.text)
        return sound, sidecar, job.key(synthesizer.fingerprint, reading, self._checked_by, self._ending)

    def _line(self, job: Job, sound: Path, record: Mapping[str, Any], status: str) -> dict[str, Any]:
        shown = {key: value for key, value in record.items() if key != "sha256"}
        audio = sound.relative_to(self._output.resolve()).as_posix()
        return {"line": job.line, "name": job.name, **shown, "status": status, "audio": audio}


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
