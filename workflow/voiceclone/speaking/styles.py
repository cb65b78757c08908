"""The utterances that a voice speaks like: its own reference, and one for each style.

A style is the first folder of a recording below its speaker's; recordings beside the folders are of none. The reference
is the training utterance that ranks best among those of its style by MOS, SNR, agreement with its text and likeness to
their mean speaker vector; the setting ``reference`` names others. The voice's own is that of the recordings
without a style, or of all where each has one.
"""

from __future__ import annotations

import logging
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import numpy.typing as npt

from voiceclone.corpus.tiers import CLIP_SECONDS
from voiceclone.errors import ConfigError, DataError
from voiceclone.features.store import open_store
from voiceclone.files import Row, read_tsv, table_columns, unescape, write_tsv
from voiceclone.speaking.reference import choose_reference
from voiceclone.stages.distill import SPOKEN

log = logging.getLogger(__name__)
TABLE = "references.tsv"
COLUMNS = table_columns("references")
#: Measures that count as much as each other; those of one group are averaged.
MEASURES = (("dnsmos", "distillmos"), ("snr_db",), ("agreement",), ("likeness",))
#: Robust standard deviations up to which a measure counts, so that none outweighs all others.
MAX_DEVIATIONS = 3.0
#: Utterances that the log shows of each style.
SHOWN = 3


def style_of(file: str) -> str:
    """Style of a recording, by its path below the speaker's folder; empty: none."""
    first, *below = unescape(file).split("/")
    return unicodedata.normalize("NFC", first) if below else ""


def choose_references(
    features_dir: Path, corpus: Path, takes: Path | None, output: Path, names: Sequence[str] = ()
) -> None:
    """Write the table of references: a row for the voice's own, and one for each style where there are several.

    Args:
        features_dir: features of the training.
        corpus: corpus.tsv of the recordings; judgements.tsv beside it counts where it is there.
        takes: takes.tsv, which says where each recording lies; None: there are no recordings.
        output: table to write.
        names: utterances, takes or recordings to take in place of those that rank best: the first is the voice's own,
            each is that of its style.

    Raises:
        DataError: no training utterance.
        ConfigError: a name of none of the utterances.
    """
    rows = [row for row in read_tsv(features_dir / "manifest.tsv") if row.get("source") != SPOKEN]
    known = _Known(corpus, takes)
    candidates = [known.candidate(row) for row in rows]
    trained = [item for item in candidates if item["split"] == "train"]
    if not trained:
        raise DataError(f"{features_dir}/manifest.tsv: no training utterance to take as reference")
    styles = sorted({item["style"] for item in candidates})
    groups = {"": [item for item in trained if not item["style"]] or trained}
    for style in filter(None, styles if len(styles) > 1 else []):
        own = [item for item in candidates if item["style"] == style]
        groups[style] = [item for item in own if item["split"] == "train"] or own
    vectors = open_store(features_dir / "speaker.safetensors")
    chosen = {style: _best(group, vectors, style) for style, group in groups.items()}
    for name in reversed(names):  # the first is the voice's own
        named = _named(candidates, name)
        found = _best(named, vectors, name) | {"chosen": "setting"}
        if found["split"] != "train":
            log.warning("reference %s: held out for the evaluation, which then speaks like what it measures", name)
        chosen |= {style: found for style in ("", found["style"]) if style in chosen}
    table = [{column: item[column] for column in COLUMNS} | {"style": style} for style, item in chosen.items()]
    write_tsv(output, COLUMNS, table)


def own_clip(features_dir: Path, references: Path | None) -> Row:
    """Row of ``features/manifest.tsv`` of a voice's own reference; without a table of references that nearest to the
    speaker's mean."""
    return clips_of(features_dir, references)[""]


def clips_of(features_dir: Path, references: Path | None) -> dict[str, Row]:
    """Rows of ``features/manifest.tsv`` of a voice's references, by style; an empty name: its own, which is the only
    one without a table of references, see :func:`own_clip`.

    Raises:
        DataError: the table is of other features.
    """
    if references is None:
        return {"": choose_reference(features_dir)}
    rows = {row["utterance"]: row for row in read_tsv(features_dir / "manifest.tsv")}
    found = {row["style"]: rows.get(row["utterance"]) for row in read_tsv(references, ("style", "utterance"))}
    if "" not in found or None in found.values():
        raise DataError(f"{references}: not of these features", "delete it and run the workflow again")
    return {style: row for style, row in found.items() if row is not None}


