"""The 732 phone symbols of the v2 model family; their order is the model's phone embedding."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.resources import files

import numpy as np
import numpy.typing as npt

from voiceclone.errors import DataError

UNKNOWN = "UNK"
"""Symbol for anything outside the inventory."""

PUNCTUATION = frozenset("!?…,.-")
"""Marks that are phones of their own: the models learn pauses and intonation from them."""


def _read() -> tuple[str, ...]:
    lines = files("voiceclone.text").joinpath("symbols_v2.tsv").read_text(encoding="utf-8").splitlines()[1:]
    return tuple(line.split("\t")[1] for line in lines)


SYMBOLS: tuple[str, ...] = _read()
SYMBOL_IDS: dict[str, int] = {symbol: number for number, symbol in enumerate(SYMBOLS)}


def symbols_to_ids(symbols: Iterable[str]) -> npt.NDArray[np.int64]:
    """Ids of phone symbols: int64 (P,).

    Raises:
        DataError: a symbol is not one of the 732.
    """
    symbols = tuple(symbols)
    unknown = sorted(set(symbols) - SYMBOL_IDS.keys())
    if unknown:
        raise DataError(
            f"phones {unknown} are not among the {len(SYMBOLS)} symbols of the model",
            "fix the pronunciation in config/lexicon",
        )
    return np.array([SYMBOL_IDS[symbol] for symbol in symbols], dtype=np.int64)


def ids_to_symbols(ids: Iterable[int]) -> tuple[str, ...]:
    """Symbols of phone ids."""
    return tuple(SYMBOLS[int(number)] for number in ids)
