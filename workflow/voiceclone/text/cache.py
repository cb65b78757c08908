"""Texts that were read before: phones and BERT features kept in memory by content, for whoever speaks."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

import numpy as np
import numpy.typing as npt

from voiceclone.files import canonical_json
from voiceclone.languages import WITH_BERT
from voiceclone.text.characters import describe
from voiceclone.text.frontend import Phones, to_phones
from voiceclone.text.lexicon import Lexicon
from voiceclone.text.stopwatch import step

log = logging.getLogger(__name__)
Value = TypeVar("Value")
Array = npt.NDArray[Any]


@runtime_checkable
class BatchEncoder(Protocol):
    """Encodes several texts at once, as :class:`voiceclone.listeners.bert.LazyBert` does."""

    def encode_all(self, texts: Sequence[Phones]) -> list[Array]:
        """Vectors (dimension, P) of each text."""
        ...


def hit_rate(found: int, asked: int) -> str:
    """Cache hits, in words: ``37 of 40 sentences from the cache (92.5 %)``."""
    return f"{found} of {asked} sentences from the cache ({100 * found / max(asked, 1):.1f} %)"


class _Recent(Generic[Value]):
    """The values that were asked for last."""

    def __init__(self, size: int) -> None:
        self._values: OrderedDict[Hashable, Value] = OrderedDict()
        self._size = size

    def get(self, key: Hashable) -> Value | None:
        if key in self._values:
            self._values.move_to_end(key)
        return self._values.get(key)

    def clear(self) -> None:
        self._values.clear()

    def put(self, key: Hashable, value: Value) -> Value:
        self._values[key] = value
        self._values.move_to_end(key)
        if len(self._values) > self._size:
            self._values.popitem(last=False)
        return value


class CachedFrontend:
    """The front end of one speaker, with a memory.

    Args:
        lexicon: the user's pronunciations; part of the key as far as a text touches them.
        encode: gives the BERT features (1024, P) of phones; None: there are none. One that is a :class:`BatchEncoder`
            too encodes the texts of :meth:`prepare` in batches.
        size: texts that are kept.

    Attributes:
        asked: sentences that were asked for.
        found: of those, the ones that were there.
    """

    def __init__(
        self, lexicon: Lexicon | None = None, encode: Callable[[Phones], Array] | None = None, size: int = 512
    ) -> None:
        self._lexicon, self._encode = lexicon or Lexicon(), encode
        self._phones: _Recent[Phones] = _Recent(size)
        self._features: _Recent[Array] = _Recent(max(1, size // 4))  # 2 kB per phone
        self._prepared: set[Hashable] = set()
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
        phones = self._phones.get(key)
        if key in self._prepared:
            self._prepared.discard(key)  # counted there
        else:
            self.asked += 1
            self.found += phones is not None
        return phones or self._phones.put(key, self._read(text, language))

    def _read(self, text: str, language: str) -> Phones:
        phones = to_phones(text, language, self._lexicon)
        if phones.unread:
            log.warning("%r: left out, as nobody can read it: %s", text[:60], describe(phones.unread))
        return phones

    def forget(self) -> None:
        """Empty the cache, so that timings include text processing."""
        self._phones.clear()
        self._features.clear()
        self._prepared.clear()

    def _key(self, text: str, language: str) -> Hashable:
        return text, language, canonical_json(self._lexicon.used_in(text))

    def features(self, phones: Phones) -> Array | None:
        """BERT features (1024, P) of a text, in the encoder's type; None: zeros, as all text but Chinese has."""
        if self._encode is None or not any(segment.language in WITH_BERT for segment in phones.segments):
            return None
        key = phones.segments
        if (features := self._features.get(key)) is not None:
            return features
        with step("bert_ms"):
            return self._features.put(key, np.asarray(self._encode(phones)))

    def prepare(self, texts: Sequence[str], language: str) -> list[Phones]:
        """Read all sentences of a text ahead of :meth:`read`, Chinese ones through BERT together.

        Raises:
            DataError: as :func:`voiceclone.text.frontend.to_phones`.
        """
        self._prepared.clear()
        read = [self.read(text, language) for text in texts]
        self._prepared = {self._key(text, language) for text in texts}
        if isinstance(self._encode, BatchEncoder):
            lacking = {
                phones.segments: phones
                for phones in read
                if any(segment.language in WITH_BERT for segment in phones.segments)
                and self._features.get(phones.segments) is None
            }
            with step("bert_ms"):
                encoded = self._encode.encode_all(list(lacking.values()))
            for key, features in zip(lacking, encoded, strict=True):
                self._features.put(key, features)
        return read

    def summary(self) -> str:
        """The hit rate, for the log."""
        return f"text: {hit_rate(self.found, self.asked)}"
