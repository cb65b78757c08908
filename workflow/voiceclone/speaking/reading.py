"""Reads books aloud, a file for each chapter, and speaks subtitles to their times.

Sentences are rows of a table (:mod:`voiceclone.speaking.batch`) under names that their content gives: what is spoken
stays in ``sentences/``, a stop loses nothing, and only sentences that changed, or whose words were given another
pronunciation, are spoken again. Chapters are joined of them, brought to one loudness and marked as a whole.
"""

from __future__ import annotations

import shutil
import subprocess
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from voiceclone.backends.backend import Floats
from voiceclone.errors import ConfigError, DataError
from voiceclone.files import atomic_path, digest, read_tsv, sha256_file, table_columns, write_text, write_tsv
from voiceclone.lineage.items import read_sidecar, write_sidecar
from voiceclone.lineage.rights import consent_of
from voiceclone.marks.labels import Notice, spoken_notice, tag, tone, write_generated, write_record
from voiceclone.progress import Progress
from voiceclone.speaking.batch import Defaults, Job, speak_table
from voiceclone.speaking.result import Finish, Listener
from voiceclone.speaking.splitting import pieces_of
from voiceclone.speaking.voices import Voice
from voiceclone.text.books import Chapter, TimedText

SENTENCES, TABLE = "sentences", "sentences.tsv"
COLUMNS = table_columns("read")
#: Seconds of silence between paragraphs, and at least between subtitles that come late.
PARAGRAPH_PAUSE, LEAST_GAP = 0.8, 0.05
#: Seconds that a subtitle may sound longer than it is shown.
LONGER = 1.0
#: Speeds are rounded up to this, so that a subtitle that changes a little is not spoken again.
SPEED_STEP = 0.02
#: Of ffmpeg: encoder and bit rate of a whole book by its ending.
BOOKS = {".m4b": ("aac", "96k"), ".mp3": ("libmp3lame", "128k")}


@dataclass(frozen=True)
class ReadingSettings:
    """How a book is read.

    Attributes:
        ending: of the chapters' files.
        book: ``.m4b`` or ``.mp3``, one file of all chapters with marks, by ffmpeg; empty: none.
        finish: loudness and silence at the ends of a chapter.
        fastest: highest speed at which a subtitle is spoken.
        title: of the book.
        notice: what is heard first in each chapter.
    """

    ending: str = ".flac"
    book: str = ""
    finish: Finish = field(default_factory=lambda: Finish(loudness=-18.0))
    fastest: float = 1.5
    title: str = ""
    notice: Notice = "none"


@dataclass(frozen=True)
class Line:
    """A sentence and its place: chapter from 1, paragraph (-1: the notice before all), seconds at which it is due (-1:
    after the one before)."""

    chapter: int
    paragraph: int
    text: str
    speed: float
    due: float = -1.0


