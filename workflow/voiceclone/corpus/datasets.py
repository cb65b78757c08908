"""A corpus as a data set of other programs: GPT-SoVITS, LJ Speech, piper, F5, lhotse. Each is read again by
:mod:`voiceclone.corpus.layouts`."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import soundfile

from voiceclone.corpus.listfile import ListEntry, write_list
from voiceclone.errors import DataError
from voiceclone.files import Row, atomic_folder, canonical_json, read_tsv, write_text
from voiceclone.lineage.rights import NONE_GIVEN, Rights, load_rights
from voiceclone.sound.io import read_mono, write_sound
from voiceclone.text.inline import plain

NOTICE = "LICENCE.txt"


def export_corpus(results: Path, speaker: str, layout: str, output: Path) -> int:
    """Write a speaker's corpus in a layout of other programs, with licence and consent where they are stated.

    Args:
        results: results/SPEAKER.
        speaker: name of the voice.
        layout: of :data:`WRITERS`, or ``list``.
        output: a file for ``list``; else a folder to make. WAV files of the corpus's rate go to its ``wavs``; lhotse's
            manifests name the files of the corpus.

    Returns:
        how many utterances were written.

    Raises:
        DataError: there is no corpus, the folder exists, or a text cannot be written in the layout.
    """
    rows = [
        row | {"text": plain(row["text"]), "sound": str((results / row["path"]).resolve())}
        for row in read_tsv(results / "corpus" / "corpus.tsv", ("utterance", "path", "language", "text"))
    ]
    stated = results / "rights.json"
    rights = load_rights(stated) if stated.is_file() else Rights()
    if layout == "list":
        write_list(output, (ListEntry(row["sound"], speaker, row["language"], row["text"]) for row in rows))
        _write_notice(output.with_name(f"{output.stem}.{NOTICE}"), rights)
        return len(rows)
    if output.exists():
        raise DataError(f"{output}: already exists", "name a new folder")
    with atomic_folder(output) as folder:
        WRITERS[layout](folder, rows, speaker, rights)
        _write_notice(folder / NOTICE, rights)
    return len(rows)


def _write_notice(target: Path, rights: Rights) -> None:
    """The licence in its first line, as a speaker's folder has it, and the consent's digest."""
    if rights != Rights():
        consent = f"consent of the speaker, sha256: {rights.consent_sha256}"
        write_text(
            target, "\n".join([rights.licence, *([consent] if rights.consent_sha256 != NONE_GIVEN else [])]) + "\n"
        )


def _with_sounds(line: Callable[[Row], str], header: str = "") -> Callable[[Path, Iterable[Row], str, Rights], None]:
    """Writer of ``metadata.csv`` and ``wavs``: one line per utterance."""

    def write(folder: Path, rows: Iterable[Row], speaker: str, rights: Rights) -> None:
        lines = [header] if header else []
        for row in rows:
            samples, rate = read_mono(Path(row["sound"]))
            write_sound(folder / "wavs" / f"{row['utterance']}.wav", samples, rate, "WAV", "PCM_16")
            lines.append(line(row))
        write_text(folder / "metadata.csv", "\n".join(lines) + "\n")

    return write


def _write_lhotse(folder: Path, rows: Iterable[Row], speaker: str, rights: Rights) -> None:
    recordings, supervisions = [], []
    for row in rows:
        info = soundfile.info(row["sound"])
        length = {"duration": info.frames / info.samplerate}
        sources = [{"type": "file", "channels": [0], "source": row["sound"]}]
        recordings.append(
            {"id": row["utterance"], "sources": sources, "sampling_rate": info.samplerate, "num_samples": info.frames,
             "channel_ids": [0], **length}
        )  # fmt: skip
        supervisions.append(
            {"id": row["utterance"], "recording_id": row["utterance"], "start": 0.0, "channel": 0, **length,
             "text": row["text"], "language": row["language"], "speaker": speaker, "custom": rights.as_notes()}
        )  # fmt: skip
    _write_lines(folder / "recordings.jsonl.gz", recordings)
    _write_lines(folder / "supervisions.jsonl.gz", supervisions)


def _write_lines(target: Path, records: Iterable[Mapping[str, Any]]) -> None:
    data = "".join(canonical_json(record) + "\n" for record in records).encode()
    target.write_bytes(gzip.compress(data, mtime=0))


WRITERS: dict[str, Callable[[Path, Iterable[Row], str, Rights], None]] = {
    "ljspeech": _with_sounds(lambda row: f"{row['utterance']}|{row['text']}|{row['text']}"),
    "piper": _with_sounds(lambda row: f"{row['utterance']}|{row['text']}"),
    "f5": _with_sounds(lambda row: f"wavs/{row['utterance']}.wav|{row['text']}", "audio_file|text"),
    "lhotse": _write_lhotse,
}
