"""Texts that were read before: phones and BERT features by content, kept in memory and, for whoever speaks, on disk."""

from __future__ import annotations

import hashlib
import json
import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load, save

from voiceclone.files import canonical_json, digest
from voiceclone.languages import WITH_BERT
from voiceclone.lineage.revisions import revisions
from voiceclone.lineage.user_cache import UserCache
from voiceclone.text.characters import describe
from voiceclone.text.frontend import Phones, Segment, to_phones
from voiceclone.text.lexicon import Lexicon
from voiceclone.text.packages import versions
from voiceclone.text.stopwatch import step
from voiceclone.text.symbols import symbols_to_ids

log = logging.getLogger(__name__)
Array = npt.NDArray[Any]
#: Sentences whose phones, and whose BERT features, are kept on disk: some 20 and 50 MB.
ON_DISK, FEATURES_ON_DISK = 5000, 500


@runtime_checkable
class BatchEncoder(Protocol):
    """Encodes several texts at once, as :class:`voiceclone.listeners.bert.LazyBert` does."""

    def encode_all(self, texts: Sequence[Phones]) -> list[Array]:
        """Vectors (dimension, P) of each text."""
        ...


def hit_rate(found: int, asked: int) -> str:
    """Cache hits, in words: ``37 of 40 sentences from the cache (92.5 %)``."""
    return f"{found} of {asked} sentences from the cache ({100 * found / max(asked, 1):.1f} %)"


class CachedFrontend:
    """The front end of one speaker, with a memory. Threads may share it: one text is read at a time.

    Args:
        lexicon: the user's pronunciations; part of the key as far as a text touches them.
        encode: gives the BERT features (1024, P) of phones; None: there are none. One that is a :class:`BatchEncoder`
            too encodes the texts of :meth:`prepare` in batches. The ``digest`` of one that has it is part of their key.
        size: texts that are kept in memory.
        folder: of texts that processes share; None: memory alone.

    Attributes:
        asked: sentences that were asked for.
        found: of those, the ones that were there.
    """

    def __init__(
        self,
        lexicon: Lexicon | None = None,
        encode: Callable[[Phones], Array] | None = None,
        size: int = 512,
        folder: Path | None = None,
    ) -> None:
        self._lexicon, self._encode, self._size, self._shared = lexicon or Lexicon(), encode, size, folder is not None
        self._encoder = str(getattr(encode, "digest", ""))
        self._phones = UserCache(folder and folder / "phones", _phones_content, _phones_of, size, ON_DISK)
        self._features = UserCache(  # 2 kB per phone
            folder and folder / "features" if self._encoder else None,
            _features_content, _features_of, max(1, size // 4), FEATURES_ON_DISK,
        )  # fmt: skip
        self._prepared: set[str] = set()
        self._lock = threading.RLock()
        self.asked = self.found = 0

    @property
    def encodes(self) -> bool:
        """True if there are BERT features."""
        return self._encode is not None

    def read(self, text: str, language: str) -> Phones:
        """Phones of a sentence.

        Raises:
            DataError: as :func:`voiceclone.text.frontend.to_phones`.
        """
        key = self._key(text, language)
        with self._lock:
            new = key not in self._phones
            phones = self._phones.find(key)
            if key in self._prepared:
                self._prepared.discard(key)  # counted there
            else:
                self.asked += 1
                self.found += phones is not None
            phones = phones or self._phones.put(key, to_phones(text, language, self._lexicon))
        if new and phones.unread:
            log.warning("%r: left out, as nobody can read it: %s", text[:60], describe(phones.unread))
        return phones

    def forget(self) -> None:
        """Empty the memory, so that timings include text processing."""
        self._phones.forget()
        self._features.forget()
        self._prepared.clear()

    @cached_property
    def _revisions(self) -> list[Any]:
        """Of what reads a text and what encodes it: those of other code are not found on disk."""
        return [revisions()["text"], revisions()["text_features"], versions()] if self._shared else []

    def _key(self, text: str, language: str) -> str:
        written = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
        return digest([*self._revisions, written, language, self._lexicon.used_in(text)], length=32)

    def _features_key(self, phones: Phones) -> str:
        return digest([*self._revisions, self._encoder, [asdict(run) for run in phones.segments]], length=32)

    def features(self, phones: Phones) -> Array | None:
        """BERT features (1024, P) of a text, in the encoder's type; None: zeros, as all text but Chinese has."""
        if self._encode is None or not _has_features(phones):
            return None
        key = self._features_key(phones)
        with self._lock:
            if (features := self._features.find(key)) is not None:
                return features
            with step("bert_ms"):
                return self._features.put(key, np.asarray(self._encode(phones)))

    def prepare(self, texts: Sequence[str], language: str) -> list[Phones]:
        """Read all sentences of a text ahead of :meth:`read`, Chinese ones through BERT together.

        Raises:
            DataError: as :func:`voiceclone.text.frontend.to_phones`.
        """
        with self._lock:
            read = [self.read(text, language) for text in texts]
            if len(self._prepared) > self._size:
                self._prepared.clear()  # of speeches that were not ended
            self._prepared |= {self._key(text, language) for text in texts}
            chinese = {self._features_key(phones): phones for phones in read if _has_features(phones)}
            if isinstance(self._encode, BatchEncoder):
                lacking = {key: phones for key, phones in chinese.items() if self._features.find(key) is None}
                with step("bert_ms"):
                    encoded = self._encode.encode_all(list(lacking.values()))
                for key, features in zip(lacking, encoded, strict=True):
                    self._features.put(key, features)
        return read

    def summary(self) -> str:
        """The hit rate, for the log."""
        from_disk = f", {self._phones.on_disk} of them from disk" if self._shared else ""
        return f"text: {hit_rate(self.found, self.asked)}{from_disk}"


def _has_features(phones: Phones) -> bool:
    return any(segment.language in WITH_BERT for segment in phones.segments)


def _phones_content(phones: Phones) -> bytes:
    told = {"normalised": phones.normalised, "unread": phones.unread, "word2ph": phones.word2ph}
    return canonical_json(told | {"segments": [asdict(segment) for segment in phones.segments]}).encode()


def _phones_of(content: bytes) -> Phones:
    told = _with_tuples(json.loads(content))
    segments = tuple(Segment(**segment) for segment in told.pop("segments"))
    symbols = tuple(symbol for segment in segments for symbol in segment.symbols)
    return Phones(symbols, symbols_to_ids(symbols), segments=segments, **told)


def _with_tuples(value: Any) -> Any:
    """Plain values with tuples in place of lists."""
    if isinstance(value, list):
        return tuple(map(_with_tuples, value))
    return {key: _with_tuples(item) for key, item in value.items()} if isinstance(value, dict) else value


def _features_content(features: Array) -> bytes:
    return bytes(save({"features": np.ascontiguousarray(features)}))


def _features_of(content: bytes) -> Array:
    return load(content)["features"]
