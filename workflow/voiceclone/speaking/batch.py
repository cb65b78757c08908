"""Speaks the rows of a table: one sound file a row, marked as generated, and their outcome in ``results.tsv``.

A row that fails never stops the others. A row that exists already, from the same text with the same options by the same
voice, is not spoken again.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from voiceclone.errors import ConfigError, DataError, Interrupted, VoiceCloneError
from voiceclone.files import contained_path, digest, sha256_file, table_columns, write_tsv
from voiceclone.interrupts import StopRequest
from voiceclone.lineage.items import read_sidecar, write_sidecar
from voiceclone.lineage.revisions import revisions
from voiceclone.progress import Progress
from voiceclone.speaking.options import SpeechOptions, callers_options, with_texts
from voiceclone.speaking.result import Finish, Listener, Speech, write_speech
from voiceclone.speaking.synthesizer import Synthesizer
from voiceclone.speaking.timing import write_timestamps
from voiceclone.speaking.tokens import SpeechTask, decode_together, decoding_loop
from voiceclone.speaking.voices import Clip, Voice
from voiceclone.usertext import read_user_text, unquoted

log = logging.getLogger(__name__)
REQUIRED = ("name", "text")
CLIP = ("reference", "reference_text", "reference_language")
#: Part of the keys of rows; the four have a group of their own there since before the options were one.
SAMPLING = ("top_k", "top_p", "temperature", "repetition_penalty")
RESULTS = "results.tsv"
RESULT_COLUMNS = table_columns("batch")
STATE = ".state"
_NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)*")


@dataclass(frozen=True)
class Defaults:
    """Values for empty cells and missing columns."""

    language: str = ""
    seed: int = 0
    options: SpeechOptions = field(default_factory=SpeechOptions)
    any_length: bool = False


@dataclass(frozen=True)
class Job:
    """One row: its line in the table, and how to speak it."""

    line: int
    name: str
    text: str
    language: str
    seed: int
    options: SpeechOptions
    clip: Clip | None
    style: str = ""

    def key(self, *voice: Any) -> str:
        """Digest of everything that decides how the row sounds: the row, and plain values that identify the voice."""
        clip = None
        if self.clip is not None:
            files = [sha256_file(path) for path in (self.clip.path, *self.clip.styles)]
            clip = [self.clip.text, self.clip.language, *files]
        options = asdict(self.options.filled(False))  # the voice decides what is not given
        limits, options["detector"] = options["detector"], None
        options["sampling"] = {name: options.pop(name) for name in SAMPLING}
        # Rows that were spoken before there was a choice are not spoken again.
        if self.options.guidance is None:
            del options["guidance"]
        if not self.options.moves_pitch:
            del options["pitch"], options["pitch_range"]
        style = [self.style] if self.style else []
        return digest([revisions()["batch"], voice, self.text, self.language, self.seed, options, limits, clip, *style])


@dataclass(frozen=True)
class Refused:
    """A row that cannot be spoken, and why."""

    line: int
    name: str
    error: str


def columns(kind: type[SpeechOptions] = SpeechOptions) -> tuple[str, ...]:
    """Columns that a table may have."""
    return (*REQUIRED, "language", "seed", *callers_options(kind), *CLIP, "style")


def read_jobs(table: Path, defaults: Defaults) -> list[Job | Refused]:
    """Rows of a table.

    Args:
        table: TSV with the columns ``name`` and ``text`` and others of :func:`columns`; an empty cell takes the
            default. Paths of reference clips are relative to the table's folder.
        defaults: for all rows.

    Raises:
        DataError: the table is empty, its encoding not plain, or a column unknown, missing or there twice.
    """
    # Only line ends end a row: texts may hold other characters that Unicode takes for a new line.
    lines = [(number, line) for number, line in enumerate(read_user_text(table).split("\n"), start=1) if line.strip()]
    if not lines:
        raise DataError(f"{table}: empty, expected a header line with {', '.join(REQUIRED)}")
    header = lines[0][1].split("\t")
    _check_header(table, header, columns(type(defaults.options)))
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


def _check_header(table: Path, header: Sequence[str], possible: Sequence[str]) -> None:
    unknown = [column for column in header if column not in possible]
    missing = [column for column in REQUIRED if column not in header]
    twice = sorted({column for column in header if header.count(column) > 1})
    for problem, found in (("unknown", unknown), ("missing", missing), ("there twice", twice)):
        if found:
            raise DataError(
                f"{table}: column {', '.join(map(repr, found))} is {problem}; possible: {', '.join(possible)}"
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
    texts = {key: given[key] for key in callers_options(type(defaults.options)) if key in given}
    options = with_texts(defaults.options, texts)
    clip = None
    if "reference" in given:
        path = folder / given["reference"]
        if not path.is_file():
            raise DataError(f"reference {given['reference']}: no such file in {folder}")
        clip = Clip(path, given.get("reference_text", ""), given.get("reference_language", ""), (), defaults.any_length)
        if "style" in given:
            raise DataError("reference, style: expected one of them")
    elif any(key in given for key in CLIP):
        raise DataError("reference_text, reference_language: there is no reference")
    seed = _seed(given["seed"]) if "seed" in given else defaults.seed
    language, style = given.get("language", defaults.language), given.get("style", "")
    return Job(line, name, given["text"], language, seed, options, clip, style)


def _seed(text: str) -> int:
    try:
        seed = int(text)
    except ValueError:
        raise DataError(f"seed {text!r}: expected a whole number") from None
    if seed < 0:
        raise DataError(f"seed {seed}: expected 0 or more")
    return seed


def speak_table(
    voice: Voice,
    jobs: Sequence[Job | Refused],
    output: Path,
    ending: str,
    listener: Listener | None = None,
    checked_by: str = "",
    progress: Progress | None = None,
    size: int = 1,
    timestamps: str = "",
    finish: Finish | None = None,
) -> dict[str, int]:
    """Speak every row that is missing, into ``output/NAME`` with the ending; writes ``output/results.tsv``.

    Args:
        voice: speaks.
        jobs: the rows.
        output: folder of the sound files.
        ending: of their names, see :data:`voiceclone.marks.labels.FORMATS`.
        listener: judges the waveform of every attempt.
        checked_by: name of the listener: rows that another one passed are spoken again.
        progress: counts rows.
        size: rows whose tokens are decoded together; they sound the same.
        timestamps: ending of a file of times beside each sound, see :mod:`voiceclone.speaking.timing`; empty: none.
        finish: what is done to the speech of a row when it is whole; None: nothing.

    Returns:
        Numbers of rows that were spoken (``ok``), existed (``kept``) and failed (``failed``).

    Raises:
        Interrupted: a signal came; spoken rows are kept, and the same command continues.
        ConfigError: the voice speaks one row at a time.
    """
    table, synthesizer = (
        _Table(voice, output, ending, listener, checked_by, timestamps, finish or Finish()),
        voice.synthesizer,
    )
    results: list[dict[str, Any]] = []

    def add(row: dict[str, Any]) -> None:
        results.append(row)
        if progress is not None:
            progress.update(note=row["name"])

    def tasks() -> Iterator[tuple[Job, SpeechTask]]:
        for job in jobs:
            if isinstance(job, Refused):
                add({"line": job.line, "name": job.name, "status": "failed", "error": job.error})
            elif (row := table.look_up(job)) is not None:
                add(row)
            else:
                yield job, table.task(job)
            if stop.reason:
                return

    with StopRequest() as stop:
        if size > 1:
            outcomes = decode_together(decoding_loop(synthesizer.backend, size), tasks())
        else:
            outcomes = _one_by_one(synthesizer, tasks())
        for job, outcome in outcomes:
            add(table.write(job, outcome))
            if stop.reason:
                break
    write_tsv(output / RESULTS, RESULT_COLUMNS, _numbered(results), sort_by=("line",))
    if stop.reason:
        raise Interrupted(
            f"{stop.reason}: {len(results)} of {len(jobs)} rows are done", "the same command continues with the others"
        )
    return {status: sum(row["status"] == status for row in results) for status in ("ok", "kept", "failed")}


def _one_by_one(
    synthesizer: Synthesizer, tasks: Iterable[tuple[Job, SpeechTask]]
) -> Iterator[tuple[Job, Speech | Exception]]:
    """:func:`decode_together` for any backend, one text after the other."""
    for job, task in tasks:
        try:
            yield job, synthesizer.run(task)
        except Interrupted:
            raise
        except Exception as error:
            yield job, error


def _numbered(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Line numbers of one width, so that their order as text is their order."""
    width = len(str(max((row["line"] for row in results), default=0)))
    return [{**row, "line": f"{row['line']:0{width}d}"} for row in results]


