"""The quantiser whose codes tell phones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from voiceclone.features.phone_tokenizer import (
    PHONES,
    Speech,
    fit_phone_tokenizer,
    kmeans,
    nearest,
    phone_error_rate,
    pitch_levels,
    read_phones,
    standardising,
    twin_scatter,
)
from voiceclone.features.store import Entry, open_store, write_store
from voiceclone.features.tokenizer import Tokenizer, _enough, fit_tokenizer
from voiceclone.files import write_tsv
from voiceclone.stages.fit_tokenizer import TokenizerSettings
from voiceclone.text.symbols import symbols_to_ids

SPOKEN = ("AA1", "B", "IY0", "S", "T", "M")
SIZE = 12  # dimensions of a content frame
SETTINGS = TokenizerSettings(method="phones", codes=24, dimensions=6, rounds=3)


def made_speech(number: int, seed: int = 0) -> tuple[list[Speech], list[np.ndarray]]:
    """Utterances in two voices whose phones are weak and whose voice and place are strong, and the phone of each token.

    Every text is said twice, with the same timing: by a low voice, and by a high one some tokens later.
    """
    random = np.random.default_rng(seed)
    phone_axes = np.random.default_rng(1).standard_normal((len(SPOKEN), SIZE))
    voices = 6 * np.random.default_rng(2).standard_normal((2, SIZE))
    drift = 6 * np.random.default_rng(3).standard_normal(SIZE)
    speech, spoken = [], []
    for item in range(number):
        text = random.integers(len(SPOKEN), size=14)
        text = text[np.flatnonzero(np.diff(text, prepend=-1))]
        timing = np.repeat(np.arange(len(text)), random.integers(2, 6, size=len(text)))
        for voice in range(2):
            shift = 5 * voice
            at = np.concatenate([np.zeros(shift, dtype=int), timing])
            place = np.linspace(-1, 1, 2 * len(at))[:, None] * drift
            frames = np.repeat(phone_axes[text[at]], 2, axis=0) + voices[voice] + place
            frames += 0.3 * random.standard_normal(frames.shape)
            pairs = np.concatenate([frames[0::2], frames[1::2]], axis=1).astype(np.float32)
            pitch = np.full(4 * len(at), (110.0, 220.0)[voice], dtype=np.float32)
            ids = symbols_to_ids([SPOKEN[index] for index in text])
            speech.append(Speech(lambda pairs=pairs: pairs, ids, pitch, f"voice{voice}", f"text{item}"))  # type: ignore[misc]
            spoken.append(text[at])
    return speech, spoken


def told(tokens: list[np.ndarray], spoken: list[np.ndarray], codes: int) -> float:
    """Share of tokens whose code tells the phone."""
    counts = np.zeros((codes, len(SPOKEN)))
    for token, phone in zip(tokens, spoken, strict=True):
        np.add.at(counts, (token, phone), 1)
    return float(counts.max(axis=1).sum() / counts.sum())


def test_codes_tell_the_phone_where_voice_and_place_are_louder() -> None:
    speech, spoken = made_speech(40)
    plain = standardising(speech)
    points = np.concatenate([plain(item.pairs()) for item in speech])
    centres = kmeans(points, SETTINGS.codes, 20, 0)[0]
    before = told([nearest(plain(item.pairs()), centres)[0] for item in speech], spoken, SETTINGS.codes)
    projection, centres, codes = fit_phone_tokenizer(speech, SETTINGS)
    tokens = [nearest(projection(item.pairs()), centres)[0] for item in speech]
    assert told(tokens, spoken, SETTINGS.codes) > 0.95 > 0.7 > before
    assert centres.shape == (24, 6) and codes.max() < 24
    same = [np.mean(tokens[at][:-1] == tokens[at + 1][5:-1]) for at in range(0, len(tokens), 2)]
    assert np.mean(same) > 0.5  # a text in both voices becomes much the same tokens: each phone has four


def test_phones_are_read_from_unseen_speech() -> None:
    speech, _ = made_speech(40)
    projection, centres, _ = fit_phone_tokenizer(speech, SETTINGS)
    numbers = {symbol: PHONES.index(symbol.rstrip("01")) for symbol in SPOKEN}
    seen, spoken = made_speech(10, seed=9)
    tokens = [nearest(projection(item.pairs()), centres)[0] for item in seen]
    phones = [np.array([numbers[SPOKEN[index]] for index in said]) for said in spoken]
    names, share = read_phones(tokens, phones, SETTINGS.codes)
    assert share > 0.95
    assert phone_error_rate(tokens, [item.phones for item in seen], names) < 0.15
    assert phone_error_rate(tokens, [item.phones for item in seen], np.roll(names, 1)) > 0.5


def test_pitch_is_judged_within_the_voice() -> None:
    low = np.repeat(np.array([80, 100, 125, 0], dtype=np.float32), 4)

    def one(pitch: np.ndarray | None, voice: str) -> Speech:
        return Speech(lambda: np.zeros((4, 4), dtype=np.float32), np.zeros(1, dtype=np.int64), pitch, voice)

    levels = pitch_levels([one(low, "a"), one(2 * low, "b"), one(None, "c")])
    assert [level.tolist() for level in levels] == [[1, 2, 3, 0], [1, 2, 3, 0], [-1] * 4]


def test_only_twins_count_as_scatter() -> None:
    speech, _ = made_speech(3)
    scatter = twin_scatter(speech)
    assert scatter.shape == (2 * SIZE, 2 * SIZE) and np.trace(scatter) > 10
    assert not twin_scatter(speech[0::2]).any()


def test_readings_in_another_tempo_are_no_twins() -> None:
    speech, _ = made_speech(3)

    def faster(item: Speech) -> Speech:
        pairs = item.pairs()
        kept = pairs[np.linspace(0, len(pairs) - 1, int(0.6 * len(pairs))).astype(int)]
        return replace(item, pairs=lambda: kept)

    assert not twin_scatter([faster(item) if item.voice == "voice1" else item for item in speech]).any()


def test_the_file_is_a_tokenizer_like_any_other(tmp_path: Path) -> None:
    speech, _ = made_speech(20)
    names = [f"u{number:02}" for number in range(len(speech))]
    stores: dict[str, tuple[str, list[np.ndarray]]] = {
        "content": ("float32", [_frames(item.pairs()) for item in speech]),
        "phones": ("int64", [item.phones for item in speech]),
        "pitch": ("float32", [item.pitch for item in speech if item.pitch is not None]),
    }
    for kind, (dtype, values) in stores.items():
        entries = {name: Entry(one.shape, lambda one=one: one) for name, one in zip(names, values, strict=True)}  # type: ignore[misc]
        write_store(tmp_path / f"{kind}.safetensors", dtype, entries, {})
    rows = [
        {"utterance": name, "split": "train", "text": item.text, "speaker": item.voice}
        for name, item in zip(names, speech, strict=True)
    ]
    write_tsv(tmp_path / "manifest.tsv", list(rows[0]), rows)
    fit_tokenizer(tmp_path / "manifest.tsv", tmp_path / "content.safetensors", tmp_path / "t.safetensors", SETTINGS)
    tokenizer = Tokenizer.load(tmp_path / "t.safetensors")
    assert (tokenizer.size, tokenizer.dimension) == (24, SIZE)
    projection, centres, _ = fit_phone_tokenizer(speech, SETTINGS)
    expected = nearest(projection(speech[0].pairs()), centres)[0]
    assert (tokenizer.encode(_frames(speech[0].pairs())) == expected).mean() > 0.99


def _frames(pairs: np.ndarray) -> np.ndarray:
    """Content frames (D, 2 T) of pairs (T, 2 D)."""
    return np.ascontiguousarray(pairs.reshape(-1, SIZE).T)


def test_of_much_speech_the_same_part_is_fitted_to_every_time(tmp_path: Path) -> None:
    entries = {f"u{n}": Entry((4, 2 * 50), lambda: np.zeros((4, 100), np.float32)) for n in range(40)}
    write_store(tmp_path / "content.safetensors", "float32", entries, {})
    content, rows = open_store(tmp_path / "content.safetensors"), [{"utterance": name} for name in entries]
    some = _enough(content, rows, 500)
    assert len(some) == 10 and some == [row for row in rows if row in _enough(content, rows[::-1], 500)]
    assert _enough(content, rows, 2000) == rows
