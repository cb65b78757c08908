"""The configuration: defaults, presets, overrides, messages, what each stage is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from voiceclone.assets import load_registry
from voiceclone.config.config import Config
from voiceclone.config.generate import generated, keys
from voiceclone.config.generate import main as generate
from voiceclone.config.load import load_config, resolve, resolve_voice, validate
from voiceclone.errors import EXIT_USAGE, ConfigError
from voiceclone.stages import STAGES
from voiceclone.stages.settings import REMOVED, Block

REPOSITORY = Path(__file__).resolve().parents[2]
PRESETS = REPOSITORY / "config" / "presets"
NAMES = ("demo", "nano", "small", "few-shot", "few-shot-plus", "full", "zero-shot", "zero-shot-small")


def message(values: dict[str, Any]) -> str:
    with pytest.raises(ConfigError) as caught:
        resolve(values, PRESETS)
    assert caught.value.exit_code == EXIT_USAGE
    return caught.value.message


def test_generated_files_are_up_to_date() -> None:
    for path, text in generated(REPOSITORY).items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name} is out of date: make generate"


def test_check_sees_drift_and_writing_mends_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manual = tmp_path / "config" / "README.md"
    manual.parent.mkdir()
    manual.write_text((REPOSITORY / "config" / "README.md").read_text(encoding="utf-8").replace("max_seconds", "m"))
    assert generate(["--check", "--root", str(tmp_path)]) == 1
    assert "config/README.md: out of date" in capsys.readouterr().out
    assert not (tmp_path / "config" / "default.yaml").exists()
    assert generate(["--root", str(tmp_path)]) == 0
    assert generate(["--check", "--root", str(tmp_path)]) == 0


def test_default_yaml_is_the_default_configuration() -> None:
    assert validate(yaml.safe_load((REPOSITORY / "config" / "default.yaml").read_text(encoding="utf-8"))) == Config()


def test_every_key_is_described_and_in_the_schema() -> None:
    schema = json.loads((REPOSITORY / "workflow" / "schemas" / "config.schema.json").read_text(encoding="utf-8"))
    assert schema["additionalProperties"] is False
    assert set(schema["properties"]) == set(Config.model_fields)
    assert [path for path, field in keys(Config) if not field.description] == []


def test_the_shipped_file_is_valid_and_names_its_schema() -> None:
    assert load_config(root=REPOSITORY).preset == "small"
    first = (REPOSITORY / "config" / "config.yaml").read_text(encoding="utf-8").splitlines()[0]
    schema = first.partition("$schema=")[2]
    assert first.startswith("# yaml-language-server:")
    assert (REPOSITORY / "config" / schema).is_file()


@pytest.mark.parametrize("name", NAMES)
def test_presets_are_valid_and_need_registered_models(name: str) -> None:
    config = resolve({"preset": name}, PRESETS)
    assert config.preset == name
    registered = set(load_registry(REPOSITORY / "config" / "assets.yaml").names())
    assert config.all_assets()
    assert set(config.all_assets()) <= registered


def test_presets_differ_where_they_should() -> None:
    every = [resolve({"preset": name}, PRESETS) for name in NAMES]
    demo, nano, small, few_shot, few_shot_plus, full, zero_shot, zero_shot_small = every
    assert (demo.speakers_dir, demo.language) == ("resources/demo", "en")
    assert nano.gpt.architecture == nano.sovits.architecture == "nano"
    assert (nano.gpt.base, nano.sovits.base, nano.tokenizer.base) == ("", "", "base-tokenizer")
    assert few_shot.features.content == "chinese-hubert-base"
    assert few_shot.models.asr == "faster-whisper-large-v3"
    assert few_shot.tokenizer.base == few_shot.sovits.base == "gpt-sovits-v2pro-sovits-g"
    assert all(config.runtime == Config().runtime for config in every)
    assert full.all_assets() == few_shot.all_assets()
    assert (demo.evaluate.also, nano.evaluate.also, few_shot.evaluate.also) == ((), (), ("zero-shot",))
    base = {few_shot.gpt.base, few_shot.sovits.base}
    assert base <= set(few_shot.assets("evaluate")) and not base & set(zero_shot.assets("evaluate"))
    assert not zero_shot.gpt.train and not zero_shot.sovits.train
    assert {few_shot.gpt.base, few_shot.sovits.base} == {zero_shot.gpt.base, zero_shot.sovits.base}
    assert [config.corpus.tier for config in every] == ["small", *NAMES[1:4], "few-shot", *NAMES[5:]]
    assert few_shot_plus.sovits.architecture == "v2ProPlus" and few_shot_plus.gpt == few_shot.gpt
    wider = {f"gpt-sovits-v2proplus-sovits-{part}" for part in "gd"}
    assert set(few_shot_plus.all_assets()) - set(few_shot.all_assets()) == wider
    for config in (demo, small, zero_shot_small):
        assert (config.tokenizer.base, config.gpt.base, config.sovits.base) == (
            "base-tokenizer",
            "base-gpt",
            "base-sovits-g",
        )
    assert small.sovits.train and not small.gpt.train and not zero_shot_small.sovits.train


def test_few_shot_has_the_public_defaults() -> None:
    """Those of the public training's web page, for the trainings as they are documented there."""
    config = resolve({"preset": "few-shot"}, PRESETS)
    gpt, sovits = config.gpt, config.sovits
    assert (gpt.epochs, gpt.epoch_utterances) == (15, 100)
    assert (sovits.epochs, sovits.epoch_utterances, sovits.text_learning_rate) == (8, 100, 0.4)
    assert (sovits.learning_rate, sovits.learning_rate_decay, sovits.weight_decay) == (1e-4, 0.999875, 0.01)
    assert config.tokenizer.base == sovits.base  # the quantiser is the base's, and frozen


