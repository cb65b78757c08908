"""A small corpus with features of real recordings: enough to evaluate the recordings themselves."""

from __future__ import annotations

import csv
import hashlib
from pathlib import Path

import numpy as np

from voiceclone.features.store import Entry, write_store
from voiceclone.files import write_tsv
from voiceclone.sound.io import read_mono, resample

CORPUS = ("utterance", "take", "path", "sha256", "seconds", "language", "text", "split")


def make_voice(root: Path, speaker: Path, train: int = 3, heldout: int = 2) -> tuple[Path, Path]:
    """Write ``corpus.tsv`` and ``features/audio.safetensors`` from the first utterances; returns their paths."""
    with (speaker / "transcripts.csv").open(encoding="utf-8") as handle:
        lines = list(csv.DictReader(handle))[: train + heldout]
    rows, sounds = [], {}
    for number, line in enumerate(lines):
        samples, rate = read_mono(speaker / line["file"])
        start, end = (int(float(line[key]) * rate) for key in ("start_s", "end_s"))
        sound = (resample(samples[start:end], rate, 32_000) * 32767).clip(-32768, 32767).astype(np.int16)
        name = f"take-{number:02d}"
        sounds[name] = sound
        rows.append(
            {
                "utterance": name,
                "take": "take",
                "path": f"slices/{name}.flac",
                "sha256": hashlib.sha256(sound.tobytes()).hexdigest(),
                "seconds": len(sound) / 32_000,
                "language": line["language"],
                "text": line["text_spoken"] or line["text"],
                "split": "train" if number < train else "heldout",
            }
        )
    corpus, features = root / "corpus" / "corpus.tsv", root / "features"
    write_tsv(corpus, CORPUS, rows)
    entries = {name: Entry(sound.shape, lambda sound=sound: sound) for name, sound in sounds.items()}
    write_store(features / "audio.safetensors", "int16", entries, {})
    return corpus, features