class _Table:
    """From rows to sound files and results lines; see :func:`speak_table`."""

    def __init__(
        self, voice: Voice, output: Path, ending: str, listener: Listener | None, checked_by: str, timestamps: str,
        finish: Finish,
    ) -> None:  # fmt: skip
        self._voice, self._output, self._ending, self._timestamps = voice, output, ending, timestamps
        self._listener, self._checked_by, self._finish = listener, checked_by, finish

    def look_up(self, job: Job) -> dict[str, Any] | None:
        """The results line of a row that was spoken before or cannot be spoken; None: it is to be spoken."""
        try:
            sound, sidecar, key = self._places(job)
            record = read_sidecar(sidecar, key)
        except Exception as error:
            return self.write(job, error)
        if record is None or not sound.is_file() or sha256_file(sound) != record.get("sha256"):
            return None
        if self._timestamps and not sound.with_suffix(self._timestamps).is_file():
            return None
        return self._line(job, sound, record, "kept")

    def task(self, job: Job) -> SpeechTask:
        """The task that speaks a row."""
        self._voice.check_use("private", job.text, job.language)
        reference = self._voice.style(job.style) if job.style else None
        reference = self._voice.reference(job.clip) if job.clip is not None else reference
        return (
            yield from self._voice.synthesizer.task(
                job.text, job.language, job.seed, job.options, reference, self._listener
            )
        )

    def write(self, job: Job, outcome: Speech | Exception) -> dict[str, Any]:
        """Write the speech of a row; returns its results line."""
        try:
            if isinstance(outcome, Exception):
                raise outcome
            sound, sidecar, key = self._places(job)
            finished, cut = self._finish.apply(outcome.samples, outcome.rate)
            if self._timestamps:
                times = self._voice.synthesizer.words_of(outcome, job.language, -cut)
                texts = (piece.text for piece in outcome.pieces)
                write_timestamps(sound.with_suffix(self._timestamps), list(zip(texts, times, strict=True)))
            outcome.samples = finished
            write_speech(sound, outcome, self._voice.rights)
            record = {**metrics(outcome), "seed": job.seed, "sha256": sha256_file(sound)}
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
        return (
            sound,
            sidecar,
            job.key(synthesizer.fingerprint, reading, self._checked_by, self._ending, *self._finish.key),
        )

    def _line(self, job: Job, sound: Path, record: Mapping[str, Any], status: str) -> dict[str, Any]:
        shown = {key: value for key, value in record.items() if key != "sha256"}
        audio = sound.relative_to(self._output.resolve()).as_posix()
        return {"line": job.line, "name": job.name, **shown, "status": status, "audio": audio}


def metrics(speech: Speech) -> dict[str, Any]:
    """Columns of the results: seconds, tokens, attempts, findings."""
    return {
        "seconds": round(speech.seconds, 3),
        "tokens": speech.tokens,
        "attempts": speech.attempts,
        "findings": "; ".join(map(str, speech.findings)),
    }


def check_free(output: Path) -> None:
    """Check an output folder.

    Raises:
        ConfigError: it is a file.
    """
    if output.exists() and not output.is_dir():
        raise ConfigError(f"--output-dir {output}: is a file, expected a folder")
