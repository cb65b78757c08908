"""The inventory of a speaker's folder: which files are recordings, and what they contain, without any time.

Rules know a recording by its id only. The names that people give to files never become part of a command: the stages
that read recordings take the names from this table. It is written only when its content changes,
so that nothing reruns where no content changed.
"""

from __future__ import annotations

import logging
import os
import re
import stat
import time
import unicodedata
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from voiceclone.corpus.given import COLUMNS as GIVEN_COLUMNS
from voiceclone.corpus.given import Given, Refused, find_texts, read_given
from voiceclone.errors import DataError
from voiceclone.files import (
    canonical_json,
    contained_path,
    escape,
    read_json,
    read_tsv,
    sha256_file,
    table_columns,
    tsv_text,
    unescape,
    write_changed,
    write_text,
)
from voiceclone.lineage.withdrawal import EVERYTHING, REFUSED, TOMBSTONES

log = logging.getLogger(__name__)

COLUMNS = table_columns("inventory")
GIVEN = "given.tsv"
CACHE = ".inventory.json"
#: A file that was written to this short a time before it was read may be written to again under the same times.
SETTLED_NS = 2_000_000_000

# Companions of recordings that nobody takes for sound: left alone without a word in the tables.
_SUFFIXES = (
    ".txt .csv .tsv .md .rst .json .jsonl .yaml .yml .toml .lab .list .textgrid .srt .vtt .lrc .cue .log .xml .html"
    " .htm .pdf .doc .docx .odt .rtf .xls .xlsx .ods .ini .db .asd .reapeaks .sha256 .md5 .py .sh"
)
COMPANION_SUFFIXES = frozenset(_SUFFIXES.split())
COMPANION_NAMES = re.compile(
    r"(readme|licen[cs]e|copying|authors|changelog|sha256sums|md5sums)\b.*|consent(\.\w+)?", re.IGNORECASE
)
# What a cell of a table cannot hold: control characters, line ends of any kind, bytes that are not UTF-8.


@dataclass(frozen=True)
class Rejection:
    """Why a file is refused or an utterance left out: a short code, and a sentence that says what was expected."""

    reason: str
    detail: str


@dataclass(frozen=True)
class Entry:
    """One file of a speaker's folder.

    Attributes:
        file: its path below the folder, as :func:`escape` writes it.
        size: bytes; None where it could not be read.
        sha256: of its content; empty where it could not be read.
        rejection: why it is refused before anybody listens to it.
    """

    file: str
    size: int | None = None
    sha256: str = ""
    rejection: Rejection | None = None

    def path(self, folder: Path) -> Path:
        """Its path."""
        return folder / unescape(self.file)

    def row(self) -> dict[str, object]:
        """Its row of the table."""
        refused = self.rejection or Rejection("", "")
        return {
            "file": self.file, "size": self.size, "sha256": self.sha256,
            "reason": refused.reason, "detail": refused.detail,
        }  # fmt: skip


def find_files(folder: Path) -> Iterator[Path]:
    """Every file below a folder that could be meant as a recording, sorted; hidden files and companions left out."""
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        if any(part.startswith(".") for part in relative.parts) or (path.is_dir() and not path.is_symlink()):
            continue
        if path.suffix.lower() in COMPANION_SUFFIXES or COMPANION_NAMES.fullmatch(path.name):
            log.info("%s: not a recording, left alone", escape(str(relative)))
            continue
        yield path


def check_file(folder: Path, path: Path) -> Rejection | None:
    """Reason to refuse a file before its content is read."""
    name = str(path.relative_to(folder))
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in name):
        return Rejection("name", "its name holds control characters or is not UTF-8; rename it")
    try:
        status = path.stat()
    except FileNotFoundError:
        return Rejection("link-broken", "a link that leads nowhere; copy the recording into the folder")
    except OSError as error:  # no permission, or a link to itself
        return Rejection("unreadable", f"cannot be read ({error.strerror}); expected a file that this user may read")
    try:
        contained_path(folder, path.relative_to(folder))
    except DataError:
        return Rejection("link-outside", "a link that leads out of the speaker's folder; copy the recording into it")
    if stat.S_ISDIR(status.st_mode):
        return Rejection("link-folder", "a link to a folder; links to folders are not followed, copy the recordings")
    if not stat.S_ISREG(status.st_mode):
        return Rejection("not-a-file", "a device, pipe or socket; expected a regular file")
    if not os.access(path, os.R_OK):
        return Rejection("unreadable", "cannot be read; expected a file that this user may read")
    if status.st_size == 0:
        return Rejection("empty", "0 bytes; expected a sound file")
    return None


