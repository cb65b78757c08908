"""A small results folder as the stages before the corpus leave it (the corpus stage reads no audio)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from voiceclone.corpus.build import build_corpus
from voiceclone.files import sha256_file, write_jsonl, write_tsv

TAKE = "take-a-0123abcd"
SENTENCES = (
    "The harbour was quiet before the first boats came in.",
    "She counted the lanterns along the wall, one by one.",
    "Nobody had told the baker that the bridge was closed.",
    "A narrow path led up through the orchard to the mill.",
    "In the evening they played cards and drank cold tea.",
    "His letter arrived on the last day of September.",
    "We should have taken the other road, he said again.",
    "The clock in the hall had stopped at twenty past four.",
    "Rain fell for three days and the river rose slowly.",
    "Every window of the old house looked towards the sea.",
    "You can hear the trains from here when the wind turns.",
    "They found the key under a stone beside the well.",
)


def utterance_id(index: int, take: str = TAKE) -> str:
    return f"{take}-{index * 5000:07d}-{index * 5000 + 4000:07d}"


def record(index: int, text: str, take: str = TAKE, probability: float = 0.9, **changes: Any) -> dict[str, Any]:
    words = [
        {"word": f" {word}", "start": float(number), "end": number + 0.5, "probability": probability}
        for number, word in enumerate(text.split())
    ]
    return {
        "utterance": utterance_id(index, take), "language": "en", "language_probability": 0.98, "heard": "en",
        "heard_probability": 0.98, "text": text, "words": words, "avg_logprob": -0.2, "no_speech_prob": 0.02,
        "compression_ratio": 1.1, **changes,
    }  # fmt: skip


class Results:
    """results/anna with one take of twelve good utterances of four seconds; records can be changed before building."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "results" / "anna"
        self.records = {index: record(index, text) for index, text in enumerate(SENTENCES)}
        self.flags = ""
        self.corrections = folder / "corrections.tsv"

    def correct(self, *lines: str) -> None:
        self.corrections.write_text("\n".join(["utterance\taction\tvalue\tnote", *lines]) + "\n", encoding="utf-8")

    def write(self) -> None:
        transcript = self.folder / "transcripts" / f"{TAKE}.jsonl"
        write_jsonl(transcript, self.records.values())
        write_tsv(
            transcript.parent / "manifest.tsv",
            ["take", "path", "sha256"],
            [{"take": TAKE, "path": transcript.name, "sha256": sha256_file(transcript)}],
        )
        write_tsv(self.folder / "takes.tsv", ["take", "flags"], [{"take": TAKE, "flags": self.flags}])
        write_tsv(
            self.folder / "slices" / "manifest.tsv",
            ["utterance", "take", "path", "sha256", "start_ms", "end_ms", "seconds"],
            [_slice(item["utterance"]) for item in self.records.values()],
        )

    def build(self, settings: Any) -> Path:
        self.write()
        build_corpus(
            self.folder / "takes.tsv",
            self.folder / "slices" / "manifest.tsv",
            self.folder / "transcripts" / "manifest.tsv",
            self.folder / "corpus",
            settings,
            speaker="anna",
            corrections=self.corrections if self.corrections.is_file() else None,
        )
        return self.folder / "corpus"


def _slice(utterance: str) -> Mapping[str, object]:
    start, end = (int(part) for part in utterance.split("-")[-2:])
    return {
        "utterance": utterance, "take": TAKE, "path": f"{TAKE}/{utterance}.flac",
        "sha256": hashlib.sha256(utterance.encode()).hexdigest(), "start_ms": start, "end_ms": end,
        "seconds": (end - start) / 1000,
    }  # fmt: skip


def summary(corpus: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((corpus / "summary.json").read_text(encoding="utf-8"))
    return value