def test_later_sources_win() -> None:
    assert resolve({}, PRESETS).gpt.architecture == "small"
    config = resolve(
        {"preset": "demo", "gpt": {"steps": 7}, "language": "de", "models": {"asr": "whisper-base"}}, PRESETS
    )
    assert (config.gpt.steps, config.gpt.architecture, config.language) == (7, "small", "de")


def test_file_then_overrides(tmp_path: Path) -> None:
    folder = tmp_path / "config"
    (folder / "presets").mkdir(parents=True)
    (folder / "presets" / "small.yaml").write_text("slice: {max_seconds: 9, min_seconds: 2}\n")
    (folder / "config.yaml").write_text("slice:\n  max_seconds: 8\n")
    assert load_config(root=tmp_path).slice.max_seconds == 8
    config = load_config({"slice": {"max_seconds": 7}}, root=tmp_path)
    assert (config.slice.max_seconds, config.slice.min_seconds) == (7, 2)


def test_text_from_the_command_line_is_converted() -> None:
    config = resolve({"offline": "true", "slice": {"max_seconds": "10"}, "speakers": ["anna"]}, PRESETS)
    assert (config.offline, config.slice.max_seconds, config.speakers) == (True, 10.0, ("anna",))


def test_an_empty_block_means_defaults() -> None:
    assert resolve({"slice": None}, PRESETS).slice == Config().slice


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"slize": {}}, ["slize", "unknown key", "did you mean slice?"]),
        ({"slice": {"max_second": 3}}, ["slice.max_second:", "did you mean max_seconds?"]),
        ({"slice": {"zzz": 3}}, ["slice.zzz:", "known keys: min_seconds"]),
        ({"slice": {"max_seconds": "banana"}}, ["slice.max_seconds: 'banana'", "number, >= 2, <= 30"]),
        ({"slice": {"max_seconds": -3}}, ["slice.max_seconds: -3", ">= 2, <= 30"]),
        ({"slice": 5}, ["slice: 5", "block"]),
        ({"separate": {"mode": "maybe"}}, ["separate.mode: 'maybe'", "auto | always | never"]),
        ({"gpt": {"epochs": 2.5}}, ["gpt.epochs: 2.5", "whole number, >= 1"]),
        (
            {"preset": "huge"},
            ["preset: 'huge'", "demo | few-shot | few-shot-plus | full | nano | small | zero-shot | zero-shot-small"],
        ),
        ({"language": "english"}, ["language: 'english'", "auto or an ISO code"]),
        ({"offline": "perhaps"}, ["offline: 'perhaps'", "true or false"]),
        ({"seed": -1}, ["seed: -1", ">= 0"]),
        ({"slice": {"min_seconds": 5, "max_seconds": 6}}, ["slice: max_seconds must be at least twice"]),
        ({"language": "de", "transcribe": {"languages": ["en"]}}, ["language is 'de'", "transcribe.languages"]),
        ({"language": "zh", "models": {"asr": "whisper-tiny.en"}}, ["models.asr", "only English"]),
        ({"models": {"asr": "whisper-bass"}}, ["models.asr: 'whisper-bass'", "kind asr", "whisper-base"]),
        ({"gpt": {"base": "campplus"}}, ["gpt.base: 'campplus'", "kind gpt"]),
        ({"separate": {"chain": ["spleeter", "roformer"]}}, ["separate.chain.1: 'roformer'", "bs-roformer"]),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(values: dict[str, Any], words: list[str]) -> None:
    text = message(values)
    for word in words:
        assert word in text, text


