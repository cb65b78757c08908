"""Deterministic split into training and held-out utterances."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

TRAIN, HELDOUT = "train", "heldout"


def sentence_key(text: str) -> str:
    """Letters and digits of a text, case-folded: equal for texts that are the same sentence."""
    return "".join(character for character in text.casefold() if character.isalnum())


def position(sha256: str, seed: int) -> float:
    """Place of an audio content on [0, 1), uniform over contents and independent for every seed."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{sha256}".encode()).digest()[:8], "big") / 2**64


def split_by_hash(contents: Iterable[str], share: float, seed: int = 0, min_heldout: int = 1) -> dict[str, str]:
    """Assign each audio content to ``train`` or ``heldout``.

    Held out is what lies below ``share``, and in a corpus so small that this is too little, the ``min_heldout``
    contents with the lowest positions. Each position depends on the content alone, so when data is added no utterance
    moves, but for one case: a newcomer below the ``min_heldout`` lowest sends the highest of them to training. Nothing
    ever moves from training to held-out when data is added, so no evaluation is made on what an earlier model was
    trained on. (Where all of a handful of utterances would be held out, the last is trained on; it alone may move
    back.)

    Args:
        contents: sha256 of each utterance's audio.
        share: of all utterances, 0 to 1.
        seed: chooses another set.
        min_heldout: utterances held out in any case; one is left for training if there are two or more.
    """
    ranked = sorted(set(contents), key=lambda sha256: (position(sha256, seed), sha256))
    below = sum(position(sha256, seed) < share for sha256 in ranked)
    count = min(max(below, min_heldout), len(ranked) - 1)
    return {sha256: HELDOUT if rank < count else TRAIN for rank, sha256 in enumerate(ranked)}
