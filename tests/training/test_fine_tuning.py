"""Ways to fine-tune, through the training stages: adapters, averages, frozen parts, or no training at all."""

from __future__ import annotations

import json
import signal
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tests.support import small_training
from tests.support.small_training import Speaker, die_at, small_gpt, small_sovits
from tests.support.training_toy import in_child

from voiceclone.assets import Asset
from voiceclone.errors import AssetError, ConfigError, DataError
from voiceclone.models.gpt import TextToSemantic
from voiceclone.models.public_files import write_gpt
from voiceclone.models.sovits import SoVITS
from voiceclone.stages.settings import RuntimeSettings
from voiceclone.stages.train_gpt import GPTSettings
from voiceclone.stages.train_sovits import SoVITSSettings
from voiceclone.training import finetuning, gpt, sovits

pytestmark = pytest.mark.usefixtures("small_networks")

LORA = {"rank": 4, "alpha": 8, "dropout": 0.1}


@pytest.fixture
def speaker(tmp_path: Path) -> Speaker:
    return Speaker(tmp_path / "speaker")


def asset_of(folder: Path, kind: str, file: str) -> Asset:
    return Asset("base", kind, "MIT", folder, f"digest of {kind}", {file: {"sha256": "", "size": 0}})


@pytest.fixture
def gpt_base(tmp_path: Path) -> Asset:
    config = small_gpt(32)
    torch.manual_seed(7)
    write_gpt(tmp_path / "base.ckpt", config, TextToSemantic(config).state_dict(), "GPT-e0")
    return asset_of(tmp_path, "gpt", "base.ckpt")


def outputs(speaker: Speaker, kind: str) -> dict[str, torch.Tensor]:
    tensors: dict[str, torch.Tensor] = load_file(speaker.folder / "models" / f"{kind}.safetensors")
    return tensors


def checkpoint(speaker: Speaker, kind: str) -> Path:
    return max((speaker.folder / "state" / kind).glob("*/step-*"))


def broken(speaker: Speaker, kind: str, breaks: list[tuple[int, int]], **settings: Any) -> None:
    """Train with kills and stops, then to the end."""
    recipe = gpt.GPTRecipe if kind == "gpt" else sovits.SoVITSRecipe
    for step, number in breaks:

        def attempt(step: int = step, number: int = number) -> None:
            die_at(recipe, step, number)
            speaker.train(kind, **settings)

        assert in_child(attempt) == (-signal.SIGKILL if number == signal.SIGKILL else 75)
    speaker.train(kind, **settings)


BREAKS = [(1, signal.SIGKILL), (4, signal.SIGTERM), (6, signal.SIGKILL)]


def test_adapters_and_their_average_are_the_same_bytes_after_kills_and_stops(tmp_path: Path, gpt_base: Asset) -> None:
    settings: dict[str, Any] = {"asset": gpt_base, "base": "base", "lora": LORA, "ema_decay": 0.9, "steps": 8}
    whole, hurt = Speaker(tmp_path / "whole"), Speaker(tmp_path / "hurt")
    whole.train("gpt", **settings)
    broken(hurt, "gpt", BREAKS, **settings)
    assert hurt.weights("gpt") == whole.weights("gpt") and hurt.losses("gpt") == whole.losses("gpt")
    names = sorted(path.name for path in checkpoint(whole, "gpt").glob("*.safetensors"))
    assert names == [f"{name}.safetensors" for name in ("average", "best", "model", "optimiser")]
    for name in names:
        ours, theirs = (load_file(checkpoint(item, "gpt") / name) for item in (hurt, whole))
        assert ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in theirs)


def test_adapters_alone_are_saved_and_the_output_has_the_public_keys(speaker: Speaker, gpt_base: Asset) -> None:
    speaker.train("gpt", steps=4, asset=gpt_base, base="base", lora=LORA, learning_rate=1e-2, warmup_steps=0)
    state = load_file(checkpoint(speaker, "gpt") / "model.safetensors")
    assert state and all("lora_" in name for name in state)
    optimizer = load_file(checkpoint(speaker, "gpt") / "optimiser.safetensors")
    assert len(optimizer) == 3 * len(state)  # step and two moments of each
    base = {name: tensor.half().float() for name, tensor in base_weights().items()}
    tuned = outputs(speaker, "gpt")
    assert tuned.keys() == base.keys()
    changed = {name for name in base if not torch.equal(tuned[name], base[name])}
    ends = ("in_proj_weight", "out_proj.weight", "linear1.weight", "linear2.weight")
    assert changed == {f"h.layers.{layer}.{end}" for layer in range(2) for end in ends[2:]} | {
        f"h.layers.{layer}.self_attn.{end}" for layer in range(2) for end in ends[:2]
    }
    first = speaker.weights("gpt")
    (speaker.folder / "models" / "gpt.safetensors").unlink()
    speaker.train("gpt", steps=4, asset=gpt_base, base="base", lora=LORA, learning_rate=1e-2, warmup_steps=0)
    assert speaker.weights("gpt") == first  # complete: written again from the checkpoint
    report = speaker.report("gpt")
    assert report["trained_parameters"] == sum(tensor.numel() for tensor in state.values())
    assert report["components"]["settings"]["lora"]["rank"] == 4


