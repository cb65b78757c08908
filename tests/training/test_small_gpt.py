"""The training of the base voice's GPT: pointer, noise, joined utterances, draws by weight; all of it exact."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.support.small_training import Speaker, die_at, tensors
from tests.support.training_toy import in_child

from voiceclone.errors import ConfigError
from voiceclone.files import read_tsv, write_tsv
from voiceclone.models.gpt import GPTConfig, TextToSemantic
from voiceclone.speaking.torch_backend import TorchBackend
from voiceclone.stages.train_gpt import GPTSettings
from voiceclone.training import gpt
from voiceclone.training.gpt import GPTData, replaced_tokens

pytestmark = pytest.mark.usefixtures("small_networks")

SMALL = {"architecture": "small", "small": {"batch_tokens": 120, "longest_joined": 100}}


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    def config(codes: int) -> GPTConfig:
        return GPTConfig(dim=32, layers=3, heads=2, feed_forward=64, codes=codes, dropout=0.0, pointer_layer=2,
                         pointer_dim=8)  # fmt: skip

    monkeypatch.setattr(GPTConfig, "small", staticmethod(config))


def several_people(speaker: Speaker) -> None:
    """Give the utterances two people and two sources, one of whom is held out as a whole."""
    path = speaker.folder / "features" / "manifest.tsv"
    rows = read_tsv(path)
    for index, row in enumerate(rows):
        row["speaker"] = "zoe" if index == 0 else f"person{index % 2}"
        row["source"] = "people" if index % 2 else "teacher"
        row["weight"] = "2" if index % 2 else "1"
    write_tsv(path, list(rows[0]), rows)


def test_the_pointer_learns_and_each_source_and_person_is_judged(tmp_path: Path) -> None:
    speaker = Speaker(tmp_path)
    several_people(speaker)
    speaker.train("gpt", steps=80, learning_rate=1e-2, warmup_steps=5, **SMALL)
    rows = [row for row in speaker.losses("gpt") if row["split"] == "train"]
    assert rows[-1]["pointer"] < rows[0]["pointer"] - 0.5
    assert rows[-1]["pointer_accuracy"] > rows[0]["pointer_accuracy"] + 0.1
    heldout = [row for row in speaker.losses("gpt") if row["split"] == "heldout"][-1]
    assert {name for name in heldout if "_people" in name or "_zoe" in name or "_teacher" in name} == {
        f"{figure}_{group}" for figure in ("cross_entropy", "pointer_accuracy") for group in ("people", "zoe")
    }
    assert {name for name in load_file(speaker.folder / "models" / "gpt.safetensors") if "pointer" in name} == {
        "pointer.query.weight", "pointer.key.weight", "pointer.emission"
    }  # fmt: skip


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_training_resumes_to_the_same_bits(tmp_path: Path, number: int) -> None:
    whole, broken = Speaker(tmp_path / "whole"), Speaker(tmp_path / "broken")
    for speaker in (whole, broken):
        several_people(speaker)
    whole.train("gpt", ema_decay=0.9, **SMALL)

    def attempt() -> None:
        die_at(gpt.GPTRecipe, 8, number)
        broken.train("gpt", ema_decay=0.9, **SMALL)

    assert in_child(attempt) == (75 if number == signal.SIGTERM else -number)
    broken.train("gpt", ema_decay=0.9, **SMALL)
    assert broken.weights("gpt") == whole.weights("gpt") and broken.losses("gpt") == whole.losses("gpt")
    assert tensors(broken, "gpt") == tensors(whole, "gpt")


def test_joined_and_noisy_batches_cut_in_parts_give_the_gradients_of_the_whole(tmp_path: Path) -> None:
    whole, parts = Speaker(tmp_path / "whole"), Speaker(tmp_path / "parts")
    settings = {"architecture": "small", "batch_size": 5, "weight_decay": 0.0,
                "small": {"batch_tokens": 0, "joined": 0.6, "token_noise": 0.4}}  # fmt: skip
    whole.train("gpt", steps=3, **settings)
    parts.train("gpt", steps=3, micro_batch=2, **settings)
    pairs = zip(whole.losses("gpt"), parts.losses("gpt"), strict=True)
    for one, other in pairs:
        assert one.pop("split") == other.pop("split")
        assert one == pytest.approx(other, rel=1e-4)


def test_joined_utterances_are_one_text_with_one_alignment(tmp_path: Path) -> None:
    speaker = Speaker(tmp_path)
    data = GPTData(speaker.folder / "features", aligned=True)
    first, second = data.train[:2]
    joined, alone = data.read([[first, second]]), data.read([[second]])
    before = data.phones.length(first.name)
    count = data.semantic.length(second.name)
    assert joined["phone_lengths"].item() == before + data.phones.length(second.name)
    torch.testing.assert_close(joined["aligned"][0, -count:], alone["aligned"][0] + before)
    torch.testing.assert_close(joined["tokens"][0, -count:], alone["tokens"][0])


def test_utterances_without_alignment_count_for_the_tokens_alone(tmp_path: Path) -> None:
    speaker = Speaker(tmp_path)
    path = speaker.folder / "features" / "align.safetensors"
    store = load_file(path)
    del store["take-05"]
    save_file(store, path)
    data = GPTData(speaker.folder / "features", aligned=True)
    row = next(row for row in data.train if row.name == "take-05")
    assert bool((data.read([[row]])["aligned"] == -1).all())
    speaker.train("gpt", steps=2, **SMALL)


def test_noise_replaces_a_share_that_is_drawn() -> None:
    tokens = torch.zeros(400, dtype=torch.int64)
    shares = [float((replaced_tokens(tokens, 0.2, 1000, seed) != 0).float().mean()) for seed in range(100)]
    assert max(shares) < 0.28 and min(shares) < 0.03
    assert sum(shares) / len(shares) == pytest.approx(0.1, abs=0.02)


def test_the_weight_of_the_pointer_falls_in_the_last_quarter() -> None:
    weights = [gpt.pointer_weight(GPTSettings(architecture="small"), step, 1000) for step in (0, 750, 875, 1000)]
    assert weights == pytest.approx([0.3, 0.3, 0.175, 0.05])


def test_the_table_of_the_alignment_goes_into_the_weights(tmp_path: Path) -> None:
    speaker = Speaker(tmp_path)
    table = torch.rand(732, 32)
    save_file({"emission": table}, tmp_path / "alignment.safetensors")
    speaker.train("gpt", steps=2, alignment=tmp_path / "alignment.safetensors", **SMALL)
    assert torch.equal(load_file(speaker.folder / "models" / "gpt.safetensors")["pointer.emission"], table)


def test_other_architectures_have_the_fingerprint_that_they_had() -> None:
    assert "small" not in GPTSettings(small={"joined": 0.9}).fingerprint()  # type: ignore[arg-type]
    assert "batch_size" in GPTSettings().fingerprint()
    assert "batch_size" not in GPTSettings(architecture="small").fingerprint()


def test_a_base_without_a_pointer_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpt, "read_base", lambda asset, read: (GPTConfig.nano(32), {}))
    with pytest.raises(ConfigError, match="no pointer"):
        Speaker(tmp_path).train("gpt", asset=object(), base="x", **SMALL)  # type: ignore[arg-type]


def test_a_network_without_a_pointer_gets_one_and_keeps_its_weights(tmp_path: Path) -> None:
    speaker = Speaker(tmp_path, utterances=24)
    table = tmp_path / "alignment.safetensors"
    save_file({"emission": torch.rand(732, 32)}, table)
    speaker.train("gpt", alignment=table)
    plain = load_file(speaker.folder / "models" / "gpt.safetensors")
    speaker.train("gpt", pointer_steps=200, alignment=table)  # the training itself was complete
    assert len(list(tmp_path.glob("state/gpt/*"))) == 1
    weights, report = load_file(speaker.folder / "models" / "gpt.safetensors"), speaker.report("gpt")
    assert all(torch.equal(weights[name], plain[name]) for name in plain)
    assert report["architecture"]["pointer_added"] and report["pointer"]["accuracy"] > 0.5
    network = TextToSemantic(GPTConfig.from_dict(report["architecture"]))
    network.load_state_dict(weights)
    backend = TorchBackend(network.eval(), None)
    assert backend.guidance == 0.0 and backend.emission is not None
