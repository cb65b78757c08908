"""Texts that were read before, and BERT over several of them at once."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.feature_fixture import random_bert

from voiceclone.assets import Asset
from voiceclone.errors import DataError
from voiceclone.listeners.bert import BertEncoder, LazyBert
from voiceclone.text import cache
from voiceclone.text.cache import CachedFrontend
from voiceclone.text.frontend import Phones, to_phones
from voiceclone.text.lexicon import Lexicon
from voiceclone.text.stopwatch import PARTS, measuring

CHARACTERS = "你好世界今天气很不错我们去公园吧,.?"


class CountingBert(LazyBert):
    """Remembers how many texts were encoded at once."""

    def __init__(self, asset: Asset) -> None:
        super().__init__(asset)
        self.calls: list[int] = []

    def encode_all(self, texts: Sequence[Phones]) -> list[np.ndarray]:
        self.calls.append(len(texts))
        return super().encode_all(texts)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> BertEncoder:
    return BertEncoder(random_bert(tmp_path_factory.mktemp("bert") / "model", CHARACTERS))


def test_a_sentence_is_read_once() -> None:
    frontend = CachedFrontend()
    first = frontend.read("Hello there.", "en")
    assert frontend.read("Hello there.", "en") is first
    assert frontend.read("Hello there.", "auto") is not first
    assert frontend.summary() == "text: 1 of 3 sentences from the cache (33.3 %)"
    np.testing.assert_array_equal(first.ids, to_phones("Hello there.", "en").ids)


def test_only_a_lexicon_entry_in_the_text_makes_it_another() -> None:
    lexicon = Lexicon({"en": {"gif": ("JH", "IH1", "F")}})
    frontend = CachedFrontend(lexicon)
    assert frontend.read("A gif.", "en").symbols[1:4] == ("JH", "IH1", "F")
    plain = frontend.read("A dog.", "en")
    assert plain.symbols == to_phones("A dog.", "en").symbols


def test_the_oldest_goes_first() -> None:
    frontend = CachedFrontend(size=2)
    for text in ("One.", "Two.", "One.", "Three.", "One.", "Two."):
        frontend.read(text, "en")
    assert (frontend.asked, frontend.found) == (6, 2)


class SlowPolyphones:
    """Leaves every character to the dictionary, after 20 ms."""

    name, digest = "slow", "0"

    def read(self, texts: Sequence[str]) -> list[list[str | None]]:
        time.sleep(0.02)
        return [[None] * len(text) for text in texts]


def slow_bert(phones: Phones) -> np.ndarray:
    time.sleep(0.03)
    return np.zeros((1024, len(phones.symbols)), np.float32)


def test_each_step_of_reading_has_its_own_time() -> None:
    frontend = CachedFrontend(Lexicon({}, SlowPolyphones()), slow_bert)
    frontend.features(frontend.read("银行在哪里？", "zh"))  # loads dictionaries; nobody measures
    parts, began = dict.fromkeys(PARTS, 0.0), time.perf_counter()
    with measuring(parts):
        frontend.features(frontend.read("我在2024年去过银行。", "zh"))
    whole = (time.perf_counter() - began) * 1000
    assert parts["polyphones_ms"] >= 20 and parts["bert_ms"] >= 30
    assert min(parts.values()) > 0 and sum(parts.values()) <= whole
    assert parts["g2p_ms"] <= whole - 50  # without the model that it asks
    kept = dict(parts)
    with measuring(parts):
        frontend.features(frontend.read("我在2024年去过银行。", "zh"))  # from the cache
    frontend.read("We left in 2024.", "en")  # nobody measures
    assert parts == kept


def test_an_error_is_not_kept() -> None:
    frontend = CachedFrontend()
    for _ in range(2):
        with pytest.raises(DataError):
            frontend.read("!", "en")
    assert frontend.found == 0


def test_prepared_sentences_are_encoded_together_and_counted_once(tmp_path: Path) -> None:
    encode = CountingBert(random_bert(tmp_path / "bert", CHARACTERS))
    frontend = CachedFrontend(encode=encode)
    texts = ["你好。", "Yes.", "世界。", "你好。"]
    prepared = frontend.prepare(texts, "auto")
    assert encode.calls == [2] and (frontend.asked, frontend.found) == (4, 1)
    for text, phones in zip(texts[:3], prepared, strict=False):
        assert frontend.read(text, "auto") is phones
    assert (frontend.asked, frontend.found) == (4, 1)
    assert frontend.features(prepared[1]) is None
    assert frontend.features(prepared[2]).shape == (1024, len(prepared[2].ids))
    assert encode.calls == [2]
    frontend.read("你好。", "auto")
    assert (frontend.asked, frontend.found) == (5, 2)


def test_batches_give_what_single_texts_give(encoder: BertEncoder) -> None:
    texts = ["你好。", "今天天气很不错，我们去公园吧？", "世界" * 40 + "。", "你好 world 世界。", "吧。"]
    read = [to_phones(text, "zh") for text in texts]
    together = encoder.encode_all(read)
    for phones, vectors in zip(read, together, strict=True):
        assert vectors.shape == (1024, len(phones.symbols))
        alone = encoder.encode(phones)
        assert np.abs(vectors.astype(np.float32) - alone.astype(np.float32)).max() <= 2**-10 * np.abs(alone).max()
    chunks = [phones.segments[0].normalised for phones in read]
    for chunk, batched in zip(chunks, encoder.hidden(chunks), strict=True):
        np.testing.assert_allclose(batched, encoder.hidden([chunk])[0], atol=1e-5, rtol=0)


@given(lengths=st.lists(st.integers(1, 510), max_size=40), limit=st.integers(1, 2000))
def test_batches_hold_each_text_once_within_the_limit(encoder: BertEncoder, lengths: list[int], limit: int) -> None:
    chunks = ["好" * length for length in lengths]
    before, encoder.batch_characters = encoder.batch_characters, limit
    try:
        batches = list(encoder._batches(chunks))
    finally:
        encoder.batch_characters = before
    assert sorted(index for batch in batches for index in batch) == list(range(len(chunks)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(lengths[index] for index in batch) <= limit


def test_the_vectors_are_those_of_the_third_layer_from_the_end(encoder: BertEncoder, tmp_path: Path) -> None:
    import torch
    from transformers import BertModel

    model = BertModel.from_pretrained(random_bert(tmp_path / "bert", CHARACTERS).folder).eval()
    tokens = encoder.tokenizer.convert_tokens_to_ids(["[CLS]", *"今天天气", "[SEP]"])
    with torch.inference_mode():
        expected = model(torch.tensor([tokens]), output_hidden_states=True).hidden_states[-3][0, 1:-1].T
    np.testing.assert_allclose(encoder.hidden(["今天天气"])[0], expected.numpy(), atol=1e-5, rtol=0)


def test_a_text_longer_than_the_network_is_cut(encoder: BertEncoder) -> None:
    phones = to_phones("你好世界" * 200, "zh")
    assert encoder.encode(phones).shape == (1024, len(phones.symbols))


def test_nothing_is_loaded_before_the_first_chinese_text(tmp_path: Path) -> None:
    lazy = LazyBert(random_bert(tmp_path / "bert", CHARACTERS))
    assert lazy.encode_all([]) == [] and "encoder" not in vars(lazy)
    phones = to_phones("你好。", "zh")
    np.testing.assert_array_equal(lazy(phones), lazy.encode_all([phones])[0])


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "texts"


def test_what_one_process_read_another_finds(shared: Path, tmp_path: Path) -> None:
    texts = ["你好，世界 on the 3rd, ☃。", "Yes.", "你好 again."]
    encode = CountingBert(random_bert(tmp_path / "bert", CHARACTERS))
    first = CachedFrontend(encode=encode, folder=shared)
    made = first.prepare(texts, "auto")
    again = CachedFrontend(encode=encode, folder=shared)
    for text, expected in zip(texts, made, strict=True):
        found = again.read(text, "auto")
        np.testing.assert_array_equal(found.ids, expected.ids)
        assert repr(found) == repr(expected)
        for vectors in again.features(found), first.features(found):
            np.testing.assert_array_equal(vectors, first.features(expected))
    assert (
        encode.calls == [2]
        and again.summary() == "text: 3 of 3 sentences from the cache (100.0 %), 3 of them from disk"
    )
    assert all(folder.stat().st_mode & 0o077 == 0 for folder in shared.iterdir())


def test_another_reading_is_another_entry(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def found(text: str, language: str = "en", **words: tuple[str, ...]) -> int:
        frontend = CachedFrontend(Lexicon({"en": words} if words else {}), folder=shared)
        frontend.read(text, language)
        return frontend.found

    assert [found("A gif."), found("A gif."), found("A gif.", "auto"), found("A gif.", other=("AH0",))] == [0, 1, 0, 1]
    assert [found("A gif.", gif=("JH", "IH1", "F")), found("A gif.", gif=("G", "IH1", "F"))] == [0, 0]
    monkeypatch.setattr(cache, "revisions", lambda: {"text": "other code", "text_features": 1})
    assert [found("A gif."), found("A gif.")] == [0, 1]
    monkeypatch.setattr(cache, "versions", lambda: ["other packages"])
    assert found("A gif.") == 0


@pytest.mark.parametrize("how", ["cut", "flipped", "emptied"])
def test_a_damaged_entry_is_read_again(shared: Path, caplog: pytest.LogCaptureFixture, how: str) -> None:
    made = CachedFrontend(folder=shared).read("Hello there.", "en")
    (entry,) = (shared / "phones").iterdir()
    data = bytearray(entry.read_bytes())
    data[-2] ^= 1
    entry.write_bytes({"cut": entry.read_bytes()[:-5], "flipped": data, "emptied": b""}[how])
    again = CachedFrontend(folder=shared)
    assert again.read("Hello there.", "en").symbols == made.symbols and again.found == 0
    assert f"{entry}: damaged" in caplog.text
    whole = CachedFrontend(folder=shared)
    assert whole.read("Hello there.", "en").symbols == made.symbols and whole.found == 1


def test_characters_left_out_are_told_in_every_process(shared: Path, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(2):
        frontend = CachedFrontend(folder=shared)
        frontend.read("A snowman ☃.", "en")
        frontend.read("A snowman ☃.", "en")
    assert caplog.text.count("left out, as nobody can read it") == 2


def test_half_a_character_is_no_reason_to_fail(shared: Path) -> None:
    read = CachedFrontend(folder=shared).read("Yes \ud83d.", "en")
    assert read.symbols == CachedFrontend().read("Yes \ud83d.", "en").symbols


def test_two_threads_read_a_text_once(shared: Path) -> None:
    encode = CountingBert(random_bert(shared.parent / "bert", CHARACTERS))
    frontend = CachedFrontend(encode=encode, folder=shared)
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda _: frontend.prepare(["你好。"], "zh"), range(8)))
    assert encode.calls.count(1) == 1 and len(list((shared / "phones").iterdir())) == 1
