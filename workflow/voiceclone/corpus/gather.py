"""Stage gather: one corpus of many speakers, from data sets and teachers, in place of recorded takes.

The layouts of data sets are read first: who says what in which file. Then every clip is trimmed, mixed to mono,
brought to 32 kHz and one loudness, and judged; results are kept, so that an interrupted run continues where it was.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from voiceclone.corpus.layouts import Lines, Said, file_name, read_librispeech, read_list_layout, read_metadata
from voiceclone.corpus.normalise import normalise_text
from voiceclone.corpus.split import HELDOUT, TRAIN, sentence_key
from voiceclone.errors import DataError
from voiceclone.files import Row, read_tsv, sha256_file, table_columns, write_json, write_tsv
from voiceclone.languages import SUPPORTED
from voiceclone.lineage.items import item_key, read_sidecar, write_sidecar
from voiceclone.lineage.withdrawal import REFUSED, TOMBSTONES, is_withdrawn
from voiceclone.progress import Progress, announce
from voiceclone.sound.io import Waveform, read_mono, resample, write_flac
from voiceclone.sound.loudness import set_loudness
from voiceclone.stages.gather import EVERYBODY, CorporaSettings, CorpusSource

SUFFIXES = (".flac", ".wav", ".opus", ".ogg", ".mp3", ".m4a")
TEACHER_COLUMNS = ("utterance", "path", "speaker", "language", "text")
_LIBRISPEECH_TEST_OTHER = (
    "367 533 1688 1998 2033 2414 2609 3005 3080 3331 3528 3538 3764 3997 4198 4294 4350 4852 5442 5484 5764 6070 6128 "
    "6432 6938 7018 7105 7902 7975 8131 8188 8280 8461"
)
#: People on whom every base voice is measured and none is trained: the reader of LJ Speech, four of LibriSpeech
#: dev-clean, all of test-other.
HELD_OUT_PEOPLE = frozenset({"lj", *(f"ls{number}" for number in f"84 652 777 1988 {_LIBRISPEECH_TEST_OTHER}".split())})
_LIBRISPEECH_ID = re.compile(r"(\d+)-\d+-\d{4}")
_LJSPEECH_ID = re.compile(r"LJ\d{3}-\d{4}")


@dataclass(frozen=True)
class Clip:
    """One utterance of a source.

    Attributes:
        id: of the utterance, ``SOURCE-NAME``.
        path: the sound file, which may be missing.
        speaker: who speaks; ids of LibriSpeech and LJ Speech give ``lsNUMBER`` and ``lj`` in every layout.
        language: ISO code.
        text: what is said, as the source writes it.
        bandwidth: in Hz, where a teacher knows it; 0: as the source's settings say.
        fault: why the line of a table that should name a clip cannot be used.
    """

    id: str
    path: Path
    speaker: str
    language: str
    text: str
    bandwidth: int = 0
    fault: str = ""


def person(stem: str, speaker: str) -> str:
    """The speaker's name; clips of LibriSpeech and LJ Speech carry their reader in their name, whoever packed them."""
    if found := _LIBRISPEECH_ID.fullmatch(stem):
        return f"ls{found[1]}"
    return "lj" if _LJSPEECH_ID.fullmatch(stem) else speaker


def read_source(source: CorpusSource) -> list[Clip]:
    """All clips of a source in its order.

    Raises:
        DataError: nothing lies there, or an index is damaged.
    """
    readers: dict[str, Callable[[CorpusSource, Path], Iterator[Clip]]] = {
        "librispeech": _librispeech,
        "ljspeech": _ljspeech,
        "list": _list,
        "teacher": _teacher,
    }
    place = Path(source.place()).expanduser()
    if not place.exists():
        raise DataError(f"corpora.sources {source.name!r}: {place}: nothing is there", "set its path, or leave it out")
    clips = list(readers[layout(source, place)](source, place))
    if not clips:
        raise DataError(f"corpora.sources {source.name!r}: {place}: no utterance in the layout {source.kind!r}")
    return clips


def index_files(source: CorpusSource) -> list[Path]:
    """The tables that name a source's clips, where they are there: what a change of must be seen."""
    place = Path(source.place()).expanduser()
    if layout(source, place) == "librispeech":
        return sorted(place.rglob("*.trans.txt"))
    return [_table(source, place)] if source.path else []


def layout(source: CorpusSource, place: Path) -> str:
    """The source's layout; of ``auto`` the one that lies there."""
    if source.kind != "auto":
        return source.kind
    if place.suffix == ".list" or any(place.glob("*.list")):
        return "list"
    return "ljspeech" if (place / "metadata.csv").is_file() else "librispeech"


