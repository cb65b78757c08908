"""Damaged and hostile versions of files that are in order, drawn by hypothesis."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import strategies as st

#: What readers trip over: ends of strings, lines and cells, numbers beyond every range, depth, marks of encodings.
PIECES = (
    b"\0", b"\xff\xff\xff\xff", b"\xff\xff\xff\xff\xff\xff\xff\x7f", b"\x80" * 12, b"\n", b"\r", b"\t", b"|", b",",
    b'"', b"'", b":", b"-1", b"-99999999999999999999", b"9" * 30, b"9" * 5000, b"1e999", b"NaN", b"null", b"[]", b"{}",
    b"[" * 5000, b'{"a":' * 2000, b"../../../etc/passwd", b"/etc/passwd", b"\\ud800", b"\xed\xa0\x80", b"\xef\xbb\xbf",
    b"\xff\xfe", b"# coding: utf-7\n", b"# coding: hex\n",
    b"&a [*a, *a]", b"!!python/object/apply:os.system [x]", b"x" * 70_000,
)  # fmt: skip
#: In place of a value of JSON, YAML or a pickle.
VALUES = (
    None, True, -1, 0, 1, 2**31, 10**30, -(2**63), 0.5, 1e308, float("nan"), float("inf"), "", "x", "../../x",
    "/etc/passwd", "\ud800", "x\0y", "9" * 30, "x" * 70_000, [], [[]], [None], {}, {"": None}, {"x": {"x": []}},
    [1, "x", None, {}],
)  # fmt: skip


@st.composite
def damaged(draw: st.DrawFn, seed: bytes, changes: int = 3) -> bytes:
    """Bytes with up to ``changes`` stretches cut, turned over, repeated or replaced."""
    data = bytearray(seed)
    for _ in range(draw(st.integers(1, changes))):
        start = draw(st.integers(0, len(data)))
        end = min(len(data), start + draw(st.sampled_from((0, 0, 1, 2, 4, 8, 64, 10**9))))
        how = draw(st.sampled_from(("piece", "piece", "bytes", "bits", "repeat", "zeros")))
        old = bytes(data[start:end])
        new = {
            "piece": lambda: draw(st.sampled_from(PIECES)),
            "bytes": lambda: draw(st.binary(max_size=8)),
            "bits": lambda old=old: bytes(byte ^ draw(st.sampled_from((1, 0x80, 0xFF))) for byte in old[:8]) + old[8:],
            "repeat": lambda old=old: old[:4096] * 3,
            "zeros": lambda old=old: bytes(len(old)),
        }[how]()
        data[start:end] = new
    return bytes(data)


@st.composite
def reshaped(draw: st.DrawFn, seed: Any, more: tuple[Any, ...] = (), changes: int = 3) -> Any:
    """A value of nested tables and lists with up to ``changes`` parts replaced, renamed, doubled or left out."""
    root = [copy.deepcopy(seed)]
    for _ in range(draw(st.integers(1, changes))):
        places = list(_places(root))
        holder, key = draw(st.sampled_from(places))
        how = draw(st.sampled_from(("replace", "replace", "remove", "rename", "double")))
        if how == "remove" and holder is not root:
            del holder[key]
        elif how == "rename" and isinstance(holder, dict):
            holder[draw(st.sampled_from(("", "x", "\ud800", "../x")))] = holder.pop(key)
        elif how == "double" and isinstance(holder, list) and holder is not root:
            holder.append(copy.deepcopy(holder[key]))
        else:
            holder[key] = copy.copy(draw(st.sampled_from(VALUES + more)))
    return root[0]


def _places(holder: Any) -> Any:
    """Every table or list with each of its keys, from the outside in."""
    for key in list(holder) if isinstance(holder, dict) else range(len(holder)):
        yield holder, key
        if isinstance(holder[key], dict | list):
            yield from _places(holder[key])