def base_weights() -> dict[str, torch.Tensor]:
    torch.manual_seed(7)
    return TextToSemantic(small_gpt(32)).state_dict()


def test_a_warm_start_takes_adapters_but_not_for_weights(speaker: Speaker, gpt_base: Asset) -> None:
    options: dict[str, Any] = {"steps": 2, "asset": gpt_base, "base": "base"}
    speaker.train("gpt", lora=LORA, **options)
    speaker.train("gpt", lora=LORA, warm_start="previous", seed=5, **options)
    assert "starts from the weights of" in json.dumps(
        [json.loads(line) for line in (checkpoint_root(speaker) / "history.jsonl").read_text().splitlines()]
    )
    with pytest.raises(DataError, match="does not fit this one"):
        speaker.train("gpt", warm_start="previous", seed=6, **options)


def checkpoint_root(speaker: Speaker) -> Path:
    return speaker.folder / "state" / "gpt" / speaker.report("gpt")["fingerprint"]


def test_frozen_layers_keep_their_bits_and_have_no_optimiser_state(speaker: Speaker, gpt_base: Asset) -> None:
    options: dict[str, Any] = {"learning_rate": 1e-2, "warmup_steps": 0, "weight_decay": 0.5}
    speaker.train("gpt", steps=4, asset=gpt_base, base="base", train_last_layers=1, **options)
    tuned = outputs(speaker, "gpt")
    kept = {name for name, tensor in base_weights().items() if torch.equal(tuned[name], tensor.half().float())}
    assert tuned.keys() - kept == {name for name in tuned if name.startswith(("h.layers.1.", "ar_predict_layer."))}
    state = load_file(checkpoint(speaker, "gpt") / "optimiser.safetensors")
    assert len(state) == 3 * len(tuned.keys() - kept)


def test_frozen_parts_of_sovits_keep_their_bits_when_killed_too(tmp_path: Path) -> None:
    settings: dict[str, Any] = {
        "freeze": ["enc_p", "dec.ups"], "ema_decay": 0.9, "steps": 4, "weight_decay": 0.5, "learning_rate": 1e-2,
    }  # fmt: skip
    whole, hurt = Speaker(tmp_path / "whole"), Speaker(tmp_path / "hurt")
    whole.train("sovits", **settings)
    broken(hurt, "sovits", [(1, signal.SIGKILL), (2, signal.SIGTERM), (3, signal.SIGKILL)], **settings)
    assert hurt.weights("sovits") == whole.weights("sovits")
    whole.train("sovits", **{**settings, "steps": 1, "learning_rate": 1e-12, "seed": 1234, "weight_decay": 0.0})
    start, tuned = outputs(whole, "sovits"), outputs(hurt, "sovits")
    frozen = {name for name in tuned if name.startswith(("enc_p.", "dec.ups."))}
    assert all(torch.equal(tuned[name], start[name]) for name in frozen)
    assert not torch.equal(tuned["dec.conv_pre.weight"], start["dec.conv_pre.weight"])
    state = json.loads((checkpoint(hurt, "sovits") / "state.json").read_text())["optimiser"]
    assert len(dict(state["$items"])["param_groups"]) == 1  # all of the text encoder is frozen


def test_an_unknown_part_stops_before_any_work(speaker: Speaker) -> None:
    with pytest.raises(ConfigError, match=r"sovits\.freeze: the network has no part 'dec\.upz'"):
        speaker.train("sovits", freeze=["dec.upz"])
    assert not (speaker.folder / "state").exists()


def test_recomputed_activations_train_the_same_bytes_and_the_same_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, saving = Speaker(tmp_path / "plain"), Speaker(tmp_path / "saving")
    run = finetuning._run
    for kind, kinds in (("gpt", {"Layer"}), ("sovits", {"ResidualBlock", "GatedStack"})):
        plain.train(kind, steps=3)
        with monkeypatch.context() as patch:
            used: list[torch.nn.Module] = []
            patch.setattr(finetuning, "_run", lambda item, *args, used=used: used.append(item) or run(item, *args))
            patch.setattr(small_training, "RuntimeSettings", partial(RuntimeSettings, gradient_checkpointing=True))
            saving.train(kind, steps=3)
        assert {type(item).__name__ for item in used} == kinds
        assert plain.weights(kind) == saving.weights(kind)
        assert plain.report(kind)["fingerprint"] == saving.report(kind)["fingerprint"]


