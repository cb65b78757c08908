"""Files that are either whole or absent: atomic writes, canonical JSON, TSV tables, digests, contained paths."""

from __future__ import annotations

import fcntl
import hashlib
import json
import math
import os
import re
import shutil
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from voiceclone.errors import DataError, storage_errno

Row = dict[str, str]
_UNPRINTABLE = re.compile(r"[\\\x00-\x1f\x7f-\x9f\u2028\u2029\udc80-\udcff]")
_HALF_CHARACTER = re.compile(r"\\u[dD][89a-fA-F]")
_SHORT = {"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"}
_LONG = {short: plain for plain, short in _SHORT.items()}
#: One ``NAME.schema.yaml`` per table, for its rows: columns in their order, types, meaning, allowed values.
SCHEMAS = Path(__file__).parents[1] / "schemas"


def fsync_folder(folder: Path) -> None:
    """Make a rename inside ``folder`` durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def atomic_path(target: Path, durable: bool = True) -> Iterator[Path]:
    """Yield a path of the same name in a temporary folder; on success the file is synced and renamed to ``target``.

    Args:
        target: the file.
        durable: false saves the syncs: after a loss of power it may be gone or torn, which its reader has to notice.

    Raises:
        OSError: the disk is full or the folder cannot be written, whichever library met it; it names ``target``.
    """
    target = Path(target)
    try:
        with _workplace(target) as folder:
            temporary = folder / target.name
            yield temporary
            temporary.chmod(0o644)
            if durable:
                with temporary.open("rb") as handle:
                    os.fsync(handle.fileno())
            temporary.replace(target)
            if durable:
                fsync_folder(target.parent)
    except Exception as error:
        number, named = storage_errno(error), getattr(error, "filename", None)
        if number is None or (named and target.parent not in Path(named).parents):
            raise
        raise OSError(number, os.strerror(number), str(target)) from error


@contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """Yield a temporary folder; on success it replaces ``target`` as a whole, which is never there by halves."""
    target = Path(target)
    with _workplace(target) as folder:
        temporary, replaced = folder / target.name, folder / "replaced"
        temporary.mkdir()
        yield temporary
        if target.exists():
            target.rename(replaced)
        try:
            temporary.rename(target)
        except OSError:
            if replaced.exists():
                replaced.rename(target)
            raise
        fsync_folder(target.parent)


@contextmanager
def _workplace(target: Path) -> Iterator[Path]:
    """A folder beside ``target`` for what is not whole yet, with whatever libraries put beside the file they write.

    It is called after the target, so that an attempt takes over, and empties, what a killed one left. A lock, which
    ends with its process, keeps it from another writer that lives: that one gets a folder of another name.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    folder = target.with_name(f".{target.name}.tmp")
    held = _take_over(folder)
    if held is None:
        folder = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if held is not None:
            os.close(held)


def _take_over(folder: Path) -> int | None:
    """Make or empty a folder and lock it; None where a living process has it, or the file system knows no locks."""
    folder.mkdir(exist_ok=True)
    try:
        held = os.open(folder, os.O_RDONLY)
    except FileNotFoundError:  # its owner has just removed it
        return None
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(held), folder.stat()):
            for path in folder.iterdir():
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
            return held
    except OSError:
        pass
    os.close(held)
    return None


