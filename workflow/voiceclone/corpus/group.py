"""One corpus of several people's, for a voice that is trained on all of them: nothing is recorded or heard again.

Utterances keep their ids, texts and split; their sound is linked. Each member is a style of the voice: its recordings
lie in a folder of its name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from voiceclone.corpus.split import TRAIN
from voiceclone.errors import DataError
from voiceclone.files import Row, contained_path, link, read_tsv, table_columns, write_json, write_tsv
from voiceclone.lineage.rights import load_rights, narrowest
from voiceclone.progress import announce
from voiceclone.stages.gather import GROUP

COLUMNS = table_columns("gathered")
TAKES_COLUMNS = table_columns("takes")


def join_members(members: Sequence[Path], output: Path, label: str) -> None:
    """Write the corpus of a group: corpus.tsv, takes.tsv, summary.json, consent.json.

    Args:
        members: ``results/NAME`` of each person, with corpus, takes and consent.
        output: ``results/GROUP``.
        label: head of the progress line.

    Raises:
        DataError: two members have the same recording, one has nothing to train on, or they have agreed to nothing in
            common.
    """
    rights = narrowest({folder.name: load_rights(folder / "consent.json") for folder in members})
    corpora = {folder: read_tsv(folder / "corpus" / "corpus.tsv") for folder in members}
    takes = [
        row | {"file": f"{folder.name}/{row['file']}"} for folder in members for row in read_tsv(folder / "takes.tsv")
    ]
    for column in ("sha256", "take"):
        seen = Counter(row[column] for row in takes)
        if double := sorted(row["file"] for row in takes if seen[row[column]] > 1):
            raise DataError(
                f"{label}: {', '.join(double)}: the same recording of two people", "remove it from one of them"
            )
    rows = [row for folder, corpus in corpora.items() for row in _weighted(corpus, folder, output)]
    counts = {folder.name: len(corpus) for folder, corpus in corpora.items()}
    write_tsv(output / "takes.tsv", TAKES_COLUMNS, takes)
    write_tsv(output / "corpus" / "corpus.tsv", COLUMNS, rows)
    write_json(output / "corpus" / "summary.json", {"members": counts})
    write_json(output / "consent.json", rights.as_notes())
    announce(f"{label}: {', '.join(f'{name} {count}' for name, count in counts.items())} utterances")


def _weighted(corpus: Sequence[Row], folder: Path, output: Path) -> list[dict[str, object]]:
    """Rows of a member, whose weights for training add up to 100; its sounds are put where they say."""
    trained = sum(row["split"] == TRAIN for row in corpus)
    if not trained:
        raise DataError(f"{folder}/corpus/corpus.tsv: no training utterance", "leave this member out, or record more")
    for row in corpus:
        link(contained_path(folder, row["path"]), output / row["path"])
    return [
        {column: row[column] for column in ("utterance", "path", "sha256", "seconds", "language", "text", "split")}
        | {"speaker": folder.name, "source": GROUP, "bandwidth": 0, "weight": round(100 / trained, 4),
           "use": "gpt sovits"}
        for row in corpus
    ]  # fmt: skip