def test_untrained_models_are_the_base_and_leave_no_state(
    speaker: Speaker, gpt_base: Asset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    speaker.train("gpt", asset=gpt_base, base="base", train=False)
    assert all(torch.equal(outputs(speaker, "gpt")[name], item.half().float()) for name, item in base_weights().items())
    torch.manual_seed(3)
    generator = SoVITS(small_sovits(16, 32)).state_dict()
    report = speaker.report("gpt")
    assert (report["selected"], report["step"], report["steps"]) == ("base", 0, 0)
    assert report["components"]["base"] == {"gpt": "digest of gpt"} and report["components"]["utterances"] == {}
    assert (speaker.folder / "models" / "gpt.history.jsonl").read_text() == ""
    folder = tmp_path / "generator"
    folder.mkdir()
    torch.save({"weight": generator, "config": {}}, folder / "base.pth")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sovits, "read_base", lambda *_: (small_sovits(16, 32), generator))
        speaker.train("sovits", asset=asset_of(folder, "generator", "base.pth"), base="base", train=False)
    tuned, tokenizer = outputs(speaker, "sovits"), load_file(speaker.folder / "models" / "tokenizer.safetensors")
    assert tuned.keys() == generator.keys()
    expected = {**generator, **{name: tokenizer.get(f"{name}", item) for name, item in generator.items()}}
    assert all(torch.equal(tuned[name], expected[name]) for name in tuned)
    assert "base is used as it is" in capsys.readouterr().out
    speaking = {name: item for name, item in generator.items() if not name.startswith("enc_q.")}
    torch.save({"weight": speaking, "config": {}}, folder / "base.pth")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sovits, "read_base", lambda *_: (small_sovits(16, 32), speaking))
        speaker.train("sovits", asset=asset_of(folder, "generator", "base.pth"), base="base", train=False)
        assert outputs(speaker, "sovits").keys() == speaking.keys()
        with pytest.raises(AssetError, match="cannot be trained further"):
            speaker.train("sovits", asset=asset_of(folder, "generator", "base.pth"), base="base", steps=1)
    assert not (speaker.folder / "state").exists()


def test_no_training_without_a_base_is_refused() -> None:
    with pytest.raises(ValueError, match="train: false uses the base model as it is, but base names none"):
        GPTSettings(train=False)


def test_options_that_are_off_stand_in_no_fingerprint() -> None:
    """States of trainings made before there were such options are found again."""
    shared = {"batch_size", "learning_rate", "weight_decay", "max_skipped", "seed", "architecture"}
    gpt_keys = {"optimizer", "schedule", "warmup_steps", "final_learning_rate", "gradient_clip"}
    sovits_keys = {
        "learning_rate_decay", "text_learning_rate", "mel_weight", "kl_weight", "segment_frames",
        "validation_utterances",
    }  # fmt: skip
    assert GPTSettings().fingerprint().keys() == shared | gpt_keys
    assert SoVITSSettings().fingerprint().keys() == shared | sovits_keys
    off = GPTSettings.model_validate({"lora": {"alpha": 5}, "epoch_utterances": 100})
    assert off.fingerprint() == GPTSettings().fingerprint()
    on = GPTSettings.model_validate({"lora": {"rank": 2}, "ema_decay": 0.9, "base": "b"}).fingerprint()
    assert on["lora"]["rank"] == 2 and on["ema_decay"] == 0.9


@pytest.mark.parametrize(("utterances", "least", "passes"), [(12, 100, 8), (60, 100, 2), (100, 100, 1), (5, 0, 1)])
def test_epochs_of_few_utterances_go_through_them_several_times(utterances: int, least: int, passes: int) -> None:
    settings = SoVITSSettings(epochs=3, epoch_utterances=least)
    assert settings.total_steps(utterances, 4) == 3 * 4 * passes
    assert settings.model_copy(update={"steps": 7}).total_steps(utterances, 4) == 7


def test_adapters_learn(tmp_path: Path, gpt_base: Asset) -> None:
    """Random tokens can only be learnt by heart, so adapters that could not bend the attention would fail."""
    speaker = Speaker(tmp_path / "few", utterances=4, heldout=1)
    how: dict[str, Any] = {"learning_rate": 2e-2, "warmup_steps": 5, "validate_every": 60, "log_every": 5}
    speaker.train("gpt", steps=60, batch_size=4, asset=gpt_base, base="base", lora={"rank": 16, "alpha": 32}, **how)
    rows = [row["cross_entropy"] for row in speaker.losses("gpt") if row["split"] == "train"]
    assert rows[-1] < 0.75 * rows[0]