def test_all_mistakes_come_in_one_message() -> None:
    text = message({"slize": 1, "slice": {"max_seconds": 99}, "gpt": {"stepps": 1}})
    assert all(word in text for word in ("slize", "slice.max_seconds", "gpt.stepps")), text


@pytest.mark.parametrize(("content", "word"), [("- a\n- b\n", "list"), ("a: [", "not valid YAML")])
def test_a_broken_file_is_named(tmp_path: Path, content: str, word: str) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(content)
    with pytest.raises(ConfigError, match=r"mine\.yaml") as caught:
        load_config(file=file, root=REPOSITORY)
    assert word in caught.value.message


def test_every_stage_gets_the_settings_of_its_block_alone() -> None:
    base = Config()
    for stage in STAGES:
        json.loads(base.settings(stage))
    changed = Config.model_validate({"slice": {"max_seconds": 9}, "runtime": {"device": "cpu"}, "speakers_dir": "x"})
    differing = [stage for stage in STAGES if base.settings(stage) != changed.settings(stage)]
    assert differing == ["slice"]


def test_settings_do_not_depend_on_how_values_are_written() -> None:
    written = resolve({"slice": {"max_seconds": "9"}}, PRESETS).settings("slice")
    assert written == resolve({"slice": {"max_seconds": 9.0}}, PRESETS).settings("slice")


def test_the_language_reaches_the_recogniser_alone() -> None:
    config = resolve({"language": "ja"}, PRESETS)
    assert json.loads(config.settings("transcribe"))["languages"] == ["ja"]
    assert json.loads(resolve({}, PRESETS).settings("transcribe"))["languages"] == []


def test_the_common_seed_reaches_blocks_without_their_own() -> None:
    config = resolve({"seed": 5, "gpt": {"seed": 9}}, PRESETS)
    assert (config.sovits.seed, config.tokenizer.seed, config.evaluate.seed, config.gpt.seed) == (5, 5, 5, 9)


@pytest.mark.parametrize(
    ("values", "stage", "expected"),
    [
        ({}, "transcribe", ["whisper-base"]),
        ({}, "separate", ["spleeter-2stems", "dnsmos", "campplus"]),
        ({"separate": {"mode": "never"}}, "separate", []),
        ({"separate": {"chain": ["bs-roformer", "dereverb"]}}, "separate",
         ["spleeter-2stems", "bs-roformer", "dereverb", "dnsmos", "campplus"]),
        ({"separate": {"mode": "always", "chain": ["uvr-denoise-lite"]}}, "separate",
         ["uvr-denoise-lite", "dnsmos", "campplus"]),
        ({}, "clean", ["dnsmos", "campplus"]),
        ({"clean": {"method": "deepfilternet3"}}, "clean", ["dnsmos", "campplus", "deepfilternet3"]),
        ({"clean": {"method": "deepfilternet3", "denoise": "never"}}, "clean", ["dnsmos", "campplus"]),
        ({}, "features", ["whisper-base", "campplus"]),
        ({"features": {"bert": "chinese-roberta-wwm-ext-large"}}, "features",
         ["whisper-base", "campplus", "chinese-roberta-wwm-ext-large"]),
        ({}, "fit_tokenizer", ["base-tokenizer"]),
        ({"tokenizer": {"base": ""}}, "fit_tokenizer", []),
        ({"gpt": {"base": "gpt-sovits-v2-gpt"}}, "train_gpt", ["gpt-sovits-v2-gpt"]),
        ({}, "evaluate", ["whisper-base", "campplus", "ge2e", "dnsmos", "distillmos"]),
        ({}, "tokenize", []),
    ],
)  # fmt: skip
def test_a_stage_names_the_models_it_needs(values: dict[str, Any], stage: str, expected: list[str]) -> None:
    assert resolve(values, PRESETS).assets(stage) == expected


