"""Stage teacher_speech: a teacher reads text lists as many pseudo-speakers, each line once as itself.

Which lines are read, who reads each and how follows from seed and text alone, and a line's id from all that decides its
sound. So more hours add lines, a killed run continues with the next line, and what changed is spoken again.
"""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import re
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path

import numpy as np
import soundfile

from voiceclone.corpus.split import sentence_key
from voiceclone.errors import DataError
from voiceclone.files import atomic_path, clean_cell, digest, table_columns, write_tsv
from voiceclone.lineage.revisions import revisions
from voiceclone.progress import Progress
from voiceclone.sound.io import write_flac
from voiceclone.stages.teacher_speech import TeacherSettings
from voiceclone.teachers.speakers import Manner, pseudo_speaker, vary
from voiceclone.teachers.teacher import Speech, Teacher, bandwidth, open_teacher
from voiceclone.usertext import read_user_text

log = logging.getLogger(__name__)

COLUMNS = table_columns("teacher_speech")
REJECTED_COLUMNS = table_columns("rejected_lines")
_TELLING = 20  # letters from which a held-out sentence counts inside a longer one too
_LONGEST_SILENCE = 75  # token frames of 40 ms before a twin, which moves it in the encoder's window


@dataclass(frozen=True)
class Line:
    """A line to speak: its id, its text, how it is spoken (and how its twin is), seconds of silence before the twin."""

    utterance: str
    text: str
    manners: tuple[Manner, ...]
    silence: float


def read_lines(texts: Iterable[Path], max_characters: int, held_out: frozenset[str] = frozenset()) -> list[str]:
    """Sentences of text lists: one a line, the last column where there are several parted by ``|``; '#' is a comment.

    Args:
        texts: the lists.
        max_characters: longer lines are left out.
        held_out: sentences that must never be trained on, not as part of a longer one either.

    Returns:
        Every sentence once, in the order of the lists.
    """
    lines = [line for path in texts for line in read_user_text(path).splitlines()]
    sentences = [clean_cell(line.rsplit("|", 1)[-1]).strip() for line in lines if not line.startswith("#")]
    keys = {sentence_key(text) for text in held_out}
    inside = re.compile("|".join(sorted(key for key in keys if len(key) >= _TELLING)) or "(?!)")

    def allowed(text: str) -> bool:
        key = sentence_key(text)
        return key not in keys and not inside.search(key)

    wanted = [text for text in sentences if text and len(text) <= max_characters and allowed(text)]
    return list(dict.fromkeys(wanted))


def read_held_out(tables: Iterable[Path]) -> frozenset[str]:
    """The sentences of evaluation lists: the second column, or the line where there is only one."""
    lines = (line.split("\t") for path in tables for line in read_user_text(path).splitlines())
    return frozenset(cells[min(1, len(cells) - 1)].strip() for cells in lines if not cells[0].startswith("#"))


def plan(sentences: Sequence[str], settings: TeacherSettings, model: str) -> Iterator[Line]:
    """All lines without end: every sentence in an order by hash, then each again by somebody else, and so on.

    Args:
        sentences: what is read.
        settings: ranges, seed, twins.
        model: digest of the teacher's files.
    """
    sound = settings.model_dump(mode="json", exclude={"name", "asset", "texts", "hours", "max_characters", "alignment"})
    sound |= {"model": model, "revision": revisions()["teacher_speech"]}
    for reading in count():
        seeds = {text: int(digest([settings.seed, reading, text]), 16) for text in sentences}
        for text in sorted(sentences, key=lambda text: (seeds[text], text)):
            rng = np.random.default_rng(seeds[text])
            manners = tuple(_manner(settings, rng) for _ in range(2 if settings.twins else 1))
            silence = int(rng.integers(_LONGEST_SILENCE)) / 25 if settings.twins else 0.0
            name = digest({"text": text, "reading": reading, "sound": sound}, 12)
            yield Line(f"{settings.name}-{name}", text, manners, silence)


def _manner(settings: TeacherSettings, rng: np.random.Generator) -> Manner:
    own = settings.speakers == 1 or rng.uniform() < settings.own_voice
    return vary(pseudo_speaker(0 if own else int(rng.integers(1, settings.speakers)), settings), rng)


def speaker_name(settings: TeacherSettings, manner: Manner) -> str:
    """Name of a pseudo-speaker: that of the teacher and a number, 0 for its own voice."""
    return f"{settings.name}-{manner.speaker:03d}"


# ---- speaking, in processes of their own


class _Speaker:
    """A loaded teacher that writes lines."""

    def __init__(self, settings: TeacherSettings, model: Path, folder: Path) -> None:
        self.settings, self.folder = settings, folder
        self.teacher: Teacher = open_teacher(settings, model)

    def write(self, line: Line) -> str:
        """Write what a line lacks; why it cannot be spoken, empty if it could."""
        if all(path.is_file() for path in _files(line, self.settings, self.folder)):
            return ""
        try:
            rng = np.random.default_rng(int(digest(line.utterance), 16))
            spoken = self.teacher.speak(line.text, line.manners, rng)
        except DataError as error:
            return error.message
        rate = self.teacher.rate
        sound, *others = _files(line, self.settings, self.folder)
        if self.settings.alignment:
            _write_alignment(others.pop(0), spoken[0])
        if self.settings.twins:
            silence = np.zeros(round(line.silence * rate), np.float32)
            write_flac(others.pop(0), np.concatenate([silence, spoken[1].samples]), rate)
        write_flac(sound, spoken[0].samples, rate)
        return ""


