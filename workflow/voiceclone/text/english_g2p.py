"""English words to ARPAbet phones: CMUdict, homographs, compounds and suffixes, a neural model for the rest."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from functools import cache, lru_cache
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from voiceclone.errors import AssetError

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


def package_file(package: str, name: str) -> Path:
    """A data file inside an installed package, found without importing the package.

    Raises:
        AssetError: the package or the file is not installed.
    """
    spec = find_spec(package)
    for folder in spec.submodule_search_locations or [] if spec else []:
        path = Path(folder) / name
        if path.is_file():
            return path
    raise AssetError(f"{package}/{name}: not installed", "install the project's locked requirements")


@cache
def dictionary() -> dict[str, str]:
    """CMUdict: lower-case word to its first pronunciation (phones with stress, space separated)."""
    entries: dict[str, str] = {}
    for line in package_file("cmudict", "data/cmudict.dict").read_text(encoding="utf-8").splitlines():
        word, _, phones = line.partition(" ")
        if word and not word.endswith(")"):
            entries[word] = phones.partition("#")[0].strip()
    entries.update({row["word"]: row["phones"] for row in _table("english_words.tsv")})
    return entries


def _table(name: str) -> list[dict[str, str]]:
    text = files("voiceclone.text").joinpath(name).read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines(), delimiter="\t"))


@cache
def homographs() -> dict[str, tuple[str, Pronunciation, Pronunciation]]:
    """Word to (part of speech, pronunciation as that part of speech, pronunciation otherwise)."""
    entries: dict[str, tuple[str, Pronunciation, Pronunciation]] = {}
    for line in package_file("g2p_en", "homographs.en").read_text(encoding="utf-8").splitlines():
        if line.count("|") == 3 and not line.startswith("#"):
            word, first, second, tag = line.split("|")
            entries[word.lower()] = (tag.strip(), tuple(first.split()), tuple(second.split()))
    for row in _table("english_homographs.tsv"):
        entries[row["word"]] = (row["tag"], tuple(row["phones"].split()), tuple(row["otherwise"].split()))
    return entries


_BEFORE_VERB = {
    "to", "will", "would", "can", "could", "shall", "should", "may", "might", "must", "not", "cannot", "do",
    "does", "did", "don't", "doesn't", "didn't", "won't", "wouldn't", "can't", "couldn't", "shouldn't", "let's",
    "please", "i", "we", "you", "they", "who", "never", "always", "often", "i'll", "we'll", "you'll", "they'll",
    "he'll", "she'll", "i'd", "we'd", "they'd", "you'd", "let",
}  # fmt: skip
_BEFORE_NOUN = {
    "the", "a", "an", "this", "that", "these", "those", "my", "your", "his", "her", "its", "our", "their", "some",
    "any", "no", "every", "each", "of", "in", "on", "at", "by", "for", "with", "from", "into", "new", "old",
    "good", "bad", "great", "big", "small", "first", "last", "next", "same", "other", "live", "own", "very",
    "most", "more", "one", "two", "three",
}  # fmt: skip
_AFTER_IMPERATIVE = {
    "the", "a", "an", "this", "that", "these", "those", "my", "your", "his", "her", "its", "our", "their", "it",
    "them", "me", "us", "him", "up", "down",
}  # fmt: skip
_AUXILIARIES = {
    "have", "has", "had", "having", "was", "were", "been", "be", "is", "are", "being", "i've", "we've", "you've",
    "they've", "got",
}  # fmt: skip
_PAST_HINTS = {
    "yesterday", "ago", "earlier", "already", "once", "last",
}  # fmt: skip


def _is(tag: str, words: Sequence[str], position: int) -> bool:
    """Whether the word at ``position`` is used as the part of speech ``tag``, judged by its neighbours.

    Tags of the two tables: V (base or finite verb), VBD (past tense), VBN (participle), VERB (any form of a verb),
    N (noun), ADJ (adjective before a noun), TO (followed by "to").
    """
    before = words[position - 1] if position else ""
    after = words[position + 1] if position + 1 < len(words) else ""
    verb = before in _BEFORE_VERB or (not before and after in _AFTER_IMPERATIVE)
    if tag == "V":
        return verb
    if tag == "TO":
        return after == "to"
    if tag == "VERB":
        return before not in _BEFORE_NOUN and (verb or before in _AUXILIARIES or after in _AFTER_IMPERATIVE)
    if tag in ("VBD", "VBN"):
        asked = before in ("to", "will", "would", "can", "could", "shall", "should", "may", "might", "must")
        told = bool(_PAST_HINTS.intersection(words)) and not asked and before not in _BEFORE_NOUN
        return before in _AUXILIARIES or told
    if tag == "ADJ":
        return before in _BEFORE_NOUN and bool(re.fullmatch(r"[a-z']+", after))
    return before in _BEFORE_NOUN


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


def pronounce_all(words: Sequence[str]) -> list[Pronunciation]:
    """Phones of each word of a clause; capitals mark acronyms, neighbours decide between homographs."""
    lower = [word.lower() for word in words]
    return [_in_context(words, lower, position) for position in range(len(words))]


def _in_context(words: Sequence[str], lower: Sequence[str], position: int) -> Pronunciation:
    word, plain = words[position], lower[position]
    if len(plain) == 1:
        return ("AH0",) if word == "a" else spell(word)
    if plain in homographs():
        tag, first, second = homographs()[plain]
        return first if _is(tag, lower, position) else second
    parts = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", word)
    if len(parts) > 1 and plain not in dictionary() and "'" not in word:  # ChatGPT, YouTube
        return tuple(phone for part in parts for phone in _in_context([part], [part.lower()], 0))
    capitals = re.sub(r"'?s$", "", word)
    if capitals.isupper() and len(capitals) > 1 and not _read_as_word(capitals):
        name = spell(capitals)
        return _with_s(name) if capitals != word else name
    return pronounce(plain)


@cache
def _spoken_acronyms() -> frozenset[str]:
    return frozenset(row["word"] for row in _table("english_acronyms.tsv"))


def _read_as_word(capitals: str) -> bool:
    """Acronyms that are words, and longer capitals that the dictionary knows (emphasis rather than letters)."""
    return capitals.lower() in _spoken_acronyms() or (len(capitals) > 4 and capitals.lower() in dictionary())


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
