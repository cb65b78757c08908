"""Layouts of foreign data sets: who says what where, as other programs write it down.

One reader per layout, for the folder of a speaker (:mod:`voiceclone.corpus.given`) and for a base voice
(:mod:`voiceclone.corpus.gather`). A reader knows no sound: it yields what a file says, line by line, or what is wrong
with the line. The layouts are those of GPT-SoVITS and Style-Bert-VITS2 (``.list``), LJ Speech and piper
(``metadata.csv``), LibriSpeech, lhotse, Praat (TextGrid), SubRip and WebVTT, and a text beside each sound.
"""

from __future__ import annotations

import bisect
import csv
import gzip
import json
import re
import statistics
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from voiceclone.corpus.listfile import CODES, ListEntry, list_lines
from voiceclone.errors import DataError
from voiceclone.languages import LANGUAGES
from voiceclone.usertext import decode, read_user_text

LONGEST_FILE = 256_000_000  # bytes of text, also unpacked


@dataclass(frozen=True)
class Said:
    """What a line says of a stretch of a recording.

    Attributes:
        line: its number.
        name: of the recording, with or without folders and suffix.
        text: what is said; never empty.
        speaker: who says it; empty: the layout does not tell.
        language: ISO code; empty: the layout does not tell.
        bounds: first and last second of it in the recording; None: it is all that the recording says.
    """

    line: int
    name: str
    text: str
    speaker: str = ""
    language: str = ""
    bounds: tuple[float, float] | None = None


@dataclass(frozen=True)
class Wrong:
    """A line that cannot be used, and why; line 0: the whole file."""

    line: int
    detail: str


Lines = Iterator[Said | Wrong]


def language_code(name: str) -> str:
    """ISO code of a language as other programs write it: en, EN, en-US, English; empty if it is none."""
    plain = re.split(r"[-_]", name.strip().lower())[0]
    names = {row.name.lower(): row.code for row in LANGUAGES.values()} | {"chinese": "zh"}
    found = CODES.get(plain) or names.get(plain) or plain
    return found if re.fullmatch("[a-z]{2,3}", found) else ""


def read_list_layout(path: Path) -> Lines:
    """``path|speaker|LANGUAGE|text`` of GPT-SoVITS; columns after the text are left out."""
    for number, entry in list_lines(read_user_text(path)):
        if isinstance(entry, ListEntry):
            yield Said(number, entry.path, entry.text, entry.speaker, entry.language)
        else:
            yield Wrong(number, entry.message.lstrip(": "))


_COLUMNS = {
    "name": ("audio_file", "file_name", "filename", "file", "path", "audio", "wav", "id"),
    "text": ("text_spoken", "normalized_text", "text", "transcription", "transcript", "sentence"),
    "speaker": ("speaker", "speaker_name", "speaker_id"),
    "language": ("language", "lang"),
    "start": ("start_s", "start"),
    "end": ("end_s", "end"),
}


def read_metadata(path: Path) -> Lines:
    """``metadata.csv``: ``id|text``, ``id|text|normalised text`` (LJ Speech), ``id|speaker|text`` (piper).

    With a first line of names (``audio_file|text``, as F5 has it) the columns are those; they may then be parted by
    commas or tabs, and be speaker, language, start and end in seconds too.
    """
    lines = [(n, line) for n, line in enumerate(read_user_text(path).split("\n"), start=1) if line.strip()]
    mark = next((mark for mark in "|\t," if lines and mark in lines[0][1]), "|")
    rows = [(n, [cell.strip() for cell in _cells(line, mark)]) for n, line in lines]
    header = [cell.lower() for cell in rows[0][1]] if rows else []
    places = {key: [header.index(name) for name in names if name in header] for key, names in _COLUMNS.items()}
    if places["name"] and places["text"]:
        yield from (_named(number, cells, places) for number, cells in rows[1:])
        return
    if mark == ",":
        yield Wrong(0, f"a table without '|' whose first line names no columns: expected {' or '.join(_COLUMNS)}")
        return
    with_speaker = _second_is_speaker([cells for _, cells in rows])
    for number, cells in rows:
        if len(cells) not in (2, 3) or not cells[0]:
            yield Wrong(number, f"{len(cells)} columns; expected id|text, id|text|normalised text or id|speaker|text")
        elif not cells[-1]:
            yield Wrong(number, "no text")
        else:
            yield Said(number, cells[0], cells[-1], cells[1] if with_speaker and len(cells) == 3 else "")


def _cells(line: str, mark: str) -> list[str]:
    if mark == "|":
        return line.split("|")
    try:
        return next(csv.reader([line], delimiter=mark))
    except csv.Error as error:
        raise DataError(f"not a table: {error}") from error


def _named(number: int, cells: list[str], places: Mapping[str, list[int]]) -> Said | Wrong:
    values = {
        key: next((cells[at] for at in found if at < len(cells) and cells[at]), "") for key, found in places.items()
    }
    if not values["name"] or not values["text"]:
        return Wrong(number, "no text" if values["name"] else "no name of a recording")
    bounds = None
    if values["start"] or values["end"]:
        try:
            bounds = (float(values["start"]), float(values["end"]))
        except ValueError:
            return Wrong(number, f"{values['start']!r} to {values['end']!r}: expected seconds")
    language = language_code(values["language"])
    return Said(number, values["name"], values["text"], values["speaker"], language, bounds)


