"""A voice's own reference clip: the utterance that sounds most like the speaker."""

from __future__ import annotations

from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt

from voiceclone.corpus.tiers import CLIP_SECONDS
from voiceclone.errors import DataError
from voiceclone.features.store import open_store
from voiceclone.files import Row, read_tsv
from voiceclone.inference.bundle import Reference


def choose_reference(features_dir: Path) -> Row:
    """Row of ``features/manifest.tsv`` of the training utterance nearest to the speaker's centroid.

    Utterances of 3 to 10 seconds are preferred; where there is none, the one nearest to that range is taken.

    Raises:
        DataError: no training utterance at all.
    """
    rows = [row for row in read_tsv(features_dir / "manifest.tsv") if row["split"] == "train"]
    if not rows:
        raise DataError(f"{features_dir}/manifest.tsv: no training utterance to take as reference")
    speaker = open_store(features_dir / "speaker.safetensors")
    vectors = np.stack([np.asarray(speaker[row["utterance"]]) for row in rows])
    likeness = vectors @ vectors.mean(axis=0)

    def rank(index: int) -> tuple[float, float, str]:
        seconds = float(rows[index]["seconds"])
        outside = max(CLIP_SECONDS[0] - seconds, seconds - CLIP_SECONDS[1], 0.0)
        return outside, -float(likeness[index]), rows[index]["utterance"]

    return rows[min(range(len(rows)), key=rank)]


def has_bert(features_dir: Path) -> bool:
    """Whether a training on these features reads BERT vectors of some utterances."""
    return (features_dir / "bert.safetensors").is_file()


def usual_rates(features_dir: Path) -> dict[str, float]:
    """Median of semantic tokens per phone by language, over the utterances of a training."""
    tokens, phones = (open_store(features_dir / f"{kind}.safetensors") for kind in ("semantic", "phones"))
    found: dict[str, list[float]] = {}
    for row in read_tsv(features_dir / "manifest.tsv", ["utterance", "language"]):
        name = row["utterance"]
        found.setdefault(row["language"], []).append(tokens.shape(name)[0] / phones.shape(name)[0])
    return {language: round(median(values), 4) for language, values in sorted(found.items())}


def make_reference(sovits: Any, features_dir: Path, row: Row, prompt: bool) -> Reference:
    """The chosen utterance as the models see it.

    Args:
        sovits: the trained :class:`voiceclone.models.sovits.SynthesizerTrn`.
        features_dir: folder of the feature stores.
        row: its row of ``features/manifest.tsv``.
        prompt: whether the clip's words come before the text. A model trained from scratch heard one utterance at a
            time and ends after the prompt; it speaks from the text alone, in the clip's style.
    """
    import torch

    bert = open_store(features_dir / "bert.safetensors") if has_bert(features_dir) else {}
    spectrogram, vector = spectrogram_and_vector(sovits, features_dir, row)
    with torch.inference_mode():
        style = sovits.style(
            torch.from_numpy(spectrogram)[None], None if vector is None else torch.from_numpy(vector)[None]
        )
    if not prompt:
        return Reference(np.zeros(0, np.int64), np.zeros(0, np.int64), style.numpy())
    return Reference(
        tokens=_read(features_dir, "semantic", row).astype(np.int64),
        phones=_read(features_dir, "phones", row).astype(np.int64),
        style=style.numpy(),
        bert=np.asarray(bert[row["utterance"]], np.float32) if row["utterance"] in bert else None,
    )


def spectrogram_and_vector(
    sovits: Any, features_dir: Path, row: Row
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32] | None]:
    """What the style of an utterance is made of: float32 (1025, F), and the speaker vector (S,) where there is one."""
    from voiceclone.listeners.eres2netv2 import vector_kind

    vectors = vector_kind(sovits.config.speaker_vector_size)
    spectrogram = _read(features_dir, "spectrogram", row).astype(np.float32)
    return spectrogram, _read(features_dir, vectors, row).astype(np.float32) if vectors else None


def _read(features_dir: Path, kind: str, row: Row) -> npt.NDArray[Any]:
    return np.array(open_store(features_dir / f"{kind}.safetensors")[row["utterance"]])
