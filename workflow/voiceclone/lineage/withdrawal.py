"""What was made of a recording, or of a voice: found, so that it can be removed, and not made again.

Stages before the corpus keep one file per take, the cache of features one per utterance, a gathered voice one per clip.
These can be told apart by their names, which hold the digest of the recording. In everything else several recordings
are mixed, and of weights nobody can say what is left of one of them: so all of it counts as derived, but for what is
known to be of another recording.

``config/withdrawn.tsv`` has a row for each recording, and for each voice as a whole, that is refused from then on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from voiceclone.errors import DataError
from voiceclone.files import (
    Row,
    canonical_json,
    check_speaker,
    read_json,
    read_jsonl,
    read_tsv,
    sha256_file,
    table_columns,
    write_text,
    write_tsv,
)
from voiceclone.lineage.handover import COLUMNS as CONTENTS_COLUMNS
from voiceclone.lineage.handover import TABLE, recorded

TOMBSTONES = Path("config/withdrawn.tsv")
COLUMNS = table_columns("withdrawn")
#: In place of the digests of recordings: all that the speaker's folder holds or will hold.
EVERYTHING = "*"
REFUSED = "withdrawn"
_BY_TAKE = ("separated", "clean", "slices", "transcripts")
_MODELS = ("models", "trained", "base_voice")


def tombstones(root: Path) -> list[Row]:
    """The rows of ``config/withdrawn.tsv``."""
    return read_tsv(root / TOMBSTONES, COLUMNS) if (root / TOMBSTONES).is_file() else []


def withdrawn_from(root: Path, speaker: str) -> frozenset[str]:
    """Digests of recordings that no voice may be made of; :data:`EVERYTHING` too where the speaker is withdrawn."""
    rows = tombstones(root)
    whole = any(row["speaker"] == speaker and not row["sha256"] for row in rows)
    return frozenset({row["sha256"] for row in rows if row["sha256"]} | ({EVERYTHING} if whole else set()))


def is_withdrawn(root: Path, clip: Path) -> bool:
    """Whether a clip of a data set is a withdrawn recording, is named like an utterance of one, or lies in the folders
    of a withdrawn speaker."""
    for row in tombstones(root):
        if row["sha256"] and (f"-{row['sha256'][:8]}-" in clip.name or sha256_file(clip) == row["sha256"]):
            return True
        if not row["sha256"] and row["speaker"] in clip.absolute().parent.parts:
            return True
    return False


def bury(root: Path, speaker: str, recordings: Iterable[str], whole: bool) -> None:
    """Write the tombstones of recordings, by their digests, and of the speaker as a whole."""
    day = datetime.now(UTC).date().isoformat()
    known = {(row["speaker"], row["sha256"]): row for row in tombstones(root)}
    for sha256 in [*recordings, *([""] if whole else [])]:
        known.setdefault((speaker, sha256), {"speaker": speaker, "sha256": sha256, "withdrawn": day})
    write_tsv(root / TOMBSTONES, COLUMNS, known.values(), sort_by=("speaker", "sha256"))


@dataclass(frozen=True)
class Withdrawal:
    """What is withdrawn.

    Attributes:
        root: the working folder.
        speaker: whose.
        recordings: sha256 to file, below the speaker's folder.
        whole: the speaker as a whole, and not only these recordings.
    """

    root: Path
    speaker: str
    recordings: Mapping[str, str]
    whole: bool

    def is_of(self, name: str) -> bool:
        """Whether the id of a take or an utterance is of a withdrawn recording; ids hold 8 digits of its digest."""
        return any(f"-{sha256[:8]}" in name for sha256 in self.recordings)


def withdrawal_of(root: Path, speaker: str, recording: str = "") -> Withdrawal:
    """A speaker, or the recording with this file name, take id or digest.

    Raises:
        DataError: there is no such recording.
    """
    voice = root / "results" / check_speaker(speaker)
    files = {row["sha256"]: row["file"] for row in [*_rows(voice / "rejected.tsv"), *_rows(voice / "inventory.tsv")]}
    takes = {row["sha256"]: row["take"] for row in _rows(voice / "takes.tsv")}
    files |= {row["sha256"]: row["file"] for row in _rows(voice / "takes.tsv")}
    files.pop("", None)
    if not recording:
        if not files and not voice.is_dir():
            raise DataError(f"{voice}: no such voice", "names are those of the folders in results")
        return Withdrawal(root, speaker, files, True)
    names = {sha256: (file, Path(file).name, sha256, takes.get(sha256)) for sha256, file in files.items()}
    found = {sha256: files[sha256] for sha256, known in names.items() if recording in known}
    if not found:
        expected = ", ".join(sorted(files.values()))
        raise DataError(f"{speaker}: no recording {recording!r}", f"expected one of: {expected}")
    return Withdrawal(root, speaker, found, False)


def affected_voices(gone: Withdrawal) -> dict[str, str]:
    """Voices that hold something derived, with the reason: the speaker's, those that were gathered from it, and those
    that were trained from a model of one of these."""
    folders = [path for path in sorted((gone.root / "results").glob("*/")) if path.name != "report"]
    found = {path.name: reason for path in folders if (reason := _why(path, gone))}
    bases: set[str] = set()
    while True:
        bases |= _bases_made_of([gone.root / "results" / name for name in found], gone.root)
        more = {
            path.name: "trained from a model that is withdrawn"
            for path in folders
            if path.name not in found and bases & _starts_from(path)
        }
        if not more:
            return found
        found |= more


def _why(voice: Path, gone: Withdrawal) -> str:
    """Why a voice's own data are derived; empty: they are not."""
    if voice.name == gone.speaker and gone.whole:
        return "the voice itself"
    known = {row["sha256"] for table in ("takes.tsv", "inventory.tsv") for row in _rows(voice / table)}
    if known & gone.recordings.keys():
        return "made with the recording"
    if any(gone.is_of(row["utterance"]) for row in _rows(voice / "corpus" / "corpus.tsv")):
        return "gathered with utterances of it"
    if gathered_from(voice, gone):
        return "gathered from its folder"
    return ""


