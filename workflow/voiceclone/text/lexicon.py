"""Pronunciations that the user fixes: config/lexicon/<language>.tsv with the columns word and phones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from voiceclone.errors import ConfigError
from voiceclone.files import read_tsv
from voiceclone.text.languages import SUPPORTED
from voiceclone.text.symbols import SYMBOL_IDS

Entries = Mapping[str, tuple[str, ...]]


class Lexicon:
    """User pronunciations per language.

    English entries are words with ARPAbet phones (``GIF`` → ``JH IH1 F``). Chinese entries are words of characters
    with one pinyin syllable per character (``重庆`` → ``chong2 qing4``); they are taken before tone sandhi.

    Args:
        entries: language to word to phones or syllables.
    """

    def __init__(self, entries: Mapping[str, Entries] | None = None) -> None:
        self._entries = {language: dict(words) for language, words in (entries or {}).items()}

    def words(self, language: str) -> Entries:
        """Entries of one language."""
        return self._entries.get(language, {})

    def used_in(self, text: str) -> dict[str, dict[str, list[str]]]:
        """The entries whose word occurs in ``text``, plain-typed: what a cache key must know."""
        lower = text.lower()
        used = {
            language: {word: list(phones) for word, phones in words.items() if word in lower}
            for language, words in self._entries.items()
        }
        return {language: words for language, words in used.items() if words}


def read_lexicon(tables: Iterable[Path]) -> Lexicon:
    """Read the tables; the file's name tells the language.

    Raises:
        ConfigError: unknown language, or phones that the model does not have.
    """
    entries: dict[str, dict[str, tuple[str, ...]]] = {}
    for table in tables:
        language = table.stem
        if language not in SUPPORTED:
            raise ConfigError(
                f"{table}: {language!r} is not a language of the text front end ({', '.join(sorted(SUPPORTED))})",
                "name the file after the language, for example en.tsv",
            )
        words = entries.setdefault(language, {})
        for row in read_tsv(table, ["word", "phones"]):
            words[row["word"].strip().lower()] = _checked(table, language, row["word"], tuple(row["phones"].split()))
    return Lexicon(entries)


def _checked(table: Path, language: str, word: str, phones: tuple[str, ...]) -> tuple[str, ...]:
    if language == "zh":
        from voiceclone.text.pinyin import SYLLABLES

        wrong = [syllable for syllable in phones if syllable[:-1] not in SYLLABLES or syllable[-1:] not in set("12345")]
        if wrong or len(phones) != len(word.strip()):
            raise ConfigError(
                f"{table}: {word}: {' '.join(phones)!r} is not one pinyin syllable with tone 1-5 per character",
                "write it like: 重庆<TAB>chong2 qing4",
            )
        return phones
    wrong = [phone for phone in phones if phone not in SYMBOL_IDS]
    if wrong or not phones:
        raise ConfigError(
            f"{table}: {word}: {wrong or 'no phones'}: not phones of the model",
            "write ARPAbet phones with stress, for example: nasa<TAB>N AE1 S AH0",
        )
    return phones