class Reader:
    """Speaks lines and joins chapters.

    Args:
        voice: speaks.
        output: folder of the chapters.
        defaults: language, seed and options of all sentences.
        settings: how it is read.
        listener: judges every attempt, see :func:`voiceclone.speaking.batch.speak_table`.
        checked_by: its name.
    """

    def __init__(
        self, voice: Voice, output: Path, defaults: Defaults, settings: ReadingSettings,
        listener: Listener | None = None, checked_by: str = "",
    ) -> None:  # fmt: skip
        if settings.book and shutil.which("ffmpeg") is None:
            raise ConfigError(
                "--book: needs ffmpeg", "install ffmpeg, or leave --book out: chapters are written anyway"
            )
        self._voice, self._output, self._defaults, self._settings = voice, output, defaults, settings
        self._listener, self._checked_by = listener, checked_by
        self._rows: dict[str, dict[str, str]] = {}

    def read(self, chapters: Sequence[Chapter]) -> dict[str, int]:
        """Read a book; returns the numbers of sentences that were spoken, kept and failed, and of ``chapters`` written.

        Raises:
            Interrupted: a signal came; the same command continues.
        """
        options = self._defaults.options
        lines = []
        for number, chapter in enumerate(chapters, start=1):
            lines += self._notice(number, chapter.paragraphs)
            for place, paragraph in enumerate(chapter.paragraphs):
                sentences = pieces_of(paragraph, options.split, self._language)
                lines += [Line(number, place, sentence, options.speed) for sentence in sentences]
        return self._finish(lines, [chapter.title for chapter in chapters])

    @property
    def _language(self) -> str:
        return self._defaults.language or self._voice.synthesizer.language

    def _notice(self, chapter: int, texts: Sequence[str], due: float = -1.0) -> list[Line]:
        """The spoken notice before a chapter of these texts, if it is asked for."""
        if self._settings.notice != "spoken":
            return []
        words = spoken_notice("\n".join(texts), self._language)
        return [Line(chapter, -1, words, self._defaults.options.speed, due)]

    def dub(self, subtitles: Sequence[TimedText]) -> dict[str, int]:
        """Speak subtitles at their times: those that are too long for theirs faster, up to the limit.

        One that is too long even so begins late the next one; the table says by how much. So does a notice.
        """
        speed = self._defaults.options.speed
        lines = [Line(1, place, one.text, speed, one.start) for place, one in enumerate(subtitles)]
        self._speak(lines)
        ends = [*(one.start - LEAST_GAP for one in subtitles[1:]), np.inf]
        fitted = []
        for line, one, end in zip(lines, subtitles, ends, strict=True):
            row = self._row(line)
            room = min(end, one.end + LONGER) - one.start
            needed = speed * float(row["seconds"] or 0) / max(room, 0.1)
            faster = min(self._settings.fastest, SPEED_STEP * np.ceil(needed / SPEED_STEP))
            fitted.append(replace(line, speed=round(max(speed, float(faster)), 2)))
        opening = self._notice(1, [one.text for one in subtitles], due=0.0)
        return self._finish([*opening, *fitted], [self._settings.title])

    def _job(self, number: int, line: Line) -> Job:
        defaults = self._defaults
        options = replace(defaults.options, speed=line.speed)
        return Job(number, self._name(line), line.text, defaults.language, defaults.seed, options, None)

    def _name(self, line: Line) -> str:
        return digest([line.text, self._defaults.language, line.speed, self._defaults.seed])

    def _row(self, line: Line) -> dict[str, str]:
        return self._rows[self._name(line)]

    def _speak(self, lines: Sequence[Line]) -> Counter[str]:
        """Speak what is missing; a sentence that occurs twice is spoken once."""
        jobs = {self._name(line): self._job(number, line) for number, line in enumerate(lines, start=1)}
        folder = self._output / SENTENCES
        progress = Progress("read", len(jobs))
        counts = speak_table(
            self._voice, list(jobs.values()), folder, ".flac", self._listener, self._checked_by, progress
        )
        self._rows |= {row["name"]: row for row in read_tsv(folder / "results.tsv")}
        return Counter(counts)

    def _finish(self, lines: Sequence[Line], titles: Sequence[str]) -> dict[str, int]:
        counts, written, rows = self._speak(lines), 0, list[dict[str, Any]]()
        width = max(2, len(str(len(titles))))
        places = []
        for number, title in enumerate(titles, start=1):
            mine = [line for line in lines if line.chapter == number]
            path = self._output / f"{number:0{width}d}{self._settings.ending}"
            starts = self._starts(mine)
            if any(start is not None for start in starts):
                written += self._write_chapter(path, mine, starts)
                places.append((path, title))
            rows += [self._told(number, path, line, start) for line, start in zip(mine, starts, strict=True)]
        digits = len(str(len(rows)))
        numbered = [{**row, "number": f"{number:0{digits}d}"} for number, row in enumerate(rows, start=1)]
        write_tsv(self._output / TABLE, COLUMNS, numbered, sort_by=("number",))
        if self._settings.book and places:
            write_book(self._output, places, self._settings, self._voice.synthesizer.number)
        return {**counts, "chapters": written}

    def _told(self, number: int, path: Path, line: Line, start: float | None) -> dict[str, Any]:
        row = self._row(line)
        late = max(0.0, start - line.due) if start is not None and line.due >= 0 else 0.0
        return {
            "chapter": number, "audio": path.name if start is not None else "", "text": line.text,
            "status": row["status"], "start": None if start is None else round(start, 3), "seconds": row["seconds"],
            "speed": line.speed, "late": round(late, 3), "findings": row["findings"], "error": row["error"],
            "sentence": row["audio"],
        }  # fmt: skip

    @property
    def _tone(self) -> Floats:
        return tone(self._settings.notice, self._voice.synthesizer.sample_rate)

    def _starts(self, lines: Sequence[Line]) -> list[float | None]:
        """Seconds in its chapter at which each sentence begins; None: it could not be spoken."""
        starts: list[float | None] = []
        at, before = len(self._tone) / self._voice.synthesizer.sample_rate, None
        for line in lines:
            row = self._row(line)
            if row["status"] == "failed":
                starts.append(None)
                continue
            if line.due >= 0:
                at = max(line.due, at + LEAST_GAP if before is not None else at)
            elif before is not None:
                at += self._defaults.options.pause_seconds if before == line.paragraph else PARAGRAPH_PAUSE
            starts.append(at)
            at, before = at + float(row["seconds"]), line.paragraph
        return starts

    def _write_chapter(self, path: Path, lines: Sequence[Line], starts: Sequence[float | None]) -> bool:
        """Join a chapter, unless the file exists and has the same sentences."""
        heard = [(self._row(line)["audio"], start) for line, start in zip(lines, starts, strict=True)
                 if start is not None]  # fmt: skip
        folder, number = self._output / SENTENCES, self._voice.synthesizer.number
        state = self._output / ".state" / f"{path.name}.json"
        sounds = [sha256_file(folder / name) for name, _ in heard]
        key = digest([heard, sounds, self._settings.finish.key, number, *(["tone"] if len(self._tone) else [])])
        if path.is_file() and read_sidecar(state, key) is not None:
            return False
        samples, rate = _joined(folder, heard, self._voice.synthesizer.sample_rate)
        samples, _ = self._settings.finish.apply(samples, rate)
        samples[: len(self._tone)] += self._tone  # before the first sentence
        consent = consent_of(self._voice.rights)
        write_generated(path, samples, rate, number, consent)
        write_record(path, number, seconds=round(len(samples) / rate, 3),
                     **({"consent_sha256": consent} if consent else {}))  # fmt: skip
        write_sidecar(state, key, {"seconds": len(samples) / rate})
        return True