def _second_is_speaker(rows: list[list[str]]) -> bool:
    """True if the second of three columns names who speaks: one word, much shorter than the text that follows."""
    three = [cells for cells in rows if len(cells) == 3 and cells[2]]
    if not three or any(len(cells[1].split()) > 1 for cells in three):
        return False
    return statistics.median(len(cells[1]) / len(cells[2]) for cells in three) < 0.5


def read_librispeech(path: Path) -> Lines:
    """``READER-CHAPTER-NUMBER TEXT``; the text is in capitals, which the front end would spell out."""
    for number, line in enumerate(read_user_text(path).split("\n"), start=1):
        stem, _, text = line.strip().partition(" ")
        if stem:
            reader = stem.split("-")[0]
            said = Said(number, stem, text.strip().capitalize(), f"ls{reader}" if reader.isdigit() else "")
            yield said if said.text else Wrong(number, "no text")


_TIME = r"(?:(\d+):)?(\d+):(\d+)[.,](\d+)"
_CUE = re.compile(rf"\s*{_TIME}\s*-->\s*{_TIME}")
_VOICE = re.compile(r"<v(?:\.\S+)?\s+([^>]+)>")


def read_subtitles(path: Path) -> Lines:
    """SubRip and WebVTT: a cue is a clip; ``NAME.en.srt`` tells the language of NAME, ``<v Anna>`` who speaks."""
    stem, _, suffix = path.stem.rpartition(".")
    name, language = (stem, suffix) if stem and language_code(suffix) else (path.stem, "")
    lines = read_user_text(path).split("\n")
    for at, line in enumerate(lines):
        if not (cue := _CUE.match(line)):
            continue
        body: list[str] = []
        for text in lines[at + 1 :]:
            if not text.strip() or _CUE.match(text):
                break
            body.append(text.strip())
        text = " ".join(body)
        voice = _VOICE.search(text)
        text = re.sub(r"<[^>]*>|\{\\[^}]*\}", "", text).strip()
        bounds = (_seconds(cue.groups()[:4]), _seconds(cue.groups()[4:]))
        speaker = voice[1].strip() if voice else ""
        yield Said(at + 1, name, text, speaker, language_code(language), bounds) if text else Wrong(at + 1, "no text")


def _seconds(parts: tuple[str, ...]) -> float:
    hours, minutes, seconds, fraction = parts
    return int(hours or 0) * 3600 + int(minutes) * 60 + int(seconds) + float(f"0.{fraction}")


_TOKEN = re.compile(r'(?<!\S)(?:"((?:[^"]|"")*)"|(-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?))(?!\S)')
_TIER_OF_UTTERANCES = re.compile(r"utt|sent|text|transcri|ortho|phrase|speech", re.IGNORECASE)
_TIER_OF_PARTS = re.compile(r"word|phone|segment|syll|token", re.IGNORECASE)


def read_textgrid(path: Path) -> Lines:
    """Praat's TextGrid, long or short: an interval with text is a clip; a tier of words alone is one text.

    Of several tiers that called after utterances, sentences or text is taken, or the first that is not of words or
    phones. As Praat does, free-standing texts and numbers are read and all between them is comment.
    """
    content = read_user_text(path)
    breaks = [found.start() for found in re.finditer("\n", content)]
    tokens = [
        (bisect.bisect(breaks, found.start()) + 1, float(found[2]) if found[2] else found[1].replace('""', '"'))
        for found in _TOKEN.finditer(content)
    ]
    try:
        tiers = dict(_tiers(tokens))
    except (IndexError, KeyError, TypeError, ValueError):
        yield Wrong(0, "not a TextGrid as Praat writes it: expected tiers with intervals of xmin, xmax and text")
        return
    names = sorted(tiers, key=lambda name: (not _TIER_OF_UTTERANCES.search(name), bool(_TIER_OF_PARTS.search(name))))
    if not names:
        yield Wrong(0, "no tier of intervals")
        return
    spoken = [(line, (start, end), text.strip()) for line, start, end, text in tiers[names[0]] if text.strip()]
    if _TIER_OF_PARTS.search(names[0]) and spoken:
        if "word" not in names[0].lower():
            yield Wrong(0, f"tiers {', '.join(names)}: expected one of utterances or of words")
            return
        yield Said(spoken[0][0], path.stem, " ".join(text for _, _, text in spoken))
        return
    yield from (Said(line, path.stem, text.replace("\n", " "), bounds=bounds) for line, bounds, text in spoken)


