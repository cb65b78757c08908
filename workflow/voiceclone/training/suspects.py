"""Which transcripts are probably wrong: utterances that the trained model finds much harder than the others.

A model that has learnt a voice predicts most of its utterances equally well. One whose text is not what was said, or
whose sound is damaged, stands out. The score is the robust z-score of Iglewicz and Hoaglin (1993): the distance from
the median in units of the median absolute deviation, scaled to agree with standard deviations.
"""

from __future__ import annotations

import hashlib
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from voiceclone.files import write_tsv
from voiceclone.training.data import Utterance

COLUMNS = ("rank", "utterance", "suspect", "loss", "score", "seconds", "language", "text")
LIMIT = 3.5  # score above which an utterance is named, as the source advises
FEWEST = 8  # utterances that are needed to tell what is usual
LEAST_SPREAD = 0.05  # of the median: where all are alike, small differences mean nothing
NAMED = 20  # in the report


def judged(utterances: Sequence[Utterance], most: int) -> list[Utterance]:
    """The utterances whose loss is measured, in their order: all, or ``most`` whose names have the smallest hashes."""
    hashes = {row.name: hashlib.sha256(row.name.encode()).digest() for row in utterances}
    kept = set(sorted(hashes, key=lambda name: hashes[name])[:most])
    return [row for row in utterances if row.name in kept]


def rank(losses: Mapping[str, float], utterances: Iterable[Utterance]) -> list[dict[str, Any]]:
    """Rows of the table, highest loss first.

    Args:
        losses: utterance -> loss under the model that is judged.
        utterances: with their texts; those without a loss are left out.
    """
    judged = [row for row in utterances if row.name in losses]
    if not judged:
        return []
    middle = statistics.median(losses.values())
    deviation = statistics.median(abs(loss - middle) for loss in losses.values())
    spread = max(1.4826 * deviation, LEAST_SPREAD * middle, 1e-12)
    judged.sort(key=lambda row: (-losses[row.name], row.name))
    digits = len(str(len(judged)))
    rows = []
    for number, row in enumerate(judged, start=1):
        score = (losses[row.name] - middle) / spread
        rows.append(
            {
                "rank": f"{number:0{digits}d}",
                "utterance": row.name,
                "suspect": len(judged) >= FEWEST and score > LIMIT,
                "loss": losses[row.name],
                "score": round(score, 2),
                "seconds": row.seconds,
                "language": row.language,
                "text": row.text,
            }
        )
    return rows


def write_ranking(target: Path, rows: Iterable[Mapping[str, object]]) -> None:
    """Write the table of :func:`rank`."""
    write_tsv(target, COLUMNS, rows)


def named(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The suspects that a report names, worst first."""
    kept = ("utterance", "loss", "score", "language", "text")
    return [{key: row[key] for key in kept} for row in rows if row["suspect"]][:NAMED]
