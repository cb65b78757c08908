"""Cut a text into pieces that are spoken one after the other."""

from __future__ import annotations

import re

_SENTENCE_END = re.compile(r"(?<=[。！？!?；;…])|(?<=\.)(?=\s|$)|\n+")
_CLAUSE_END = re.compile(r"(?<=[,，、:：])(?!\d)")
_SPOKEN = re.compile(r"\w")


def split_text(text: str, max_characters: int = 160) -> list[str]:
    """Sentences of ``text``; longer ones are cut at clause marks, then at blanks, then anywhere.

    Args:
        text: any text; pieces without a letter or digit are dropped.
        max_characters: most characters of a piece.
    """
    pieces: list[str] = []
    for sentence in _SENTENCE_END.split(text):
        pieces += _fit(sentence.strip(), max_characters)
    return [piece for piece in pieces if _SPOKEN.search(piece)]


def _fit(sentence: str, limit: int) -> list[str]:
    """Join clauses greedily up to ``limit`` characters."""
    if len(sentence) <= limit:
        return [sentence] if sentence else []
    pieces, current = [], ""
    for clause in _CLAUSE_END.split(sentence):
        for part in _hard_cut(clause, limit):
            if len(current) + len(part) > limit and current:
                pieces.append(current.strip())
                current = ""
            current += part
    return [*pieces, current.strip()] if current.strip() else pieces


def _hard_cut(clause: str, limit: int) -> list[str]:
    parts = []
    while len(clause) > limit:
        cut = clause.rfind(" ", 1, limit) + 1 or limit
        parts.append(clause[:cut])
        clause = clause[cut:]
    return [*parts, clause]