def _tiers(tokens: list[tuple[int, Any]]) -> Iterator[tuple[str, list[tuple[int, float, float, str]]]]:
    """Name and intervals (line, start, end, text) of every interval tier."""
    at = next((at for at, (_, value) in enumerate(tokens) if value in ("IntervalTier", "TextTier")), 0)
    while at < len(tokens):
        kind, name, _, _, count = (value for _, value in tokens[at : at + 5])
        size = {"IntervalTier": 3, "TextTier": 2}[kind]
        body = tokens[at + 5 : at + 5 + size * int(count)]
        at += 5 + size * int(count)
        if size == 3:
            rows = [body[place : place + 3] for place in range(0, len(body), 3)]
            yield str(name), [(row[0][0], float(row[0][1]), float(row[1][1]), str(row[2][1])) for row in rows]


def read_lhotse(path: Path) -> Lines:
    """lhotse's ``supervisions.jsonl`` beside ``recordings.jsonl``, or ``cuts.jsonl``; packed by gzip or not."""
    names = {
        record["id"]: _source(record)
        for other in sorted(path.parent.glob("*recordings*.jsonl*"))
        for _, record in _json_lines(other)
        if record and "sources" in record and "id" in record
    }
    for number, record in _json_lines(path):
        if record is None:
            yield Wrong(number, "not an object in JSON")
            continue
        try:
            shift = float(record.get("start", 0)) if "supervisions" in record else 0.0
            for item in record.get("supervisions", [record]):
                yield _supervision(number, item, record.get("recording"), names, shift)
        except (KeyError, TypeError, ValueError, AttributeError):
            yield Wrong(number, "not a supervision or cut as lhotse writes it")


def _supervision(
    number: int, item: Mapping[str, Any], recording: Mapping[str, Any] | None, names: Mapping[str, str], shift: float
) -> Said | Wrong:
    name = _source(recording) if recording else names.get(item["recording_id"], str(item["recording_id"]))
    text, start = str(item.get("text") or "").strip(), shift + float(item["start"])
    if not text:
        return Wrong(number, "no text")
    speaker, language = str(item.get("speaker") or ""), language_code(str(item.get("language") or ""))
    return Said(number, name, text, speaker, language, (start, start + float(item["duration"])))


def _source(recording: Mapping[str, Any]) -> str:
    """The file of a recording; its id where the sound does not lie in a file."""
    files = [item["source"] for item in recording.get("sources", []) if item.get("type") == "file"]
    return str(files[0]) if files else str(recording["id"])


def _json_lines(path: Path) -> Iterator[tuple[int, dict[str, Any] | None]]:
    """Number and object of every line; None where it is none.

    Raises:
        DataError: not gzip although it is called so, or far too large.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as handle:
            data = handle.read(LONGEST_FILE + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read ({error})") from error
    if len(data) > LONGEST_FILE:
        raise DataError(f"{path}: more than {LONGEST_FILE // 10**6} MB of text")
    for number, line in enumerate(decode(data, str(path)).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            value = None
        yield number, value if isinstance(value, dict) else None


def is_lhotse(path: Path) -> bool | None:
    """Whether a file of JSON lines holds supervisions or cuts; None: recordings or features, which say no text."""
    first = next((record for _, record in _json_lines(path)), None) or {}
    if "supervisions" in first or {"recording_id", "start", "duration", "text"} <= set(first):
        return True
    return None if {"sources", "sampling_rate"} <= set(first) or "feature_type" in first or not first else False


_LABELS = re.compile(r"\d+\s+\d+\s+\S+.*")


def read_text(path: Path) -> Lines:
    """A ``.txt`` or ``.lab`` of the recording's name: all that it says, in as many lines as one likes."""
    lines = [line.strip() for line in read_user_text(path).split("\n") if line.strip()]
    if not lines:
        yield Wrong(0, "no text")
    elif path.suffix.lower() == ".lab" and all(map(_LABELS.fullmatch, lines)):
        yield Wrong(0, "labels with times, as HTS writes them; expected the text that is said")
    else:
        yield Said(1, re.sub(r"\.(normalized|original)$", "", path.stem), " ".join(lines))


#: Layouts in the order in which they are asked for a recording's text, and how each is told by a file's name.
LAYOUTS: dict[str, tuple[re.Pattern[str], Callable[[Path], Lines]]] = {
    name: (re.compile(pattern, re.IGNORECASE), reader)
    for name, pattern, reader in (
        ("list", r".*\.list", read_list_layout),
        ("metadata", r"metadata.*\.csv", read_metadata),
        ("librispeech", r".*\.trans\.txt", read_librispeech),
        ("lhotse", r".*\.jsonl(\.gz)?", read_lhotse),
        ("textgrid", r".*\.textgrid", read_textgrid),
        ("subtitles", r".*\.(srt|vtt)", read_subtitles),
        ("text", r".*\.(lab|txt)", read_text),
    )
}


def layout_of(path: Path) -> str:
    """Name of the layout that a file's name stands for; empty: none."""
    return next((name for name, (pattern, _) in LAYOUTS.items() if pattern.fullmatch(path.name)), "")


def file_name(name: str) -> PurePosixPath:
    """A name of a recording, with folders of any system, as a path."""
    return PurePosixPath(re.sub(r"^[A-Za-z]:", "", name.replace("\\", "/")))
