"""A proof-read .list back into corrections: people who correct with GPT-SoVITS's own tools keep their work."""

from __future__ import annotations

import tempfile
from pathlib import Path

from voiceclone.corpus.corrections import COLUMNS, merge_corrections
from voiceclone.corpus.listfile import read_list
from voiceclone.files import read_tsv, write_tsv
from voiceclone.text.inline import plain


def import_as_corrections(source: Path, results: Path, corrections: Path) -> tuple[int, int, list[str]]:
    """Merge the texts of a .list that differ from the corpus into a corrections file.

    Args:
        source: the .list; its audio file names are utterance ids, its folders do not matter.
        results: results/SPEAKER.
        corrections: config/corrections/SPEAKER.tsv, made if it is not there.

    Returns:
        number of corrections, number of lines without a change, paths that are no utterance of this corpus.
    """
    texts = {
        row["utterance"]: plain(row["text"])
        for row in read_tsv(results / "corpus" / "corpus.tsv", ("utterance", "text"))
    }
    texts |= {row["utterance"]: "" for row in read_tsv(results / "corpus" / "rejected.tsv", ("utterance",))}
    entries = read_list(source)
    named = [(Path(entry.path.replace("\\", "/")).stem, entry) for entry in entries]
    rows = [
        {"utterance": name, "action": "text", "value": entry.text, "note": f"from {source.name}"}
        for name, entry in named
        if name in texts and entry.text != texts[name]
    ]
    if rows:
        with tempfile.TemporaryDirectory() as folder:
            newer = Path(folder) / "newer.tsv"
            write_tsv(newer, COLUMNS, rows)
            merge_corrections(corrections, newer)
    unknown = [entry.path for name, entry in named if name not in texts]
    return len(rows), len(entries) - len(rows) - len(unknown), unknown
