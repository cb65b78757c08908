"""Evaluation: which sentences, what a failure counts, what is done again and what is not."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tests.support.evaluation_fixture import make_voice
from tests.support.voice_fixture import make_voice as make_models

from voiceclone.assets import Asset, open_asset
from voiceclone.errors import ConfigError, DataError, Interrupted, VoiceCloneError
from voiceclone.evaluation.comparison import check_losses, losses, unseen
from voiceclone.evaluation.evaluate import (
    COLUMNS,
    Plan,
    check_sound,
    evaluate_target,
    gpu_memory_mb,
    item_inputs,
    keep_earlier,
    metrics_row,
    of_speaking,
    speak_items,
    speaker_of,
)
from voiceclone.evaluation.measure import failed_measures, meter_assets, text_measures
from voiceclone.evaluation.metrics import FAULTS
from voiceclone.evaluation.paired import find_metrics
from voiceclone.evaluation.sentences import FOREIGN, Item, read_sentences
from voiceclone.evaluation.summary import floor, summarise_by, summarise_rows, variances
from voiceclone.evaluation.target import TOKENS, Source, Spoken, cache_gain, open_voice, robustness, target_lexicon
from voiceclone.export.bundle import export_voice
from voiceclone.features.tokenizer import KEYS
from voiceclone.files import read_json, read_tsv, write_json, write_text
from voiceclone.lineage.items import ItemCache
from voiceclone.models.gpt import GPTConfig, TextToSemantic
from voiceclone.models.packed import write_packed
from voiceclone.models.sovits import SoVITS, SoVITSConfig
from voiceclone.progress import Progress
from voiceclone.speaking.options import DetectorSettings
from voiceclone.speaking.synthesizer import Synthesizer
from voiceclone.speaking.voices import open_bundle, open_models
from voiceclone.stages.evaluate import EvaluateSettings
from voiceclone.stages.export import ExportSettings
from voiceclone.text.lexicon import Lexicon

SENTENCES = Path(__file__).parents[2] / "resources" / "sentences"
MODELS = ("whisper-base", "campplus", "ge2e", "dnsmos", "distillmos")


def hum(item: Item) -> Spoken:
    """A second of a low tone, as a synthesiser that always says the same."""
    tone = 0.2 * np.sin(2 * np.pi * 150 * np.arange(32_000) / 32_000)
    return Spoken(
        tone.astype(np.float32), 32_000, {"text_ms": 1.0, "gpt_ms": 200.0, "decoder_ms": 50.0, "post_ms": 0.0}
    )


def trained(root: Path, target: str = "torch-fp32", **more: Any) -> Source:
    """The models and features of a small voice."""
    return Source(target, root / "features", root / "models", **more)


@pytest.mark.parametrize("samples", [[], [0.0, 0.00001], [0.1, math.nan]])
def test_sound_that_nobody_hears_is_a_failure(samples: list[float]) -> None:
    with pytest.raises(DataError):
        check_sound(Spoken(np.array(samples, np.float32), 32_000, {}))


def test_failed_sentence_counts_as_wholly_wrong() -> None:
    item = Item("en-01", "fixed", "en", "Five words are in here.")
    failed = metrics_row(item, {"failure": "DataError: x"}, failed_measures(item.text, item.language))
    assert (failed["wer"], failed["cer"], failed["word_errors"], failed["audio"]) == (1.0, 1.0, 5, None)
    record = {"seconds": 2.0, "timings": {"gpt_ms": 500.0}, "text_parts": {"g2p_ms": 3.0}}
    right = metrics_row(item, record, text_measures(item.text, "five words are in here", "en"))
    assert (right["wer"], right["rtf"], right["g2p_ms"]) == (0.0, 0.25, 3.0)
    for attempts, pace in ((1, 200.0), (2, None)):
        spoken = {"seconds": 4.0, "tokens": 100, "timings": {"gpt_ms": 500.0}, "robustness": {"attempts": attempts}}
        assert metrics_row(item, spoken, {})["tokens_per_second"] == pace
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
    assert {name: record["cost"].keys() for name, record in first.items()} == {  # type: ignore[attr-defined]
        "i0": {"speaking", "warm_up"},
        **{key: {"speaking"} for key in ("i1", "i2", "i3")},
    }
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
    voice = open_voice(trained(root), EvaluateSettings())
    item = Item("a", "fixed", "en", "Yes.")
    first, again = voice(item), voice(item)
    assert read == ["Yes."] * 4  # once for the sentence and once for its stream
    assert first.first_audio_ms is not None and first.first_audio_ms > 0
    assert np.array_equal(first.samples, again.samples)


def test_the_evaluation_reads_every_sentence_as_say_does(tmp_path: Path) -> None:
    root = make_models(tmp_path)
    export_voice(root / "models", root / "features", "onnx-fp32", root / "bundle", ExportSettings(), "anna")
    table = root / "config" / "lexicon" / "en.tsv"
    write_text(table, "word\tphones\nferry\tF R IY1\n")
    features, models, bundle = root / "features", root / "models", root / "bundle" / "bundle.json"
    texts = [text for _, text in read_sentences(SENTENCES / "en.txt")]
    changed = [text for text in texts if "ferry" in text.lower()]
    said = {"torch-fp32": open_models(models, root), "onnx-fp32": open_bundle(bundle, root)}
    for target, voice in said.items():
        place = bundle if target == "onnx-fp32" else None
        lexicon = target_lexicon(target, features, place, [table], {})
        source = Source(target, features, models, place, lexicon=lexicon)
        evaluated = source.synthesizer()
        plain = Source(target, features, models, place).synthesizer()
        for text in texts:
            phones = voice.synthesizer.sentence(text, "en").phones.tolist()
            assert evaluated.sentence(text, "en").phones.tolist() == phones, text
            assert (plain.sentence(text, "en").phones.tolist() != phones) == (text in changed), text
        items = [Item(str(number), "fixed", "en", text) for number, text in enumerate(texts)]
        before, after = (item_inputs(items, source, {}, each) for each in (Lexicon(), lexicon))
        assert changed and [item.text for item in items if before[item.id] != after[item.id]] == changed


def test_gain_of_the_cache(tmp_path: Path) -> None:
    root = make_models(tmp_path)
    voice = trained(root).synthesizer()
    gain = cache_gain(trained(root), Item("a", "fixed", "en", "Read this sentence first. And not this one."), seed=0)
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
    source, output = Source("recordings", features, tmp_path), tmp_path / "eval" / "recordings"

    def evaluate() -> dict[str, object]:
        evaluate_target(source, corpus, [], assets, output, EvaluateSettings(), "lj · evaluate")
        return dict(read_json(output / "summary.json"))

    with caplog.at_level(logging.INFO):
        summary = evaluate()
    assert "2 measured, 0 from cache" in caplog.text and summary["left_out"] == []
    table = read_tsv(output / "metrics.tsv")
    assert [entry["audio"] for entry in table] == ["samples/take-03.flac", "samples/take-04.flac"]
    cost = summary["cost"]
    assert isinstance(cost, dict) and cost["recogniser"] > 0 and cost["mos"] > 0 and cost["statistics"] > 0
    assert summary["wer"]["value"] <= 0.2 and summary["size_bytes"] is None  # type: ignore[index]
    metrics = summary["metrics"]
    assert isinstance(metrics, dict) and "rtf" not in metrics
    assert metrics["similarity_campplus"]["value"] > 0.6 and metrics["distillmos"]["value"] > 3.3
    (output / "samples" / "gone.flac").write_bytes(b"of a sentence that is no more")
    with caplog.at_level(logging.INFO):
        caplog.clear()
        again = evaluate()
    assert "0 measured, 2 from cache" in caplog.text
    assert (again["metrics"], again["cost"]) == (metrics, cost) and not (output / "samples" / "gone.flac").exists()


def test_recordings_are_embedded_once_for_all_targets(tmp_path: Path) -> None:
    class Counting:
        calls = 0

        def speaker(self, recordings: list[Any]) -> dict[str, Any]:
            self.calls += 1
            return {"campplus": np.float32([0.1, 1 / 3]), "recordings": np.float32([[0.1, 1 / 3], [0.7, 1e-9]])}

    plan, meters = Plan([], 1, [], {}, {}, {}), Counting()  # type: ignore[arg-type]
    found = [speaker_of(plan, meters, context, tmp_path / ".speaker") for context in ("a", "a", "b")]  # type: ignore[arg-type]
    assert meters.calls == 2  # other recordings, or other encoders, are embedded anew
    for name, vectors in meters.speaker([]).items():
        assert np.array_equal(found[0][name], vectors) and np.array_equal(found[1][name], vectors)
        assert found[1][name].dtype == np.float32


def rows(wrong: int, similarity: float, dnsmos: float, count: int = 20) -> list[dict[str, object]]:
    """Sentences of ten words, of which ``wrong`` or one more are wrong."""
    return [
        dict.fromkeys(COLUMNS)
        | {
            "item": f"s{index:02d}",
            "language": "en",
            "text": f"Sentence {index}.",
            "word_errors": wrong + index % 2,
            "words": 10,
            "similarity_campplus": similarity + 0.01 * (index % 3),
            "dnsmos_ovrl": dnsmos if index else None,
        }
        for index in range(count)
    ]


def test_a_bundle_that_is_significantly_worse_is_refused() -> None:
    settings = EvaluateSettings(bootstrap=400)
    good = rows(1, 0.8, 3.0)
    same = losses(rows(1, 0.79, 2.9), good, settings)
    assert same["error_rate"]["value"] == 0 and same["dnsmos"]["n"] == 19
    assert same["similarity"]["value"] == pytest.approx(0.01)
    check_losses("onnx-int8", same)
    worse = losses(rows(4, 0.5, 2.0), good, settings)
    assert worse["error_rate"]["value"] == pytest.approx(0.3) and unseen(worse) == []
    with pytest.raises(VoiceCloneError, match=r"error_rate worse by 0\.300 .* similarity worse .* dnsmos worse"):
        check_losses("onnx-int8", worse)
    within = losses(rows(2, 0.8, 3.0), good, settings)  # significantly worse, but by no more than 0.1
    check_losses("onnx-int8", within)
    assert losses([], good, settings) == {}


def test_a_gate_says_that_its_sentences_could_not_show_a_fault() -> None:
    few = losses(rows(9, 0.8, 3.0, 4), rows(1, 0.8, 3.0, 4), EvaluateSettings(bootstrap=400))
    check_losses("onnx-int8", few)
    assert few["error_rate"]["unseen"] and "error_rate: no evidence: 4 sentences" in unseen(few)[0]


def test_seeds_of_a_sentence_are_one_sentence() -> None:
    settings = EvaluateSettings(bootstrap=200)
    once = [
        row | {"wer": 0.1 * float(str(row["word_errors"])), "cer": 0.0, "character_errors": 0, "characters": 40}
        for row in rows(1, 0.8, 3.0)
    ]
    more = [row | {"seed": 1, "word_errors": int(str(row["word_errors"])) + 2, "clicks": 4} for row in once]
    twice = summarise_rows([*once, *more], settings)
    assert twice["sentences"] == 20 and twice["wer"]["n"] == 20
    assert twice["wer"]["value"] == pytest.approx(summarise_rows(once, settings)["wer"]["value"] + 0.1)
    assert twice["metrics"]["clicks"]["value"] == 4 and twice["metrics"]["dnsmos_ovrl"]["n"] == 19
    assert variances(once) == {} and variances([*once, *more])["dnsmos_ovrl"]["seed"] == 0
    assert floor(once, more[:5], settings)["wer"]["value"] == pytest.approx(0.34)
    assert floor(once, [], settings) == {}


def test_files_of_the_first_seed_keep_their_names(tmp_path: Path) -> None:
    items = [Item("a", "fixed", "en", "One."), Item("a", "fixed", "en", "One.", turn=1)]
    source = Source("recordings", tmp_path, tmp_path)
    inputs = item_inputs(items, source, {}, None)
    assert inputs["a"] == item_inputs(items[:1], source, {}, None)["a"] != inputs["a@1"]
    speak_items(items, lambda: hum, ItemCache("evaluate", None, tmp_path), inputs, Progress("t", 2))
    assert sorted(path.name for path in tmp_path.glob("*.flac")) == ["a.flac", "a@1.flac"]
    found = metrics_row(items[1], {"seconds": 1.0}, text_measures("One.", "one", "en"), seed=7)
    assert (found["item"], found["seed"], found["audio"]) == ("a", 8, "samples/a@1.flac")


def test_an_earlier_evaluation_is_kept_when_another_voice_speaks(tmp_path: Path) -> None:
    def evaluate(source: str, table: str = "") -> None:
        write_json(tmp_path / "summary.json", {"source": source})
        write_text(tmp_path / "metrics.tsv", f"item\n{table or source}\n")
        keep_earlier(tmp_path)

    for source in ("one", "one", "two"):
        evaluate(source)
    kept = tmp_path / "earlier" / "one"
    assert [path.name for path in (tmp_path / "earlier").iterdir()] == ["one"]
    assert find_metrics(kept).read_text() == "item\none\n" and read_json(kept / "summary.json") == {"source": "one"}
    evaluate("two", "other pronunciations")  # the same voice: its table before is kept as any other
    assert (tmp_path / "earlier" / "two" / "metrics.tsv").read_text() == "item\ntwo\n"
    evaluate("three")
    assert (tmp_path / "earlier" / "two" / "metrics.tsv").read_text() == "item\nother pronunciations\n"
    for number in range(8):
        evaluate(f"v{number}")
    left = {path.name for path in (tmp_path / "earlier").iterdir()}
    assert len(left) == 5 and "v6" in left and "one" not in left


def test_faults_are_judged_before_and_after_another_attempt(tmp_path: Path) -> None:
    root = make_models(tmp_path)
    settings = EvaluateSettings(attempts=2)
    voice = open_voice(trained(root), settings)
    item = Item("a", "fixed", "en", "Read this. No.")
    found = voice(item).robustness
    assert found.keys() == {*FAULTS, *(f"{name}_first" for name in FAULTS), "attempts"} and 1 <= found["attempts"] <= 2
    synthesizer = trained(root).synthesizer()
    speech = synthesizer.say(item.text, "en", attempts=2)
    tight = DetectorSettings(most_share=1.0, most_rate=0.001, least_share=0.0, least_rate=0.0)
    one, two = speech.pieces
    assert one.first is not None and one.codes is not None and len(one.codes) == one.tokens
    kept = replace(speech, pieces=[replace(one, first=np.tile(one.first, 20)), two])
    judged = robustness(synthesizer, kept, "en", tight)
    assert judged["runaways_first"] == 1 and judged["leaks"] == 0
    assert voice(item).robustness == found and voice(replace(item, turn=1)).first_audio_ms is None


def base_of(root: Path, folder: Path) -> list[Asset]:
    """A packed base of the sizes of a voice, with other weights; the voice gets its tokenizer."""
    torch.manual_seed(1)
    found = []
    for kind, name, network in (
        ("gpt", "gpt", TextToSemantic(GPTConfig.nano())),
        ("sovits-generator", "sovits", SoVITS(SoVITSConfig.nano())),
    ):
        write_packed(folder / f"{name}.safetensors", name, network.config, network.state_dict())
        size = (folder / f"{name}.safetensors").stat().st_size
        found.append(Asset(f"my-{name}", kind, "MIT", folder, name, {f"{name}.safetensors": {"size": size}}))
    tokenizer = {key: value for key, value in network.state_dict().items() if key in KEYS}
    for place in (folder, root / "models"):
        save_file(tokenizer, place / "tokenizer.safetensors")
    return found


def test_the_base_speaks_with_the_clip_of_the_voice(tmp_path: Path) -> None:
    root, folder = make_models(tmp_path / "voice"), tmp_path / "base"
    folder.mkdir()
    base, item = base_of(root, folder), Item("a", "fixed", "en", "Yes.")
    report = read_json(root / "models" / "gpt.json")
    write_json(root / "models" / "gpt.json", report | {"step": 5})
    source = trained(root, "zero-shot", base=base)
    assert source.not_measured() == "" and source.size_bytes() == sum(
        (folder / f"{name}.safetensors").stat().st_size for name in ("gpt", "sovits")
    )
    assert len({source.digest, trained(root).digest, trained(root, "zero-shot").digest}) == 3
    synthesizer, voice = source.synthesizer(), trained(root).synthesizer()
    packed = Synthesizer.from_models(folder, root / "features")
    assert np.array_equal(synthesizer.reference.tokens, voice.reference.tokens) and len(voice.reference.tokens)
    said = [each.say(item.text, "en", attempts=1).samples for each in (synthesizer, packed, voice)]
    assert np.array_equal(said[0], said[1]) and not np.array_equal(said[0], said[2])


def test_a_target_that_cannot_be_is_one_line(tmp_path: Path) -> None:
    root, folder = make_models(tmp_path / "voice"), tmp_path / "base"
    folder.mkdir()
    base = base_of(root, folder)
    scratch = trained(root, "zero-shot", base=base[:1]).not_measured()
    assert scratch == "zero-shot: not measured: GPT or SoVITS was trained from scratch, so there is no base voice"
    for kind in ("gpt", "sovits"):
        write_json(root / "models" / f"{kind}.json", read_json(root / "models" / f"{kind}.json") | {"step": 0})
    assert "nothing was trained" in trained(root, "zero-shot", base=base).not_measured()
    if not torch.cuda.is_available():
        assert trained(root, "torch-fp16").not_measured() == "torch-fp16: not measured: half precision needs a GPU"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="half precision needs a GPU")
def test_half_precision_speaks_on_the_gpu_and_its_memory_is_known(tmp_path: Path) -> None:
    source = trained(make_models(tmp_path), "torch-fp16")
    assert source.not_measured() == ""
    spoken = open_voice(source, EvaluateSettings())(Item("a", "fixed", "en", "Yes."))
    assert len(spoken.samples) and (gpu_memory_mb() or 0) > 1


def test_reading_and_the_time_of_each_part_are_counted(tmp_path: Path) -> None:
    spoken = open_voice(trained(make_models(tmp_path)), EvaluateSettings())(Item("a", "fixed", "en", "Yes. No."))
    assert spoken.read == (2, 5)  # the two again by the detector, the first again for its stream
    assert spoken.cost.keys() == {"detector", "first_audio"} and min(spoken.cost.values()) > 0
    told = of_speaking([{"read": [2, 5], "truncated": 1, "gpu_memory_mb": 3.0}, {"failure": "x"}], memory=True)
    assert told["texts"] == {"found": 2, "asked": 5} and (told["truncated"], told["gpu_memory_mb"]) == (1, 3.0)
    assert of_speaking([{"peak_memory_mb": 9.0}], memory=False)["peak_memory_mb"] is None