def _table(source: CorpusSource, place: Path) -> Path:
    """The one table of a source that has one: named itself, or the only one in the folder."""
    names = {"ljspeech": "metadata.csv", "list": "*.list", "teacher": "manifest.tsv"}
    if place.is_file() or not place.exists():
        return place
    found = sorted(place.glob(names[layout(source, place)]))
    if len(found) != 1:
        wanted = names[layout(source, place)]
        raise DataError(f"corpora.sources {source.name!r}: {place}: {len(found)} files {wanted}, expected one")
    return found[0]


def _librispeech(source: CorpusSource, place: Path) -> Iterator[Clip]:
    def clip(index: Path, said: Said) -> Clip:
        return _clip(source, said.name, _sound_file(index.parent / said.name), said.speaker, said.text)

    for index in sorted(place.rglob("*.trans.txt")):
        yield from _clips(source, index, read_librispeech, clip)


def _ljspeech(source: CorpusSource, place: Path) -> Iterator[Clip]:
    def clip(table: Path, said: Said) -> Clip:
        name = file_name(said.name)
        stem = name.stem if name.suffix.lower() in SUFFIXES else name.name
        return _clip(source, stem, _sound_file(table.parent / "wavs" / stem), said.speaker, said.text, said.language)

    yield from _clips(source, _table(source, place), read_metadata, clip)


def _list(source: CorpusSource, place: Path) -> Iterator[Clip]:
    def clip(table: Path, said: Said) -> Clip:
        path = table.parent / said.name.replace("\\", "/")
        return _clip(source, _stem(path, table.parent), path, said.speaker, said.text, said.language)

    yield from _clips(source, _table(source, place), read_list_layout, clip)


def _clips(
    source: CorpusSource, table: Path, read: Callable[[Path], Lines], clip: Callable[[Path, Said], Clip]
) -> Iterator[Clip]:
    """A clip for each line of a table; for one that names none, a clip with its fault."""
    for line in read(table):
        if isinstance(line, Said):
            yield clip(table, line)
        else:
            name = f"{source.name}-{table.name.removesuffix('.trans.txt')}-line-{line.line}"
            yield Clip(name, table, "", source.language, "", fault=f"{table}: line {line.line}: {line.detail}")


def _teacher(source: CorpusSource, place: Path) -> Iterator[Clip]:
    table = _table(source, place)
    for row in read_tsv(table, TEACHER_COLUMNS):
        path, bandwidth = table.parent / row["path"], int(float(row.get("bandwidth") or 0))
        clip = _clip(source, row["utterance"], path, row["speaker"], row["text"], row["language"])
        yield replace(clip, bandwidth=bandwidth)


def _clip(source: CorpusSource, stem: str, path: Path, speaker: str, text: str, language: str = "") -> Clip:
    name = person(Path(stem).name, speaker)
    return Clip(
        f"{source.name}-{re.sub(r'[^A-Za-z0-9_.]+', '-', stem)}", path, name or source.speaker or source.name,
        language or source.language, text.strip(),
    )  # fmt: skip


def _sound_file(base: Path) -> Path:
    """The file of this name with a suffix of sound; the first suffix where there is none."""
    paths = [base.with_name(base.name + suffix) for suffix in SUFFIXES]
    return next((path for path in paths if path.is_file()), paths[0])


def _stem(path: Path, folder: Path) -> str:
    """A file's name in a source: its path from the list's folder, or its own name where it lies elsewhere."""
    relative = path.relative_to(folder) if path.is_relative_to(folder) else Path(path.name)
    return relative.with_suffix("").as_posix()


log = logging.getLogger(__name__)
RATE = 32_000
COLUMNS = table_columns("gathered")
REJECTED_COLUMNS = table_columns("rejected_clips")
LICENCE_COLUMNS = table_columns("licences")
CEILING_DBTP = -1.0
BELOW_LOUDEST_DB = 42.0  # what lies further below the loudest 10 ms is silence
MARGIN = 0.12  # seconds of it that stay at both ends
AT_ONCE = 16  # clips between two looks at a source's limit


@dataclass(frozen=True)
class Made:
    """A clip after its turn: the row of the corpus, or why there is none."""

    clip: Clip
    row: dict[str, Any] | None
    reason: str = ""
    detail: str = ""
    cached: bool = False


