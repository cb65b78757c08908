"""Pronunciations that the user fixes: config/lexicon/<language>.tsv with the columns word and phones."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from voiceclone.errors import ConfigError
from voiceclone.languages import HAN, LANGUAGES
from voiceclone.text.symbols import SYMBOL_IDS
from voiceclone.usertext import read_user_tsv

if TYPE_CHECKING:
    from voiceclone.text.mandarin import PolyphoneReader

Entries = Mapping[str, tuple[str, ...]]


class Lexicon:
    """User pronunciations per language.

    English entries are words with ARPAbet phones (``GIF`` → ``JH IH1 F``). Mandarin and Cantonese entries are words of
    characters with one syllable per character, in pinyin (``重庆`` → ``chong2 qing4``; taken before tone sandhi) or
    Jyutping. Japanese entries are words with their kana (``今日`` → ``きょう``), Korean ones with the Hangul in which
    they sound.

    Args:
        entries: language to word to phones or syllables.
        polyphones: the model that reads Chinese characters in their sentence; None: a dictionary of phrases does.
    """

    def __init__(self, entries: Mapping[str, Entries] | None = None, polyphones: PolyphoneReader | None = None) -> None:
        self._entries = {language: dict(words) for language, words in (entries or {}).items()}
        self.polyphones = polyphones

    def with_polyphones(self, polyphones: PolyphoneReader) -> Lexicon:
        """The same entries with a model that reads Chinese characters in their sentence."""
        return Lexicon(self._entries, polyphones)

    def words(self, language: str) -> Entries:
        """Entries of one language."""
        return self._entries.get(language, {})

    def used_in(self, text: str) -> dict[str, Any]:
        """The entries whose word occurs in ``text``, and the model that reads it: what a cache key must know."""
        lower = text.lower()
        used: dict[str, Any] = {
            language: {word: list(phones) for word, phones in words.items() if word in lower}
            for language, words in self._entries.items()
        }
        if self.polyphones is not None and re.search(f"[{HAN}]", text):
            used["polyphones"] = f"{self.polyphones.name} {self.polyphones.digest}"
        return {language: words for language, words in used.items() if words}


def read_lexicon(tables: Iterable[Path]) -> Lexicon:
    """Read the tables; the file's name is the language.

    Raises:
        ConfigError: unknown language, or phones that the model does not have.
    """
    entries: dict[str, dict[str, tuple[str, ...]]] = {}
    for table in tables:
        language = table.stem
        if language not in LANGUAGES:
            raise ConfigError(
                f"{table}: {language!r} is not a language of the text front end ({', '.join(sorted(LANGUAGES))})",
                "name the file after the language, for example en.tsv",
            )
        words = entries.setdefault(language, {})
        for number, row in read_user_tsv(table, ["word", "phones"], [language]):
            where = f"{table}: line {number}"
            words[row["word"].strip().lower()] = _checked(where, language, row["word"], tuple(row["phones"].split()))
    return Lexicon(entries)


def is_reading(language: str, word: str, phones: tuple[str, ...]) -> bool:
    """True if a pronunciation is written as the language's entries are."""
    row = LANGUAGES.get(language)
    if not phones or not word:
        return False
    row = LANGUAGES[language]
    if row.by_syllable:
        known = import_module(row.reader).check_syllable
        return len(phones) == len(word) and bool(re.fullmatch(f"[{HAN}]+", word)) and all(map(known, phones))
    if row.respelling:
        return re.fullmatch(f"[{row.respelling}]+", "".join(phones)) is not None
    return SYMBOL_IDS.keys() >= set(phones)


def _checked(where: str, language: str, word: str, phones: tuple[str, ...]) -> tuple[str, ...]:
    if is_reading(language, word.strip(), phones):
        return phones
    row = LANGUAGES[language]
    whole = row.by_syllable or row.respelling
    wrong = [" ".join(phones)] if whole else [phone for phone in phones if phone not in SYMBOL_IDS]
    raise ConfigError(
        f"{where}: {word}: {wrong if phones else 'no phones'}: not a pronunciation; expected "
        f"{row.notation.partition(',')[0]}",
        f"write {row.notation}",
    )
