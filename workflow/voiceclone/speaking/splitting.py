"""Splits a text into sentences that are spoken one after the other: by our own rule, or as GPT-SoVITS does."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise
from textwrap import dedent

from voiceclone.errors import AssetError, ConfigError, DataError
from voiceclone.languages import HAN, IN_LATIN
from voiceclone.text.english_abbreviations import ends_sentence
from voiceclone.text.english_g2p import dictionary
from voiceclone.text.inline import protect, restore

_CLOSERS = "\"'”’»)\\]」』）】》〉"
_SENTENCE_END = re.compile(
    rf"(?P<mark>[。！？!?；;…]+)[{_CLOSERS}]*(?=(?P<next>\s*\S)?)|(?P<stop>\.)[{_CLOSERS}]*(?=\s|$)|\n+"
)
_ADDRESS = re.compile(r"(?:https?://|www\.)\S+|\S+@\S+\.\w+")
_CLAUSE_END = re.compile(r"(?<=[,，、:：])(?!\d)")
_SPOKEN = re.compile(r"\w")

_SPEAKER = re.compile(rf"\s?[a-z]|[ぁ-ヿ가-힣]|[{HAN}]{{0,8}}?[说說问問道喊叫答嚷骂罵吼叹嘆][道着著了]?[，。,.！：]")
"""What follows a quotation that it belongs to: a small letter, a particle, or who said it."""

AUTO = "auto"
#: Marks at which GPT-SoVITS ends a clause.
CLAUSE_MARKS = frozenset("，。？！,.?!~:：—…")
#: Marks at which its method ``punctuation`` cuts.
_CUTTING_MARKS = frozenset(",.;?!、，。？！：…")
#: It drops a piece of nothing but these.
_EMPTY_MARKS = frozenset("!?…,.- ")
_NARROWEST = 30
"""Columns of the narrowest page."""
_FULL, _RAGGED = 0.75, 0.4
"""Minimum share of the longest line that a line broken to fit has: any, and one amid a sentence."""
_SIGHT = 200
"""Characters before and after a full stop that decide whether it ends a sentence."""
_SHORTEST_START = 4
_SHORTEST_PIECE = 5
_LONGEST_PIECE = 510  # the input limit of its BERT


def split_text(text: str, max_characters: int = 160) -> list[str]:
    """Sentences of ``text``, lines of a page joined; longer ones are cut at clause marks, at blanks, or anywhere.

    Args:
        text: any text; pieces without a letter or digit are dropped.
        max_characters: maximum length of a piece.
    """
    pieces: list[str] = []
    for sentence in _sentences(joined_lines(text)):
        pieces += _fit(sentence.strip(), max_characters)
    return [piece for piece in pieces if _SPOKEN.search(piece)]


def _sentences(text: str) -> list[str]:
    """Sentences with their marks and closing quotes; a stop after an abbreviation or in an address ends none."""
    sentences, start = [], 0
    addresses = [match.span() for match in _ADDRESS.finditer(text)]
    for match in _SENTENCE_END.finditer(text):
        if match["stop"]:
            after = text[match.end("stop") : match.end("stop") + _SIGHT].partition("\n")[0]
            ends = ends_sentence(text[max(start, match.end("stop") - _SIGHT) : match.end("stop")].lstrip(), after)
        elif match["mark"]:
            ends = _mark_ends(text, start, match)
            while addresses and addresses[0][1] <= match.start():
                del addresses[0]
            ends &= not (addresses and addresses[0][0] < match.start() and match.end() < addresses[0][1])
        else:
            ends = True
        if ends:
            sentences.append(text[start : match.end()])
            start = match.end()
    return [*sentences, text[start:]]


def _mark_ends(text: str, start: int, match: re.Match[str]) -> bool:
    """False if the speaker follows a quotation, or a small letter a mark in a sentence with a capital: "Yahoo! is"."""
    if match.end() > match.end("mark"):
        return not _SPEAKER.match(text, match.end())
    return not (
        match["mark"] in "!?"
        and re.match(r"\s+[a-z]", text[match.end() :][:4])
        and re.match(r"\s*[A-Z]", text[start:][:9])
    )


_EAST = r"\u3000-\u30ff\u3400-\u9fff\uf900-\ufaff\uff00-\uffef"
_ITEM = re.compile(r"\s*(?:[-*•‣–—·]|\(?(?:\d{1,3}|[A-Za-z]|[ivxIVX]{1,5})[.)]|#{1,6}|>)\s|\s*[①-⑳]")
_INDENT = re.compile(r"\s{2}|[\t\u3000]")
_BREAK = re.compile(r"(?<=[^\W\d_])(?:[-‐]|\u00ad)$")


def joined_lines(text: str) -> str:
    """Text whose lines were broken to fit a page with one line per paragraph; verse, lists and titles stay as they are.

    Blank lines part paragraphs. In one of prose the lines are about as long as the longest, which has at least 30
    columns (a character of Chinese or Japanese has two): a line that is much shorter ends what it is part of.
    """
    blocks = re.split(r"\n[^\S\n]*(?:\n[^\S\n]*)+", re.sub(r"\r\n?|[\f\v\u2028\u2029]", "\n", text).strip("\n"))
    return "\n\n".join(_joined_block(block.split("\n")) for block in blocks)


def _joined_block(lines: list[str]) -> str:
    lines = dedent("\n".join(line.rstrip() for line in lines)).split("\n")
    widest = max(map(_width, lines))
    if len(lines) < 2:
        return "\n".join(lines)
    prose = _is_prose(lines, widest)
    joined = lines[0]
    for before, line in pairwise(lines):
        indented = _INDENT.match(line) and not (_INDENT.match(before) or _ITEM.match(before))
        if _is_parted(before, line) or (
            prose and not _ITEM.match(line) and not indented and _is_full(before, line, widest)
        ):
            joined = _join(joined, line.lstrip())
        else:
            joined += f"\n{line}"
    return joined


def _is_prose(lines: list[str], widest: int) -> bool:
    """Most lines are full, and not all of them begin or end a sentence as those of verse and dialogue do."""
    full = [_is_full(before, line, widest) for before, line in pairwise(lines)]
    continued = [
        not re.search(rf"[.!?。！？…][{_CLOSERS}]*$", before)
        and not (re.match(r"\W*[A-Z]", line) and not re.search(f"[{_EAST}]", before))
        for before, line in pairwise(lines)
    ]
    items = sum(bool(_ITEM.match(line)) for line in lines)
    return widest >= _NARROWEST and (any(continued) or widest >= 60) and sum(full) + items >= 0.7 * len(full)


def _is_full(before: str, line: str, widest: int) -> bool:
    """True: the first word of the next line would not have fitted, or barely."""
    if not before.strip() or not line.strip() or _is_title(before, line):
        return False
    first = 2 if re.match(rf"\s*[{_EAST}]", line) else _width(line.split()[0]) + 1
    enough = _RAGGED if re.search(r"[\w,]$", before) and re.match(r"\s*[a-z]", line) else _FULL
    return _is_parted(before, line) or _width(before) + first > widest or _width(before) >= enough * widest


def _is_title(before: str, line: str) -> bool:
    """True: a line is in capitals as titles are, without a mark, and the next one begins a sentence."""
    words = re.findall(r"[^\W\d_]+", before)
    capitals = sum(word[0].isupper() for word in words)
    return bool(re.search(r"\w$", before) and re.match(r"\W*[A-Z]", line)) and capitals >= 0.7 * len(words) > 0


def _is_parted(before: str, line: str) -> bool:
    """True: a word, or a title and its name, is broken at the end of a line."""
    if _BREAK.search(before):
        return bool(re.match(r"\s*[a-z]", line))
    return bool(re.search(r"[A-Za-z]\.$", before) and re.match(r"\w", line)) and not ends_sentence(before, f" {line}")


def _width(line: str) -> int:
    return len(line) + len(re.findall(f"[{_EAST}]", line))


def _join(before: str, line: str) -> str:
    """Two lines as one: eastern text without a blank, a word that was parted whole again."""
    if _BREAK.search(before) and re.match("[a-z]", line):
        first, last = re.findall(r"[^\W\d_]+", before)[-1], re.match(r"[^\W\d_]+", line)
        return (before if _is_compound(first, last[0] if last else "") else before[:-1]) + line
    east = re.search(rf"[{_EAST}]$", before) and re.match(f"[{_EAST}]", line)
    return f"{before}{'' if east else ' '}{line}"


def _is_compound(first: str, last: str) -> bool:
    """True: a hyphen at the end of a line belongs to the word: "well-" and "known", but not "be-" and "fore"."""
    try:
        known = dictionary().keys()
    except AssetError:
        return False
    return (first + last).lower() not in known and {first.lower(), last.lower()} <= known


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


def spoken_pieces(text: str, method: str, language: str) -> list[str]:
    """:func:`pieces_of` a text that is to be spoken.

    Raises:
        DataError: nothing in it can be spoken.
    """
    pieces = pieces_of(text, method, language)
    if not pieces:
        raise DataError(f"text {text[:60]!r}: nothing in it can be spoken", "give a text with letters or digits")
    return pieces


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
    """Pieces as GPT-SoVITS makes them (``pre_seg_text``).

    A mark goes before a short first clause, then the method cuts; pieces of less than five characters join others, each
    gets an end mark, and none has more than 510 characters.

    Args:
        text: any text.
        method: name or alias of :data:`METHODS`.
        language: of the text.
    """
    end = "." if language in IN_LATIN else "。"
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


#: Methods of GPT-SoVITS by name, and its own names for them.
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
