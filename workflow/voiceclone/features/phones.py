"""Phones of an utterance, kept per utterance under a key of text, language and the lexicon entries that touch it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from voiceclone.errors import DataError
from voiceclone.files import canonical_json, read_json, write_json
from voiceclone.lineage.items import item_key
from voiceclone.text.frontend import Phones, Segment, to_phones
from voiceclone.text.lexicon import Lexicon
from voiceclone.text.symbols import symbols_to_ids


def phones_key(text: str, language: str, lexicon: Lexicon) -> str:
    """Key of an utterance's phones."""
    return item_key("features", {"kind": "phones"}, text, language, canonical_json(lexicon.used_in(text)))


class PhonesCache:
    """Phones by key, one JSON file each.

    Args:
        folder: where the files lie.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.used: set[str] = set()

    def get(self, key: str, text: str, language: str, lexicon: Lexicon) -> tuple[Phones, bool]:
        """Phones of a text, and whether they had to be made."""
        self.used.add(key)
        path = self.folder / f"{key}.json"
        if path.is_file():
            try:
                return _from_record(read_json(path)), False
            except (DataError, KeyError, TypeError, ValueError):
                pass  # damaged: made again below
        phones = to_phones(text, language, lexicon)
        write_json(path, _to_record(phones))
        return phones, True

    def prune(self) -> None:
        """Remove what no current utterance used."""
        for path in self.folder.glob("*.json"):
            if path.stem not in self.used:
                path.unlink()


def _to_record(phones: Phones) -> dict[str, Any]:
    segments = [
        {
            "language": segment.language,
            "normalised": segment.normalised,
            "symbols": list(segment.symbols),
            "word2ph": None if segment.word2ph is None else list(segment.word2ph),
        }
        for segment in phones.segments
    ]
    return {"normalised": phones.normalised, "segments": segments}


def _from_record(record: dict[str, Any]) -> Phones:
    segments = tuple(
        Segment(
            row["language"],
            row["normalised"],
            tuple(row["symbols"]),
            None if row["word2ph"] is None else tuple(row["word2ph"]),
        )
        for row in record["segments"]
    )
    symbols = tuple(symbol for segment in segments for symbol in segment.symbols)
    counted = [segment.word2ph for segment in segments]
    word2ph = tuple(n for counts in counted for n in counts or ()) if None not in counted else None
    return Phones(symbols, symbols_to_ids(symbols), word2ph, record["normalised"], segments)