def check_style(name: str, styles: Iterable[str]) -> str:
    """The name as voices have it.

    Raises:
        ConfigError: there is no such style; lists those that are there.
    """
    name, known = unicodedata.normalize("NFC", name), sorted(styles)
    if name not in known:
        has = f"this voice has {', '.join(known)}" if known else "this voice has none"
        raise ConfigError(f"style {name[:80]!r}: not there; {has}", "leave it out to speak like the voice's own clip")
    return name


class _Known:
    """What is known of utterances: where they lie, and how they were judged."""

    def __init__(self, corpus: Path, takes: Path | None) -> None:
        judgements = corpus.with_name("judgements.tsv")
        self._files = {row["take"]: row["file"] for row in read_tsv(takes, ("take",)) if "file" in row} if takes else {}
        self._corpus = {row["utterance"]: row for row in read_tsv(corpus, ("utterance",))}
        self._judged = {row["utterance"]: row for row in read_tsv(judgements)} if judgements.is_file() else {}

    def candidate(self, row: Row) -> dict[str, Any]:
        """An utterance with all that its rank depends on."""
        name = row["utterance"]
        corpus, judged = self._corpus.get(name, {}), self._judged.get(name, {})
        take = corpus.get("take") or name.rsplit("-", 2)[0]
        file = self._files.get(take, "")
        measures = {key: _number(judged.get(key)) for key in ("dnsmos", "distillmos", "snr_db")}
        agreement = _number(judged.get("agreement") or corpus.get("confidence"))
        return {
            "utterance": name, "take": take, "file": file, "style": style_of(file),
            "split": row["split"], "seconds": float(row["seconds"]), "language": row["language"],
            "text": row.get("text", ""), **measures,
            "agreement": 1.0 if corpus.get("corrected") == "true" else agreement,
            "suspicious": "suspicious" in corpus.get("flags", "").split(","),
        }  # fmt: skip


def _number(text: str | None) -> float | None:
    return float(text) if text else None


def _named(candidates: Sequence[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    """The utterances of a name: of one, of a take, or of a recording by its path or its file name."""
    for key in ("utterance", "take", "file"):
        if found := [item for item in candidates if item[key] == name]:
            return found
    if found := [item for item in candidates if Path(unescape(item["file"])).name == name]:
        return found
    raise ConfigError(
        f"reference {name[:200]!r}: no utterance of the corpus and no recording with one is called so",
        "corpus/corpus.tsv lists the utterances, takes.tsv the recordings",
    )


def _best(group: Sequence[dict[str, Any]], vectors: Mapping[str, npt.NDArray[Any]], what: str) -> dict[str, Any]:
    """The utterance that ranks best, with its score; the log says why.

    Utterances of 3 to 10 s come first, then those nearest to that range; among them what nothing is suspicious about.
    """
    stacked = np.stack([np.asarray(vectors[item["utterance"]], np.float64) for item in group])
    likeness = stacked @ stacked.mean(axis=0)
    scored = [item | {"likeness": float(value)} for item, value in zip(group, likeness, strict=True)]
    groups = [[_deviations([item[key] for item in scored]) for key in keys] for keys in MEASURES]
    for place, item in enumerate(scored):
        parts = [fmean(known) for columns in groups if (known := [column[place] for column in columns if column])]
        item |= {"score": round(fmean(parts), 4), "among": len(group), "chosen": "best"}

    def rank(item: dict[str, Any]) -> tuple[float, bool, float, float, str]:
        outside = max(CLIP_SECONDS[0] - item["seconds"], item["seconds"] - CLIP_SECONDS[1], 0.0)
        return outside, item["suspicious"], -item["score"], -item["likeness"], item["utterance"]

    ranked = sorted(scored, key=rank)
    label = f"reference of {what}" if what else "reference"
    for place, item in enumerate(ranked[:SHOWN], start=1):
        told = [f"{key} {item[key]:.2f}" for keys in MEASURES for key in keys if item[key] is not None]
        told += ["suspicious"] * item["suspicious"]
        log.info("%s, rank %d of %d: %s, %.1f s, score %.2f (%s)", label, place, len(group), item["utterance"],
                 item["seconds"], item["score"], ", ".join(told))  # fmt: skip
    return ranked[0]


def _deviations(values: Sequence[float | None]) -> list[float]:
    """Distances from the median in robust standard deviations, 0 where a value is missing; empty where all are."""
    known = np.array([value for value in values if value is not None])
    if not len(known):
        return []
    middle = float(np.median(known))
    spread = 1.4826 * float(np.median(np.abs(known - middle))) or float(known.std()) or 1.0
    return [
        0.0 if value is None else float(np.clip((value - middle) / spread, -MAX_DEVIATIONS, MAX_DEVIATIONS))
        for value in values
    ]
