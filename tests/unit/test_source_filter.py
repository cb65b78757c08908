"""The source-filter decoder of the size ``small``: its pulses, its filter, the prototype's weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from voiceclone.errors import ConfigError
from voiceclone.models.sovits import SoVITSConfig, SynthesizerTrn

RATE = 32000


@pytest.fixture(scope="module")
def sovits() -> SynthesizerTrn:
    torch.manual_seed(0)
    return SynthesizerTrn(SoVITSConfig.small()).eval()


def test_old_architectures_are_written_as_before():
    for config in (SoVITSConfig.v2(), SoVITSConfig.v2pro(), SoVITSConfig.nano()):
        assert not SoVITSConfig.OPTIONS & config.to_dict().keys()
    assert SoVITSConfig.small().to_dict()["decoder"] == "source_filter"
    assert SoVITSConfig.from_dict(SoVITSConfig.small().to_dict()) == SoVITSConfig.small()
    with pytest.raises(ConfigError, match="decoder 'wavenet'"):
        SoVITSConfig(decoder="wavenet")


def test_the_state_of_the_prototype_fits(shared_base: Path) -> None:
    state = load_file(shared_base / "states" / "sovits_fp16.safetensors")
    network = SynthesizerTrn(SoVITSConfig.small())
    network.load_state_dict({key: value for key, value in state.items() if not key.startswith("d.")}, strict=True)


def test_the_wave_has_the_length_of_the_tokens(sovits):
    config = sovits.config
    with torch.no_grad():
        style = torch.randn(1, config.gin_channels, 1)
        wave = sovits.decode(torch.randint(0, 512, (1, 1, 9)), torch.randint(0, 732, (1, 7)), style)
    assert wave.shape == (1, 1, 9 * 1280)
    assert torch.isfinite(wave).all()


def test_pulses_have_equal_harmonics_of_unit_power_at_f0(sovits):
    frames, f0 = 100, 200.0
    pulses, noise = sovits.dec.source(torch.full((1, frames), f0).log(), torch.ones(1, frames))
    assert pulses.shape == noise.shape == (1, (frames + 6) * 320)
    second = pulses[0, :RATE].double()
    assert second.square().mean().item() == pytest.approx(1, abs=0.01)
    lines = torch.fft.rfft(second).abs() * 2 / RATE  # a bin per hertz
    harmonics = int(0.47 * RATE / f0)
    each = lines[200 : 200 * harmonics + 1 : 200]
    np.testing.assert_allclose(each, (2 / harmonics) ** 0.5, rtol=1e-2)
    assert lines[200 * harmonics + 100 :].max() < 1e-3


def test_flat_filters_give_the_source_back(sovits):
    """Windows overlap to one: with a magnitude of one and no phase, pulses and noise come through as they are."""
    decoder, frames = sovits.dec, 30
    flat = torch.zeros(1, frames, decoder.bins)
    log_f0, voiced = torch.full((1, frames), 5.0), torch.ones(1, frames)
    given = decoder.frames(torch.randn(1, 96, frames // 2), torch.randn(1, 128, 1))
    given = given._replace(harmonic=flat, noise=flat, phase=flat)
    start, noise = torch.full((1, 1), 0.3, dtype=torch.double), torch.randn(1, (frames + 6) * 320)
    pulses, _ = decoder.source(log_f0, voiced, noise, start)
    wave = decoder.synthesise(given, log_f0, voiced, noise, start)[:, 0]
    torch.testing.assert_close(wave, (pulses + noise)[:, 960:-960], atol=1e-4, rtol=1e-4)


def test_training_gets_the_pitch_and_reaches_every_weight():
    torch.manual_seed(0)
    decoder = SynthesizerTrn(SoVITSConfig.small()).dec
    latent, style = torch.randn(2, 96, 8), torch.randn(2, 128, 1)
    wave, log_f0, voicing = decoder(latent, style, torch.full((2, 16), 5.0), torch.ones(2, 16))
    assert wave.shape == (2, 1, 8 * 640)
    assert log_f0.shape == voicing.shape == (2, 16)
    (wave.square().mean() + log_f0.mean() + voicing.mean()).backward()
    without = [name for name, weight in decoder.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert without == []