def link(source: Path, target: Path) -> None:
    """The same file under another name, or a copy where the disk has no links."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def write_text(target: Path, text: str, durable: bool = True) -> None:
    """Write UTF-8 text with LF line ends, atomically; ``durable``: see :func:`atomic_path`."""
    with atomic_path(target, durable) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_changed(target: Path, text: str) -> bool:
    """Write a text unless the file holds it already, so that its time tells when its content changed.

    It is not synced: whoever writes it compares it at every plan, and a thousand speakers have thousands of them.

    Returns:
        whether it was written.
    """
    if target.is_file() and target.read_bytes() == text.encode():
        return False
    write_text(target, text, durable=False)
    return True


def canonical_json(value: Any) -> str:
    """One line of JSON with sorted keys: equal values give equal text, for digests and parameters."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def write_json(target: Path, value: Any) -> None:
    """Write sorted, indented JSON atomically."""
    write_text(target, json.dumps(value, sort_keys=True, ensure_ascii=False, indent=2, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read JSON; a broken file is a :class:`DataError` that names it."""
    try:
        return parse_json(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path}: not valid JSON ({error})", "delete the file and run again") from error


def parse_json(text: str) -> Any:
    """The value of a JSON text that this program could have written.

    Raises:
        ValueError: no JSON, or nested too deeply, with numbers that are none, or with halves of characters.
    """

    def number(digits: str) -> float:
        if not math.isfinite(value := float(digits)):
            raise ValueError(f"{digits[:20]} is no finite number")
        return value

    try:
        value = json.loads(text, parse_constant=number, parse_float=number)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if _HALF_CHARACTER.search(text):
        json.dumps(value, ensure_ascii=False).encode()
    return value


def write_jsonl(target: Path, records: Iterable[Any]) -> None:
    """Write one canonical JSON value per line, atomically."""
    write_text(target, "".join(canonical_json(record) + "\n" for record in records))


def read_jsonl(path: Path) -> list[Any]:
    """Read one JSON value per line; a broken one is a :class:`DataError` that names the file."""
    try:
        return [parse_json(line) for line in Path(path).read_text(encoding="utf-8").splitlines() if line]
    except ValueError as error:
        raise DataError(f"{path}: not valid JSON ({error})", "delete the line or the file and run again") from error


def table_columns(table: str) -> tuple[str, ...]:
    """Columns of a table, in their order, from its schema ``workflow/schemas/TABLE.schema.yaml``."""
    return tuple(_table_properties(table))


def table_numbers(table: str) -> frozenset[str]:
    """Columns of a table that hold numbers."""
    properties = _table_properties(table)
    return frozenset(name for name, column in properties.items() if {"number", "integer"} & {*_types(column)})


def _types(column: Mapping[str, Any]) -> list[str]:
    return [column["type"]] if isinstance(column["type"], str) else list(column["type"])


def _table_properties(table: str) -> dict[str, Any]:
    schema = yaml.safe_load((SCHEMAS / f"{table}.schema.yaml").read_text(encoding="utf-8"))
    return dict(schema["properties"])


def clean_cell(value: object) -> str:
    """Text of one table cell: numbers in shortest form, None empty, tabs and line ends as spaces."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return repr(round(value, 6))
    return re.sub(r"[\t\r\n]+", " ", str(value))


def tsv_text(
    columns: Sequence[str], rows: Iterable[Mapping[str, object]], sort_by: Sequence[str] = (), name: object = "table"
) -> str:
    """Text of a table: header, LF, sorted by ``sort_by`` (default: the first column).

    Raises:
        DataError: a row has a column that the header lacks; ``name`` tells of which table.
    """
    lines = []
    keys = list(sort_by) or list(columns[:1])
    for row in sorted(rows, key=lambda row: [clean_cell(row.get(key)) for key in keys]):
        unknown = set(row) - set(columns)
        if unknown:
            raise DataError(f"{name}: row has unknown columns {sorted(unknown)}; expected {list(columns)}")
        lines.append("\t".join(clean_cell(row.get(column)) for column in columns))
    return "\n".join(["\t".join(columns), *lines]) + "\n"


def write_tsv(
    target: Path, columns: Sequence[str], rows: Iterable[Mapping[str, object]], sort_by: Sequence[str] = ()
) -> None:
    """Write a table (see :func:`tsv_text`), UTF-8, atomically."""
    write_text(target, tsv_text(columns, rows, sort_by, target))


def read_tsv(path: Path, required: Sequence[str] = ()) -> list[Row]:
    """Read a table as one dictionary of strings per row.

    Raises:
        DataError: no UTF-8, a required column is absent or a row has another number of cells than the header.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not a table in UTF-8", "restore the file or delete it and run again") from error
    lines = [line for line in text.split("\n") if line.strip("\r")]
    if not lines:
        raise DataError(f"{path}: empty table, expected a header line", "restore the file or delete it and run again")
    header = lines[0].rstrip("\r").split("\t")
    missing = [column for column in required if column not in header]
    if missing:
        raise DataError(f"{path}: columns {missing} are missing, found {header}")
    rows = []
    for number, line in enumerate(lines[1:], start=2):
        cells = line.rstrip("\r").split("\t")
        if len(cells) != len(header):
            raise DataError(f"{path}: line {number} has {len(cells)} cells, the header has {len(header)}")
        rows.append(dict(zip(header, cells, strict=True)))
    return rows


def markdown_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """Lines of a table in Markdown; cells are written as they are."""
    lines: list[Sequence[object]] = [columns, ["---"] * len(columns), *rows]
    return ["|" + "".join(f" {cell} |" if cell != "" else " |" for cell in cells) for cells in lines]


def sha256_file(path: Path) -> str:
    """Hexadecimal sha256 of a file's content."""
    with Path(path).open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def digest(value: Any, length: int = 16) -> str:
    """First ``length`` hexadecimal digits of the sha256 of a value's canonical JSON."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:length]


def contained_path(folder: Path, relative: str | Path) -> Path:
    """Resolve ``relative`` inside ``folder``.

    Raises:
        DataError: the path, after symbolic links, lies outside the folder.
    """
    root = Path(folder).resolve()
    path = (root / relative).resolve()
    if path != root and root not in path.parents:
        raise DataError(
            f"{relative}: leads out of {folder}", "keep every file inside its folder, without links out of it"
        )
    return path


_SPEAKER = re.compile(r"[a-z0-9][a-z0-9_-]*")
#: Folders of the project and of results, which 'snakemake NAME' could mean as well as a speaker.
FOLDERS = [
    "logs",
    "benchmarks",
    "settings",
    "config",
    "docs",
    "envs",
    "profiles",
    "resources",
    "results",
    "scripts",
    "tests",
    "workflow",
]


def check_speaker(name: str) -> str:
    """Return a valid speaker name.

    Raises:
        DataError: the name has other characters than the file layout allows.
    """
    if not _SPEAKER.fullmatch(name):
        raise DataError(
            f"speaker folder {name!r}: a speaker's name is lower-case letters, digits, '-' and '_', "
            "starting with a letter or digit",
            "rename the folder, for example to "
            + (re.sub(r"[^a-z0-9_-]+", "-", name.lower()).strip("-_") or "speaker-1"),
        )
    return name


STUDENT = "-student"  # ending of the names of students
LISTED = 50  # names: a pattern of more tells them from others by their form


def pattern_of(names: Collection[str], others: Iterable[str] = ()) -> str:
    """Regular expression that matches these names and none of the others; nothing, where there are none.

    The workflow engine goes through the text of a pattern for every file of every job, so that a thousand names written
    out take more time than the rest of a plan. Many are told from the others by their form, and then a name that nobody
    has matches too.

    Args:
        names: names of voices.
        others: names of which those that are not among ``names`` are not matched.
    """
    apart = {*others, *FOLDERS}.difference(names)
    parts: list[str] = []
    for sign, student in (("<!", False), ("<=", True)):
        alike = sorted(name for name in names if name.endswith(STUDENT) == student)
        if len(alike) <= LISTED:
            parts += map(re.escape, alike)
            continue
        left_out = "|".join(sorted(re.escape(name) for name in apart if name.endswith(STUDENT) == student))
        parts.append(f"(?!(?:{left_out or '(?!)'})(?![a-z0-9_-])){_SPEAKER.pattern}(?{sign}{STUDENT})")
    return "|".join(parts) or "(?!)"


def escape(name: str) -> str:
    r"""A file name as text of one table cell: ``\t``, ``\n``, ``\\``, ``\u001b``; ``\xff`` for a byte outside UTF-8."""

    def replaced(match: re.Match[str]) -> str:
        code = ord(match[0])
        return _SHORT.get(match[0]) or (f"\\x{code - 0xDC00:02x}" if code >= 0xD800 else f"\\u{code:04x}")

    return _UNPRINTABLE.sub(replaced, name)


def unescape(text: str) -> str:
    """Undo :func:`escape`."""

    def replaced(match: re.Match[str]) -> str:
        if match[1]:
            return chr(int(match[1], 16) + 0xDC00)  # as Python reads such a byte of a file name (PEP 383)
        return chr(int(match[2], 16)) if match[2] else _LONG[match[0]]

    return re.sub(r"\\(?:x([0-9a-f]{2})|u([0-9a-f]{4})|.)", replaced, text)
