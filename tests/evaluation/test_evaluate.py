"""Evaluation: which sentences, what a failure counts, what is done again and what is not."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tests.support.evaluation_fixture import make_voice
from tests.support.voice_fixture import make_voice as make_models

from voiceclone.assets import open_asset
from voiceclone.errors import ConfigError, DataError, Interrupted, VoiceCloneError
from voiceclone.evaluation.comparison import check_losses, losses
from voiceclone.evaluation.evaluate import (
    TOKENS,
    Spoken,
    cache_gain,
    check_sound,
    evaluate_target,
    metrics_row,
    open_target,
    speak_items,
    summarise_by,
    summarise_rows,
    trained_voice,
)
from voiceclone.evaluation.measure import failed_measures, meter_assets, text_measures
from voiceclone.evaluation.sentences import FOREIGN, Item
from voiceclone.files import read_json, read_tsv
from voiceclone.lineage.items import ItemCache
from voiceclone.progress import Progress
from voiceclone.stages.evaluate import EvaluateSettings

MODELS = ("whisper-base", "campplus", "ge2e", "dnsmos", "distillmos")


def hum(item: Item) -> Spoken:
    """A second of a low tone, as a synthesiser that always says the same."""
    tone = 0.2 * np.sin(2 * np.pi * 150 * np.arange(32_000) / 32_000)
    return Spoken(
        tone.astype(np.float32), 32_000, {"text_ms": 1.0, "gpt_ms": 200.0, "decoder_ms": 50.0, "post_ms": 0.0}
    )


@pytest.mark.parametrize("samples", [[], [0.0, 0.00001], [0.1, math.nan]])
def test_sound_that_nobody_hears_is_a_failure(samples: list[float]) -> None:
    with pytest.raises(DataError):
        check_sound(Spoken(np.array(samples, np.float32), 32_000, {}))


def test_failed_sentence_counts_as_wholly_wrong() -> None:
    item = Item("en-01", "fixed", "en", "Five words are in here.")
    failed = metrics_row(item, {"failure": "DataError: x"}, failed_measures(item.text, item.language))
    assert (failed["wer"], failed["cer"], failed["word_errors"], failed["audio"]) == (1.0, 1.0, 5, None)
    right = metrics_row(
        item, {"seconds": 2.0, "timings": {"gpt_ms": 500.0}}, text_measures(item.text, "five words are in here", "en")
    )
    assert (right["wer"], right["rtf"]) == (0.0, 0.25)
    summary = summarise_rows([failed, right], EvaluateSettings(bootstrap=100))
    assert summary["wer"]["value"] == 0.5 and summary["metrics"]["rtf"]["n"] == 1


def test_mandarin_is_counted_in_characters() -> None:
    measures = text_measures("没有人回答。", "没有人回打", "zh")
    assert (measures["character_errors"], measures["characters"]) == (1, 5)
    row = metrics_row(Item("zh-08", "fixed", "zh", "没有人回答。"), {"seconds": 1.0}, measures)
    summary = summarise_rows([row], EvaluateSettings(bootstrap=100))
    assert summary["wer"] is None and summary["cer"]["value"] == pytest.approx(0.2)


def test_strata_are_summarised_and_other_languages_stand_beside_the_headline() -> None:
    settings = EvaluateSettings(bootstrap=100)
    items = [
        Item("a", "heldout", "en", "One word."),
        Item("b", "fixed", "en", "Two words.", "plain"),
        Item("c", "fixed", "en", "Why?", "one-word"),
        Item("d", "cross-lingual", "ko", "왜?", "one-word"),
    ]
    table = [metrics_row(item, {"seconds": 1.0}, failed_measures(item.text, item.language)) for item in items]
    by_stratum = summarise_by("stratum", table, settings)
    assert {name: part["sentences"] for name, part in by_stratum.items()} == {"one-word": 2, "plain": 1}
    assert summarise_by("kind", table, settings).keys() == {"heldout", "fixed", "cross-lingual"}
    assert [row["item"] for row in table if row["kind"] in FOREIGN] == ["d"]


def test_only_what_is_missing_is_spoken_again(tmp_path: Path) -> None:
    items = [Item(f"i{n}", "fixed", "en", f"Sentence {n}.") for n in range(4)]
    inputs = {item.id: (item.text,) for item in items}
    cache = ItemCache("evaluate", None, tmp_path)
    calls: list[str] = []

    def voice(item: Item) -> Spoken:
        calls.append(item.id)
        return hum(item)

    def speak() -> dict[str, dict[str, object]]:
        calls.clear()
        return speak_items(items, lambda: voice, cache, inputs, Progress("test", len(items)))

    first = speak()
    assert calls == ["i0", "i0", "i1", "i2", "i3"]  # the first one twice: once to warm up
    assert first["i0"]["seconds"] == 1.0 and first["i0"]["peak_memory_mb"] > 10  # type: ignore[operator]
    assert speak() == first and calls == []
    (tmp_path / "i2.flac").write_bytes(b"damaged")
    inputs["i3"] = ("another text",)
    speak()
    assert calls == ["i2", "i2", "i3"]


def test_every_language_is_warmed_up(tmp_path: Path) -> None:
    items = [Item(name, "fixed", name[:2], "A.") for name in ("en-1", "en-2", "ja-1", "ja-2")]
    calls: list[str] = []

    def voice(item: Item) -> Spoken:
        calls.append(item.id)
        return hum(item)

    inputs = {item.id: ("text",) for item in items}
    speak_items(items, lambda: voice, ItemCache("evaluate", None, tmp_path), inputs, Progress("t", 4))
    assert calls == ["en-1", "en-1", "en-2", "ja-1", "ja-1", "ja-2"]


def test_trained_voice_is_timed_from_the_unread_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from voiceclone.text import cache

    root, read = make_models(tmp_path), []
    to_phones = cache.to_phones
    monkeypatch.setattr(cache, "to_phones", lambda *arguments: read.append(arguments[0]) or to_phones(*arguments))
    voice = open_target("torch-fp32", root / "features", root / "models", None, None, EvaluateSettings(), 1)
    item = Item("a", "fixed", "en", "Yes.")
    first, again = voice(item), voice(item)
    assert read == ["Yes."] * 4  # once for the sentence and once for its stream
    assert first.first_audio_ms is not None and first.first_audio_ms > 0
    assert np.array_equal(first.samples, again.samples)


def test_gain_of_the_cache(tmp_path: Path) -> None:
    root = make_models(tmp_path)
    voice = trained_voice(root / "features", root / "models", None)
    gain = cache_gain(voice, "Read this sentence first. And not this one.", "en", seed=0)
    wanted = voice.sentence("Read this sentence first.", "en")
    assert gain["same_tokens"] and 0 < gain["tokens"] <= TOKENS
    assert gain["positions"] == len(wanted.phones) + len(voice.reference.phones) + len(voice.reference.tokens)
    assert gain["ratio"] == pytest.approx(gain["without_ms"] / gain["with_ms"], rel=1e-2)


def test_one_bad_sentence_does_not_stop_the_others(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    items = [Item(name, "fixed", "en", name) for name in ("good", "bad", "ugly")]

    def voice(item: Item) -> Spoken:
        if item.id == "bad":
            raise RuntimeError("index out of range\nmore")
        return hum(item) if item.id == "good" else Spoken(np.zeros(100, np.float32), 32_000, {})

    with caplog.at_level(logging.ERROR):
        inputs = {item.id: ("text",) for item in items}
        records = speak_items(items, lambda: voice, ItemCache("evaluate", None, tmp_path), inputs, Progress("t", 3))
    assert records["bad"] == {"failure": "RuntimeError: index out of range"}
    assert "silence" in str(records["ugly"]["failure"]) and "failure" not in records["good"]
    assert "bad: not spoken" in caplog.text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["good.flac", "good.json"]


def test_interruption_is_no_failure(tmp_path: Path) -> None:
    def voice(item: Item) -> Spoken:
        raise Interrupted("stopped")

    with pytest.raises(Interrupted):
        cache = ItemCache("evaluate", None, tmp_path)
        speak_items([Item("a", "fixed", "en", "A.")], lambda: voice, cache, {"a": ("text",)}, Progress("t", 1))


def test_measuring_models_find_their_roles(asset: Callable[[str], Path]) -> None:
    opened = [open_asset(asset(name)) for name in ("campplus", "ge2e", "dnsmos", "distillmos", "whisper-tiny.en")]
    assert meter_assets(opened).asr.name == "whisper-tiny.en"
    with pytest.raises(ConfigError, match="one recogniser"):
        meter_assets(opened[:-1])


@pytest.mark.slow
def test_recordings_of_a_real_speaker(
    tmp_path: Path, asset: Callable[[str], Path], shared_data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assets = meter_assets([open_asset(asset(name)) for name in MODELS])
    corpus, features = make_voice(tmp_path, shared_data / "speakers" / "ljspeech")
    output = tmp_path / "eval" / "recordings"

    def evaluate() -> dict[str, object]:
        evaluate_target(
            "recordings", features, corpus, tmp_path, None, [], assets, output, EvaluateSettings(), 1, "lj · evaluate"
        )
        return dict(read_json(output / "summary.json"))

    with caplog.at_level(logging.INFO):
        summary = evaluate()
    assert "2 measured, 0 from cache" in caplog.text and summary["left_out"] == []
    table = read_tsv(output / "metrics.tsv")
    assert [entry["audio"] for entry in table] == ["samples/take-03.flac", "samples/take-04.flac"]
    assert summary["wer"]["value"] <= 0.2 and summary["size_bytes"] is None  # type: ignore[index]
    metrics = summary["metrics"]
    assert isinstance(metrics, dict) and "rtf" not in metrics
    assert metrics["similarity_campplus"]["value"] > 0.6 and metrics["distillmos"]["value"] > 3.3
    (output / "samples" / "gone.flac").write_bytes(b"of a sentence that is no more")
    with caplog.at_level(logging.INFO):
        caplog.clear()
        again = evaluate()
    assert "0 measured, 2 from cache" in caplog.text
    assert again["metrics"] == metrics and not (output / "samples" / "gone.flac").exists()


def rows(error_rate: float, similarity: float, dnsmos: float, count: int = 20) -> list[dict[str, object]]:
    return [
        {
            "item": f"s{index}",
            "language": "en",
            "wer": error_rate + 0.1 * (index % 2),
            "similarity_campplus": similarity,
            "dnsmos_ovrl": dnsmos if index else None,
        }
        for index in range(count)
    ]


def test_a_bundle_that_is_significantly_worse_is_refused() -> None:
    settings = EvaluateSettings(bootstrap=200)
    good = rows(0.1, 0.8, 3.0)
    same = losses(rows(0.12, 0.79, 2.9), good, settings)
    assert same["error_rate"]["value"] == pytest.approx(0.02) and same["dnsmos"]["n"] == 19
    check_losses("onnx-int8", same, settings)
    worse = losses(rows(0.4, 0.5, 2.0), good, settings)
    with pytest.raises(VoiceCloneError, match=r"error_rate worse by 0\.300 .* similarity worse .* dnsmos worse"):
        check_losses("onnx-int8", worse, settings)
    assert losses([], good, settings) == {}