def list_recordings(folder: Path, known: Mapping[str, Any] | None = None) -> Iterator[tuple[Entry, list[Any] | None]]:
    """Every file of a speaker's folder that could be a recording, sorted.

    Args:
        folder: the speaker's folder.
        known: file to size, times, inode and digest, of files that were read before.

    Yields:
        the entry, and what to know of it the next time; None where it must be read again.
    """
    for path in find_files(folder):
        file = escape(path.relative_to(folder).as_posix())
        if refused := check_file(folder, path):
            yield Entry(file, rejection=refused), None
            continue
        try:
            status = path.stat()
            # The change time cannot be set back: content put in place of another is noticed whatever its time says.
            stamp = [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]
            before = (known or {}).get(file)
            sha256 = before[-1] if before and before[:-1] == stamp else sha256_file(path)
        except OSError as error:
            yield Entry(file, rejection=Rejection("unreadable", f"cannot be read ({error.strerror})")), None
            continue
        settled = max(status.st_mtime_ns, status.st_ctime_ns) < time.time_ns() - SETTLED_NS
        yield Entry(file, status.st_size, sha256), [*stamp, sha256] if settled else None


def take_inventory(folder: Path, target: Path, withdrawn: Collection[str] = ()) -> bool:
    """Write the table of a speaker's recordings where it differs from the one that is there.

    Args:
        folder: the speaker's folder.
        target: table to write; beside it lie the texts that the folder gives, where it gives some (:data:`GIVEN`), and
            a cache of digests, which only saves reading the same files again.
        withdrawn: digests of what its owner has withdrawn, see :func:`voiceclone.lineage.withdrawal.withdrawn_from`.

    Returns:
        whether it was written.
    """
    cache = target.with_name(CACHE)
    try:
        known = read_json(cache) if cache.is_file() else {}
    except DataError:
        known = {}
    listed = list(list_recordings(folder, known if isinstance(known, dict) else {}))
    entries = [_unless_withdrawn(entry, withdrawn) for entry, _ in listed]
    remembered = {entry.file: stamp for entry, stamp in listed if stamp}
    if remembered != known:
        write_text(cache, canonical_json(remembered), durable=False)
    entries, texts = with_texts(folder, entries)
    if texts:
        rows = [text.row() for text in texts]
        write_changed(target.with_name(GIVEN), tsv_text(GIVEN_COLUMNS, rows, name=GIVEN))
    else:
        target.with_name(GIVEN).unlink(missing_ok=True)
    return write_changed(target, tsv_text(COLUMNS, [entry.row() for entry in entries], name=target))


def _unless_withdrawn(entry: Entry, withdrawn: Collection[str]) -> Entry:
    if entry.sha256 not in withdrawn and EVERYTHING not in withdrawn:
        return entry
    return replace(entry, rejection=Rejection(REFUSED, f"its owner has withdrawn it: {TOMBSTONES}"))


def with_texts(folder: Path, entries: Sequence[Entry]) -> tuple[list[Entry], list[Given]]:
    """The entries with those of texts that are not used, and of recordings of others; and the texts that are used."""
    texts = []
    refused: dict[str, list[Refused]] = defaultdict(list)
    for path in find_texts(folder):
        if COMPANION_NAMES.fullmatch(path.name):
            continue
        if rejection := check_file(folder, path):
            file = escape(path.relative_to(folder).as_posix())
            refused[file].append(Refused(file, rejection.reason, rejection.detail))
        else:
            texts.append(path)
    given, unused = read_given(folder, texts, {item.file: item.sha256 for item in entries if not item.rejection})
    for item in unused:
        refused[item.file].append(item)
    known = {entry.file: entry for entry in entries}
    others = [
        replace(known.get(file, Entry(file)), rejection=Rejection(item.reason, item.detail))
        for file, items in refused.items()
        for item in items
    ]
    return [*(entry for entry in entries if entry.file not in refused), *others], given


def read_inventory(path: Path) -> list[Entry]:
    """The rows of a table that :func:`take_inventory` wrote."""
    return [
        Entry(
            row["file"],
            int(row["size"]) if row["size"] else None,
            row["sha256"],
            Rejection(row["reason"], row["detail"]) if row["reason"] else None,
        )
        for row in read_tsv(path, COLUMNS)
    ]
