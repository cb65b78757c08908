"""Cut a text into pieces that are spoken one after the other: by our own rule, or as the public program would."""

from __future__ import annotations

import re
from collections.abc import Callable

from voiceclone.errors import ConfigError
from voiceclone.text.inline import protect, restore

_SENTENCE_END = re.compile(r"(?<=[。！？!?；;…])|(?<=\.)(?=\s|$)|\n+")
_CLAUSE_END = re.compile(r"(?<=[,，、:：])(?!\d)")
_SPOKEN = re.compile(r"\w")

AUTO = "auto"
#: Marks at which the public program sees the end of a clause.
CLAUSE_MARKS = frozenset("，。？！,.?!~:：—…")
#: Marks that the public method ``punctuation`` cuts at.
_CUTTING_MARKS = frozenset(",.;?!、，。？！：…")
#: A public piece of nothing but these is dropped.
_EMPTY_MARKS = frozenset("!?…,.- ")
_SHORTEST_START = 4
_SHORTEST_PIECE = 5
_LONGEST_PIECE = 510  # what the public BERT reads at once


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


def pieces_of(text: str, method: str = AUTO, language: str = "auto") -> list[str]:
    """Pieces of a text by a method of splitting; inline pronunciations stay whole.

    Args:
        text: any text.
        method: ``auto`` (:func:`split_text`), or a name or alias of :data:`METHODS`.
        language: of the text; English gets a full stop where others get an ideographic one.

    Raises:
        ConfigError: no such method.
    """
    text, marks = protect(text)
    pieces = split_text(text) if check_method(method) == AUTO else public_pieces(text, method, language)
    return [restore(piece, marks) for piece in pieces if _SPOKEN.search(piece)]


def check_method(method: str) -> str:
    """The name of a method of splitting, where its alias may have been given.

    Raises:
        ConfigError: no such method.
    """
    name = ALIASES.get(method, method)
    if name != AUTO and name not in METHODS:
        raise ConfigError(
            f"split {method!r}: no such method; expected {', '.join([AUTO, *METHODS])} or an alias {', '.join(ALIASES)}"
        )
    return name


def public_pieces(text: str, method: str, language: str) -> list[str]:
    """Pieces as the public inference makes them (``pre_seg_text``): a mark before a short first clause, the method
    itself, pieces of less than five characters joined to others, an end mark, at most 510 characters.

    Args:
        text: any text.
        method: name or alias of :data:`METHODS`.
        language: of the text.
    """
    end = "." if language == "en" else "。"
    text = text.strip("\n")
    if not text:
        return []
    clause = re.split(f"[{_in_class(CLAUSE_MARKS)}]", text)[0]
    if text[0] not in CLAUSE_MARKS and len(clause.strip()) < _SHORTEST_START:
        text = end + text
    lines = [line for piece in METHODS[check_method(method)](text) for line in piece.split("\n")]
    pieces = []
    for piece in _with_short_ones_joined([line for line in lines if line not in ("", " ")]):
        if _SPOKEN.search(piece.replace("_", "")):
            pieces += _of_bounded_length(piece if piece[-1] in CLAUSE_MARKS else piece + end)
    return pieces


def _whole(text: str) -> list[str]:
    return [] if _EMPTY_MARKS.issuperset(text) else [text]


def _four_clauses(text: str) -> list[str]:
    """Groups of four clauses; the last group of all is joined to the one before it, also where it has four."""
    text = text.strip("\n")
    clauses = _clauses(text)
    if len(clauses) <= 4:
        return _whole(text)
    starts = range(0, len(clauses), 4)[:-1]
    groups = ["".join(clauses[start : start + 4]) for start in starts[:-1]] + ["".join(clauses[starts[-1] :])]
    return [group for group in groups if not _EMPTY_MARKS.issuperset(group)]


def _fifty_characters(text: str) -> list[str]:
    """Clauses gathered until there are more than fifty characters; a shorter rest joins the last piece."""
    text = text.strip("\n")
    clauses = _clauses(text)
    if len(clauses) < 2:
        return [text]
    pieces, current = [], ""
    for clause in clauses:
        current += clause
        if len(current) > 50:
            pieces.append(current)
            current = ""
    if current:
        pieces.append(current)
    if len(pieces) > 1 and len(pieces[-1]) < 50:
        pieces[-2:] = [pieces[-2] + pieces[-1]]
    return [piece for piece in pieces if not _EMPTY_MARKS.issuperset(piece)]


def _chinese_period(text: str) -> list[str]:
    pieces = text.strip("\n").strip("。").split("。")
    return [piece for piece in pieces if not _EMPTY_MARKS.issuperset(piece)]


def _english_period(text: str) -> list[str]:
    pieces = re.split(r"(?<!\d)\.(?!\d)", text.strip("\n").strip("."))
    return [piece for piece in pieces if not _EMPTY_MARKS.issuperset(piece)]


def _every_mark(text: str) -> list[str]:
    """Cut after each mark, but not at a point between digits."""
    marks = _in_class(_CUTTING_MARKS - {"."})
    pieces = re.split(rf"(?<=[{marks}])|(?<=\.)(?<!\d\.(?=\d))", text.strip("\n"))
    return [piece for piece in pieces if not _CUTTING_MARKS.issuperset(piece)]


#: Methods of the public program by name, and the names that it has for them.
METHODS: dict[str, Callable[[str], list[str]]] = {
    "none": _whole,
    "four-sentences": _four_clauses,
    "fifty-characters": _fifty_characters,
    "chinese-period": _chinese_period,
    "english-period": _english_period,
    "punctuation": _every_mark,
}
ALIASES = {f"cut{number}": name for number, name in enumerate(METHODS)}


def _in_class(marks: frozenset[str]) -> str:
    return re.escape("".join(sorted(marks)))


def _clauses(text: str) -> list[str]:
    """Clauses with the mark that ends each; a last one without gets an ideographic full stop."""
    text = text.replace("……", "。").replace("——", "，")
    if text and text[-1] not in CLAUSE_MARKS:
        text += "。"
    return [clause for clause in re.split(f"(?<=[{_in_class(CLAUSE_MARKS)}])", text) if clause]


def _with_short_ones_joined(pieces: list[str]) -> list[str]:
    """Pieces of fewer than five characters before the next one; a short last one after the one before."""
    joined, current = [], ""
    for piece in pieces:
        current += piece
        if len(current) >= _SHORTEST_PIECE:
            joined.append(current)
            current = ""
    if current and joined and len(pieces) > 1:
        joined[-1] += current
    elif current:
        joined.append(current)
    return joined


def _of_bounded_length(piece: str) -> list[str]:
    if len(piece) <= _LONGEST_PIECE:
        return [piece]
    parts, current = [], ""
    for clause in re.split(f"(?<=[{_in_class(CLAUSE_MARKS)}])", piece):
        if current and len(current + clause) > _LONGEST_PIECE:
            parts.append(current)
            current = ""
        current += clause
    return [*parts, current]
