"""Training of ``small``: windows and orders, spectral losses, discriminators that come later, exact resumption."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.support.small_training import Speaker, die_at, small_sovits
from tests.support.training_toy import in_child

from voiceclone.assets import Asset
from voiceclone.errors import ConfigError
from voiceclone.files import read_tsv, write_tsv
from voiceclone.models.losses import banded_mel_loss, low_pass, pitch_loss, stft_loss
from voiceclone.models.mel import PowerSpectrum, mel_spectrogram, training_mel
from voiceclone.models.sovits import SoVITSConfig
from voiceclone.stages.train_sovits import SoVITSSettings
from voiceclone.training import sovits
from voiceclone.training.staged import StagedRecipe, WindowData, windows_order

pytestmark = pytest.mark.usefixtures("small_networks")

STEPS = 6
SETTINGS: dict[str, Any] = {
    "architecture": "small", "segment_frames": 16, "adversarial_from": 3, "ema_decay": 0.9,
    "small": {"window_frames": 40, "prior_every": 2, "kl_warmup_steps": 4, "warmup_steps": 2},
}  # fmt: skip


@pytest.fixture(autouse=True)
def tiny_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """The smallest network with a source-filter decoder in place of ``small``."""

    def small(ssl_dim: int, codes: int) -> SoVITSConfig:
        sizes = {"decoder": "source_filter", "trunk_width": 16, "trunk_hidden": 16, "trunk_blocks": 1, "dropout": 0.0}
        return SoVITSConfig.from_dict(small_sovits(ssl_dim, codes).to_dict() | sizes)

    monkeypatch.setattr(SoVITSConfig, "small", staticmethod(small))


def add_pitch(speaker: Speaker, align: bool = False) -> Speaker:
    """Write the stores that only ``small`` reads: F0 with an unvoiced stretch, and which phone each token speaks."""
    folder = speaker.folder / "features"
    tokens = load_file(folder / "semantic.safetensors")
    phones = load_file(folder / "phones.safetensors")
    pitch, spoken = {}, {}
    for name, codes in tokens.items():
        pitch[name] = torch.linspace(100, 200, 4 * len(codes))
        pitch[name][10:30] = 0
        spoken[name] = (torch.arange(len(codes)) * len(phones[name]) // len(codes)).to(torch.int16)
    save_file(pitch, folder / "pitch.safetensors")
    if align:
        save_file(spoken, folder / "align.safetensors")
    return speaker


def describe(speaker: Speaker, **columns: list[object]) -> None:
    """Put columns about speakers and sources into the manifest."""
    path = speaker.folder / "features" / "manifest.tsv"
    rows = [row | {k: v[i % len(v)] for k, v in columns.items()} for i, row in enumerate(read_tsv(path))]
    write_tsv(path, list(rows[0]), rows)


def data_of(speaker: Speaker) -> WindowData:
    return WindowData(speaker.folder / "features", 40, 16)


def test_killed_and_stopped_across_the_stages_the_weights_are_the_same_bytes(tmp_path: Path) -> None:
    whole, broken = (add_pitch(Speaker(tmp_path / name), align=True) for name in ("whole", "broken"))
    whole.train("sovits", steps=STEPS, **SETTINGS)
    for step, number in ((1, signal.SIGTERM), (4, signal.SIGKILL)):

        def attempt(step: int = step, number: int = number) -> None:
            die_at(StagedRecipe, step, number)
            broken.train("sovits", steps=STEPS, **SETTINGS)

        assert in_child(attempt) == (-number if number == signal.SIGKILL else 75)
    broken.train("sovits", steps=STEPS, **SETTINGS)
    assert broken.weights("sovits") == whole.weights("sovits")
    assert broken.losses("sovits") == whole.losses("sovits")
    assert [row["step"] for row in broken.report("sovits")["resumes"]] in ([2, 2], [2, 3])
    (ours,), (theirs,) = ((s.folder / "state" / "sovits").glob(f"*/step-{STEPS:08d}") for s in (broken, whole))
    names = sorted(path.name for path in theirs.glob("*.safetensors"))
    assert "average.safetensors" in names and "discriminator_optimiser.safetensors" in names
    assert all((ours / name).read_bytes() == (theirs / name).read_bytes() for name in names)


def test_discriminators_judge_from_their_step_on(tmp_path: Path) -> None:
    speaker = add_pitch(Speaker(tmp_path))
    speaker.train("sovits", steps=STEPS, **{**SETTINGS, "log_every": 1})
    rows = {row["step"]: row for row in speaker.losses("sovits") if row["split"] == "train"}
    assert [step for step, row in rows.items() if "loss_disc" in row and "loss_gen" in row] == [4, 5, 6]
    assert [step for step, row in rows.items() if "loss_prior_mel" in row] == [1, 3, 5]
    key = speaker.report("sovits")["fingerprint"]
    speaker.train("sovits", steps=STEPS + 1, **{**SETTINGS, "adversarial_from": None})  # the same training goes on
    assert speaker.report("sovits")["fingerprint"] == key
    assert "loss_disc" not in speaker.losses("sovits")[-2]


def test_it_learns_by_heart(tmp_path: Path) -> None:
    speaker = add_pitch(Speaker(tmp_path, utterances=4, heldout=1))
    speaker.train("sovits", steps=16, **{**SETTINGS, "learning_rate": 1e-2, "log_every": 4, "adversarial_from": -1})
    rows = [row for row in speaker.losses("sovits") if row["split"] == "train"]
    assert rows[-1]["loss_mel"] < 0.7 * rows[0]["loss_mel"] and rows[-1]["loss_pitch"] < rows[0]["loss_pitch"]
    heldout = speaker.report("sovits")["final"]
    assert {"mel_l1", "log_f0_l1", "voicing_error"} <= heldout.keys()


def test_parts_of_a_batch_add_up_to_it(tmp_path: Path) -> None:
    speaker = add_pitch(Speaker(tmp_path))
    speaker.train("sovits", steps=1, **{**SETTINGS, "batch_size": 4, "log_every": 1})
    whole = speaker.losses("sovits")[0]
    speaker.train("sovits", steps=1, micro_batch=1, **{**SETTINGS, "batch_size": 4, "log_every": 1, "seed": 1234})
    parts = speaker.losses("sovits")[0]
    for name in ("loss_kl", "loss_pitch", "loss_voicing"):  # the others depend on the decoder's own noise
        assert parts[name] == pytest.approx(whole[name], rel=1e-3)
    assert parts["loss_mel"] == pytest.approx(whole["loss_mel"], rel=0.1)


def test_a_base_goes_on_with_pitch_as_an_input_of_its_posterior(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    speaker = add_pitch(Speaker(tmp_path))
    speaker.train("sovits", steps=1, **SETTINGS)
    trained = load_file(tmp_path / "models" / "sovits.safetensors")
    config = SoVITSConfig.from_dict(speaker.report("sovits")["architecture"])
    monkeypatch.setattr(sovits, "read_base", lambda asset, read: (config, trained))
    base = Asset("base", "sovits-generator", "MIT", tmp_path, "digest", {})
    options = {**SETTINGS, "learning_rate": 1e-9, "ema_decay": 0.0}
    speaker.train("sovits", steps=1, asset=base, **options)
    plain = speaker.losses("sovits")[0]
    reading = {**options, "learning_rate": 1e-2, "small": {**options["small"], "posterior_pitch": True}}
    speaker.train("sovits", steps=2, asset=base, log_every=1, **reading)
    first = speaker.losses("sovits")[0]
    assert first["loss_kl"] == plain["loss_kl"] and first["loss_mel"] == plain["loss_mel"]  # they begin at zero
    weights = load_file(tmp_path / "models" / "sovits.safetensors")["enc_q.pitch.weight"]
    assert weights.shape == (16, 4, 1) and (weights != 0).all()


def test_a_voice_without_pitch_says_what_to_set(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="source-filter decoder") as caught:
        Speaker(tmp_path).train("sovits", **SETTINGS)
    assert "features.pitch" in str(caught.value)


# -- data --------------------------------------------------------------------------------------------------------


def test_people_have_their_share_of_every_batch(tmp_path: Path) -> None:
    speaker = add_pitch(Speaker(tmp_path, utterances=30, heldout=0))
    describe(speaker, source=["hibari-a", "hibari-b", "hibari-a", "hibari-b", "libri"], use=["gpt sovits"])
    data = data_of(speaker)
    order = windows_order(data, SoVITSSettings(batch_size=10))
    real = {index for index, row in enumerate(data.train) if row.source == "libri"}
    shares = [len([item for item in order.batch(step) if item in real]) / 10 for step in range(160)]
    assert np.mean(shares) == pytest.approx(0.4, abs=0.02) and min(shares) >= 0.3


def test_utterances_for_the_gpt_alone_are_left_out(tmp_path: Path) -> None:
    speaker = add_pitch(Speaker(tmp_path))
    describe(speaker, use=["gpt", "gpt sovits"])
    assert {row.name for row in data_of(speaker).train} == {f"take-{index:02d}" for index in range(3, 10, 2)}


def test_windows_are_the_same_stretch_of_every_store(tmp_path: Path) -> None:
    data = data_of(add_pitch(Speaker(tmp_path), align=True))
    windows = data.draw(data.train, seed=0, step=7)
    assert windows == data.draw(data.train, seed=0, step=7) != data.draw(data.train, seed=0, step=8)
    assert len({window.start for window in windows}) > 1
    batch = data.read(windows)
    for index, window in enumerate(windows):
        name, start, size = window.row.name, window.start, window.frames
        assert size == min(40, window.row.frames) and start % 2 == 0
        audio = data.stores["audio"][name][start * 640 : (start + size) * 640]
        assert torch.equal(batch["audio"][index, : size * 640], audio)
        codes = data.stores["semantic"][name][start // 2 : (start + size) // 2]
        assert torch.equal(batch["semantic"][index, : size // 2], codes)
        hertz = data.stores["pitch"][name][2 * start : 2 * (start + size)]
        voiced = batch["voiced"][index, : 2 * size]
        assert torch.equal(voiced, (hertz > 0).float())
        assert torch.allclose(batch["log_f0"][index, : 2 * size][voiced > 0].exp(), hertz[hertz > 0], rtol=1e-5)
        spoken = data.stores["align"][name][start // 2 : (start + size) // 2]
        phones = data.stores["phones"][name][int(spoken[0]) : int(spoken[-1]) + 1]
        assert torch.equal(batch["phones"][index, : batch["phone_lengths"][index]], phones)
    assert batch["bandwidth"].tolist() == [0.0] * len(windows)  # one person's manifest names none


def test_phones_without_an_alignment_are_cut_by_share(tmp_path: Path) -> None:
    data = data_of(add_pitch(Speaker(tmp_path, frames=(120, 120))))
    (window,) = data.draw(data.train[:1], seed=0, step=1)
    count = int(data.read([window])["phone_lengths"][0])
    assert 24 / 3 <= count <= 24 / 3 + 3  # a third of the frames, a little more of the phones


# -- losses ------------------------------------------------------------------------------------------------------


def tones(*frequencies: float) -> torch.Tensor:
    seconds = torch.arange(16384) / 32000
    return torch.stack([0.1 * torch.sin(2 * torch.pi * hertz * seconds) for hertz in frequencies]).sum(0).repeat(2, 1)


def test_losses_end_at_each_items_bandwidth() -> None:
    torch.manual_seed(0)
    real = tones(500) + 1e-3 * torch.randn(2, 16384)
    fake = real + tones(10000) * torch.hann_window(16384)  # what only a full recording may object to
    narrow, full = torch.tensor([8000.0, 8000.0]), torch.tensor([8000.0, 0.0])
    for measure in (
        lambda band: banded_mel_loss(mel_spectrogram(real), mel_spectrogram(fake), band),
        lambda band: stft_loss(real, fake, band),
    ):
        assert measure(full) > 4 * measure(narrow)
    fake.requires_grad_(True)
    stft_loss(real, fake, narrow).backward()
    assert fake.grad is not None
    power = torch.fft.rfft(fake.grad).abs().square()
    split = int(7600 / 16000 * power.shape[-1])  # above 94 % of the bandwidth nothing pulls
    assert power[:, split:].sum() < 0.01 * power.sum()


def test_low_pass_takes_away_what_the_source_does_not_have() -> None:
    torch.manual_seed(0)
    low, both = tones(500)[:, None], tones(500, 10000)[:, None]
    passed = low_pass(both, torch.tensor([8000.0, 0.0]))
    assert (passed[0] - low[0]).square().mean() < 1e-4 < (passed[1] - low[1]).square().mean()
    assert torch.allclose(passed[1], both[1], atol=1e-5)


def test_power_spectra_have_the_gradient_of_a_fourier_transform() -> None:
    torch.manual_seed(0)
    frames = torch.randn(3, 64, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(PowerSpectrum.apply, (frames,))
    audio = 0.1 * torch.randn(2, 1, 12800)
    assert torch.allclose(training_mel(audio), mel_spectrogram(audio), atol=1e-5)


def test_pitch_loss_counts_voiced_frames_alone() -> None:
    target, voiced = torch.full((1, 8), 5.0), torch.tensor([[1.0, 1, 1, 1, 0, 0, 0, 0]])
    predicted = torch.tensor([[5.1, 5.1, 4.9, 4.9, 9, 9, 9, 9]])
    pitch, voicing = pitch_loss(predicted, 20 * (voiced - 0.5), target, voiced)
    assert pitch == pytest.approx(0.1, abs=1e-5) and voicing < 1e-3