def _joined(folder: Path, heard: Sequence[tuple[str, float]], rate: int) -> tuple[Floats, int]:
    """Sentences at their places, float32 (n,)."""
    from voiceclone.sound.io import read_mono

    parts: list[tuple[int, Floats]] = []
    for name, start in heard:
        samples, _ = read_mono(folder / name, rate)
        parts.append((round(start * rate), samples))
    out = np.zeros(max((place + len(samples) for place, samples in parts), default=0), np.float32)
    for place, samples in parts:
        out[place : place + len(samples)] += samples
    return out, rate


def write_book(folder: Path, chapters: Sequence[tuple[Path, str]], settings: ReadingSettings, number: int) -> Path:
    """Join chapters to one file with marks, by ffmpeg; what people wrote reaches it in files alone.

    Args:
        folder: of the chapters, and of ``book.m4b`` or ``book.mp3``.
        chapters: sound files and titles.
        settings: ending and title.
        number: of the voice, for the tags.

    Raises:
        DataError: ffmpeg failed.
    """
    import soundfile

    codec, bit_rate = BOOKS[settings.book]
    marks, at = [";FFMETADATA1", f"title={_escaped(settings.title)}", f"comment={_escaped(tag(number))}"], 0
    for path, title in chapters:
        info = soundfile.info(str(path))
        end = at + round(1000 * info.frames / info.samplerate)
        marks += ["[CHAPTER]", "TIMEBASE=1/1000", f"START={at}", f"END={end}", f"title={_escaped(title)}"]
        at = end
    names, metadata = folder / ".state" / "chapters.txt", folder / ".state" / "metadata.txt"
    write_text(names, "".join(f"file '../{path.name}'\n" for path, _ in chapters))
    write_text(metadata, "\n".join(marks) + "\n")
    target = folder / f"book{settings.book}"
    with atomic_path(target) as temporary:
        command = [
            "ffmpeg", "-nostdin", "-v", "error", "-y", "-protocol_whitelist", "file", "-f", "concat", "-safe", "0",
            "-i", f"file:{names.resolve()}", "-f", "ffmetadata", "-i", f"file:{metadata.resolve()}", "-map", "0:a",
            "-map_metadata", "1", "-map_chapters", "1", "-c:a", codec, "-b:a", bit_rate,
            "-f", "mp3" if settings.book == ".mp3" else "ipod", f"file:{temporary.resolve()}",
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise DataError(f"{target}: ffmpeg failed: {done.stderr.strip()[-300:]}")
    write_record(target, number, seconds=round(at / 1000, 3))
    return target


def _escaped(text: str) -> str:
    """A value of ffmpeg's metadata."""
    return "".join(f"\\{letter}" if letter in "=;#\\" else letter for letter in " ".join(text.split()))