def gathered_from(voice: Path, gone: Withdrawal) -> set[str]:
    """Names of the sources of a gathered voice that lie where the speaker's recordings or results are."""
    if not any("source" in row for row in _rows(voice / "corpus" / "corpus.tsv")):
        return set()
    files = [path for path in (voice / "config.json", voice.parent / "config.json") if path.is_file()]
    config: dict[str, Any] = read_json(files[0]) if files else {}
    own = [gone.root / config.get("speakers_dir", "resources/speakers") / gone.speaker, voice.parent / gone.speaker]
    places = {
        source["name"]: (gone.root / Path(source.get("path", "")).expanduser()).resolve()
        for source in config.get("corpora", {}).get("sources", [])
        if source.get("path")
    }
    return {name for name, place in places.items() for folder in own if place.is_relative_to(folder.resolve())}


def _starts_from(voice: Path) -> set[str]:
    """Digests of the models that a voice's trainings started from."""
    reports = [path for pattern in ("trained/*.json", "models/*.json") for path in voice.glob(pattern)]
    read = [report for report in map(read_json, reports) if isinstance(report, dict)]
    return {str(value) for report in read for value in (report.get("components", {}).get("base") or {}).values()}


def _bases_made_of(voices: Iterable[Path], root: Path) -> set[str]:
    """Digests of the registered models whose files are models of these voices."""
    files = {path for voice in voices for name in _MODELS for path in (voice / name).glob("*.safetensors")}
    digests = {sha256_file(path) for path in files}
    return {
        str(manifest["digest"])
        for manifest in map(read_json, sorted((root / "resources" / "models").glob("*/asset.json")))
        if digests & {file.get("sha256") for file in manifest["files"].values()}
    }


def derived_files(voice: Path, gone: Withdrawal) -> Iterator[Path]:
    """Files and folders of an affected voice's results that hold something derived, folders where all in them does."""
    if voice.name == gone.speaker and gone.whole:
        yield voice
        return
    takes = {row["take"] for row in _rows(voice / "takes.tsv") if row["sha256"] not in gone.recordings}
    rows, sources = _rows(voice / "features" / "manifest.tsv"), gathered_from(voice, gone)
    cached = [
        {value for key, value in row.items() if key.startswith("key_")}
        for row in rows
        if not gone.is_of(row["utterance"]) and not row["utterance"].startswith(tuple(f"{name}-" for name in sources))
    ]
    keys = set().union(*cached)

    def stays(path: Path) -> bool:
        parts = path.relative_to(voice).parts
        if parts[0] in _BY_TAKE and len(parts) > 1:
            return any(parts[1] == take or parts[1].startswith(f"{take}.") for take in takes)
        if parts[0] == "clips" and len(parts) > 2:
            return parts[1] not in sources and not gone.is_of(parts[-1])
        return parts[:2] == ("features", "cache") and path.stem in keys

    def walk(folder: Path) -> tuple[bool, list[Path]]:
        """Whether something in a folder stays; and what does not."""
        kept, left = False, list[Path]()
        for path in sorted(folder.iterdir()):
            if path.is_dir() and not path.is_symlink():
                inside, more = walk(path)
                kept, left = kept or inside, [*left, *(more if inside else [path])]
            elif stays(path):
                kept = True
            else:
                left.append(path)
        return kept, left

    if voice.is_dir():
        yield from walk(voice)[1]


def shared_files(root: Path, cache: Path | None = None) -> Iterator[tuple[Path, str]]:
    """What all voices share, with the reason; it is made again without what is withdrawn.

    Args:
        root: the working folder.
        cache: folder of the references that were made of clips; which clip one is of cannot be told.
    """
    if (root / "results" / "report").is_dir():
        yield root / "results" / "report", "the page over all voices"
    if cache is not None and cache.is_dir():
        yield cache, "the cache of reference clips, of which one may be this voice's"


def forget(gone: Withdrawal, voices: Iterable[str]) -> None:
    """Take derived rows out of the tables that stay: corrections, contents and evaluations."""
    corrections = gone.root / "config" / "corrections" / f"{gone.speaker}.tsv"
    if corrections.is_file():
        lines = corrections.read_bytes().split(b"\n")
        marks = [f"-{sha256[:8]}-".encode() for sha256 in gone.recordings]
        kept = [line for line in lines if not any(mark in line for mark in marks)]
        if gone.whole:
            corrections.unlink()
        elif kept != lines:
            corrections.write_bytes(b"\n".join(kept))
    rows = [row for row in recorded(gone.root).values() if (gone.root / row["file"]).is_file()]
    if rows:
        write_tsv(gone.root / TABLE, CONTENTS_COLUMNS, rows)
    history = gone.root / "results" / "evaluations.jsonl"
    if history.is_file():
        left = [line for line in read_jsonl(history) if line.get("voice") not in {*voices}]
        write_text(history, "".join(canonical_json(line) + "\n" for line in left))


def _rows(table: Path) -> list[Row]:
    return read_tsv(table) if table.is_file() else []