def gather_corpus(settings: CorporaSettings, results: Path, threads: int = 1, label: str = "gather") -> None:
    """Write the clips of a gathered voice and, in ``corpus/``, its corpus, rejected and licences tables and summary.

    Args:
        settings: the sources, the split, the limits.
        results: ``results/NAME``; sound goes to ``clips/SOURCE``.
        threads: clips at once.
        label: for progress.

    Raises:
        DataError: a source cannot be read, or nothing is left.
    """
    made: list[Made] = []
    for source in settings.all_sources():
        clips = read_source(source)
        progress = Progress(f"{label} {source.name}", len(clips))
        taken = list(_taken(source, clips, settings, results, threads, progress))
        kept = [item.row["seconds"] for item in taken if item.row]
        cached = sum(item.cached for item in taken)
        log.info("%s: %d kept, %.2f h; %d made, %d from cache", source.name, len(kept), sum(kept) / 3600,
                 len(taken) - cached, cached)  # fmt: skip
        made += taken
    rows, rejected = _accepted(made)
    folder = results / "corpus"
    write_tsv(folder / "rejected.tsv", REJECTED_COLUMNS, rejected)
    if not rows:
        raise DataError("no utterance is left of all sources", f"see {folder / 'rejected.tsv'}")
    check_held_out(rows)
    write_tsv(folder / "licences.tsv", LICENCE_COLUMNS, licence_rows(settings.all_sources(), rows))
    write_json(folder / "summary.json", summarise(settings.all_sources(), rows, rejected))
    _forget(results / "clips", rows)
    write_tsv(folder / "corpus.tsv", COLUMNS, rows)
    hours = sum(row["seconds"] for row in rows) / 3600
    people = len({row["speaker"] for row in rows})
    announce(f"{label}  {len(rows)} utterances, {hours:.1f} h, {people} speakers; {len(rejected)} left out")


def split_of(text: str, speaker: str, source: CorpusSource, share: float) -> str:
    """``heldout`` for held-out people and for about ``share`` of all sentences; else ``train``.

    The hash of the sentence decides, so that no sentence is trained on in one voice and held out in another.
    """
    if speaker in HELD_OUT_PEOPLE or not {speaker, EVERYBODY}.isdisjoint(source.hold_out):
        return HELDOUT
    position = int(hashlib.sha256(sentence_key(text).encode()).hexdigest(), 16) % 1000
    return HELDOUT if position < 1000 * share else TRAIN


def check_held_out(rows: Iterable[Mapping[str, Any]]) -> None:
    """Refuse a corpus or manifest that trains on people on whom every base voice is measured.

    Raises:
        DataError: naming them.
    """
    found = sorted({str(row["speaker"]) for row in rows if row["split"] == TRAIN} & HELD_OUT_PEOPLE)
    if found:
        raise DataError(
            f"{', '.join(found)}: held-out people in the training split; no base voice is trained on them",
            "they are what it is measured on (voiceclone.corpus.gather.HELD_OUT_PEOPLE)",
        )


def trim(samples: Waveform, rate: int) -> Waveform:
    """Samples (frames,) without the silence at both ends, but for :data:`MARGIN`."""
    size = rate // 100
    count = len(samples) // size
    if not count:
        return samples
    power = np.square(samples[: count * size].reshape(count, size), dtype=np.float64).mean(axis=1)
    loud = np.flatnonzero(power > power.max() * 10 ** (-BELOW_LOUDEST_DB / 10))
    if not len(loud):
        return samples
    margin = int(MARGIN * rate)
    return samples[max(0, loud[0] * size - margin) : (loud[-1] + 1) * size + margin]


def _taken(
    source: CorpusSource,
    clips: Sequence[Clip],
    settings: CorporaSettings,
    results: Path,
    threads: int,
    progress: Progress,
) -> Iterator[Made]:
    """The clips of a source after their turn; with a limit of hours, those with the smallest hashes up to it."""
    order = sorted(clips, key=lambda clip: hashlib.sha256(clip.id.encode()).digest()) if source.hours else list(clips)
    seconds = 0.0

    def make(clip: Clip) -> Made:
        progress.update(note=source.name)
        return _make(clip, source, settings, results)

    with ThreadPoolExecutor(max(1, threads)) as pool:
        size = AT_ONCE if source.hours else len(order)
        for start in range(0, len(order), size):
            for item in pool.map(make, order[start : start + size]):
                if source.hours and seconds >= 3600 * source.hours:
                    return
                seconds += item.row["seconds"] if item.row else 0.0
                yield item


def _make(clip: Clip, source: CorpusSource, settings: CorporaSettings, results: Path) -> Made:
    if clip.fault:
        return Made(clip, None, "line", clip.fault)
    text = normalise_text(clip.text, clip.language)
    if clip.language not in SUPPORTED:
        return Made(clip, None, "language", f"{clip.language!r} has no phones; expected {', '.join(sorted(SUPPORTED))}")
    if not text:
        return Made(clip, None, "no-text", "no words are left of its text; expected what is said")
    if not clip.path.is_file():
        return Made(clip, None, "missing", f"{clip.path}: no such file")
    if is_withdrawn(results.absolute().parents[1], clip.path):
        return Made(clip, None, REFUSED, f"its owner has withdrawn it: {TOMBSTONES}")
    target = results / "clips" / source.name / f"{clip.id.removeprefix(source.name + '-')}.flac"
    try:
        record, cached = _sound(clip.path, target, settings)
    except DataError as error:
        return Made(clip, None, "unreadable", error.message)
    if "reason" in record:
        return Made(clip, None, record["reason"], record["detail"], cached)
    row = {
        "utterance": clip.id, "path": target.relative_to(results).as_posix(), **record, "language": clip.language,
        "text": text, "split": split_of(text, clip.speaker, source, settings.heldout_share),
        "speaker": clip.speaker, "source": source.name, "bandwidth": source.bandwidth or clip.bandwidth,
        "weight": source.weight, "use": source.use,
    }  # fmt: skip
    return Made(clip, row, cached=cached)


