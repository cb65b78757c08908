"""Readings of Chinese characters that have several, by g2pW: a BERT that reads the sentence around each of them.

Chen, Chang, Chang and Yeh: "g2pW: A Conditional Weighted Softmax BERT for Polyphone Disambiguation in Mandarin", 2022.
The published folder holds the network for ONNX Runtime (inputs ``input_ids``, ``token_type_ids``, ``attention_mask``
(B, T), ``phoneme_mask`` (B, L), ``char_ids``, ``position_ids`` (B,); output probabilities (B, L) over L readings) and
the characters it knows. The characters' ids are those of the vocabulary of Chinese BERT. As in the public front end,
the network reads Taiwan's characters, 16 of them on either side of those in question.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from voiceclone.errors import AssetError
from voiceclone.onnx_session import onnx_session

CONTEXT = 16  # characters on either side of those in question
LONGEST = 510  # characters of one pass
AT_ONCE = 64  # questions of one pass
_LEFT_TO_THE_DICTIONARY = frozenset("一不和咋嗲剖差攢倒難奔勁拗肖瘙誒泊听噢")
_NOT_OF_ONE_READING = frozenset("似攢")
_INPUTS = frozenset({"input_ids", "token_type_ids", "attention_mask", "phoneme_mask", "char_ids", "position_ids"})


@dataclass(frozen=True)
class _Question:
    """A character whose reading is asked for."""

    sentence: int
    position: int
    text: str
    at: int
    """Position in ``text``, the part of the sentence that the network reads."""


class G2PW:
    """Reads characters in their sentences.

    Args:
        folder: the published model: ``g2pW.onnx``, ``POLYPHONIC_CHARS.txt``, ``MONOPHONIC_CHARS.txt``,
            ``bopomofo_to_pinyin_wo_tune_dict.json``, in it or in a folder of it.
        vocabulary: folder of a Chinese BERT with ``vocab.txt`` or ``tokenizer.json``.
        digest: of the model, for the keys of caches.
        threads: on the CPU; 0: ONNX Runtime's choice.

    Raises:
        AssetError: a file is missing or is not what it should be.
    """

    name = "g2pw"

    def __init__(self, folder: Path, vocabulary: Path, digest: str = "", threads: int = 0) -> None:
        self.digest, self._threads = digest, threads
        network = next(iter(sorted(folder.rglob("g2p[wW].onnx"))), None)
        if network is None:
            raise AssetError(f"{folder}: has no g2pW.onnx", "fetch the model g2pw again")
        self._network = network
        options = _options(network.with_name("config.py"))
        polyphonic = _pairs(network.with_name("POLYPHONIC_CHARS.txt"))
        by_character = bool(options.get("use_char_phoneme", False))
        names = [f"{character} {reading}" if by_character else reading for character, reading in polyphonic]
        self._labels = sorted(set(names))
        number = {label: index for index, label in enumerate(self._labels)}
        self._readings: dict[str, list[int]] = {}
        for (character, _), name in zip(polyphonic, names, strict=True):
            self._readings.setdefault(character, []).append(number[name])
        self._characters = {character: index for index, character in enumerate(sorted(self._readings))}
        self._masked = bool(options.get("use_mask", True))
        self._fixed = {c: reading for c, reading in _pairs(network.with_name("MONOPHONIC_CHARS.txt"))
                       if c not in _NOT_OF_ONE_READING}  # fmt: skip
        self._pinyin: dict[str, str] = _json(network.with_name("bopomofo_to_pinyin_wo_tune_dict.json"))
        self._vocabulary = _vocabulary(vocabulary)

    @cached_property
    def _session(self) -> Any:
        try:
            session = onnx_session(self._network, self._threads)
        except Exception as error:  # ONNX Runtime's own exceptions have no common base
            raise AssetError(f"{self._network}: not a network ({error})", "fetch the model g2pw again") from error
        if {item.name for item in session.get_inputs()} != _INPUTS:
            raise AssetError(f"{self._network}: does not have the inputs of g2pW", "fetch the model g2pw again")
        return session

    @cached_property
    def _to_taiwan(self) -> Any:
        from opencc import OpenCC

        return OpenCC("s2tw")

    def read(self, sentences: Sequence[str]) -> list[list[str | None]]:
        """Pinyin with tone digit of each character of each sentence; None: left to the dictionary."""
        readings: list[list[str | None]] = []
        questions: list[_Question] = []
        for index, sentence in enumerate(sentences):
            written = self._to_taiwan.convert(sentence)
            written = written if len(written) == len(sentence) else sentence
            readings.append([self._known(character) for character in written])
            questions += self._questions(index, written)
        for question, label in zip(questions, self._answers(questions), strict=True):
            readings[question.sentence][question.position] = self._to_pinyin(label)
        return readings

    def _known(self, character: str) -> str | None:
        asked = character in self._characters and character not in _LEFT_TO_THE_DICTIONARY
        return None if asked or character not in self._fixed else self._to_pinyin(self._fixed[character])

    def _to_pinyin(self, bopomofo: str) -> str | None:
        syllable = self._pinyin.get(bopomofo[:-1])
        return f"{syllable}{bopomofo[-1]}" if syllable and bopomofo[-1] in "12345" else None

    def _questions(self, sentence: int, text: str) -> Iterator[_Question]:
        asked = [i for i, c in enumerate(text) if c in self._characters and c not in _LEFT_TO_THE_DICTIONARY]
        if not asked:
            return
        start, end = max(0, asked[0] - CONTEXT), min(len(text), asked[-1] + CONTEXT + 1)
        for position in asked:
            left = start if end - start <= LONGEST else min(max(start, position - LONGEST // 2), end - LONGEST)
            yield _Question(sentence, position, text[left : min(end, left + LONGEST)], position - left)

    def _answers(self, questions: Sequence[_Question]) -> Iterator[str]:
        for start in range(0, len(questions), AT_ONCE):
            probabilities = self._session.run(None, self._inputs(questions[start : start + AT_ONCE]))[0]
            for best in np.argmax(probabilities, axis=1):
                yield self._labels[int(best)].rpartition(" ")[2]

    def _inputs(self, questions: Sequence[_Question]) -> dict[str, npt.NDArray[Any]]:
        length = 2 + max(len(question.text) for question in questions)
        ids = np.zeros((len(questions), length), np.int64)
        attention = np.zeros_like(ids)
        phonemes = np.full((len(questions), len(self._labels)), 0.0 if self._masked else 1.0, np.float32)
        characters = [question.text[question.at] for question in questions]
        unknown = self._vocabulary["[UNK]"]
        for row, question in enumerate(questions):
            tokens = [self._vocabulary.get(character, unknown) for character in question.text.lower()]
            tokens = [self._vocabulary["[CLS]"], *tokens, self._vocabulary["[SEP]"]]
            ids[row, : len(tokens)] = tokens
            attention[row, : len(tokens)] = 1
            phonemes[row, self._readings[characters[row]]] = 1.0
        return {
            "input_ids": ids,
            "token_type_ids": np.zeros_like(ids),
            "attention_mask": attention,
            "phoneme_mask": phonemes,
            "char_ids": np.array([self._characters[character] for character in characters], np.int64),
            "position_ids": np.array([question.at + 1 for question in questions], np.int64),
        }


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise AssetError(f"{path}: cannot be read ({error})", "fetch the model g2pw again") from error


def _pairs(path: Path) -> list[tuple[str, str]]:
    rows = [line.split("\t") for line in _text(path).splitlines() if line.strip()]
    if not rows or any(len(row) != 2 or not all(row) for row in rows):
        raise AssetError(f"{path}: not a table of characters and readings", "fetch the model g2pw again")
    return [(row[0], row[1]) for row in rows]


def _json(path: Path) -> Any:
    try:
        return json.loads(_text(path))
    except json.JSONDecodeError as error:
        raise AssetError(f"{path}: not JSON ({error})", "fetch the model g2pw again") from error


def _options(path: Path) -> dict[str, Any]:
    """The plain assignments of the model's ``config.py``, which is read and never run."""
    if not path.is_file():
        return {}
    options: dict[str, Any] = {}
    try:
        for node in ast.parse(_text(path)).body:
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
                options |= {target.id: node.value.value for target in node.targets if isinstance(target, ast.Name)}
    except (SyntaxError, ValueError) as error:
        raise AssetError(f"{path}: not a configuration ({error})", "fetch the model g2pw again") from error
    return options


def _vocabulary(folder: Path) -> dict[str, int]:
    if (folder / "vocab.txt").is_file():
        vocabulary = {token: index for index, token in enumerate(_text(folder / "vocab.txt").splitlines())}
    elif (folder / "tokenizer.json").is_file():
        vocabulary = dict(_json(folder / "tokenizer.json").get("model", {}).get("vocab", {}))
    else:
        raise AssetError(f"{folder}: has neither vocab.txt nor tokenizer.json", "fetch the Chinese BERT again")
    if not {"[UNK]", "[CLS]", "[SEP]"} <= vocabulary.keys():
        raise AssetError(f"{folder}: not the vocabulary of a BERT", "fetch the Chinese BERT again")
    return vocabulary
