"""Both training stages on small networks and random features: broken in many ways, they end as if nothing had been."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tests.support.small_training import STEPS, Speaker, die_at
from tests.support.synthetic_features import make_features
from tests.support.training_toy import in_child

from voiceclone.assets import Asset
from voiceclone.errors import ConfigError, DataError
from voiceclone.files import read_json, read_tsv, write_tsv
from voiceclone.models.discriminators import DiscriminatorConfig, MultiPeriodDiscriminator
from voiceclone.models.gpt import GPTConfig, TextToSemantic
from voiceclone.models.public_files import write_gpt
from voiceclone.models.sovits import SoVITS, SoVITSConfig
from voiceclone.training import gpt, sovits
from voiceclone.training.housekeeping import state_lines

pytestmark = pytest.mark.usefixtures("small_networks")

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Speaker]:
    """A speaker whose training was never interrupted."""
    made: dict[str, Speaker] = {}

    def get(kind: str) -> Speaker:
        if kind not in made:
            made[kind] = Speaker(tmp_path_factory.mktemp(kind))
            made[kind].train(kind)
        return made[kind]

    return get


@pytest.mark.parametrize("kind", ["gpt", "sovits"])
def test_outputs_say_what_was_trained(straight: Callable[[str], Speaker], kind: str) -> None:
    speaker = straight(kind)
    report, rows = speaker.report(kind), speaker.losses(kind)
    tensors = load_file(speaker.folder / "models" / f"{kind}.safetensors")
    model = (
        TextToSemantic(GPTConfig.from_dict(report["architecture"]))
        if kind == "gpt"
        else SoVITS(SoVITSConfig.from_dict(report["architecture"]))
    )
    assert {name: value.shape for name, value in tensors.items()} == {
        name: value.shape for name, value in model.state_dict().items()
    }
    figures = {
        "gpt": {"cross_entropy", "top3_accuracy"},
        "sovits": {"loss_disc", "loss_gen", "loss_fm", "loss_mel", "loss_kl"},
    }[kind]
    assert all(figures <= row.keys() for row in rows if row["split"] == "train")
    metric = {"gpt": "cross_entropy", "sovits": "mel_l1"}[kind]
    heldout = {row["step"]: row[metric] for row in rows if row["split"] == "heldout"}
    assert report["best"]["step"] == min(heldout, key=lambda step: (heldout[step], step))
    assert report["final"] == {
        "step": STEPS[kind],
        **{k: v for k, v in rows[-1].items() if k not in {"step", "epoch", "split"}},
    }
    assert report["step"] == report["best"]["step"] and report["selected"] == "best"
    assert len(report["components"]["utterances"]) == 10 and report["components"]["revision"] >= 1
    assert (speaker.folder / "state" / kind / report["fingerprint"] / "fingerprint.json").is_file()
    assert report["resumes"] == []


@pytest.mark.parametrize("kind", ["gpt", "sovits"])
def test_several_people_train_one_voice(tmp_path: Path, straight: Callable[[str], Speaker], kind: str) -> None:
    speaker = Speaker(tmp_path)
    table = speaker.folder / "features" / "manifest.tsv"
    more = {"source": "group", "bandwidth": 0, "use": "gpt sovits"}
    rows = [
        {**row, **more, "speaker": "ben" if place > 7 else "anna", "weight": 50.0 if place > 7 else 100 / 6}
        for place, row in enumerate(read_tsv(table))
    ]
    write_tsv(table, list(rows[0]), rows)
    speaker.train(kind)
    report, alone = speaker.report(kind), straight(kind)
    assert report["final"]["step"] == STEPS[kind] and speaker.weights(kind) != alone.weights(kind)
    assert report["fingerprint"] != alone.report(kind)["fingerprint"]


@pytest.mark.parametrize(
    ("kind", "breaks", "resumes"),
    [
        # before the first checkpoint; between two, saved because it is asked to stop; while one is being written
        ("gpt", [(1, signal.SIGKILL), (4, signal.SIGTERM), (6, signal.SIGKILL)], [[5, 5], [5, 6]]),
        ("sovits", [(1, signal.SIGKILL), (2, signal.SIGINT), (4, signal.SIGKILL)], [[3, 3]]),
    ],
)
def test_killed_and_stopped_at_several_steps_the_weights_are_the_same_bytes(
    tmp_path: Path,
    straight: Callable[[str], Speaker],
    kind: str,
    breaks: list[tuple[int, int]],
    resumes: list[list[int]],
) -> None:
    speaker, whole = Speaker(tmp_path), straight(kind)
    recipe = gpt.GPTRecipe if kind == "gpt" else sovits.SoVITSRecipe
    for step, number in breaks:

        def attempt(step: int = step, number: int = number) -> None:
            die_at(recipe, step, number)
            speaker.train(kind)

        assert in_child(attempt) == (-signal.SIGKILL if number == signal.SIGKILL else 75)
    speaker.train(kind)
    assert speaker.weights(kind) == whole.weights(kind)
    assert speaker.losses(kind) == whole.losses(kind)
    assert [row["step"] for row in speaker.report(kind)["resumes"]] in resumes
    last = f"step-{STEPS[kind]:08d}"  # the state too: optimisers, best weights
    (ours,), (theirs,) = ((s.folder / "state" / kind).glob(f"*/{last}") for s in (speaker, whole))
    tensors = sorted(path.name for path in theirs.glob("*.safetensors"))
    both = {"best.safetensors", "model.safetensors", "optimiser.safetensors"}
    adversary = {"discriminator.safetensors", "discriminator_optimiser.safetensors"}
    assert set(tensors) == (both if kind == "gpt" else both | adversary)
    assert all((ours / name).read_bytes() == (theirs / name).read_bytes() for name in tensors)


def test_missing_outputs_are_written_again_without_a_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    speaker = Speaker(tmp_path)
    speaker.train("gpt", steps=4)
    first = speaker.weights("gpt")
    for path in (tmp_path / "models").glob("gpt*"):
        path.unlink()
    monkeypatch.setattr(gpt.GPTRecipe, "train_step", lambda self, step: pytest.fail("a step was trained again"))
    speaker.train("gpt", steps=4)
    assert speaker.weights("gpt") == first and speaker.report("gpt")["final"]["step"] == 4


def test_corrected_text_and_changed_settings_are_new_trainings_that_say_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    speaker = Speaker(tmp_path)
    speaker.train("gpt", steps=2)
    first = speaker.report("gpt")["fingerprint"]
    make_features(
        tmp_path / "features",
        tmp_path / "models" / "tokenizer.safetensors",
        utterances=11,
        changed=frozenset({"take-05"}),
    )
    speaker.train("gpt", steps=2)
    assert f"changed since {first}: 1 utterance changed text, 1 added" in capsys.readouterr().out
    speaker.train("gpt", steps=2, learning_rate=3e-4)
    assert "settings.learning_rate 0.0001 -> 0.0003" in capsys.readouterr().out
    Speaker(tmp_path).train("gpt", steps=4)
    report = speaker.report("gpt")
    assert report["fingerprint"] == first and [row["step"] for row in report["resumes"]] == [2]


def test_state_lists_runs_steps_sizes(tmp_path: Path) -> None:
    speaker = Speaker(tmp_path / "anna")
    speaker.train("gpt", steps=2)
    speaker.train("gpt", steps=3, seed=5)
    lines = state_lines(tmp_path, "anna")
    assert "step 3" in lines[0] and "MB" in lines[0] and "step 2" in lines[2]
    assert "settings.seed 1234 -> 5" in lines[1]
    with pytest.raises(DataError, match="no training has been started"):
        state_lines(tmp_path, "berta")


def test_an_exploding_loss_ends_with_a_reason_and_stays_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    speaker = Speaker(tmp_path)
    loss = sovits.kl_loss
    monkeypatch.setattr(sovits, "kl_loss", lambda *args: loss(*args) * float("inf"))
    with pytest.raises(DataError, match="loss_kl not finite in 4 steps in a row"):
        speaker.train("sovits")
    monkeypatch.setattr(sovits, "kl_loss", loss)
    with pytest.raises(DataError, match="failed before at step 4: loss_kl not finite"):
        speaker.train("sovits")


def test_a_tokenizer_of_other_content_is_refused(tmp_path: Path) -> None:
    speaker = Speaker(tmp_path)
    make_features(tmp_path / "other", tmp_path / "models" / "tokenizer.safetensors", content_size=24)
    with pytest.raises(ConfigError, match="takes content features of 24 dimensions, these have 16"):
        speaker.train("sovits")
    with pytest.raises(ConfigError, match="the GPT has 1024 semantic tokens, the tokenizer of the features has 32"):
        speaker.train("gpt", architecture="v2")


def test_training_learns(tmp_path: Path) -> None:
    """From random features nothing general can be learnt, but the training utterances can be learnt by heart."""
    speaker = Speaker(tmp_path, utterances=4, heldout=1)
    speaker.train("gpt", steps=60, batch_size=4, learning_rate=1e-2, warmup_steps=5, validate_every=60, log_every=5)
    rows = [row for row in speaker.losses("gpt") if row["split"] == "train"]
    assert rows[0]["cross_entropy"] > 3 and rows[-1]["cross_entropy"] < 2
    speaker.train("sovits", steps=12, batch_size=2, learning_rate=5e-3, validate_every=100, log_every=3)
    rows = [row for row in speaker.losses("sovits") if row["split"] == "train"]
    assert rows[-1]["loss_mel"] < 0.7 * rows[0]["loss_mel"]


def test_gpt_fine_tunes_a_public_file_and_counts_it_in_the_fingerprint(tmp_path: Path) -> None:
    speaker = Speaker(tmp_path)
    torch.manual_seed(7)
    config = GPTConfig(dim=32, layers=1, heads=4, feed_forward=48, codes=32)
    weights = TextToSemantic(config).state_dict()
    prints = []
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        write_gpt(folder / "base.ckpt", config, weights, "GPT-e0")
        asset = Asset(name, "gpt", "MIT", folder, f"digest of {name}", {"base.ckpt": {"sha256": "", "size": 0}})
        speaker.train("gpt", steps=1, learning_rate=1e-9, architecture="v2", asset=asset)
        tuned = load_file(tmp_path / "models" / "gpt.safetensors")
        assert all(torch.allclose(tuned[key], value.half().float(), atol=1e-6) for key, value in weights.items())
        report = speaker.report("gpt")
        prints.append(report["fingerprint"])
        assert report["architecture"]["layers"] == 1 and report["components"]["base"] == {"gpt": f"digest of {name}"}
    assert prints[0] != prints[1]


@pytest.mark.slow
def test_sovits_fine_tunes_a_base_of_full_size(tmp_path: Path) -> None:
    speaker = Speaker(tmp_path, utterances=4, heldout=1, frames=(34, 40), content_size=768, codes=1024)
    parts = {
        "generator": SoVITS(SoVITSConfig.v2()),
        "discriminator": MultiPeriodDiscriminator(DiscriminatorConfig.v2()),
    }
    assets = {}
    for name, network in parts.items():
        folder = tmp_path / name
        folder.mkdir()
        torch.save({"weight": network.state_dict(), "config": {"model": {}}}, folder / "base.pth")
        assets[name] = Asset(name, name, "MIT", folder, name, {"base.pth": {"sha256": "", "size": 0}})
    speaker.train(
        "sovits",
        steps=1,
        learning_rate=1e-9,
        weight_decay=0.0,
        asset=assets["generator"],
        adversary=assets["discriminator"],
    )
    tuned = load_file(tmp_path / "models" / "sovits.safetensors")
    before = parts["generator"].state_dict()
    assert torch.allclose(tuned["enc_q.pre.weight"], before["enc_q.pre.weight"], atol=1e-6)
    tokenizer = load_file(tmp_path / "models" / "tokenizer.safetensors")
    assert torch.equal(tuned["ssl_proj.weight"], tokenizer["ssl_proj.weight"])


def test_the_script_stops_with_75_on_sigterm_and_continues_with_the_same_command(tmp_path: Path) -> None:
    """The nano GPT as the workflow runs it: one process, a signal, the same command again."""
    Speaker(tmp_path)
    settings = {"architecture": "nano", "steps": 12, "batch_size": 2, "validate_every": 6, "log_every": 1}
    command = [
        sys.executable, str(REPOSITORY / "scripts" / "train_gpt.py"), "--speaker", "anna", "--threads", "1",
        "--features-dir", "features", "--state-dir", "state/gpt", "--output", "models/gpt.safetensors",
        "--report", "models/gpt.json", "--history", "models/gpt.history.jsonl", "--settings", json.dumps(settings),
    ]  # fmt: skip
    first = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("state/gpt/*/history.jsonl")) and time.monotonic() < deadline:
        time.sleep(0.02)
    first.terminate()
    _, err = first.communicate(timeout=60)
    assert first.returncode == 75, err
    assert "stopped by SIGTERM" in err and "run the same command again" in err
    assert not (tmp_path / "models" / "gpt.safetensors").exists()
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "anna · GPT  continues at step" in done.stdout
    assert read_json(tmp_path / "models" / "gpt.json")["steps"] == 12
    wrong = subprocess.run([*command[:-1], '{"steps": -1}'], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert wrong.returncode == 2 and "steps" in wrong.stderr