def _sound(path: Path, target: Path, settings: CorporaSettings) -> tuple[dict[str, Any], bool]:
    """Length and digest of the clip that was made of a file, or why it is refused; and whether it was there already."""
    limits = {name: getattr(settings, name) for name in ("min_seconds", "max_seconds", "loudness_lufs")}
    sidecar = target.with_suffix(".json")
    try:
        key = item_key("gather", limits, sha256_file(path))
        record = read_sidecar(sidecar, key)
        if record is not None:
            return record, True
        samples, rate = read_mono(path)
    except OSError as error:  # here alone: a full disk is no fault of the clip
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error
    samples = resample(trim(samples, rate), rate, RATE)
    seconds = len(samples) / RATE
    files: list[Path] = []
    if seconds < settings.min_seconds:
        record = {"reason": "short", "detail": f"{seconds:.2f} s of speech; expected {settings.min_seconds:g} s"}
    elif seconds > settings.max_seconds:
        record = {"reason": "long", "detail": f"{seconds:.2f} s; expected at most {settings.max_seconds:g} s"}
    else:
        sound, _ = set_loudness(samples, RATE, settings.loudness_lufs, CEILING_DBTP)
        write_flac(target, sound, RATE)
        record, files = {"seconds": round(seconds, 4), "sha256": sha256_file(target)}, [target]
    write_sidecar(sidecar, key, record, files)
    return record, False


def _accepted(made: Iterable[Made]) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    """Rows of the corpus, and of what was left out; the second of two equal ids or sounds is left out too."""
    rows: list[dict[str, Any]] = []
    rejected: list[dict[str, str]] = []
    known: dict[str, str] = {}
    for item in made:
        reason, detail = item.reason, item.detail
        if item.row is not None:
            names = (item.row["utterance"], item.row["sha256"])
            if first := next((known[name] for name in names if name in known), ""):
                reason, detail = "duplicate", f"the same id or sound as {first}; one copy is enough"
            else:
                known |= dict.fromkeys(names, item.clip.id)
                rows.append(item.row)
                continue
        source = item.clip.id.split("-")[0]
        rejected.append(
            {"utterance": item.clip.id, "source": source, "speaker": item.clip.speaker, "reason": reason,
             "detail": detail}
        )  # fmt: skip
    for row in islice(rejected, 20):
        log.warning("%s: left out, %s: %s", row["utterance"], row["reason"], row["detail"])
    return rows, rejected


def licence_rows(sources: Iterable[CorpusSource], rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One row per source: licence, people, hours."""
    by_source: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        by_source[row["source"]].append(row)
    return [
        {
            "source": source.name, "kind": source.kind, "licence": source.licence, "use": source.use,
            "weight": source.weight, "utterances": len(own := by_source[source.name]),
            "speakers": len({row["speaker"] for row in own}), "hours": round(sum(r["seconds"] for r in own) / 3600, 3),
            "heldout_hours": round(sum(r["seconds"] for r in own if r["split"] == HELDOUT) / 3600, 3),
        }
        for source in sources
    ]  # fmt: skip


def summarise(
    sources: Iterable[CorpusSource], rows: Sequence[Mapping[str, Any]], rejected: Sequence[Row]
) -> dict[str, Any]:
    """Utterances and hours by split, people held out (no teacher's pseudo-speakers), reasons of rejection."""
    teachers = {source.name for source in sources if source.kind == "teacher"}
    trained = {row["speaker"] for row in rows if row["split"] == TRAIN}
    return {
        "utterances": dict(Counter(str(row["split"]) for row in rows)),
        "hours": {
            split: round(sum(row["seconds"] for row in rows if row["split"] == split) / 3600, 3)
            for split in (TRAIN, HELDOUT)
        },
        "speakers": len({row["speaker"] for row in rows}),
        "heldout_people": sorted({str(row["speaker"]) for row in rows if row["source"] not in teachers} - trained),
        "rejected": dict(sorted(Counter(row["reason"] for row in rejected).items())),
    }


def _forget(clips: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Delete the sound of clips that are no longer part of the corpus."""
    present = {clips.parent / row["path"] for row in rows}
    for path in clips.glob("*/*.flac"):
        if path not in present:
            path.unlink()
            path.with_suffix(".json").unlink(missing_ok=True)