def _files(line: Line, settings: TeacherSettings, folder: Path) -> list[Path]:
    """Files of a line: its sound, its alignment, its twin."""
    files = [folder / f"{line.utterance}.flac"]
    files += [folder / f"{line.utterance}.safetensors"] if settings.alignment else []
    return files + ([folder / f"{line.utterance}-twin.flac"] if settings.twins else [])


def _write_alignment(path: Path, spoken: Speech) -> None:
    """Tensors ``seconds`` (phones,) and ``pitch`` (Hz, 80 a second, may be empty); ``phones`` in the metadata."""
    from safetensors.numpy import save_file

    tensors = {"seconds": spoken.seconds, "pitch": spoken.pitch}
    with atomic_path(path) as temporary:
        save_file(tensors, str(temporary), metadata={"phones": json.dumps(spoken.phones, ensure_ascii=False)})


_speaker: _Speaker | None = None


def _start_process(settings: TeacherSettings, model: Path, folder: Path) -> None:
    global _speaker
    parent = multiprocessing.parent_process()
    if parent is not None:  # a killed stage leaves no process behind

        def end_with_parent() -> None:
            parent.join()
            os._exit(1)

        threading.Thread(target=end_with_parent, daemon=True).start()
    _speaker = _Speaker(settings, model, folder)


def _write(line: Line) -> str:
    assert _speaker is not None
    return _speaker.write(line)


# ---- the stage


def make_teacher_speech(
    model: Path,
    model_digest: str,
    texts: Sequence[Path],
    held_out: Sequence[Path],
    output_dir: Path,
    settings: TeacherSettings,
    threads: int = 1,
    interval: float = 5.0,
) -> None:
    """Speak lines until there are enough hours; write ``manifest.tsv``, ``rejected.tsv`` and the sound into a folder.

    Args:
        model: folder of the teacher's files.
        model_digest: digest of their content.
        texts: text lists, see :func:`read_lines`.
        held_out: lists of sentences that are left out.
        output_dir: results/teachers/NAME; sound of lines that are no longer wanted is removed.
        settings: hours, ranges, seed.
        threads: processes that speak, one core each.
        interval: min. seconds between two progress lines.

    Raises:
        DataError: no sentence is left, or the teacher can read none of them.
    """
    sentences = read_lines(texts, settings.max_characters, read_held_out(held_out))
    if not sentences:
        raise DataError(f"teachers {settings.name}: no sentences in {', '.join(map(str, texts))}")
    output_dir.mkdir(parents=True, exist_ok=True)
    progress = Progress(f"teachers · {settings.name}", round(3600 * settings.hours), interval)
    rows: list[dict[str, object]] = []
    rejected: dict[str, str] = {}
    total = 0.0
    for line, problem in _spoken(plan(sentences, settings, model_digest), settings, model, output_dir, threads):
        if problem:
            rejected[line.text] = problem
            log.warning("%s: %s", settings.name, problem)
            if len(rejected) == len(sentences):
                raise DataError(f"teachers {settings.name}: no sentence can be spoken; the last: {problem}")
            continue
        rows.append(_row(line, settings, output_dir))
        total += float(str(rows[-1]["seconds"]))
        progress.update(round(total) - progress.done)
        if total >= 3600 * settings.hours:
            break
    _remove_others(output_dir, rows)
    write_tsv(output_dir / "rejected.tsv", REJECTED_COLUMNS, ({"text": t, "reason": r} for t, r in rejected.items()))
    write_tsv(output_dir / "manifest.tsv", COLUMNS, rows)


def _spoken(
    lines: Iterator[Line], settings: TeacherSettings, model: Path, folder: Path, threads: int
) -> Iterator[tuple[Line, str]]:
    """Lines in their order, each with what went wrong, spoken a few ahead by several processes."""
    if threads <= 1:
        speaker = _Speaker(settings, model, folder)
        for line in lines:
            yield line, speaker.write(line)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(threads, context, _start_process, (settings, model, folder)) as pool:
        while batch := list(islice(lines, 8 * threads)):
            yield from zip(batch, pool.map(_write, batch), strict=True)


def _row(line: Line, settings: TeacherSettings, folder: Path) -> dict[str, object]:
    sound, *_ = _files(line, settings, folder)
    info = soundfile.info(str(sound))
    manner = line.manners[0]
    row: dict[str, object] = {
        "utterance": line.utterance,
        "path": sound.name,
        "text": line.text,
        "language": settings.language,
        "speaker": speaker_name(settings, manner),
        "source": settings.teacher,
        "seconds": round(info.frames / info.samplerate, 3),
        "bandwidth": bandwidth(settings.teacher, info.samplerate, manner),
        "alignment": f"{line.utterance}.safetensors" if settings.alignment else "",
    }
    if settings.twins:
        row["twin"] = f"{line.utterance}-twin.flac"
        row["twin_speaker"] = speaker_name(settings, line.manners[1])
        row["twin_silence"] = line.silence
    return row


def _remove_others(folder: Path, rows: Sequence[dict[str, object]]) -> None:
    """Remove the sound of lines that the table does not have: of other settings, or spoken ahead in vain."""
    wanted = {str(row[column]) for row in rows for column in ("path", "alignment", "twin") if row.get(column)}
    for path in [*folder.glob("*.flac"), *folder.glob("*.safetensors")]:
        if path.name not in wanted:
            path.unlink()