def test_blocks_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Config().slice.max_seconds = 3  # type: ignore[misc]
    assert issubclass(Config, Block)


def test_encoders_are_those_that_a_voice_needs() -> None:
    from voiceclone.export.encoder_graphs import EXPORTERS

    public = ["chinese-hubert-base", "eres2netv2", "chinese-roberta-wwm-ext-large"]
    found = {name: resolve({"preset": name}, PRESETS).encoders() for name in NAMES}
    assert found == {
        name: public if name in ("few-shot", "few-shot-plus", "full", "zero-shot") else ["campplus"] for name in NAMES
    }
    assert {name for names in found.values() for name in names} <= set(EXPORTERS)
    assert resolve({"preset": "few-shot", "export": {"encoders": False}}, PRESETS).encoders() == []
    v2 = {"preset": "few-shot", "sovits": {"architecture": "v2"}, "features": {"bert": "", "polyphones": ""}}
    assert resolve(v2, PRESETS).encoders() == ["chinese-hubert-base"]


def test_a_key_of_an_earlier_version_is_named_with_what_is_in_its_place() -> None:
    with pytest.raises(ConfigError) as caught:
        resolve({"export": {"opset": 17}, "gpt": {"select": "last"}, "demo": {"seed": 3}}, PRESETS)
    text = str(caught.value)
    assert "export.opset: no setting any more" in text and "gpt.select: no setting any more" in text
    assert "select.by" in text and "demo: no setting any more" in text


def test_no_setting_that_there_is_counts_as_removed() -> None:
    blocks = {name: getattr(field.annotation, "model_fields", {}) for name, field in Config.model_fields.items()}
    keys = {f"{block}.{key}" for block, fields in blocks.items() for key in fields}
    assert not REMOVED.keys() & (keys | Config.model_fields.keys())


def test_a_voice_overrides_the_common_configuration(tmp_path: Path) -> None:
    file = tmp_path / "voice.yaml"
    file.write_text("preset: few-shot\nlanguage: ja\ncorpus: {min_seconds: 5}\n", encoding="utf-8")
    common = {"preset": "nano", "corpus": {"min_utterances": 3}, "gpt": {"epochs": 2}}
    voice = resolve_voice(common, PRESETS, file)
    assert voice.gpt.base == resolve({"preset": "few-shot"}, PRESETS).gpt.base and voice.gpt.epochs == 2
    assert (voice.corpus.min_seconds, voice.corpus.min_utterances) == (5, 3)
    assert json.loads(voice.settings("transcribe"))["languages"] == ["ja"]
    file.write_text("", encoding="utf-8")
    assert resolve_voice(common, PRESETS, file) == resolve(common, PRESETS)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("slize: {}\n", "slize: unknown key; did you mean slice?"),
        ("corpus: {min_seconds: -1}\n", "corpus.min_seconds: -1 is not allowed; expected number, >= 1"),
        ("models_dir: x\nruntime: {}\n", "runtime: holds for all voices"),
        ("preset: huge\n", "'huge' is not allowed; expected base | demo"),
        ("[]", "expected 'key: value' lines"),
    ],
)
def test_a_wrong_key_of_a_voice_names_its_file(tmp_path: Path, text: str, expected: str) -> None:
    file = tmp_path / "voice.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        resolve_voice({}, PRESETS, file)
    assert caught.value.message.startswith(str(file)) and expected in caught.value.message


def test_new_keys_of_the_recogniser_leave_old_results_alone() -> None:
    assert json.loads(Config().settings("transcribe")).keys() == {"languages", "beam_size", "prompts"}
    assert json.loads(validate({"transcribe": {"mixed": True}}).settings("transcribe"))["mixed"] is True
